# SPDX-License-Identifier: Apache-2.0
"""The AWS driver against moto, behind a front that checks every request and every signature (aws_rig.py)."""

import re
import secrets

import pytest

import aws_rig
from peerpod.provider_tool import create, failed


@pytest.fixture(scope="module")
def moto():
    running = aws_rig.Moto()
    try:
        yield running.start()
    finally:
        running.close()


@pytest.fixture
def driver(moto):
    moto.front.calls.clear()
    using = aws_rig.Driver(moto)
    yield using
    for left in using.tool("list"):
        using.tool("delete", id=left["id"])


def make_volume(moto, zone) -> str:
    return re.search(r"<volumeId>(.*?)</volumeId>", moto.ask("CreateVolume", AvailabilityZone=zone, Size="1")).group(1)


def test_an_instance_from_create_to_nothing(moto, driver):
    made = create(driver)
    assert re.fullmatch(r"i-[0-9a-f]{17}", made["id"]) and len(made["addresses"]) == 1
    assert (made["name"], made["pod"], made["cluster"], made["node"]) == ("podvm-web-01234567", "web", "c1", "n1")
    assert driver.tool("wait", id=made["id"])["addresses"] == made["addresses"]
    assert driver.tool("find", token=made["token"])["id"] == made["id"]
    assert [one["id"] for one in driver.tool("list", cluster="c1", node="n1")] == [made["id"]]
    assert driver.tool("list", cluster="other") == []
    driver.tool("delete", id=made["id"])
    assert driver.tool("list") == []
    assert failed(driver.tool, "find", token=made["token"]).kind == "gone"
    volumes = moto.ask("DescribeVolumes", **{"Filter.1.Name": "tag:peerpod-token", "Filter.1.Value.1": made["token"]})
    assert "<volumeId>" not in volumes


def test_instance_and_volume_are_tagged(moto, driver):
    made = create(driver, {"TAGS": "team=a b"})
    volume = re.search(r"<volumeId>(.*?)<", moto.ask("DescribeInstances", **{"InstanceId.1": made["id"]})).group(1)
    for resource in (made["id"], volume):
        tags = moto.ask("DescribeTags", **{"Filter.1.Name": "resource-id", "Filter.1.Value.1": resource})
        for text in (made["token"], "peerpod-token", "team", "a b", "podvm-web-01234567"):
            assert f">{text}<" in tags, (resource, text)


def test_root_volume_is_as_configured(moto, driver):
    create(driver, {"ROOT_VOLUME_SIZE": "50", "AWS_ROOT_VOLUME_TYPE": "gp3", "AWS_ROOT_VOLUME_ENCRYPTED": "true"})
    (sent,) = moto.front.sent("RunInstances")
    names = ("DeviceName", "Ebs.VolumeSize", "Ebs.VolumeType", "Ebs.Encrypted", "Ebs.DeleteOnTermination")
    assert [sent["BlockDeviceMapping.1." + name] for name in names] == ["/dev/sda1", "50", "gp3", "true", "true"]


def test_second_nic_has_its_own_address_and_goes_with_the_instance(driver):
    made = create(driver, second_nic=1)
    assert len(set(driver.tool("wait", id=made["id"], needed=2)["addresses"])) == 2


def test_public_address_comes_first(moto, driver):
    public = {"USE_PUBLIC_IP": "true"}
    made = create(driver, public)
    address = driver.tool("wait", public, id=made["id"])["addresses"][0]
    assert f"<publicIp>{address}</publicIp>" in moto.ask("DescribeInstances", **{"InstanceId.1": made["id"]})


def test_public_address_of_two_nics_is_an_elastic_one_and_goes_with_the_instance(moto, driver):
    public = {"USE_PUBLIC_IP": "true"}
    made = create(driver, public, second_nic=1)
    addresses = driver.tool("wait", public, id=made["id"], needed=2)["addresses"]
    assert len(addresses) == 2 and f"<publicIp>{addresses[0]}</publicIp>" in moto.ask("DescribeAddresses")
    driver.tool("delete", id=made["id"])
    assert "<publicIp>" not in moto.ask("DescribeAddresses")


