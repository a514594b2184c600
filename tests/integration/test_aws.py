# SPDX-License-Identifier: Apache-2.0
"""The AWS driver against moto behind a front that checks every signature (aws_rig.py)."""

import json
import re
import secrets
import ssl
import subprocess
import time

import pytest

import aws_rig
from aws_rig import ToolError
from peerpod import paths


@pytest.fixture(scope="module")
def running():
    cloud = aws_rig.Cloud()
    try:
        yield cloud.start()
    finally:
        cloud.close()


@pytest.fixture
def cloud(running):
    """An EC2 without instances of ours, and a front that remembers nothing."""
    running.reset_front()
    yield running
    launched = running.front.count("RunInstances")
    running.reset_front()
    for instance in running.tool("list") if launched else []:
        running.tool("delete", id=instance["id"])


def new_token() -> str:
    return secrets.token_hex(16)


def create(cloud, environment=(), **more):
    arguments = {"token": new_token(), "name": "podvm-web-01234567", "pod": "web", "cluster": "c1", "node": "n1", **more}
    return cloud.tool("create", environment, **arguments)


def failed(function, *arguments, **more) -> ToolError:
    with pytest.raises(ToolError) as caught:
        function(*arguments, **more)
    return caught.value


# ---- the life of an instance -------------------------------------------------------------------------------


def test_an_instance_from_create_to_nothing(cloud):
    token = new_token()
    made = create(cloud, token=token, sandbox="s1")
    assert re.fullmatch(r"i-[0-9a-f]{17}", made["id"]) and len(made["addresses"]) == 1
    assert (made["name"], made["token"], made["pod"], made["cluster"], made["node"]) == ("podvm-web-01234567", token, "web", "c1", "n1")
    assert cloud.tool("wait", id=made["id"])["addresses"] == made["addresses"]
    assert cloud.tool("find", token=token)["id"] == made["id"]
    assert [one["id"] for one in cloud.tool("list", cluster="c1", node="n1")] == [made["id"]]
    assert cloud.tool("list", cluster="other") == []
    cloud.tool("delete", id=made["id"])
    assert cloud.tool("list") == []
    assert failed(cloud.tool, "find", token=token).kind == "gone"
    volumes = cloud.ask("DescribeVolumes", **{"Filter.1.Name": "tag:peerpod-token", "Filter.1.Value.1": token})
    assert "<volumeId>" not in volumes


def test_request_is_confidential_tagged_and_carries_the_token(cloud):
    token = new_token()
    made = create(cloud, {"TAGS": "team=a b"}, token=token)
    (sent,) = cloud.front.sent("RunInstances")
    assert sent["ClientToken"] == token and sent["CpuOptions.AmdSevSnp"] == "enabled"
    assert sent["InstanceType"] == "m6a.large" and sent["InstanceInitiatedShutdownBehavior"] == "terminate"
    for resource in (made["id"], re.search(r"<volumeId>(.*?)<", cloud.ask("DescribeInstances", **{"InstanceId.1": made["id"]})).group(1)):
        tags = cloud.ask("DescribeTags", **{"Filter.1.Name": "resource-id", "Filter.1.Value.1": resource})
        for text in (token, "peerpod-token", "team", "a b", "podvm-web-01234567"):
            assert f">{text}<" in tags, (resource, text)


def test_root_volume_is_as_configured(cloud):
    create(cloud, {"ROOT_VOLUME_SIZE": "50", "AWS_ROOT_VOLUME_TYPE": "gp3", "AWS_ROOT_VOLUME_ENCRYPTED": "true"})
    (sent,) = cloud.front.sent("RunInstances")
    names = ("DeviceName", "Ebs.VolumeSize", "Ebs.VolumeType", "Ebs.Encrypted", "Ebs.DeleteOnTermination")
    assert [sent["BlockDeviceMapping.1." + name] for name in names] == ["/dev/sda1", "50", "gp3", "true", "true"]


