# SPDX-License-Identifier: Apache-2.0
"""The AWS driver against the fake EC2: launches, markets, fallback, limits, leftovers, errors, the check, the documents."""

import json
import pathlib
import re
import time

import pytest

from aws_rig import Driver, all_at_once, cloud, driver, launched  # noqa: F401 (fixtures)
from fakes import ec2
from fakes.server import Reply
from peerpod import paths
from peerpod.provider_tool import Served, create, documented_options, failed, new_token, told_options


@pytest.fixture(scope="module", autouse=True)
def early(aws_storm):
    """The creations of test_aws_throughput.py take 48 seconds: they begin here."""


# ---- the life of an instance -------------------------------------------------------------------------------


def test_an_instance_from_create_to_nothing(cloud, driver):
    made = create(driver, sandbox="s1")
    assert (made["name"], made["pod"], made["cluster"], made["node"]) == ("podvm-web-01234567", "web", "c1", "n1")
    assert driver.tool("wait", id=made["id"])["addresses"] == made["addresses"]
    assert driver.tool("find", token=made["token"])["id"] == made["id"]
    assert [one["id"] for one in driver.tool("list", cluster="c1", node="n1")] == [made["id"]]
    assert driver.tool("list", cluster="other") == []
    driver.tool("delete", id=made["id"])
    assert driver.tool("list") == [] and cloud.inventory() == {}
    assert failed(driver.tool, "find", token=made["token"]).kind == "gone"


def test_every_signature_and_parameter_was_right(cloud, driver):
    create(driver)
    assert [call.status for call in cloud.calls if call.method == "POST"] == [200] * len(cloud.log)
    assert {key for _, key in cloud.log} == {ec2.KEY}


def test_two_nics_have_two_addresses(cloud, driver):
    made = create(driver, second_nic=1)
    assert len(set(driver.tool("wait", id=made["id"], needed=2)["addresses"])) == 2
    driver.tool("delete", id=made["id"])
    assert cloud.inventory() == {}


def test_public_address_comes_first(cloud, driver):
    public = {"USE_PUBLIC_IP": "true"}
    made = create(driver, public)
    assert driver.tool("wait", public, id=made["id"])["addresses"][0].startswith("198.51.100.")
    two = create(driver, public, second_nic=1)
    addresses = driver.tool("wait", public, id=two["id"], needed=2)["addresses"]
    (address,) = cloud.addresses.values()
    assert addresses[0] == address.public and len(addresses) == 2 and address.tags["peerpod-token"] == two["token"]
    assert cloud.vms[two["id"]].tags["peerpod-extras"] == "address"
    for one in (made, two):
        driver.tool("delete", public, id=one["id"])
    assert cloud.inventory() == {}


def test_volumes_are_attached_in_order_in_their_zone_and_survive(cloud, driver):
    subnet = list(cloud.subnets)[1]
    volumes = [cloud.make_volume(cloud.subnets[subnet]) for _ in range(3)]
    made = create(driver, {"AWS_SUBNET_ID": ",".join(cloud.subnets)}, volumes=",".join(volumes))
    (sent,) = cloud.sent("RunInstances")
    assert sent["SubnetId"] == subnet
    assert [cloud.volumes[one].device for one in volumes] == ["/dev/xvdb", "/dev/xvdc", "/dev/xvdd"]
    refused = failed(create, driver, {"AWS_SUBNET_ID": subnet}, volumes=volumes[0])
    assert f"volume {volumes[0]} is in-use, attached to {made['id']}" in refused.message
    driver.tool("delete", id=made["id"])
    assert cloud.inventory() == {"volumes": sorted(volumes)} and cloud.count("RunInstances") == 1


def test_a_volume_elsewhere_is_refused_before_anything_is_made(cloud, driver):
    volume = cloud.make_volume(cloud.zones[1])
    refused = failed(create, driver, volumes=volume)
    assert refused.kind == "invalid" and "none of the subnets of AWS_SUBNET_ID is" in refused.message
    assert cloud.count("RunInstances") == 0


