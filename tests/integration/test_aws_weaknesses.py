# SPDX-License-Identifier: Apache-2.0
"""What the Go driver of AWS does badly, one weakness after the other, each with the promise that this driver makes instead."""

import itertools
import time

import pytest

from aws_rig import (
    driver,  # noqa: F401 (a fixture)
    launched,
)
from fakes import ec2
from fakes.server import Drop
from peerpod.provider_tool import create, failed, new_token

TEMPLATE = {"USE_PODVM_LAUNCHTEMPLATE": "true", "PODVM_AMI_ID": None, "AWS_SUBNET_ID": None, "AWS_SG_IDS": None}
PUBLIC = {"USE_PUBLIC_IP": "true"}
NO_KEYS = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}


@pytest.fixture
def cloud():
    with ec2.Ec2() as running:
        first = next(iter(running.subnets))
        nic = {"DeviceIndex": 0, "SubnetId": first, "Groups": running.groups[1:], "DeleteOnTermination": True}
        running.templates["kata"] = {"ImageId": "ami-0123456789abcdef0", "InstanceType": "m6a.large", "NetworkInterfaces": [nic]}
        yield running


def test_weakness_1_one_zone_one_type_no_spot__all_are_tried_in_turn(cloud, driver):
    cloud.refuse("InsufficientInstanceCapacity", zone=cloud.zones[0])
    cloud.refuse("VcpuLimitExceeded", type="c6a.*")
    cloud.refuse("InsufficientInstanceCapacity", spot=True)
    wide = {"AWS_SUBNET_ID": ",".join(cloud.subnets), "PODVM_INSTANCE_TYPES": "c6a.xlarge,m6a.xlarge", "AWS_SPOT": "prefer"}
    made = create(driver, wide, vcpus=4, memory=8192)
    tried = [
        (sent["InstanceType"], cloud.subnets[sent["SubnetId"]][-1], spot)
        for sent, (_, spot) in zip(cloud.sent("RunInstances"), launched(cloud))
    ]
    assert tried == [
        ("c6a.xlarge", "a", True),
        ("c6a.xlarge", "b", True),
        ("m6a.xlarge", "a", True),
        ("m6a.xlarge", "b", True),
        ("m6a.xlarge", "c", True),
        ("c6a.xlarge", "a", False),
        ("c6a.xlarge", "b", False),
        ("m6a.xlarge", "a", False),
        ("m6a.xlarge", "b", False),
    ]
    assert [vm.id for vm in cloud.live()] == [made["id"]]


def test_weakness_2_orphans_without_a_tag__what_a_crash_left_is_found_by_cluster_and_by_token(cloud, driver):
    token = new_token()
    cloud.script("RunInstances", Drop("after"), times=None)
    error = failed(create, driver, {"AWS_MAX_ATTEMPTS": "1"}, token=token)
    assert error.kind == "retry" and cloud.inventory() == {}  # undone as soon as it was found by its tag
    cloud.unscript()
    token = new_token()
    assert driver.killed_after("RunInstances", "create", token=token, name="podvm-x", cluster="c1", node="n1", sandbox="s1")
    (left,) = driver.tool("list", cluster="c1", node="n1")
    assert (left["token"], left["sandbox"]) == (token, "s1")
    assert create(driver, token=token)["id"] == left["id"] and len(cloud.live()) == 1
    assert [sent["ClientToken"] for sent in cloud.sent("RunInstances")][-1].startswith(token)


def test_weakness_3_delete_of_the_vanished_fails_for_ever__it_succeeds_and_an_empty_id_is_refused(cloud, driver):
    made = create(driver)
    driver.tool("delete", id=made["id"])
    driver.tool("delete", id=made["id"])
    cloud.forget_the_dead()
    driver.tool("delete", id=made["id"])
    asked = len(cloud.calls)
    for wrong in ("", "i-", "i-xyz", "vol-1", "sg-0123456789abcdef0"):
        assert failed(driver.tool, "delete", id=wrong).message.startswith(f'"{wrong}" is no EC2 instance id')
    assert len(cloud.calls) == asked