def test_second_nic_has_its_own_address_and_goes_with_the_instance(cloud):
    made = create(cloud, second_nic=1)
    addresses = cloud.tool("wait", id=made["id"], needed=2)["addresses"]
    assert len(set(addresses)) == 2
    (sent,) = cloud.front.sent("RunInstances")
    assert sent["NetworkInterface.2.DeviceIndex"] == "1" and sent["NetworkInterface.2.DeleteOnTermination"] == "true"


def test_public_address_comes_first(cloud):
    made = create(cloud, {"USE_PUBLIC_IP": "true"})
    address = cloud.tool("wait", {"USE_PUBLIC_IP": "true"}, id=made["id"])["addresses"][0]
    assert f"<publicIp>{address}</publicIp>" in cloud.ask("DescribeInstances", **{"InstanceId.1": made["id"]})
    refused = failed(create, cloud, {"USE_PUBLIC_IP": "true"}, second_nic=1)
    assert refused.kind == "unsupported" and "exclude each other" in refused.message


def test_a_launch_template_says_what_the_pod_does_not(cloud):
    cloud.ask(
        "CreateLaunchTemplate",
        **{
            "LaunchTemplateName": "kata",
            "LaunchTemplateData.ImageId": cloud.image,
            "LaunchTemplateData.InstanceType": "m6a.large",
            "LaunchTemplateData.NetworkInterface.1.SubnetId": cloud.subnets[0],
            "LaunchTemplateData.NetworkInterface.1.DeviceIndex": "0",
        },
    )
    template = {"USE_PODVM_LAUNCHTEMPLATE": "true", "PODVM_AMI_ID": None, "AWS_SUBNET_ID": None, "AWS_SG_IDS": None}
    made = create(cloud, template)
    assert made["id"] in [one["id"] for one in cloud.tool("list")]
    (sent,) = cloud.front.sent("RunInstances")
    assert sent["LaunchTemplate.LaunchTemplateName"] == "kata"
    assert not {"ImageId", "InstanceType", "SubnetId", "CpuOptions.AmdSevSnp", "BlockDeviceMapping.1.DeviceName"} & set(sent)
    assert cloud.front.count("DescribeImages") == 0


def make_volume(cloud, zone) -> str:
    answer = cloud.ask("CreateVolume", AvailabilityZone=zone, Size="1")
    return re.search(r"<volumeId>(.*?)</volumeId>", answer).group(1)


def test_volumes_are_attached_in_order_in_their_zone_and_survive(cloud):
    subnet = cloud.subnets[1]
    volumes = [make_volume(cloud, cloud.zones[subnet]) for _ in range(2)]
    made = create(cloud, {"AWS_SUBNET_ID": ",".join(cloud.subnets)}, volumes=",".join(volumes))
    (sent,) = cloud.front.sent("RunInstances")
    assert sent["SubnetId"] == subnet
    attached = [(one["VolumeId"], one["Device"]) for one in cloud.front.sent("AttachVolume")]
    assert attached == [(volumes[0], "/dev/xvdb"), (volumes[1], "/dev/xvdc")]
    refused = failed(create, cloud, {"AWS_SUBNET_ID": subnet}, volumes=volumes[0])
    assert f"volume {volumes[0]} is in-use, attached to {made['id']}" in refused.message
    cloud.tool("delete", id=made["id"])
    for volume in volumes:
        assert "<status>available</status>" in cloud.ask("DescribeVolumes", **{"VolumeId.1": volume})
    assert cloud.front.count("RunInstances") == 1


def test_a_volume_elsewhere_is_refused_before_anything_is_made(cloud):
    volume = make_volume(cloud, cloud.zones[cloud.subnets[1]])
    refused = failed(create, cloud, volumes=volume)
    assert refused.kind == "invalid" and "none of the subnets of AWS_SUBNET_ID is" in refused.message
    assert cloud.front.count("RunInstances") == 0


# ---- once, whatever happens --------------------------------------------------------------------------------


def test_create_with_the_same_token_gives_the_same_instance(cloud):
    token = new_token()
    assert create(cloud, token=token)["id"] == create(cloud, token=token)["id"]
    assert cloud.front.count("RunInstances") == 1