def test_console_is_told(cloud, driver):
    made = create(driver)
    assert driver.tool("console", id=made["id"])["tail"] == cloud.console
    assert driver.tool("console", id="nonsense")["tail"] == ""


def test_an_instance_that_dies_says_of_what(cloud, driver):
    for code, kind in (("Server.InsufficientInstanceCapacity", "capacity"), ("Client.VolumeLimitExceeded", "quota")):
        cloud.doom = (code, "scripted")
        made = create(driver)
        error = failed(driver.tool, "wait", id=made["id"], needed=2)
        assert error.kind == kind and f"{code}: scripted" in error.message
    cloud.doom = ("Client.InternalError", "Client error on launch")
    made = create(driver)
    assert failed(driver.tool, "wait", id=made["id"], needed=2).kind == "invalid"


@pytest.mark.parametrize("market", ["spot", "on-demand"])
def test_after_an_instance_that_died_of_capacity_the_next_one_goes_to_another_zone(cloud, driver, market):
    subnets = list(cloud.subnets)
    cloud.subnets["subnet-00000000000000009"] = cloud.zones[0]
    served = Served(driver, {"AWS_SUBNET_ID": ",".join(cloud.subnets)})
    cloud.doom = ("Server.InsufficientInstanceCapacity", "scripted")
    made = served.ask(f"create token={new_token()} name=podvm-a market={market}")
    assert served.ask(f"wait id={made['id']} needed=2")["error"] == "capacity"
    served.ask(f"create token={new_token()} name=podvm-b market={market}")
    other = {"spot": "on-demand", "on-demand": "spot"}[market]
    served.ask(f"create token={new_token()} name=podvm-c market={other}")
    log = served.end()
    assert [sent["SubnetId"] for sent in cloud.sent("RunInstances")] == [subnets[0], subnets[1], subnets[0]]
    assert "refused a short while ago (capacity)" in log


def test_after_an_instance_that_died_of_quota_the_next_one_is_of_another_family(cloud, driver):
    served = Served(driver, {"PODVM_INSTANCE_TYPES": "m6a.large,m6a.xlarge,c6a.xlarge"})
    cloud.doom = ("Client.VolumeLimitExceeded", "scripted")
    made = served.ask(f"create token={new_token()} name=podvm-a vcpus=2 memory=8192")
    assert served.ask(f"wait id={made['id']} needed=2")["error"] == "quota"
    served.ask(f"create token={new_token()} name=podvm-b vcpus=2 memory=8192")
    served.end()
    first, second = [kind.split(".")[0] for kind, _ in launched(cloud)]
    assert first != second


@pytest.mark.parametrize("code", ["Client.InternalError", "Client.UserInitiatedShutdown"])
def test_an_instance_that_died_of_something_else_leads_nowhere_else(cloud, driver, code):
    served = Served(driver, {"AWS_SUBNET_ID": ",".join(cloud.subnets)})
    cloud.doom = (code, "scripted")
    made = served.ask(f"create token={new_token()} name=podvm-a")
    assert "error" in served.ask(f"wait id={made['id']} needed=2")
    served.ask(f"create token={new_token()} name=podvm-b")
    served.end()
    assert [sent["SubnetId"] for sent in cloud.sent("RunInstances")] == [next(iter(cloud.subnets))] * 2


def test_delete_of_what_is_not_ours_is_refused(cloud, driver):
    ours = create(driver)
    cloud.vms[ours["id"]].tags.clear()
    things = [ours["id"], cloud.make_volume(), cloud.make_nic(), cloud.make_address()]
    for thing in things:
        error = failed(driver.tool, "delete", id=thing)
        assert error.kind == "denied" and f"{thing} carries no tag peerpod-token" in error.message
    assert driver.tool("list") == [] and cloud.live()
    assert not cloud.actions() & {"TerminateInstances", "DeleteVolume", "DeleteNetworkInterface", "ReleaseAddress"}


