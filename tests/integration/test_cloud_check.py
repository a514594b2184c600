# SPDX-License-Identifier: Apache-2.0
"""`cloud-api-adaptor <driver> --check` where the cloud does not answer: what was not looked at is not taken for right."""

import os
import subprocess

import pytest

from fakes.azure import Azure
from fakes.ec2 import Ec2
from fakes.gcp import Gcp
from fakes.server import Reply
from peerpod import paths

CLOUDS = {"aws": Ec2, "azure": Azure, "gcp": Gcp}
NOWHERE = "http://127.0.0.1:1"
DEAF = {
    "aws": {"AWS_ENDPOINT_URL": NOWHERE, "AWS_MAX_ATTEMPTS": "1"},
    "azure": {"AZURE_AUTHORITY_HOST": NOWHERE},
    "gcp": {"GCP_COMPUTE_ENDPOINT": NOWHERE},
}


@pytest.fixture(params=CLOUDS)
def cloud(request, tmp_path):
    with CLOUDS[request.param]() as running:
        running.driver, running.folder = request.param, tmp_path
        yield running


def check(cloud, more=()) -> tuple:
    """(exit status, what is printed)"""
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "AZURE_", "GCP_", "PODVM_"))}
    environment = {**keep, "HOME": "/nonexistent", **cloud.environment(), **dict(more)}
    environment[f"{cloud.driver.upper()}_CATALOGUE_FOLDER"] = str(cloud.folder)
    command = [paths.program("cloud-api-adaptor"), cloud.driver, "--check"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)
    assert "Sanitizer" not in done.stderr, done.stderr
    return done.returncode, done.stdout


def test_a_cloud_that_cannot_be_reached_is_no_right_configuration(cloud):
    status, text = check(cloud, DEAF[cloud.driver])
    assert status == 1 and "  unknown  credentials" in text and "nothing is wrong" not in text
    last = text.splitlines()[-1]
    assert last.startswith("the check could not be finished: credentials: ") and "127.0.0.1:1" in last


def test_what_could_not_be_found_out_is_counted(cloud):
    optional = {"aws": "GetServiceQuota", "azure": "permissions", "gcp": "projects.testIamPermissions"}[cloud.driver]
    cloud.script(optional, Reply(400, b"{}"), times=None)
    status, text = check(cloud)
    unknown = text.count("  unknown  ")
    assert status == 0 and unknown, text
    assert text.endswith(f"nothing is wrong, {unknown} could not be found out\n")


def test_a_default_that_is_not_allowed_is_noted(cloud):
    """It works for pods that ask for a size: it is no mistake."""
    lists = {
        "aws": ("PODVM_INSTANCE_TYPES", "m6a.xlarge", "m6a.large"),
        "azure": ("AZURE_INSTANCE_SIZES", "Standard_DC4as_v5", "Standard_DC2as_v5"),
        "gcp": ("GCP_INSTANCE_TYPES", "n2d-standard-4", "n2d-standard-2"),
    }
    variable, allowed, default = lists[cloud.driver]
    status, text = check(cloud, {variable: allowed})
    assert status == 0 and f"{default}, the default, is not in {variable}: pods that ask for nothing are refused" in text
    assert "  note " in text and text.endswith("nothing is wrong\n")
    assert "  note " not in check(cloud, {variable: f"{allowed},{default}"})[1]
