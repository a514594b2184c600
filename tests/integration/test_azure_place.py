# SPDX-License-Identifier: Apache-2.0
"""Where the Azure driver makes VMs when the options do not say: where this machine is, by its metadata service."""

import re

import pytest

from azure_rig import driver  # noqa: F401 (a fixture)
from fakes.azure import Azure
from fakes.azure_names import GROUP, REGION, SUBSCRIPTION
from fakes.server import Drop, Reply
from peerpod.provider_tool import failed

UNSET = {"AZURE_SUBSCRIPTION_ID": None, "AZURE_REGION": None, "AZURE_RESOURCE_GROUP": None}
VM = {"token": "0f" * 16, "name": "podvm-web-01234567", "pod": "web", "cluster": "c1", "node": "n1", "sandbox": "s1"}


class Machine(Azure):
    """An Azure in which the driver runs on a VM."""

    machine = {
        "location": REGION,
        "subscriptionId": SUBSCRIPTION,
        "resourceGroupName": GROUP,
        "zone": "1",
        "name": "aks-pool-0",
        "vmSize": "Standard_D2as_v5",
    }

    def operation(self, method, path, query, body):
        if (method, path) == ("GET", "/metadata/instance/compute"):
            return "imds_compute"
        return super().operation(method, path, query, body)

    def handle(self, call):
        if call.operation != "imds_compute":
            return super().handle(call)
        if call.headers.get("Metadata") != "true" or call.one("api-version") != "2021-01-01":
            return Reply(400, {"error": "Bad request"})
        return Reply(200, self.machine)


@pytest.fixture
def cloud():
    with Machine() as running:
        yield running


def test_what_is_not_set_is_that_of_this_machine(cloud, driver):
    made = driver.tool("create", UNSET, **VM)
    assert f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/" in made["id"] and cloud.count("imds_compute") == 1
    assert re.search(rf"AZURE_REGION \(-region\) is not set: {REGION}, that of this machine", driver.log)
    (body,) = [call.json() for call in cloud.made("create_vm")]
    assert body["location"] == REGION
    driver.tool("delete", UNSET, id=made["id"])
    assert cloud.inventory() == {}


def test_what_is_set_stays_and_nobody_is_asked_where_all_is(cloud, driver):
    driver.tool("create", **VM)
    assert cloud.count("imds_compute") == 0
    cloud.machine = {**cloud.machine, "resourceGroupName": "MC_nodes", "location": "westeurope"}
    assert driver.tool("list", {"AZURE_SUBSCRIPTION_ID": None})[0]["name"] == VM["name"] and cloud.count("imds_compute") == 1


@pytest.mark.parametrize("fault", [Reply(429), Reply(410), Reply(500), Reply(503)], ids=lambda fault: str(fault.status))
def test_a_metadata_service_that_comes_up_is_waited_for(cloud, driver, fault):
    cloud.script("imds_compute", fault, times=2)
    assert driver.tool("list", UNSET) == [] and cloud.count("imds_compute") == 3


@pytest.mark.parametrize(
    "fault, reason",
    [
        (Reply(404), "HTTP 404"),
        (Reply(200, {"location": REGION}), 'its "subscriptionId" is ""'),
        (Reply(200, "<html>"), "instance metadata service"),
        (Reply(200, b"{" + b" " * (1 << 20)), "more than"),
        (Drop("before"), "GET 127.0.0.1"),
    ],
    ids=["not there", "without a subscription", "no JSON", "too long", "nobody"],
)
def test_a_machine_that_does_not_tell_is_told_with_what_to_set(cloud, driver, fault, reason):
    cloud.script("imds_compute", fault, times=None)
    refused = failed(driver.tool, "list", {"AZURE_REGION": None, "AZURE_RESOURCE_GROUP": None})
    assert refused.kind == "invalid" and reason in refused.message
    told = "not set, and not told by this machine: AZURE_REGION (-region), AZURE_RESOURCE_GROUP (-resourcegroup) ("
    assert told in refused.message and cloud.count("imds_compute") == 1


def test_a_slash_at_the_end_of_the_metadata_services_url_does_no_harm(cloud, driver):
    managed = {"AZURE_CLIENT_SECRET": None, "AZURE_CLIENT_ID": None, "AZURE_TENANT_ID": None}
    assert driver.tool("list", {**UNSET, **managed, "AZURE_POD_IDENTITY_AUTHORITY_HOST": cloud.url + "/"}) == []
    assert cloud.count("imds_compute") == cloud.count("imds_token") == 1


def test_a_list_has_the_addresses(driver):
    made = driver.tool("create", **VM)
    (listed,) = driver.tool("list")
    assert listed["addresses"] == made["addresses"] and made["addresses"]
