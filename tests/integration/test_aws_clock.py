# SPDX-License-Identifier: Apache-2.0
"""How long the AWS driver uses a key pair where this machine's clock is wrong: the clock of who gave it counts."""

import json

import pytest

from aws_rig import Driver
from fakes import ec2
from test_aws_credentials import NO_KEYS

HOUR = 3600


@pytest.fixture
def cloud():
    with ec2.Ec2() as running:
        yield running


@pytest.fixture
def source(cloud, request, tmp_path):
    """(environment, the operation that gives a key pair)"""
    if request.param == "web identity":
        (tmp_path / "token").write_text("a.b.c\n")
        role = {"AWS_ROLE_ARN": next(iter(cloud.roles)), "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token")}
        return {**NO_KEYS, **role}, "AssumeRoleWithWebIdentity"
    if request.param == "container":
        url = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": cloud.url + "/container-credentials"}
        return {**NO_KEYS, **url, "AWS_CONTAINER_AUTHORIZATION_TOKEN": cloud.container_token}, "container-credentials"
    cloud.give_role()
    return NO_KEYS, "metadata"


@pytest.mark.parametrize("source", ["web identity", "container", "instance profile"], indirect=True)
@pytest.mark.parametrize("hours", [2, -2])
def test_a_session_is_as_long_as_its_giver_says_whatever_our_clock(cloud, source, hours):
    environment, operation = source
    driver = Driver(cloud)
    cloud.clock_offset = hours * HOUR
    process = driver.start("serve", environment)

    def listed():
        process.stdin.write("list\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    assert [listed() for _ in range(3)] == [[], [], []]
    asked = cloud.count(operation)
    assert asked == (2 if operation == "metadata" else 1)  # the role, and its keys
    cloud.keys = {key: (secret, token, 0) for key, (secret, token, _) in cloud.keys.items()}
    assert driver.finish(process, "list\n") == [] and cloud.count(operation) == 2 * asked