FAILURES = [
    (PUBLIC, "AllocateAddress", "AddressLimitExceeded"),
    (PUBLIC, "AssociateAddress", "InvalidParameterValue"),
    (PUBLIC, "DescribeAddresses", "UnauthorizedOperation"),
    (TEMPLATE, "CreateNetworkInterface", "InsufficientFreeAddressesInSubnet"),
    (TEMPLATE, "AttachNetworkInterface", "AttachmentLimitExceeded"),
    (TEMPLATE, "ModifyNetworkInterfaceAttribute", "UnauthorizedOperation"),
]


@pytest.mark.parametrize("environment, action, code", FAILURES, ids=[action for _, action, _ in FAILURES])
def test_weakness_4_second_nic_leaks_when_a_step_fails__nothing_is_left(cloud, driver, environment, action, code):
    cloud.fail(action, code)
    assert code in failed(create, driver, environment, second_nic=1).message
    assert cloud.inventory() == {}


@pytest.mark.parametrize("environment", [PUBLIC, TEMPLATE], ids=["address", "interface"])
def test_weakness_4_second_nic_leaks_when_the_wait_fails__nothing_is_left(cloud, driver, environment):
    cloud.doom = ("Server.InsufficientInstanceCapacity", "scripted")
    assert failed(create, driver, environment, second_nic=1).kind == "capacity"
    assert cloud.inventory() == {}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("environment", [PUBLIC, TEMPLATE], ids=["address", "interface"])
def test_weakness_4_an_answer_that_does_not_come_makes_no_second_one(cloud, driver, environment, when):
    cloud.hidden_looks = 1
    steps = ("AllocateAddress", "AssociateAddress", "CreateNetworkInterface", "AttachNetworkInterface", "ModifyNetworkInterfaceAttribute")
    for action in steps:
        cloud.script(action, Drop(when))
    made = create(driver, environment, second_nic=1)
    assert len(driver.tool("wait", environment, id=made["id"], needed=2)["addresses"]) == 2
    extra = cloud.addresses if environment is PUBLIC else [nic for nic in cloud.nics.values() if nic.index == 1]
    assert len(extra) == 1 and len(cloud.nics) == 2 and all(nic.dies_with_instance for nic in cloud.nics.values())
    driver.tool("delete", environment, id=made["id"])
    assert cloud.inventory() == {}


def test_weakness_5_tags_only_on_the_instance__everything_that_is_made_is_tagged(cloud, driver):
    for environment in (PUBLIC, TEMPLATE):
        made = create(driver, {**environment, "TAGS": "team=a b"}, second_nic=1, sandbox="s1")
        things = [cloud.vms[made["id"]], *cloud.volumes.values(), *cloud.nics.values(), *cloud.addresses.values()]
        wanted = {
            "Name": "podvm-web-01234567",
            "team": "a b",
            "peerpod-token": made["token"],
            "peerpod-cluster": "c1",
            "peerpod-node": "n1",
            "peerpod-namespace": "default",
            "peerpod-pod": "web",
            "peerpod-sandbox": "s1",
        }
        for thing in things:
            assert wanted.items() <= thing.tags.items(), thing
        driver.tool("delete", id=made["id"])


def test_weakness_6_start_needs_the_api__it_asks_nobody_and_a_wrong_type_spoils_nothing(cloud, driver):
    assert driver.tool("open") == {} and not cloud.calls
    cloud.fail("DescribeInstanceTypes", "InternalError", times=None)
    create(driver, {"AWS_MAX_ATTEMPTS": "1", "SSH_KP_NAME": "operator"})
    assert "what the instance types can do is not asked of EC2" in driver.log
    cloud.unscript()
    create(driver, {"PODVM_INSTANCE_TYPES": "m6a.large,nonsense.large", "SSH_KP_NAME": "operator"})
    assert "there is no instance type nonsense.large in this region" in driver.log
    assert not any(call.path.startswith("/latest") for call in cloud.calls)


def test_weakness_7_nil_dereferences__an_answer_may_lack_anything(cloud, driver):
    cloud.images["ami-00000001"] = ec2.Image("ami-00000001", more_devices=({"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"},))
    made = create(driver, {**PUBLIC, "PODVM_AMI_ID": "ami-00000001"})
    for nic in cloud.nics.values():
        nic.public = ""
    error = failed(driver.tool, "wait", PUBLIC, id=made["id"], seconds=1)
    assert error.kind == "timeout"
    for nic in cloud.nics.values():
        nic.instance = ""
    assert driver.tool("find", token=made["token"])["addresses"] == []