def test_a_connection_that_breaks_after_the_launch_makes_no_second_instance(cloud):
    cloud.front.script("RunInstances", drop=True)
    made = create(cloud)
    assert cloud.front.count("RunInstances") == 2
    assert [one["id"] for one in cloud.tool("list")] == [made["id"]]


def test_crash_before_the_answer_with_other_user_data_later_gives_the_same_instance(cloud):
    """The token's instance is there but not shown yet: EC2 refuses other parameters, and the driver looks again."""
    token = new_token()
    made = create(cloud, token=token)
    cloud.front.script("DescribeInstances", code="InvalidInstanceID.NotFound", status=400)
    again = create(cloud, token=token, vcpus=1, memory=1)
    assert again["id"] == made["id"]


@pytest.mark.parametrize("later", [{}, {"ROOT_VOLUME_SIZE": "40"}], ids=["same-request", "other-request"])
def test_a_token_of_an_instance_that_ended_is_not_used_again(cloud, later):
    token = new_token()
    first = create(cloud, token=token)
    cloud.tool("delete", id=first["id"])
    second = create(cloud, later, token=token)
    assert second["id"] != first["id"]
    assert [one["ClientToken"] for one in cloud.front.sent("RunInstances")] == [token, token, token + "-2"]


def test_a_creation_that_fails_half_way_leaves_nothing(cloud):
    volume = make_volume(cloud, cloud.zones[cloud.subnets[0]])
    cloud.front.script("AttachVolume", code="InvalidParameterValue", status=400)
    error = failed(create, cloud, volumes=volume)
    assert "AttachVolume: InvalidParameterValue: scripted (HTTP 400, request request-InvalidParameterValue)" in error.message
    assert cloud.tool("list") == []


def test_delete_of_what_is_gone_succeeds_and_of_what_is_not_ours_is_refused(cloud):
    cloud.tool("delete", id="i-0123456789abcdef0")
    foreign = re.search(
        r"<instanceId>(.*?)<",
        cloud.ask("RunInstances", ImageId=cloud.image, MinCount="1", MaxCount="1", InstanceType="t3.micro"),
    ).group(1)
    refused = failed(cloud.tool, "delete", id=foreign)
    assert refused.kind == "denied" and "carries no tag peerpod-token" in refused.message
    assert foreign not in [one["id"] for one in cloud.tool("list")]
    assert failed(cloud.tool, "delete", id="").message.startswith('"" is no EC2 instance id')
    assert cloud.front.count("TerminateInstances") == 0
    cloud.ask("TerminateInstances", **{"InstanceId.1": foreign})


def test_list_goes_through_all_pages(cloud):
    made = cloud.tool("parallel 7 create", token=new_token()[:20] + "%d", name="podvm-%d")
    cloud.front.page_size = 5  # fewer than EC2's 1000
    assert sorted(one["id"] for one in cloud.tool("list")) == sorted(one["id"] for one in made)
    assert sum("NextToken" in sent for sent in cloud.front.sent("DescribeInstances")) == 1


def test_many_that_ask_share_calls(cloud):
    cloud.tool("parallel 9 create", token=new_token()[:20] + "%d", name="podvm-%d")
    assert cloud.front.count("RunInstances") == 9
    assert cloud.front.count("DescribeInstances") <= 5


# ---- no room, too fast, not allowed ------------------------------------------------------------------------


def test_capacity_errors_lead_to_the_next_subnet_and_type(cloud):
    full = cloud.subnets[0]
    cloud.front.script("RunInstances", code="InsufficientInstanceCapacity", match=lambda p: p["SubnetId"] == full)
    create(cloud, {"AWS_SUBNET_ID": ",".join(cloud.subnets)})
    assert [one["SubnetId"] for one in cloud.front.sent("RunInstances")] == cloud.subnets[:2]
    tokens = [one["ClientToken"] for one in cloud.front.sent("RunInstances")]
    assert tokens[1] == tokens[0] + "-2"
    types = {"PODVM_INSTANCE_TYPES": "m6a.large,m6a.xlarge,c6a.xlarge"}
    cloud.front.script("RunInstances", code="VcpuLimitExceeded", status=400, times=9, match=lambda p: p["InstanceType"].startswith("c6a"))
    create(cloud, types, vcpus=4, memory=8192)
    assert [one["InstanceType"] for one in cloud.front.sent("RunInstances")][2:] == ["c6a.xlarge", "m6a.xlarge"]