def test_leftovers_are_listed_and_deleted(moto, driver):
    tag = {"TagSpecification.1.Tag.1.Key": "peerpod-token", "TagSpecification.1.Tag.1.Value": "00ff"}
    moto.ask("AllocateAddress", Domain="vpc", **{"TagSpecification.1.ResourceType": "elastic-ip"}, **tag)
    moto.ask("CreateNetworkInterface", SubnetId=moto.subnets[0], **{"TagSpecification.1.ResourceType": "network-interface"}, **tag)
    left = driver.tool("list")
    assert sorted(one["id"].split("-")[0] for one in left) == ["eipalloc", "eni"]
    for one in left:
        driver.tool("delete", id=one["id"])
    assert driver.tool("list") == []


def test_volumes_are_attached_in_order_in_their_zone_and_survive(moto, driver):
    subnet = moto.subnets[1]
    volumes = [make_volume(moto, moto.zones[subnet]) for _ in range(2)]
    made = create(driver, {"AWS_SUBNET_ID": ",".join(moto.subnets)}, volumes=",".join(volumes))
    (sent,) = moto.front.sent("RunInstances")
    assert sent["SubnetId"] == subnet
    attached = [(one["VolumeId"], one["Device"]) for one in moto.front.sent("AttachVolume")]
    assert attached == [(volumes[0], "/dev/xvdb"), (volumes[1], "/dev/xvdc")]
    refused = failed(create, driver, {"AWS_SUBNET_ID": subnet}, volumes=volumes[0])
    assert f"volume {volumes[0]} is in-use, attached to {made['id']}" in refused.message
    driver.tool("delete", id=made["id"])
    for volume in volumes:
        assert "<status>available</status>" in moto.ask("DescribeVolumes", **{"VolumeId.1": volume})


def test_a_launch_template_says_what_the_pod_does_not(moto, driver):
    moto.ask(
        "CreateLaunchTemplate",
        **{
            "LaunchTemplateName": "kata",
            "LaunchTemplateData.ImageId": moto.image,
            "LaunchTemplateData.InstanceType": "m6a.large",
            "LaunchTemplateData.NetworkInterface.1.SubnetId": moto.subnets[0],
            "LaunchTemplateData.NetworkInterface.1.DeviceIndex": "0",
        },
    )
    template = {"USE_PODVM_LAUNCHTEMPLATE": "true", "PODVM_AMI_ID": None, "AWS_SUBNET_ID": None, "AWS_SG_IDS": None}
    made = create(driver, template)
    assert made["id"] in [one["id"] for one in driver.tool("list")]


def test_list_goes_through_all_pages(driver):
    made = driver.tool("parallel 7 create", token=secrets.token_hex(10) + "%d", name="podvm-%d")
    assert sorted(one["id"] for one in driver.tool("list")) == sorted(one["id"] for one in made)


def test_delete_of_what_is_gone_succeeds_and_of_what_is_not_ours_is_refused(moto, driver):
    driver.tool("delete", id="i-0123456789abcdef0")
    answer = moto.ask("RunInstances", ImageId=moto.image, MinCount="1", MaxCount="1", InstanceType="t3.micro")
    foreign = re.search(r"<instanceId>(.*?)<", answer).group(1)
    refused = failed(driver.tool, "delete", id=foreign)
    assert refused.kind == "denied" and "carries no tag peerpod-token" in refused.message
    assert foreign not in [one["id"] for one in driver.tool("list")]
    moto.ask("TerminateInstances", **{"InstanceId.1": foreign})


def test_check_and_offerings_of_moto(driver):
    driver.tool("check")
    offered = {one["type"]: one for one in driver.tool("offerings")}
    assert (offered["m5.large"]["vcpus"], offered["m5.large"]["memory_mib"]) == (2, 8192)


def test_wrong_secret_key_is_refused(driver):
    error = failed(driver.tool, "list", {"AWS_SECRET_ACCESS_KEY": "wrong"})
    assert error.kind == "denied" and "SignatureDoesNotMatch" in error.message