def test_weakness_8_a_launch_template_ignores_the_pod__its_image_and_type_count(cloud, driver):
    create(driver, TEMPLATE)
    cloud.images["ami-00000001"] = ec2.Image("ami-00000001", root_device="/dev/sda1")
    types = {**TEMPLATE, "PODVM_INSTANCE_TYPES": "m6a.large,m6a.xlarge"}
    create(driver, types, image="ami-00000001", type="m6a.xlarge", tee="snp")
    create(driver, types, vcpus=3, memory=1024)
    plain, named, sized = cloud.sent("RunInstances")
    own = {"ImageId", "InstanceType", "SubnetId", "CpuOptions.AmdSevSnp", "BlockDeviceMapping.1.DeviceName"}
    assert not own & set(plain) and cloud.count("DescribeImages") == 0
    assert own & set(named) == {"ImageId", "InstanceType", "CpuOptions.AmdSevSnp"} and named["InstanceType"] == "m6a.xlarge"
    assert own & set(sized) == {"InstanceType"} and sized["InstanceType"] == "m6a.xlarge"
    assert "not in the list of allowed types" in failed(create, driver, types, type="t3.large").message


def test_weakness_8_a_launch_template_gets_its_second_nic(cloud, driver):
    made = create(driver, TEMPLATE, second_nic=1)
    assert len(set(driver.tool("wait", id=made["id"], needed=2)["addresses"])) == 2
    nics = [nic for nic in cloud.nics.values() if nic.instance == made["id"]]
    assert {(nic.subnet, nic.groups) for nic in nics} == {(next(iter(cloud.subnets)), tuple(cloud.groups[1:]))}
    driver.tool("delete", id=made["id"])
    assert cloud.inventory() == {}


def test_weakness_9_steps_of_15_s__each_wait_ends_within_moments(cloud, driver):
    volume = cloud.make_volume()
    for environment, more in ((PUBLIC, {}), (PUBLIC, {"second_nic": 1}), (TEMPLATE, {"second_nic": 1}), ({}, {"volumes": volume})):
        began = time.monotonic()
        made = create(driver, environment, **more)
        driver.tool("wait", environment, id=made["id"])
        assert time.monotonic() - began < 10, (environment, more)
        driver.tool("delete", environment, id=made["id"])


def test_weakness_10_user_data_over_the_limit_is_refused_before_any_call(cloud, driver, tmp_path):
    (tmp_path / "user-data").write_bytes(b"x" * 17000)
    error = failed(create, driver, user_data=tmp_path / "user-data")
    assert error.kind == "invalid" and error.message.startswith("the user data has 17000 bytes, 616 more than the 16384")
    assert not cloud.calls
    (tmp_path / "user-data").write_bytes(bytes(range(256)) * 64)
    made = create(driver, user_data=tmp_path / "user-data")
    assert cloud.vms[made["id"]].user_data == bytes(range(256)) * 64


def test_weakness_10_metadata_volume_profile_and_shutdown_are_options(cloud, driver):
    options = {
        "AWS_IMDSV2_ONLY": "true",
        "AWS_ROOT_VOLUME_ENCRYPTED": "true",
        "AWS_ROOT_VOLUME_TYPE": "gp3",
        "AWS_ROOT_VOLUME_KMS_KEY": "alias/podvm",
        "AWS_INSTANCE_PROFILE": "podvm",
        "ROOT_VOLUME_SIZE": "20",
    }
    made = create(driver, options)
    (sent,) = cloud.sent("RunInstances")
    wanted = {
        "MetadataOptions.HttpTokens": "required",
        "MetadataOptions.HttpPutResponseHopLimit": "1",
        "IamInstanceProfile.Name": "podvm",
        "InstanceInitiatedShutdownBehavior": "terminate",
    }
    assert wanted.items() <= sent.items()
    (volume,) = cloud.volumes.values()
    assert (volume.kind, volume.encrypted, volume.kms_key, volume.size, volume.dies_with_instance) == ("gp3", True, "alias/podvm", 20, True)
    driver.tool("delete", id=made["id"])
    create(driver, {"AWS_INSTANCE_PROFILE": "arn:aws:iam::123456789012:instance-profile/podvm"})
    assert "IamInstanceProfile.Arn" in cloud.sent("RunInstances")[1]