def test_leftovers_are_listed_by_owner_and_deleted_by_id(cloud, driver):
    tags = {"peerpod-token": "00ff", "peerpod-cluster": "c1", "peerpod-node": "n1", "peerpod-sandbox": "s1", "Name": "podvm-x"}
    left = [cloud.make_volume(tags=tags), cloud.make_nic(tags), cloud.make_address(tags)]
    for other in ({}, {"peerpod-token": "00fe", "peerpod-cluster": "c2"}):
        cloud.make_volume(tags=other), cloud.make_nic(other), cloud.make_address(other)
    shown = driver.tool("list", cluster="c1", node="n1")
    assert sorted(one["id"] for one in shown) == sorted(left)
    assert {(one["name"], one["sandbox"], one["token"]) for one in shown} == {("podvm-x", "s1", "00ff")}
    assert [one["created"] > 0 for one in shown if one["id"].startswith("vol-")] == [True]
    for thing in left:
        driver.tool("delete", id=thing)
        driver.tool("delete", id=thing)
    assert driver.tool("list", cluster="c1") == [] and len(driver.tool("list")) == 3


def test_what_is_in_use_is_no_leftover(cloud, driver):
    made = create(driver, {"USE_PUBLIC_IP": "true"}, second_nic=1)
    assert [one["id"] for one in driver.tool("list")] == [made["id"]]
    for thing in [*cloud.volumes, *cloud.nics, *cloud.addresses]:
        assert "it is deleted with its instance" in failed(driver.tool, "delete", id=thing).message


def test_a_policy_without_leftovers_lists_instances(cloud, driver):
    made = create(driver)
    cloud.denied |= {"DescribeNetworkInterfaces", "DescribeAddresses", "DescribeVolumes"}
    assert [one["id"] for one in driver.tool("list")] == [made["id"]]
    assert "a network interface that is left over is not seen: " in driver.log


def test_list_goes_through_all_pages(cloud, driver):
    made = driver.tool("parallel 4 create", token=new_token()[:20] + "%d", name="podvm-%d")
    cloud.page_max = 2
    assert sorted(one["id"] for one in driver.tool("list")) == sorted(one["id"] for one in made)
    assert sum("NextToken" in sent for sent in cloud.sent("DescribeInstances")) == 1


def test_many_that_ask_share_calls(cloud, driver):
    driver.tool("parallel 9 find", token=new_token()[:20] + "%d")
    assert cloud.count("DescribeInstances") <= 3


# ---- which machine, where, at what price -------------------------------------------------------------------


@pytest.fixture
def prices(tmp_path):
    table = {
        "m6a.large": {"on_demand": 0.0864, "spot": 0.03},
        "m6a.xlarge": {"on_demand": 0.1728, "spot": 0.09},
        "c6a.xlarge": {"on_demand": 0.3, "spot": 0.05},
        "r6a.large": {"on_demand": 0.1134},
    }
    path = tmp_path / "prices.json"
    path.write_text(
        json.dumps({"provider": "aws", "date": "2026-11-01", "source": "a test", "currency": "USD", "regions": {"us-east-2": table}})
    )
    return {"AWS_PRICES": str(path), "PODVM_INSTANCE_TYPES": ",".join(table)}


def test_the_cheapest_that_fits_is_taken(cloud, driver, prices):
    create(driver, prices, vcpus=4, memory=8192)
    create(driver, prices, vcpus=4, memory=8192, market="spot")
    assert launched(cloud) == [("m6a.xlarge", False), ("c6a.xlarge", True)]
    assert re.search(r"c6a.xlarge +subnet-0+ +spot .* 0\.0500/h", driver.log)


