# SPDX-License-Identifier: Apache-2.0
"""Who gives tokens asks for time: each cloud's driver comes again when it was told to, in seconds and by a date."""

import email.utils
import time

import pytest

import aws_rig
import azure_rig
import gcp_rig
from fakes.azure import Azure
from fakes.ec2 import Ec2
from fakes.gcp import Gcp
from fakes.server import Reply

PAUSE = 2


@pytest.fixture(params=["aws", "azure", "gcp"])
def source(request, tmp_path):
    """(cloud, the operation that gives tokens, function that lists instances)"""
    if request.param == "aws":
        with Ec2() as cloud:
            (tmp_path / "token").write_text("a.b.c")
            role = {"AWS_ROLE_ARN": next(iter(cloud.roles)), "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token")}
            more = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None, **role}
            yield cloud, "AssumeRoleWithWebIdentity", lambda: aws_rig.Driver(cloud).tool("list", more)
    elif request.param == "azure":
        with Azure() as cloud:
            yield cloud, "token", lambda: azure_rig.Driver(cloud).tool("list")
    else:
        with Gcp() as cloud:
            yield cloud, "token", lambda: gcp_rig.Driver(cloud).tool("list")


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_the_giver_of_tokens_is_asked_again_when_it_said(source, status, form):
    cloud, operation, listed = source

    def busy(_call):
        ends = email.utils.formatdate(time.time() + PAUSE + 1, usegmt=True)  # a date has no parts of a second
        return Reply(status, b"busy", {"Retry-After": PAUSE if form == "seconds" else ends})

    cloud.script(operation, busy)
    assert listed() == []
    first, second = cloud.made(operation)
    assert PAUSE - 0.05 <= second.time - first.time < PAUSE + 5