def test_weakness_10_an_ami_that_keeps_its_volumes_leaks_none(cloud, driver):
    kept = {"DeviceName": "/dev/sdb", "Ebs": {"VolumeSize": 1, "DeleteOnTermination": False}}
    cloud.images["ami-00000001"] = ec2.Image("ami-00000001", keeps_root=True, more_devices=(kept,))
    made = create(driver, {"PODVM_AMI_ID": "ami-00000001", "ROOT_VOLUME_SIZE": "0"})
    (sent,) = cloud.sent("RunInstances")
    mapped = {name: value for name, value in sent.items() if name.startswith("BlockDeviceMapping")}
    assert mapped == {
        "BlockDeviceMapping.1.DeviceName": "/dev/xvda",
        "BlockDeviceMapping.1.Ebs.DeleteOnTermination": "true",
        "BlockDeviceMapping.2.DeviceName": "/dev/sdb",
        "BlockDeviceMapping.2.Ebs.DeleteOnTermination": "true",
    }
    driver.tool("delete", id=made["id"])
    assert cloud.inventory() == {}


def test_weakness_11_bisection_passes_by_what_fits__the_scan_takes_the_smallest(cloud, driver):
    types = {"PODVM_INSTANCE_TYPES": "t3.large,r5.large,m5.xlarge,c5.2xlarge,r5.xlarge", "DISABLECVM": "true"}
    for order in itertools.islice(itertools.permutations(types["PODVM_INSTANCE_TYPES"].split(",")), 0, 120, 40):
        create(driver, {**types, "PODVM_INSTANCE_TYPES": ",".join(order)}, vcpus=8, memory=16384)
    assert launched(cloud) == [("c5.2xlarge", False)] * 3


def test_weakness_11_the_type_is_not_checked__snp_nics_and_volumes_are(cloud, driver):
    cloud.types["m6a.large"].nics, cloud.types["m6a.large"].volumes = 1, 1
    assert "takes 1 NICs, 2 needed" in failed(create, driver, second_nic=1).message
    volumes = ",".join(cloud.make_volume() for _ in range(2))
    assert "takes 1 volumes, 2 needed" in failed(create, driver, volumes=volumes).message
    assert "cannot make a confidential VM" in failed(create, driver, {"PODVM_INSTANCE_TYPE": "t3.large"}).message
    assert cloud.count("RunInstances") == 0
    cloud.snp_echo = "disabled"
    error = failed(create, driver)
    assert error.kind == "unsupported" and "was made without SEV-SNP (EC2 says: disabled)" in error.message
    assert not cloud.live()


def test_weakness_11_an_unprotected_instance_is_not_used_after_a_crash_either(cloud, driver):
    token = new_token()
    cloud.snp_echo = "disabled"
    assert driver.killed_after("RunInstances", "create", token=token, name="podvm-x") and len(cloud.live()) == 1
    assert failed(create, driver, token=token).kind == "unsupported" and cloud.inventory() == {}


def test_weakness_12_instance_profile_and_pod_identity_are_blocked__both_serve(cloud, driver, tmp_path):
    (tmp_path / "token").write_text(cloud.container_token)
    pod = {
        **NO_KEYS,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": cloud.url + "/container-credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(tmp_path / "token"),
    }
    create(driver, pod)
    cloud.give_role()
    cloud.give_place()
    create(driver, {**NO_KEYS, "AWS_REGION": None, "AWS_SUBNET_ID": None, "AWS_SG_IDS": None})
    assert len(cloud.live()) == 2 and {key for _, key in cloud.log} == set(cloud.keys) - {ec2.KEY}


def test_weakness_13_one_confidential_setting_for_all__each_pod_has_its_own(cloud, driver):
    for environment, tee in (({}, ""), ({}, "none"), ({"DISABLECVM": "true"}, ""), ({"DISABLECVM": "true"}, "snp")):
        create(driver, environment, tee=tee)
    assert [bool(vm.snp) for vm in cloud.vms.values()] == [True, False, False, True]
