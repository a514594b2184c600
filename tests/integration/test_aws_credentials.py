# SPDX-License-Identifier: Apache-2.0
"""Where the AWS driver's key pairs come from, how long they are used, whose clock counts, whose certificate is taken."""

import itertools
import json
import ssl
import subprocess
import time

import pytest

from aws_rig import cloud, driver  # noqa: F401 (fixtures)
from fakes import ec2
from fakes.server import Delay, Drop, Reply
from peerpod.provider_tool import Served, create, failed

NO_KEYS = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}


@pytest.fixture
def web(cloud, tmp_path):
    """A service account's token for a role (IRSA)."""
    (tmp_path / "token").write_text("a.b.c\n")
    return {**NO_KEYS, "AWS_ROLE_ARN": next(iter(cloud.roles)), "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token")}


def signed_by(cloud) -> list:
    return [key for _, key in cloud.log]


def test_a_temporary_key_pair_of_the_options(cloud, driver):
    key = cloud.issue_key()
    options = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"], "AWS_SESSION_TOKEN": key["Token"]}
    assert driver.tool("list", options) == []
    older = {**NO_KEYS, "AWS_ACCESS_KEY": ec2.KEY, "AWS_SECRET_KEY": ec2.SECRET}
    assert driver.tool("list", older) == [] and set(signed_by(cloud)) == {key["AccessKeyId"], ec2.KEY}


def test_instance_profile_gives_keys_and_place(cloud, driver):
    cloud.give_role()
    cloud.give_place(list(cloud.subnets)[2], cloud.groups, "operator")
    create(driver, {**NO_KEYS, "AWS_REGION": None, "AWS_SUBNET_ID": None, "AWS_SG_IDS": None})
    (sent,) = cloud.sent("RunInstances")
    assert [sent[name] for name in ("SubnetId", "SecurityGroupId.1", "SecurityGroupId.2", "KeyName")] == [
        list(cloud.subnets)[2],
        *cloud.groups,
        "operator",
    ]
    assert cloud.count("metadata-token") == 1


def test_each_value_of_the_place_is_looked_up_for_itself(cloud, driver):
    cloud.give_place(key_pair="operator")
    del cloud.metadata["network/interfaces/macs/0a:00:00:00:00:01/subnet-id"]
    create(driver, {"AWS_REGION": None, "AWS_SG_IDS": None})
    assert cloud.sent("RunInstances")[0]["SecurityGroupId.1"] == cloud.groups[0]
    error = failed(create, driver, {"AWS_SUBNET_ID": None})
    assert error.message.startswith("AWS_SUBNET_ID is not set, and this machine does not tell its own subnet (")


def test_a_metadata_token_that_ended_is_fetched_anew(cloud, driver):
    cloud.give_role()
    first = cloud.metadata["iam/security-credentials/"]

    def role():
        if cloud.count("metadata-token") == 1:
            cloud.metadata_tokens.clear()
        return first

    cloud.metadata["iam/security-credentials/"] = role
    assert driver.tool("list", NO_KEYS) == [] and cloud.count("metadata-token") == 2


def test_web_identity_gives_keys(cloud, driver, web):
    assert driver.tool("list", web) == []
    (sent,) = cloud.sent("AssumeRoleWithWebIdentity")
    assert sent["WebIdentityToken"] == "a.b.c" and sent["DurationSeconds"] == "3600"
    cloud.roles[web["AWS_ROLE_ARN"]] = {"other"}
    error = failed(driver.tool, "list", web)
    assert error.kind == "denied" and f"AssumeRoleWithWebIdentity of {web['AWS_ROLE_ARN']}: ExpiredTokenException" in error.message


@pytest.mark.parametrize("fault", ["IDPCommunicationError", "InvalidIdentityToken", "lost"])
def test_a_passing_fault_of_sts_is_outlived(cloud, driver, web, fault):
    body = f"<ErrorResponse><Error><Code>{fault}</Code><Message>m</Message></Error><RequestId>u</RequestId></ErrorResponse>"
    cloud.script("AssumeRoleWithWebIdentity", Drop("after") if fault == "lost" else Reply(400, body))
    assert driver.tool("list", web) == [] and cloud.count("AssumeRoleWithWebIdentity") == 2