def test_what_was_refused_is_not_asked_for_again_for_a_while(cloud):
    full = cloud.subnets[0]
    cloud.front.script("RunInstances", code="InsufficientInstanceCapacity", times=9, match=lambda p: p["SubnetId"] == full)
    verbs = "".join(f"create token={new_token()} name=podvm-{i}\n" for i in range(2))
    cloud.tool("serve", {"AWS_SUBNET_ID": ",".join(cloud.subnets)}, stdin=verbs)
    assert [one["SubnetId"] for one in cloud.front.sent("RunInstances")] == [full, cloud.subnets[1], cloud.subnets[1]]
    assert "refused a short while ago (capacity)" in cloud.log


def test_no_room_anywhere_says_so(cloud):
    cloud.front.script("RunInstances", code="InsufficientInstanceCapacity", times=9)
    error = failed(create, cloud)
    assert error.kind == "capacity"
    assert error.message == (
        "no room for any of the 1 offerings that fit; the last: RunInstances: InsufficientInstanceCapacity: scripted "
        "(HTTP 500, request request-InsufficientInstanceCapacity)"
    )


def test_throttled_calls_wait_as_told_and_succeed(cloud):
    cloud.front.script("RunInstances", code="RequestLimitExceeded", status=503, times=2, headers=[("Retry-After", "1")])
    began = time.monotonic()
    create(cloud)
    assert time.monotonic() - began >= 2


def test_waits_end_at_their_deadline(cloud):
    cloud.front.script("DescribeInstances", code="RequestLimitExceeded", status=503, times=99, headers=[("Retry-After", "9")])
    began = time.monotonic()
    error = failed(cloud.tool, "find", token=new_token(), seconds=2)
    assert error.kind in ("throttled", "timeout") and time.monotonic() - began < 5


def test_denied_is_told_with_code_and_request(cloud):
    cloud.front.script("RunInstances", code="UnauthorizedOperation", status=403)
    error = failed(create, cloud)
    assert error.kind == "denied" and "UnauthorizedOperation: scripted (HTTP 403, request request-Unauth" in error.message


def test_user_data_over_the_limit_is_refused_before_any_call(cloud, tmp_path):
    (tmp_path / "user-data").write_bytes(b"x" * 17000)
    error = failed(create, cloud, user_data=tmp_path / "user-data")
    assert error.kind == "invalid" and error.message.startswith("the user data has 17000 bytes, 616 more than the 16384")
    assert not cloud.front.calls


def test_types_that_cannot_are_refused_before_the_call(cloud):
    error = failed(create, cloud, {"PODVM_INSTANCE_TYPE": "t3.large"})
    assert error.kind == "invalid" and "cannot make a confidential VM of the kind asked for" in error.message
    error = failed(create, cloud, type="m6a.48xlarge")
    assert "only the default type is allowed" in error.message
    assert cloud.front.count("RunInstances") == 0
    create(cloud, {"PODVM_INSTANCE_TYPE": "t3.large", "DISABLECVM": "true"})
    assert failed(create, cloud, tee="tdx").message == "EC2 has no Intel TDX: it has AMD SEV-SNP"


def test_an_instance_without_the_protection_asked_for_is_not_used(cloud):
    carry_out = cloud.front.carry_out
    cloud.front.carry_out = lambda *a: tuple(
        part.replace(b"<amdSevSnp>enabled<", b"<amdSevSnp>disabled<") if isinstance(part, bytes) else part for part in carry_out(*a)
    )
    error = failed(create, cloud)
    assert error.kind == "unsupported" and "was made without SEV-SNP (EC2 says: disabled)" in error.message
    assert cloud.tool("list") == []


