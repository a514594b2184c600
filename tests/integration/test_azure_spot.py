# SPDX-License-Identifier: Apache-2.0
"""Spot VMs of the Azure driver: which market a pod gets, where it goes when there is no spot capacity, and the quotas of both."""

import re

import pytest

from azure_rig import cloud, driver, make_cloud  # noqa: F401 (fixtures)
from fakes.azure_operations import error
from peerpod.provider_tool import failed

TYPES = {"AZURE_INSTANCE_SIZES": "Standard_DC2as_v5,Standard_EC2as_v5"}
VM = {"token": "0f" * 16, "name": "podvm-web-01234567", "vcpus": 2, "memory": 1024}


def asked(cloud) -> list:
    """(size, is it spot) of each creation."""
    bodies = [call.json()["properties"] for call in cloud.made("create_vm")]
    return [(body["hardwareProfile"]["vmSize"], body.get("priority") == "Spot") for body in bodies]


def no_spot(cloud, code="AllocationFailed", message="no room") -> None:
    spot = lambda call: call.json()["properties"].get("priority") == "Spot"  # noqa: E731
    cloud.script("create_vm", error(409, code, message), times=None, when=spot)


@pytest.mark.parametrize(
    "option, pod, spot",
    [
        ("false", "", False),
        ("true", "", True),
        ("prefer", "", True),
        ("false", "spot", True),
        ("true", "on-demand", False),
        ("prefer", "on-demand", False),
    ],
)
def test_the_pod_goes_over_the_option(cloud, driver, option, pod, spot):
    driver.tool("create", {"AZURE_SPOT": option}, **VM, **({"market": pod} if pod else {}))
    assert asked(cloud) == [("Standard_DC2as_v5", spot)]


def test_on_demand_serves_where_spot_is_preferred_and_there_is_none(cloud, driver):
    no_spot(cloud)
    driver.tool("create", {**TYPES, "AZURE_SPOT": "prefer"}, **VM)
    assert asked(cloud) == [
        ("Standard_DC2as_v5", True),
        ("Standard_EC2as_v5", True),
        ("Standard_DC2as_v5", False),
    ]
    ranking = re.findall(r"choice: +\d\. +(\S+) +(spot|on-demand) .*?  (at most \S+|\d\.\S+)/h", driver.log)
    assert [(kind, market, price.startswith("at most ")) for kind, market, price in ranking] == [
        ("Standard_DC2as_v5", "spot", True),
        ("Standard_EC2as_v5", "spot", True),
        ("Standard_DC2as_v5", "on-demand", False),
        ("Standard_EC2as_v5", "on-demand", False),
    ]


def test_no_quota_of_spot_leads_to_on_demand(cloud, driver):
    no_spot(cloud, "OperationNotAllowed", "Operation results in exceeding approved LowPriorityCores quota.")
    driver.tool("create", {"AZURE_SPOT": "prefer"}, **VM)
    assert asked(cloud) == [("Standard_DC2as_v5", True), ("Standard_DC2as_v5", False)]


def test_spot_alone_stays_spot(cloud, driver):
    no_spot(cloud)
    refused = failed(driver.tool, "create", {**TYPES, "AZURE_SPOT": "true"}, **VM)
    assert refused.kind == "capacity" and {spot for _, spot in asked(cloud)} == {True} and cloud.inventory() == {}


def test_check_looks_at_the_quotas_of_the_markets_that_are_used(cloud, driver):
    cloud.usages["lowPriorityCores"] = [0, 10]
    cloud.usages["standardDCASv5Family"] = [60, 50]  # a quota that was lowered
    refused = failed(driver.tool, "check", {"AZURE_SPOT": "prefer"})
    assert "Standard_DC2as_v5: -10 of the cores of quota standardDCASv5Family are left, it needs 2" in refused.message
    assert "Standard_DC2as_v5: 10 cores of quota lowPriorityCores are left" in driver.log
    driver.tool("check", {"AZURE_SPOT": "true"})
    assert "standardDCASv5Family" not in driver.log
