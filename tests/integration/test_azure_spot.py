# SPDX-License-Identifier: Apache-2.0
"""Spot VMs of the Azure driver: which market a pod gets, where it goes when there is no spot capacity, and the quotas of both."""

import re

import pytest

from azure_rig import Tool, ToolError
from fakes.azure import Azure, error

TYPES = {"AZURE_INSTANCE_SIZES": "Standard_DC2as_v5,Standard_EC2as_v5"}
VM = {"token": "0f" * 16, "name": "podvm-web-01234567", "vcpus": 2, "memory": 1024}


@pytest.fixture
def cloud():
    with Azure() as running:
        yield running


@pytest.fixture
def tool(cloud):
    return Tool(cloud)


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
def test_the_pod_goes_over_the_option(cloud, tool, option, pod, spot):
    tool("create", {"AZURE_SPOT": option}, **VM, **({"market": pod} if pod else {}))
    assert asked(cloud) == [("Standard_DC2as_v5", spot)]


def test_on_demand_serves_where_spot_is_preferred_and_there_is_none(cloud, tool):
    no_spot(cloud)
    tool("create", {**TYPES, "AZURE_SPOT": "prefer"}, **VM)
    assert asked(cloud) == [
        ("Standard_DC2as_v5", True),
        ("Standard_EC2as_v5", True),
        ("Standard_DC2as_v5", False),
    ]
    ranking = re.findall(r"choice: +\d\. +(\S+) +(spot|on-demand) .*?  (at most \S+|\d\.\S+)/h", tool.log)
    assert [(kind, market, price.startswith("at most ")) for kind, market, price in ranking] == [
        ("Standard_DC2as_v5", "spot", True),
        ("Standard_EC2as_v5", "spot", True),
        ("Standard_DC2as_v5", "on-demand", False),
        ("Standard_EC2as_v5", "on-demand", False),
    ]


def test_no_quota_of_spot_leads_to_on_demand(cloud, tool):
    no_spot(cloud, "OperationNotAllowed", "Operation results in exceeding approved LowPriorityCores quota.")
    tool("create", {"AZURE_SPOT": "prefer"}, **VM)
    assert asked(cloud) == [("Standard_DC2as_v5", True), ("Standard_DC2as_v5", False)]


def test_spot_alone_stays_spot(cloud, tool):
    no_spot(cloud)
    with pytest.raises(ToolError) as refused:
        tool("create", {**TYPES, "AZURE_SPOT": "true"}, **VM)
    assert refused.value.kind == "capacity" and {spot for _, spot in asked(cloud)} == {True} and cloud.inventory() == {}


def test_check_looks_at_the_quotas_of_the_markets_that_are_used(cloud, tool):
    cloud.usages["lowPriorityCores"] = [0, 10]
    cloud.usages["standardDCASv5Family"] = [60, 50]  # a quota that was lowered
    with pytest.raises(ToolError) as refused:
        tool("check", {"AZURE_SPOT": "prefer"})
    assert "Standard_DC2as_v5: -10 of the cores of quota standardDCASv5Family are left, it needs 2" in refused.value.message
    assert "Standard_DC2as_v5: 10 cores of quota lowPriorityCores are left" in tool.log
    tool("check", {"AZURE_SPOT": "true"})
    assert "standardDCASv5Family" not in tool.log
