# SPDX-License-Identifier: Apache-2.0
"""The AWS driver's check: each right that is missing has a row that says how to mend it; pages are followed to the end."""

import re

import pytest

from aws_rig import Driver
from fakes import ec2
from peerpod.provider_tool import create, failed


@pytest.fixture
def cloud():
    with ec2.Ec2(page_max=1) as running:
        yield running


@pytest.fixture
def driver(cloud):
    return Driver(cloud)


def row(driver, what, verdict="WRONG") -> tuple:
    """(what was found, how to mend it)"""
    found = re.search(rf"^ *{verdict} +{what} +(.*)\n(?: +to mend: (.*))?", driver.log, re.MULTILINE)
    assert found, driver.log
    return found.groups()


def test_zones_and_types_are_read_through_all_pages(driver):
    driver.tool("check", {"PODVM_INSTANCE_TYPES": "m6a.2xlarge,m6a.xlarge,m6a.large"})
    assert len(re.findall(r"right +zones +m6a\.\w+ is offered in us-east-2a$", driver.log, re.MULTILINE)) == 3


@pytest.mark.parametrize(
    "action, what",
    [
        ("DescribeInstances", "credentials"),
        ("DescribeImages", "PODVM_AMI_ID"),
        ("DescribeSubnets", "AWS_SUBNET_ID"),
        ("DescribeSecurityGroups", "AWS_SG_IDS"),
        ("DescribeInstanceTypes", "instance types"),
        ("DescribeInstanceTypeOfferings", "zones"),
        ("DescribeNetworkInterfaces", "leftovers"),
        ("DescribeAddresses", "leftovers"),
        ("DescribeVolumes", "leftovers"),
        ("RunInstances", "launch"),
    ],
)
def test_a_right_that_is_missing_is_told_with_the_policy(cloud, driver, action, what):
    create(driver)  # what was learned then does not hide it
    cloud.denied.add(action)
    assert failed(driver.tool, "check").kind == "denied"
    found, remedy = row(driver, what)
    assert f"{action}: UnauthorizedOperation: " in found and remedy == "compare the policy with docs/providers/aws-policy.json"


def test_a_type_that_does_not_exist_is_named(driver):
    failed(driver.tool, "check", {"PODVM_INSTANCE_TYPES": "m6a.large,m6a.huge"})
    assert row(driver, "instance types") == (
        "there is no instance type m6a.huge in this region",
        "correct PODVM_INSTANCE_TYPE and PODVM_INSTANCE_TYPES",
    )


def test_a_slash_at_the_end_of_the_metadata_services_url_does_no_harm(cloud, driver):
    cloud.give_place()
    slash = {"AWS_REGION": None, "AWS_EC2_METADATA_SERVICE_ENDPOINT": cloud.url + "/"}
    assert driver.tool("list", slash) == []


@pytest.mark.parametrize(
    "image, found",
    [
        ({"state": "pending"}, "image ami-00000001 is pending, not available"),
        ({"architecture": "arm64"}, "image ami-00000001 is for arm64: SEV-SNP needs x86_64"),
        ({"boot_mode": "legacy-bios"}, "image ami-00000001 boots by BIOS: SEV-SNP needs UEFI"),
        ({"boot_mode": None}, "image ami-00000001 has no boot mode: SEV-SNP needs UEFI (register it with --boot-mode uefi)"),
    ],
)
def test_an_image_that_cannot_be_launched_is_told_before_ec2_is_asked_to(cloud, driver, image, found):
    cloud.images["ami-00000001"] = ec2.Image("ami-00000001", **image)
    failed(driver.tool, "check", {"PODVM_AMI_ID": "ami-00000001"})
    assert row(driver, "PODVM_AMI_ID")[0].startswith(found) and cloud.count("RunInstances") == 0