def test_spot_without_a_price_ranks_by_the_on_demand_one(cloud, driver, prices):
    create(driver, {**prices, "PODVM_INSTANCE_TYPES": "m6a.large,r6a.large,t3.large"}, vcpus=2, memory=9000, market="spot")
    assert launched(cloud) == [("r6a.large", True)] and re.search(r"r6a.large .* 0\.1134/h", driver.log)


@pytest.mark.parametrize(
    "option, pod, expected",
    [
        ("false", "", [False]),
        ("true", "", [True]),
        ("prefer", "", [True, False]),
        ("false", "spot", [True]),
        ("true", "on-demand", [False]),
        ("prefer", "on-demand", [False]),
        ("prefer", "spot", [True]),
    ],
)
@pytest.mark.parametrize("template", [False, True], ids=["options", "template"])
def test_markets_are_tried_in_the_order_of_pod_and_option(cloud, driver, option, pod, expected, template):
    cloud.templates["kata"] = {"ImageId": "ami-0123456789abcdef0", "InstanceType": "m6a.large"}
    cloud.refuse("InsufficientInstanceCapacity")
    error = failed(create, driver, {"AWS_SPOT": option, "USE_PODVM_LAUNCHTEMPLATE": str(template)}, market=pod)
    assert error.kind == "capacity" and [spot for _, spot in launched(cloud)] == expected
    assert cloud.inventory() == {}


def test_on_demand_serves_where_a_type_has_no_spot_market(cloud, driver):
    big = {"PODVM_INSTANCE_TYPE": "u-6tb1.metal", "DISABLECVM": "true"}
    create(driver, {**big, "AWS_SPOT": "prefer"})
    assert launched(cloud) == [("u-6tb1.metal", False)]
    error = failed(create, driver, big, market="spot")
    assert error.kind == "invalid" and "there are no spot instances of it" in error.message


def test_capacity_and_quota_lead_elsewhere_and_are_remembered(cloud, driver):
    full, subnets = cloud.zones[0], list(cloud.subnets)
    cloud.refuse("InsufficientInstanceCapacity", zone=full)
    verbs = "".join(f"create token={new_token()} name=podvm-{i}\n" for i in range(2))
    driver.tool("serve", {"AWS_SUBNET_ID": ",".join(subnets)}, stdin=verbs)
    assert [sent["SubnetId"] for sent in cloud.sent("RunInstances")] == [subnets[0], subnets[1], subnets[1]]
    assert "refused a short while ago (capacity)" in driver.log
    cloud.rules.clear()
    cloud.calls.clear()
    cloud.refuse("VcpuLimitExceeded", type="c6a*")
    types = {"PODVM_INSTANCE_TYPES": "m6a.xlarge,c6a.xlarge,c6a.large"}
    verbs = "".join(f"create token={new_token()} name=podvm-{i} vcpus=2 memory=4096\n" for i in range(2))
    driver.tool("serve", types, stdin=verbs)
    assert [kind for kind, _ in launched(cloud)] == ["c6a.large", "m6a.xlarge", "m6a.xlarge"]


def test_a_full_subnet_and_a_zone_without_the_type_lead_to_the_next(cloud, driver):
    subnets = list(cloud.subnets)
    cloud.full_subnets.add(subnets[0])
    cloud.types["m6a.large"].zones = (cloud.zones[0], cloud.zones[2])
    create(driver, {"AWS_SUBNET_ID": ",".join(subnets)})
    assert [sent["SubnetId"] for sent in cloud.sent("RunInstances")] == subnets


def test_no_room_anywhere_says_so(cloud, driver):
    cloud.refuse("InsufficientInstanceCapacity")
    error = failed(create, driver)
    assert error.kind == "capacity" and error.message.startswith(
        "no room for any of the 1 offerings that fit; the last: RunInstances: InsufficientInstanceCapacity: m6a.large in us-east-2a: "
        "scripted (HTTP 500, request "
    )


