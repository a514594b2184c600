# SPDX-License-Identifier: Apache-2.0
"""What the check of the GCP driver tells."""

import json
import re

import pytest

from fakes.gcp_rules import Image
from gcp_rig import cloud, driver, inserts  # noqa: F401 (fixtures)
from peerpod.provider_tool import failed


def test_check_finds_everything_right_and_makes_nothing(cloud, driver):
    driver.tool("check", {"TAGS": "env=prod", "USE_PUBLIC_IP": "true"})
    for row in (
        "credentials",
        "GCP_PROJECT_ID",
        "GCP_ZONE",
        "PODVM_IMAGE_NAME",
        "GCP_NETWORK",
        "machine types",
        "GCP_DISK_TYPE",
        "TAGS",
        "quotas",
        "permissions",
    ):
        assert re.search(rf"right\s+{row}", driver.log), f"{row}:\n{driver.log}"
    assert not inserts(cloud) and {
        call.method for call in cloud.calls if call.operation not in ("token", "projects.testIamPermissions")
    } == {"GET"}


@pytest.mark.parametrize(
    "environment, parts",
    [
        ({"GCP_PROJECT_ID": "nowhere-1"}, ["GCP_PROJECT_ID: projects.get: notFound", "gcloud projects list"]),
        ({"GCP_ZONE": "us-central1-x"}, ["GCP_ZONE: zones.get: notFound", "gcloud compute zones list"]),
        ({"PODVM_IMAGE_NAME": "missing"}, ["PODVM_IMAGE_NAME: image projects/demo-proj/global/images/missing: images.get: notFound"]),
        ({"PODVM_IMAGE_NAME": "plain"}, ["lacks the guest OS feature SEV_SNP_CAPABLE"]),
        ({"GCP_NETWORK": "missing"}, ["GCP_NETWORK: networks.get: notFound", "gcloud compute networks list"]),
        ({"GCP_NETWORK": "custom"}, ["is of custom mode and has no subnetwork"]),
        ({"GCP_SUBNETWORK": "missing"}, ["GCP_SUBNETWORK: subnetworks.get: notFound"]),
        ({"GCP_SUBNETWORK": "podvm"}, ["is in network custom, not in default"]),
        ({"GCP_SECOND_NETWORK": "default"}, ["it is that of the first interface"]),
        ({"GCP_DISK_TYPE": "pd-missing"}, ["GCP_DISK_TYPE: diskTypes.get: notFound"]),
        (
            {"GCP_INSTANCE_TYPES": "n2d-standard-2,n2d-standard-99,e2-medium"},
            ["n2d-standard-99: the zones have none", "e2-medium cannot be a confidential VM"],
        ),
        ({"GCP_MIN_CPU_PLATFORM": "AMD Turin"}, ["has no CPU platform AMD Turin"]),
        ({"TAGS": "env=missing"}, ['tag key "env" has no value "missing"']),
        ({"TAGS": "missing=x"}, ['project demo-proj has no tag key "missing"']),
    ],
)
def test_check_names_what_is_wrong_and_how_to_mend_it(cloud, driver, environment, parts):
    cloud.images.append(Image("plain", features=("UEFI_COMPATIBLE",)))
    error = failed(driver.tool, "check", environment)
    for part in parts:
        assert part in error.message + driver.log, error.message + driver.log
    assert error.kind == "invalid" and not inserts(cloud)


def test_check_names_quotas_and_permissions_that_are_missing(cloud, driver):
    cloud.quotas["N2D_CPUS"] = (5, 4)
    cloud.denied = {"compute.instances.delete", "compute.disks.delete"}
    error = failed(driver.tool, "check")
    assert "N2D_CPUS in us-central1: 4 of 5 used, one instance needs 2 more" in error.message
    assert "2 are missing: compute.disks.delete, compute.instances.delete" in error.message
    assert "gcp-role.json" in driver.log


def test_check_without_good_credentials_says_only_that(cloud, driver):
    account = cloud.service_account(private_key_id="other")
    error = failed(driver.tool, "check", {"GCP_CREDENTIALS": json.dumps(account)})
    assert error.kind == "denied" and "credentials: projects.get: token of the service account: invalid_grant" in error.message
