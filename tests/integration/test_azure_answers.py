# SPDX-License-Identifier: Apache-2.0
"""What Azure may answer, and when: operations that take their time, limits, tokens that end, errors."""

import json
import time

import pytest

from azure_rig import Driver, cloud, driver, make_cloud  # noqa: F401 (fixtures)
from fakes.azure_operations import error
from peerpod.provider_tool import create, failed, new_token

# ---- late, in parts, or not at all ----------------------------------------------------------------------------


def test_201_then_in_progress_three_times_then_succeeded(make_cloud):
    """The VM is not shown at first: only its operation tells that it is coming."""
    cloud = make_cloud(ticks=99)
    driver = Driver(cloud)
    cloud.hidden.add("podvm-web-01234567")
    looks = []

    def progress(call):
        looks.append(call)
        if len(looks) == 3:
            cloud.nic_ticks = 0
            cloud.hidden.clear()

    cloud.nic_ticks = 10**6
    cloud.script("get_operation", progress, times=None)
    made = create(driver)
    assert made["addresses"] and len(looks) >= 3
    assert cloud.count("create_vm") == 1


def test_failed_with_zonal_allocation_failed_goes_to_the_next_zone(cloud, driver):
    cloud.fail_creation("ZonalAllocationFailed", when=lambda body: body["zones"] == ["1"])
    create(driver, {"AZURE_ZONES": "1,2"})
    assert [call.json()["zones"] for call in cloud.made("create_vm")] == [["1"], ["2"]]
    assert {kind: len(names) for kind, names in cloud.inventory().items()} == {"vm": 1, "nic": 1, "disk": 1}


def test_429_with_retry_after_2_waits_as_told(cloud, driver):
    throttled = error(429, "TooManyRequests", "slow down", {"Retry-After": "2"})
    cloud.script("create_vm", throttled)
    create(driver)
    first, second = cloud.made("create_vm")
    assert second.time - first.time >= 1.9


@pytest.mark.parametrize("headers", [{"retry-after-ms": "1500"}, {"x-ms-retry-after-ms": "1500"}])
def test_retry_after_in_milliseconds_counts(cloud, driver, headers):
    cloud.script("list_vms", error(429, "TooManyRequests", "slow down", headers))
    assert failed(driver.tool, "find", token=new_token()).kind == "gone"
    first, second = cloud.made("list_vms")
    assert 1.4 <= second.time - first.time < 10


def test_an_expired_token_is_renewed_once(cloud, driver):
    cloud.script("list_vms", error(401, "ExpiredAuthenticationToken", "The access token expiry UTC time is earlier."))
    assert driver.tool("list") == []
    assert cloud.count("token") == 2
    cloud.script("list_nics", error(401, "InvalidAuthenticationToken", "no"), times=2)
    refused = failed(driver.tool, "list")
    assert refused.kind == "denied" and "InvalidAuthenticationToken: no (HTTP 401" in refused.message
    assert cloud.count("token") == 4


def test_a_vm_that_is_deleted_meanwhile_is_no_success(make_cloud):
    cloud = make_cloud(ticks=99, nic_ticks=99)
    driver = Driver(cloud)

    def vanish(call):
        with cloud.lock:
            if cloud.count("list_nics") == 2 and cloud.vms:
                cloud.remove("podvm-web-01234567")
                cloud.operations.clear()

    cloud.after_call = vanish
    refused = failed(create, driver, seconds=40)
    assert refused.kind == "retry" and "is not there any more: somebody deleted it" in refused.message
    assert cloud.inventory() == {}


def test_an_operation_that_is_forgotten_while_the_vm_succeeds_is_no_failure(make_cloud):
    cloud = make_cloud(host_ticks=10**6, ticks=2)
    driver = Driver(cloud)
    cloud.script("get_operation", error(404, "NotFound", "forgotten"), times=None)
    assert create(driver)["addresses"] == ["10.99.0.4"]  # without a MAC: the VM says that it is ready


def test_a_nic_without_address_twice_is_waited_for(make_cloud):
    cloud = make_cloud(nic_ticks=2)
    assert create(Driver(cloud))["addresses"] == ["10.99.0.4"]
    assert cloud.count("list_nics") == 3


def test_a_location_without_an_operation_url_will_do(make_cloud):
    cloud = make_cloud(location_only=True)
    driver = Driver(cloud)
    made = create(driver)
    driver.tool("delete", id=made["id"])
    assert cloud.inventory() == {}