def test_check_finds_everything_that_is_wrong_and_makes_nothing(cloud):
    cloud.tool("check")
    assert cloud.front.sent("RunInstances")[0]["DryRun"] == "true"
    wrong = {"PODVM_AMI_ID": "ami-00000000", "AWS_SUBNET_ID": "subnet-00000000", "PODVM_INSTANCE_TYPE": "t3.large"}
    message = failed(cloud.tool, "check", wrong).message
    for part in ("PODVM_AMI_ID: ", "AWS_SUBNET_ID: ", "t3.large has no SEV-SNP"):
        assert part in message, message
    assert cloud.tool("list") == []


# ---- credentials -------------------------------------------------------------------------------------------

NO_KEYS = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
JSON = (
    '{{"Code":"Success","AccessKeyId":"%s","SecretAccessKey":"%s","Token":"session","Expiration":"{}"}}' % (aws_rig.KEY, aws_rig.SECRET)
)


def in_future(seconds=7200) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))


def test_wrong_secret_key_is_refused(cloud):
    error = failed(cloud.tool, "list", {"AWS_SECRET_ACCESS_KEY": "wrong"})
    assert error.kind == "denied" and "SignatureDoesNotMatch" in error.message
    cloud.front.calls.clear()


def test_instance_profile_gives_keys_and_place(cloud):
    mac = "network/interfaces/macs/0a:00:00:00:00:01/"
    cloud.front.imds = {
        "iam/security-credentials/": "role\n",
        "iam/security-credentials/role": JSON.format(in_future()),
        "placement/region": aws_rig.REGION,
        "mac": "0a:00:00:00:00:01",
        mac + "subnet-id": cloud.subnets[2],
        mac + "security-group-ids": cloud.group,
    }
    create(cloud, {**NO_KEYS, "AWS_REGION": None, "AWS_SUBNET_ID": None, "AWS_SG_IDS": None})
    (sent,) = cloud.front.sent("RunInstances")
    assert sent["SubnetId"] == cloud.subnets[2] and sent["SecurityGroupId.1"] == cloud.group
    assert all(headers["X-Amz-Security-Token"] == "session" for _, _, headers in cloud.front.calls)


def test_web_identity_gives_keys(cloud, tmp_path):
    (tmp_path / "token").write_text("a.b.c\n")
    answer = (
        "<R><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{}</AccessKeyId><SecretAccessKey>{}</SecretAccessKey>"
        "<SessionToken>web</SessionToken><Expiration>{}</Expiration></Credentials></AssumeRoleWithWebIdentityResult></R>"
    ).format(aws_rig.KEY, aws_rig.SECRET, in_future())
    cloud.front.sts = [(200, answer)]
    web = {**NO_KEYS, "AWS_ROLE_ARN": "arn:aws:iam::1:role/r", "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token")}
    assert cloud.tool("list", web) == []
    (sent,) = cloud.front.sent("AssumeRoleWithWebIdentity")
    assert (sent["RoleArn"], sent["WebIdentityToken"]) == ("arn:aws:iam::1:role/r", "a.b.c")
    cloud.front.sts = [(400, "<E><Error><Code>ExpiredTokenException</Code><Message>old</Message></Error><RequestId>u</RequestId></E>")]
    error = failed(cloud.tool, "list", web)
    assert error.kind == "denied" and "AssumeRoleWithWebIdentity of arn:aws:iam::1:role/r: ExpiredTokenException" in error.message


def test_container_endpoint_gives_keys(cloud, tmp_path):
    (tmp_path / "token").write_text("pod-token")
    seen = []
    cloud.front.imds["/v1/credentials"] = lambda handler: seen.append(handler.headers["Authorization"]) or JSON.format(in_future())
    pod = {
        **NO_KEYS,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": cloud.front.url + "/v1/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(tmp_path / "token"),
    }
    assert cloud.tool("list", pod) == [] and seen == ["pod-token"]
    error = failed(cloud.tool, "list", {**pod, "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://example.com/x"})
    assert "plain http is for this machine and for" in error.message