@pytest.mark.parametrize("tee, says", [("tdx", "EC2 has no Intel TDX: it has AMD SEV-SNP"), ("sev", "EC2 has no AMD SEV without SNP")])
def test_protection_that_ec2_lacks_is_refused_before_any_call(cloud, driver, tee, says):
    error = failed(create, driver, tee=tee)
    assert error.kind == "unsupported" and error.message.startswith(says) and not cloud.calls


def test_what_image_and_type_cannot_do_together_is_refused_before_the_call(cloud, driver):
    cloud.images["ami-00000001"] = ec2.Image("ami-00000001", architecture="arm64")
    cloud.images["ami-00000002"] = ec2.Image("ami-00000002", boot_mode="legacy-bios")
    cloud.images["ami-00000003"] = ec2.Image("ami-00000003", state="pending")
    cloud.images["ami-00000004"] = ec2.Image("ami-00000004", boot_mode=None)
    cases = [
        ({"PODVM_AMI_ID": "ami-00000001"}, "image ami-00000001 is for arm64: SEV-SNP needs x86_64"),
        ({"PODVM_AMI_ID": "ami-00000001", "DISABLECVM": "true"}, "cannot start an image for arm64 that boots by uefi"),
        ({"PODVM_AMI_ID": "ami-00000002"}, "image ami-00000002 boots by BIOS: SEV-SNP needs UEFI"),
        ({"PODVM_AMI_ID": "ami-00000003"}, "image ami-00000003 is pending, not available"),
        ({"PODVM_AMI_ID": "ami-00000004"}, "image ami-00000004 has no boot mode: SEV-SNP needs UEFI"),
        ({"PODVM_AMI_ID": "ami-00000009"}, "image ami-00000009: "),
        ({"PODVM_INSTANCE_TYPE": "t3.large"}, "cannot make a confidential VM of the kind asked for"),
        ({"PODVM_INSTANCE_TYPE": "m6g.large", "DISABLECVM": "true"}, "cannot start an image for x86_64 that boots by uefi"),
    ]
    for environment, says in cases:
        error = failed(create, driver, environment)
        assert error.kind == "invalid" and says in error.message, error
    assert cloud.count("RunInstances") == 0


def test_offerings_are_the_regions_types_in_their_zones_with_prices(cloud, driver, prices):
    cloud.page_max = 5
    offered = {(one["type"], one["zone"], one["spot"]): one for one in driver.tool("offerings", prices)}
    assert offered["m6a.large", "us-east-2b", True]["price_micros"] == 30000
    assert offered["r6a.large", "us-east-2a", True]["price_micros"] == 0 and offered["m6a.large", "us-east-2a", False]["tees"] == 1
    assert {zone for kind, zone, _ in offered if kind == "u-6tb1.metal"} == {"us-east-2a"}
    assert not any(kind == "m6g.large" for kind, _, _ in offered) and ("u-6tb1.metal", "us-east-2a", True) not in offered


def test_the_catalogue_serves_offline_and_launches_without_describing_types(cloud, driver, prices):
    driver.tool("offerings")
    cloud.denied |= {"DescribeInstanceTypes", "DescribeInstanceTypeOfferings"}
    offered = {(one["type"], one["spot"]): one for one in driver.tool("offerings", prices)}
    assert offered["m6a.xlarge", False]["memory_mib"] == 16384 and offered["m6a.xlarge", False]["price_micros"] == 172800
    assert "the instance types are those of an earlier time: " in driver.log
    create(driver, {"PODVM_INSTANCE_TYPES": "m6a.large,m6a.xlarge"}, vcpus=3, memory=8192)
    assert launched(cloud) == [("m6a.xlarge", False)]
    cloud.keys.clear()
    assert driver.tool("offerings") and failed(driver.tool, "offerings", {"AWS_REGION": "eu-west-1"}).kind == "denied"