def test_the_web_identity_token_is_read_again_for_each_renewal(cloud, driver, web):
    cloud.session_seconds = 30  # always due
    served = Served(driver, web)
    assert served.ask("list") == []
    with open(web["AWS_WEB_IDENTITY_TOKEN_FILE"], "w") as file:
        file.write("x.y.z")
    cloud.roles[web["AWS_ROLE_ARN"]] = {"x.y.z"}
    cloud.keys = {key: (secret, token, 0) for key, (secret, token, _) in cloud.keys.items()}
    assert served.ask("list") == []
    served.end()
    tokens = [sent["WebIdentityToken"] for sent in cloud.sent("AssumeRoleWithWebIdentity")]
    assert (tokens[0], tokens[-1]) == ("a.b.c", "x.y.z")


def test_a_web_identity_token_that_ended_is_read_again_once(cloud, driver, web):
    def replace(call):
        with open(web["AWS_WEB_IDENTITY_TOKEN_FILE"], "w") as file:
            file.write("x.y.z")

    cloud.roles[web["AWS_ROLE_ARN"]] = {"x.y.z"}
    cloud.script("AssumeRoleWithWebIdentity", replace)
    assert driver.tool("list", web) == []
    assert [sent["WebIdentityToken"] for sent in cloud.sent("AssumeRoleWithWebIdentity")] == ["a.b.c", "x.y.z"]
    cloud.calls.clear()
    cloud.roles[web["AWS_ROLE_ARN"]] = {"other"}
    assert failed(driver.tool, "list", web).kind == "denied" and cloud.count("AssumeRoleWithWebIdentity") == 2


def test_container_endpoint_gives_keys(cloud, driver, tmp_path):
    (tmp_path / "token").write_text(cloud.container_token)
    pod = {
        **NO_KEYS,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": cloud.url + "/container-credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(tmp_path / "token"),
    }
    cloud.script("container-credentials", Reply(500))
    assert driver.tool("list", pod) == [] and cloud.count("container-credentials") == 2
    plain = {**pod, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": None, "AWS_CONTAINER_AUTHORIZATION_TOKEN": cloud.container_token}
    assert driver.tool("list", plain) == []
    error = failed(driver.tool, "list", {**pod, "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://example.com/x"})
    assert "plain http is for this machine and for" in error.message


def test_shared_files_give_keys_and_region(cloud, driver, tmp_path):
    (tmp_path / "credentials").write_text(f"[dev]\naws_access_key_id={ec2.KEY}\naws_secret_access_key={ec2.SECRET}\n")
    (tmp_path / "config").write_text(f"[profile dev]\nregion = {cloud.region}\n")
    files = {
        **NO_KEYS,
        "AWS_REGION": None,
        "AWS_PROFILE": "dev",
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
    }
    assert driver.tool("list", files) == []


def test_a_key_pair_that_was_replaced_in_the_shared_files_is_used_when_the_old_one_is_refused(cloud, driver, tmp_path):
    def write(key, secret):
        (tmp_path / "credentials").write_text(f"[default]\naws_access_key_id={key}\naws_secret_access_key={secret}\n")

    write(ec2.KEY, ec2.SECRET)
    served = Served(driver, {**NO_KEYS, "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials")})
    assert served.ask("list") == []
    cloud.keys = {"AKIASECOND": ("second secret", None, None)}
    write("AKIASECOND", "second secret")
    assert served.ask("list") == []
    served.end()
    assert signed_by(cloud)[0] == ec2.KEY and signed_by(cloud)[-1] == "AKIASECOND"


def test_no_credentials_names_every_source(cloud, driver):
    error = failed(driver.tool, "list", {**NO_KEYS, "AWS_EC2_METADATA_DISABLED": "true"})
    assert error.kind == "denied" and "no credentials: set AWS_ACCESS_KEY_ID" in error.message
    assert "instance profile: instance metadata service: the instance metadata service is switched off" in error.message