def test_shared_files_give_keys_and_region(cloud, tmp_path):
    (tmp_path / "credentials").write_text(f"[dev]\naws_access_key_id={aws_rig.KEY}\naws_secret_access_key={aws_rig.SECRET}\n")
    (tmp_path / "config").write_text(f"[profile dev]\nregion = {aws_rig.REGION}\n")
    files = {
        **NO_KEYS,
        "AWS_REGION": None,
        "AWS_PROFILE": "dev",
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
    }
    assert cloud.tool("list", files) == []


def test_no_credentials_names_every_source(cloud):
    error = failed(cloud.tool, "list", {**NO_KEYS, "AWS_EC2_METADATA_DISABLED": "true"})
    assert error.kind == "denied" and "no credentials: set AWS_ACCESS_KEY_ID" in error.message
    assert "instance profile: instance metadata service: the instance metadata service is switched off" in error.message


def test_refused_keys_are_fetched_anew_once(cloud):
    rounds = []

    def credentials(handler):
        rounds.append(handler)
        text = JSON.format(in_future())
        return text.replace(aws_rig.KEY, "AKIDREVOKED") if len(rounds) == 1 else text

    cloud.front.imds = {"iam/security-credentials/": "role", "iam/security-credentials/role": credentials}
    assert cloud.tool("list", NO_KEYS) == []
    assert len(rounds) == 2 and cloud.front.count("DescribeInstances") == 2


def test_only_a_trusted_certificate_is_talked_to(cloud, tmp_path):
    certificate, key = tmp_path / "certificate", tmp_path / "key"
    subject = ["-subj", "/CN=ec2", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(certificate), *subject]
    subprocess.run(made, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    cloud.front.server.socket = context.wrap_socket(cloud.front.server.socket, server_side=True)
    tls = {"AWS_ENDPOINT_URL": cloud.front.url.replace("http:", "https:")}
    assert cloud.tool("list", {**tls, "AWS_CA_BUNDLE": str(certificate)}) == []
    error = failed(cloud.tool, "list", tls)
    assert error.kind == "denied" and "SSL certificate problem" in error.message
    assert cloud.front.count("DescribeInstances") == 1


def test_a_wrong_clock_is_put_right_by_the_servers(cloud):
    cloud.front.date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 3600))
    cloud.front.script("DescribeInstances", code="RequestExpired", status=400)
    assert cloud.tool("list") == []
    assert "this machine's clock differs from Amazon's by -3" in cloud.log
    dates = [headers["X-Amz-Date"] for _, _, headers in cloud.front.calls]
    assert dates[1] > time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() + 3000))


def test_console_is_told(cloud):
    made = create(cloud)
    assert isinstance(cloud.tool("console", id=made["id"])["tail"], str)
    assert cloud.front.count("GetConsoleOutput") == 1
    assert cloud.tool("console", id="nonsense")["tail"] == ""


# ---- documentation -----------------------------------------------------------------------------------------


def test_documentation_has_the_options_of_the_driver():
    driver = str(paths.BUILD / "providers/aws.so")
    done = subprocess.run([paths.program("provider-tool"), driver, "-markdown"], capture_output=True, text=True)
    table = done.stdout.split("\n\n", 1)[1].strip()
    text = (paths.ROOT / "docs/providers/aws.md").read_text()
    assert re.search(r"<!-- options: .*? -->\n(.*?)\n<!-- /options -->", text, re.DOTALL).group(1) == table


def test_policy_allows_what_is_called_and_nothing_else(running):
    running.reset_front()
    policy = json.loads((paths.ROOT / "docs/providers/aws-policy.json").read_text())
    allowed = {action for statement in policy["Statement"] for action in statement["Action"]}
    source = "".join(path.read_text() for path in sorted((paths.ROOT / "providers/aws").glob("*.c")))
    started = set(re.findall(r'query_start\(\w*&?query, "(\w+)", EC2_VERSION', source.replace("(q, ", "(&query, ")))
    started |= set(re.findall(r'check_ids\(p, r, "(\w+)"', source))
    assert {"ec2:" + action for action in started} | {"ec2:CreateTags"} == allowed
    assert {"ec2:" + action for action in running.actions if action != "AssumeRoleWithWebIdentity"} <= allowed