def test_a_price_file_that_cannot_be_used_is_named_at_the_start(cloud, driver, tmp_path):
    (tmp_path / "prices").write_text("[]")
    error = failed(driver.tool, "list", {"AWS_PRICES": str(tmp_path / "prices")})
    assert error.kind == "invalid" and error.message.startswith("AWS_PRICES: ") and not cloud.calls


# ---- too fast, not allowed, too late ------------------------------------------------------------------------


def test_throttled_calls_wait_as_told_and_succeed(cloud, driver):
    cloud.fail("RunInstances", "RequestLimitExceeded", times=2, headers={"Retry-After": "1"})
    create(driver)
    first, second, third = [call.time for call in cloud.made("RunInstances")]
    assert second - first >= 1 and third - second >= 1


def test_passing_faults_are_tried_as_often_as_the_option_says(cloud, driver):
    cloud.fail("DescribeInstances", "InternalError", times=99)
    assert failed(driver.tool, "list", {"AWS_MAX_ATTEMPTS": "2"}).kind == "retry"
    assert cloud.count("DescribeInstances") == 2


def test_waits_end_at_their_deadline(cloud, driver):
    cloud.fail("DescribeInstances", "RequestLimitExceeded", times=None, headers={"Retry-After": "9"})
    began = time.monotonic()
    error = failed(driver.tool, "find", token=new_token(), seconds=2)
    assert error.kind in ("throttled", "timeout") and time.monotonic() - began < 5


ERRORS = json.loads((pathlib.Path(__file__).parent / "aws_errors.json").read_text())


def test_every_final_error_is_told_with_code_request_and_kind():
    def check(code):
        status, kind = ERRORS["final"][code]
        with ec2.Ec2() as cloud:
            cloud.fail("RunInstances", code, times=None, status=status)
            error = failed(create, Driver(cloud))
            assert error.kind == kind
            assert f"RunInstances: {code}: scripted (HTTP {status}, request request-{code})" in error.message
            assert cloud.inventory() == {} and cloud.count("RunInstances") <= (2 if kind == "denied" else 1)

    all_at_once(check, ERRORS["final"])


def test_every_passing_error_is_outlived():
    def check(code):
        with ec2.Ec2() as cloud:
            cloud.fail("RunInstances", code, status=ERRORS["passing"][code][0])
            create(Driver(cloud))
            assert cloud.count("RunInstances") == 2 and len(cloud.live()) == 1

    all_at_once(check, ERRORS["passing"])


@pytest.mark.parametrize("code", ["InvalidInstanceID.NotFound", "InvalidVolume.NotFound"])
def test_what_is_gone_is_deleted(cloud, driver, code):
    made = create(driver)
    cloud.fail("TerminateInstances", code)
    driver.tool("delete", id=made["id"])


def test_a_proxys_answer_goes_by_its_status(cloud, driver):
    cloud.script("DescribeInstances", Reply(502, "<html>bad gateway</html>"))
    assert driver.tool("list") == [] and cloud.count("DescribeInstances") == 2
    cloud.script("DescribeInstances", Reply(403, "no"))
    assert "HTTP 403 without an error code" in failed(driver.tool, "list").message


# ---- the check ---------------------------------------------------------------------------------------------


def test_check_says_what_is_right_and_makes_nothing(cloud, driver):
    driver.tool("check")
    for row in ("credentials", "PODVM_AMI_ID", "AWS_SUBNET_ID", "AWS_SG_IDS", "zones", "instance types", "quota", "leftovers", "launch"):
        assert re.search(rf"^ *right +{row}", driver.log, re.MULTILINE), driver.log
    assert cloud.sent("RunInstances")[0]["DryRun"] == "true" and cloud.inventory() == {}


