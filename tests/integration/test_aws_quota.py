# SPDX-License-Identifier: Apache-2.0
"""The quota rows of the AWS driver's check: what there is, less what runs, against the smallest of the types."""

import re

import pytest

from aws_rig import Driver
from fakes import ec2
from peerpod.provider_tool import create, failed

STANDARD, SPOT = "L-1216C47A", "L-34B43A08"


@pytest.fixture
def cloud():
    with ec2.Ec2(page_max=2) as running:
        yield running


@pytest.fixture
def driver(cloud):
    return Driver(cloud)


def limit(cloud, code, vcpus) -> None:
    cloud.quotas[code] = (cloud.quotas[code][0], vcpus)


def rows(driver) -> list:
    return re.findall(r"(right|WRONG|unknown) +quota +(.*)", driver.log)


def test_what_runs_is_counted_by_market_through_all_pages(cloud, driver):
    for instance_type, market in [("m6a.large", "on-demand")] * 2 + [("m6a.2xlarge", "on-demand"), ("m6a.xlarge", "spot")]:
        create(driver, {"PODVM_INSTANCE_TYPE": instance_type}, market=market)
    gone = create(driver)
    driver.tool("delete", id=gone["id"])
    driver.tool("check", {"AWS_SPOT": "prefer"})
    assert rows(driver) == [
        ("right", f"{cloud.quotas[STANDARD][0]} ({STANDARD}): 64 vCPUs, 12 in use"),
        ("right", f"{cloud.quotas[SPOT][0]} ({SPOT}): 32 vCPUs, 4 in use"),
    ]


def test_a_quota_with_room_left_for_none_of_the_types_is_wrong(cloud, driver):
    limit(cloud, STANDARD, 5)
    create(driver)
    types = {"PODVM_INSTANCE_TYPES": "m6a.2xlarge,m6a.xlarge,m6a.large"}
    driver.tool("check", types)
    assert rows(driver) == [("right", f"{cloud.quotas[STANDARD][0]} ({STANDARD}): 5 vCPUs, 2 in use")]
    create(driver)
    error = failed(driver.tool, "check", types)
    assert error.kind == "quota" and f"({STANDARD}): 5 vCPUs, 4 in use, one m6a.large needs 2" in error.message


def test_an_instance_on_a_host_of_the_accounts_own_is_not_counted(cloud, driver):
    made = create(driver)
    shown = cloud._describe_vm(cloud.vms[made["id"]])
    cloud._describe_vm = lambda vm: {**shown, "Placement": {**shown["Placement"], "Tenancy": "host"}}
    driver.tool("check")
    assert rows(driver)[0][1].endswith(": 64 vCPUs, 0 in use")
