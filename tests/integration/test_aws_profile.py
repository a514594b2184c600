# SPDX-License-Identifier: Apache-2.0
"""Profiles of the AWS driver's shared files: one that is named and is not there is a mistake, not a reason to be another."""

import pytest

from aws_rig import Driver
from fakes import ec2
from peerpod.provider_tool import failed
from test_aws_credentials import NO_KEYS


@pytest.fixture
def cloud():
    with ec2.Ec2() as running:
        running.give_role()  # which would serve otherwise
        yield running


@pytest.mark.parametrize(
    "text, reason",
    [
        ("[other]\naws_access_key_id=a\naws_secret_access_key=b\n", 'there is no profile "dev"'),
        ("[dev]\nrole_arn=arn:aws:iam::1:role/r\nsource_profile=x\n", 'the profile "dev" gets its keys by '),
    ],
    ids=["not there", "by a role"],
)
def test_a_named_profile_without_keys_is_told_and_no_other_identity_taken(cloud, tmp_path, text, reason):
    (tmp_path / "credentials").write_text(text)
    files = {**NO_KEYS, "AWS_PROFILE": "dev", "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials")}
    files["AWS_CONFIG_FILE"] = str(tmp_path / "config")
    error = failed(Driver(cloud).tool, "list", files)
    assert error.kind == "invalid" and reason in error.message and not cloud.log


@pytest.mark.parametrize("name, text", [(None, "[other]\n"), ("dev", "[dev]\noutput=json\n")], ids=["no name", "for other settings"])
def test_a_profile_that_is_no_identity_leaves_it_to_the_next_source(cloud, tmp_path, name, text):
    (tmp_path / "credentials").write_text(text)
    files = {**NO_KEYS, "AWS_PROFILE": name, "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials")}
    files["AWS_CONFIG_FILE"] = str(tmp_path / "config")
    assert Driver(cloud).tool("list", files) == []