def test_check_finds_everything_that_is_wrong(cloud, driver):
    wrong = {"PODVM_AMI_ID": "ami-00000000", "AWS_SUBNET_ID": "subnet-00000000", "PODVM_INSTANCE_TYPE": "t3.large"}
    message = failed(driver.tool, "check", wrong).message
    for part in ("PODVM_AMI_ID: ", "AWS_SUBNET_ID: ", "t3.large has no SEV-SNP"):
        assert part in message, message
    cloud.full_subnets.add(next(iter(cloud.subnets)))
    cloud.types["m6a.large"].zones = (cloud.zones[1],)
    message = failed(driver.tool, "check").message
    for part in ("has no free address", "m6a.large is not offered in us-east-2a"):
        assert part in message, message
    cloud.full_subnets.clear()
    cloud.types["m6a.large"].zones = None
    cloud.denied.add("RunInstances")
    error = failed(driver.tool, "check")
    assert error.kind == "denied" and "UnauthorizedOperation" in error.message
    assert "docs/providers/aws-policy.json" in driver.log


def test_check_tells_quotas_of_the_markets_that_are_used(cloud, driver):
    driver.tool("check", {"AWS_SPOT": "prefer"})
    for name, vcpus in (cloud.quotas["L-1216C47A"], cloud.quotas["L-34B43A08"]):
        assert f"{name} (" in driver.log and f": {vcpus} vCPUs" in driver.log
    assert cloud.count("GetServiceQuota") == 2
    error = failed(driver.tool, "check", {"PODVM_INSTANCE_TYPE": "g4dn.xlarge", "DISABLECVM": "true"})
    assert error.kind == "quota" and "(L-DB2E81BA): 0 vCPUs, 0 in use, one g4dn.xlarge needs 4" in error.message
    cloud.denied.add("GetServiceQuota")
    driver.tool("check")
    assert re.search(r"unknown +quota +ServiceQuotasV20190624.GetServiceQuota: AccessDeniedException: ", driver.log)


# ---- documentation -----------------------------------------------------------------------------------------


def test_documentation_has_the_options_of_the_driver():
    assert documented_options("aws") == told_options("aws")


def test_errors_in_the_documentation_are_those_of_the_driver():
    text = (paths.ROOT / "docs/providers/aws.md").read_text().split("## Errors")[1]
    told = [phrase for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE) for phrase in re.findall(r"`(.*?)`", row)]
    folders = ("providers/aws", "providers/choice", "lib/http")
    source = "".join(path.read_text() for folder in folders for path in sorted((paths.ROOT / folder).glob("*.[ch]")))
    source = re.sub(r'"\s*"', "", source.replace('" TAG_TOKEN', 'peerpod-token"'))
    assert len(told) > 30 and [phrase for phrase in told if phrase not in source] == []


def test_policy_allows_what_is_called_and_nothing_else(cloud, driver):
    policy = json.loads((paths.ROOT / "docs/providers/aws-policy.json").read_text())
    allowed = {action for statement in policy["Statement"] for action in statement["Action"]}
    cloud.templates["kata"] = {"ImageId": "ami-0123456789abcdef0", "InstanceType": "m6a.large"}
    pods = [
        ({"USE_PUBLIC_IP": "true", "AWS_INSTANCE_PROFILE": "podvm"}, {"second_nic": 1, "volumes": cloud.make_volume()}),
        ({"USE_PODVM_LAUNCHTEMPLATE": "true"}, {"second_nic": 1}),
    ]
    driver.tool("check")
    for environment, more in pods:
        made = create(driver, environment, **more)
        driver.tool("console", id=made["id"])
        driver.tool("delete", id=made["id"])
    tags = {"peerpod-token": "00ff"}
    for thing in (cloud.make_volume(tags=tags), cloud.make_nic(tags), cloud.make_address(tags)):
        driver.tool("delete", id=thing)
    services = {"GetServiceQuota": "servicequotas"}
    made = {f"{services.get(action, 'ec2')}:{action}" for action in cloud.actions()}
    assert made | {"ec2:CreateTags", "iam:PassRole"} == allowed