def test_wait_addresses_waits_for_a_host_and_tells_a_failure(make_cloud):
    cloud = make_cloud(nic_ticks=2, host_ticks=3)
    driver = Driver(cloud)
    cloud.fail_creation("OSProvisioningTimedOut", "OS Provisioning did not finish", ticks=10**6)
    token = new_token()
    failed(create, driver, token=token, seconds=1, more={})
    assert cloud.inventory() == {}


def test_waits_end_at_their_deadline(make_cloud):
    cloud = make_cloud(nic_ticks=10**6, ticks=10**6)
    driver = Driver(cloud)
    began = time.monotonic()
    refused = failed(create, driver, seconds=3)
    assert refused.kind == "timeout" and time.monotonic() - began < 15
    assert cloud.inventory() == {}
    cloud.script("list_vms", error(429, "TooManyRequests", "slow down", {"Retry-After": "30"}), times=None)
    began = time.monotonic()
    assert failed(driver.tool, "find", token=new_token(), seconds=2).kind in ("throttled", "timeout")
    assert time.monotonic() - began < 5


# ---- errors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply, kind, text",
    [
        (
            error(403, "AuthorizationFailed", "The client 'x' does not have authorization to perform action 'a/write'"),
            "denied",
            "azure-role.json",
        ),
        (error(403, "RequestDisallowedByPolicy", "policy p"), "denied", "a policy of the subscription forbids it"),
        (error(409, "MissingSubscriptionRegistration", "not registered"), "invalid", "az provider register"),
        (error(400, "InvalidParameter", "bad"), "invalid", "InvalidParameter: bad (HTTP 400, request request-InvalidParameter)"),
        (error(404, "ImageNotFound", "no image"), "invalid", "check AZURE_IMAGE_ID"),
        (error(404, "NotFound", "no subnet"), "invalid", "NotFound: no subnet"),
        (error(409, "SkuNotAvailable", "not here"), "capacity", "no room for any of the 1 offerings that fit"),
        (error(400, "QuotaExceeded", "no"), "quota", "ask Microsoft for a higher quota"),
    ],
    ids=lambda value: "",
)
def test_a_refusal_is_told_with_code_request_and_what_to_do(cloud, driver, reply, kind, text):
    cloud.script("create_vm", reply, times=None)
    refused = failed(create, driver, seconds=20)
    assert refused.kind == kind and text in refused.message
    assert f"create VM podvm-web-01234567: {json.loads(reply.body)['error']['code']}: " in refused.message
    assert cloud.inventory() == {}


def test_a_passing_fault_is_tried_again_and_then_told(cloud, driver):
    cloud.script("create_vm", error(503, "ServiceUnavailable", "busy"))
    create(driver)
    cloud.script("create_vm", error(500, "InternalServerError", "broken"), times=None)
    refused = failed(create, driver, name="podvm-b-1", seconds=2)
    assert refused.kind == "retry" and "InternalServerError: broken (HTTP 500" in refused.message
    assert len(cloud.inventory()["vm"]) == 1


def test_a_failed_creation_tells_the_nested_reason(cloud, driver):
    inner = {"code": "OSProvisioningInternalError", "message": "OS Provisioning failed for VM"}
    cloud.fail_creation("Conflict", json.dumps({"error": inner}))
    refused = failed(create, driver, {})
    assert refused.kind == "invalid"
    assert "VM podvm-web-01234567 failed: Conflict/OSProvisioningInternalError: OS Provisioning failed for VM" in refused.message
    assert cloud.inventory() == {}


def test_a_crashed_and_failed_creation_tells_the_reason_from_the_instance_view(make_cloud):
    """Without the operation's URL."""
    cloud = make_cloud(host_ticks=10**6, ticks=10**6)
    driver = Driver(cloud)
    token = new_token()
    cloud.fail_creation("VMStartTimedOut", "Virtual machine failed to start", ticks=4)
    assert driver.killed_after(6, "create", token=token, name="podvm-web-01234567")
    assert len(cloud.inventory()["vm"]) == 1
    refused = failed(create, driver, token=token)
    assert refused.kind == "invalid" and "VMStartTimedOut: Virtual machine failed to start" in refused.message
    assert cloud.inventory() == {}