def test_keys_are_kept_until_they_are_due(cloud, driver):
    cloud.give_role()
    assert driver.tool("serve", NO_KEYS, stdin="list\nlist\nlist\n") == [[], [], []]
    assert len(set(signed_by(cloud))) == 1
    cloud.session_seconds = 14 * 60  # less than the 15 minutes before which they are renewed
    driver.tool("serve", NO_KEYS, stdin="list\nlist\n")
    assert len(set(signed_by(cloud))) > 2


def test_one_thread_renews_and_an_old_set_serves_while_it_is_good(cloud, driver):
    cloud.give_role()
    answers = itertools.count()
    first = json.dumps(cloud.issue_key(14 * 60))

    def answer():
        return first if next(answers) == 0 else Reply(500)

    cloud.metadata["iam/security-credentials/worker"] = answer
    assert driver.tool("parallel 8 list", NO_KEYS) == [[]] * 8
    assert len(set(signed_by(cloud))) == 1 and cloud.count("metadata") <= 8


def test_a_set_that_has_ended_already_does_not_replace_a_good_one(cloud, driver):
    cloud.give_role()
    sets = iter([json.dumps(cloud.issue_key(14 * 60)), *[json.dumps(cloud.issue_key(-60))] * 9])
    cloud.metadata["iam/security-credentials/worker"] = lambda: next(sets)
    assert driver.tool("serve", NO_KEYS, stdin="list\nlist\n") == [[], []]
    assert len(set(signed_by(cloud))) == 1


@pytest.mark.parametrize("code", ["ExpiredToken", "AuthFailure", "InvalidClientTokenId", "SignatureDoesNotMatch", "RequestExpired"])
def test_refused_keys_are_fetched_anew_once(cloud, driver, code):
    cloud.give_role()
    cloud.fail("DescribeInstances", code)
    assert driver.tool("list", NO_KEYS) == [] and len(cloud.keys) == 3  # the options' own, and two sets of the role
    cloud.fail("DescribeInstances", code, times=2)
    assert failed(driver.tool, "list", NO_KEYS).kind == "denied"


def test_only_a_trusted_certificate_is_talked_to(cloud, driver, tmp_path):
    certificate, key = tmp_path / "certificate", tmp_path / "key"
    subject = ["-subj", "/CN=ec2", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(certificate), *subject]
    subprocess.run(made, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    cloud._server.socket = context.wrap_socket(cloud._server.socket, server_side=True)
    tls = {"AWS_ENDPOINT_URL": cloud.url.replace("http:", "https:"), "AWS_EC2_METADATA_DISABLED": "true"}
    assert driver.tool("list", {**tls, "AWS_CA_BUNDLE": str(certificate)}) == []
    asked = len(cloud.calls)
    error = failed(driver.tool, "list", tls)
    assert error.kind == "denied" and "SSL certificate problem" in error.message and len(cloud.calls) == asked


def test_a_certificate_file_that_is_missing_is_named(driver):
    tls = {"AWS_ENDPOINT_URL": driver.cloud.url.replace("http:", "https:"), "AWS_CA_BUNDLE": "/nonexistent/certificates"}
    error = failed(driver.tool, "list", tls)
    assert "/nonexistent/certificates" in error.message


@pytest.mark.parametrize("hours", [1, -1])
def test_a_wrong_clock_is_put_right_by_the_servers(cloud, driver, hours):
    cloud.clock_offset = hours * 3600
    assert driver.tool("serve", stdin="list\nlist\n") == [[], []]
    assert f"this machine's clock differs from Amazon's by {'-' if hours > 0 else ''}3" in driver.log
    assert [call.status for call in cloud.made("DescribeInstances")] == [400, 200, 200]


def test_a_metadata_service_that_does_not_answer_costs_moments(cloud, driver):
    cloud.script("metadata-token", Delay(30), times=None)
    began = time.monotonic()
    assert failed(driver.tool, "list", NO_KEYS).kind in ("denied", "retry") and time.monotonic() - began < 8
