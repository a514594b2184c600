# SPDX-License-Identifier: Apache-2.0
"""What Google may answer: no room, too fast, not allowed."""

import re

import pytest

from fakes.gcp_rules import refusal
from gcp_rig import ZONES, cloud, driver, inserts, request_ids, tried  # noqa: F401 (fixtures)
from peerpod.provider_tool import Served, create, failed, new_token


@pytest.mark.parametrize("spot", ["true", "prefer"])
def test_spot_and_what_is_tried_when_there_is_none(cloud, driver, spot):
    cloud.full(spot=True)
    if spot == "true":
        assert failed(create, driver, {"GCP_SPOT": spot}).kind == "capacity"
        return
    create(driver, {"GCP_SPOT": spot})
    first, second = cloud.bodies("instances.insert")
    assert first["scheduling"] == {
        "automaticRestart": False,
        "onHostMaintenance": "TERMINATE",
        "provisioningModel": "SPOT",
        "instanceTerminationAction": "DELETE",
    }
    assert "provisioningModel" not in second["scheduling"]


def test_quota_errors_skip_the_family(cloud, driver):
    quota = {
        "quotaInfo": {
            "metricName": "compute.googleapis.com/n2d_cpus",
            "limitName": "N2D-CPUS-per-project-region",
            "limit": 24,
            "dimensions": {"region": "us-central1"},
        }
    }
    cloud.fail_operation(
        "instances.insert",
        "QUOTA_EXCEEDED",
        "Quota 'N2D_CPUS' exceeded.  Limit: 24.0",
        403,
        None,
        lambda body, zone: "/n2d-" in body["machineType"],
        [quota],
    )
    types = {"GCP_CONFIDENTIAL_TYPE": "SEV", "GCP_INSTANCE_TYPES": "n2d-standard-2,n2d-standard-4,c2d-standard-2", "GCP_ZONE": ZONES}
    create(driver, types, vcpus=2, memory=8192)
    families = [kind.split("-")[0] for kind, _ in tried(cloud)]
    assert families[-1] == "c2d" and families.count("n2d") <= 1
    error = failed(create, driver, name="podvm-other")
    assert error.kind == "quota"
    for part in (
        "QUOTA_EXCEEDED: Quota 'N2D_CPUS' exceeded",
        "limit N2D-CPUS-per-project-region of compute.googleapis.com/n2d_cpus: 24, region us-central1",
    ):
        assert part in error.message


def test_no_quota_in_a_region_leads_to_another_region(cloud, driver):
    refused = ("instances.insert", "QUOTA_EXCEEDED", "Quota 'N2D_CPUS' exceeded.", 403, None)
    cloud.fail_operation(*refused, lambda _body, zone: zone.startswith("us-central1"))
    verbs = "".join(f"create token={new_token()} name=podvm-{i}\n" for i in range(2))
    driver.tool("serve", {"GCP_ZONE": f"{ZONES},europe-west1-b"}, stdin=verbs)
    # The quota is that of both zones of the region, and is known when the second pod comes.
    assert [zone for _, zone in tried(cloud)] == ["us-central1-a", "europe-west1-b", "europe-west1-b"]
    assert "refused a short while ago (quota)" in driver.log


def test_what_was_refused_is_not_asked_for_again_for_a_while(cloud, driver):
    cloud.full(zone="us-central1-a")
    verbs = "".join(f"create token={new_token()} name=podvm-{i}\n" for i in range(2))
    driver.tool("serve", {"GCP_ZONE": ZONES}, stdin=verbs)
    assert [zone for _, zone in tried(cloud)] == ["us-central1-a", "us-central1-b", "us-central1-b"]
    assert "refused a short while ago (capacity)" in driver.log


def no_address(cloud, region="us-central1"):
    """The subnetwork of this region is full."""
    text = f"IP space of 'projects/demo-proj/regions/{region}/subnetworks/default' is exhausted."
    cloud.fail_operation("instances.insert", "IP_SPACE_EXHAUSTED", text, 400, None, lambda _body, zone: zone.startswith(region))


def test_a_full_subnetwork_is_found_out_once_and_not_held_against_the_offering(cloud, driver):
    no_address(cloud)
    served = Served(driver, {"GCP_ZONE": ZONES, "GCP_INSTANCE_TYPES": "n2d-standard-2,n2d-standard-4"})
    refused = served.ask(f"create token={new_token()} name=podvm-1 vcpus=2 memory=4096")
    assert refused["error"] == "capacity"
    assert re.fullmatch(
        r"n2d-standard-2 in us-central1-a: IP_SPACE_EXHAUSTED: IP space of \S+ is exhausted. "
        r"\(HTTP 400, operation operation-\S+\); the subnetwork has no address left: take a larger one",
        refused["message"],
    )
    assert len(inserts(cloud)) == 1 and cloud.inventory() == {}
    cloud.dooms.clear()  # another pod ends
    assert served.ask(f"create token={new_token()} name=podvm-2 vcpus=2 memory=4096")["id"] == "podvm-2"
    served.end()
    assert tried(cloud) == [("n2d-standard-2", "us-central1-a")] * 2


def test_a_full_subnetwork_leads_to_another_region(cloud, driver):
    no_address(cloud)
    zones = {"GCP_ZONE": "us-central1-c,us-central1-a,europe-west1-b,us-central1-b"}
    create(driver, zones)
    assert tried(cloud) == [("n2d-standard-2", "us-central1-c"), ("n2d-standard-2", "europe-west1-b")]
    assert "the subnetwork has no address left: take a larger one; another region is tried" in driver.log


def test_what_had_no_room_is_not_tried_again_after_a_full_subnetwork(cloud, driver):
    no_address(cloud)
    cloud.full(zone="europe-west1-b")
    types = {"GCP_ZONE": "europe-west1-b,us-central1-a", "GCP_INSTANCE_TYPES": "n2d-standard-2,n2d-standard-4"}
    error = failed(create, driver, types, vcpus=2, memory=4096)
    assert error.kind == "capacity" and "ZONE_RESOURCE_POOL_EXHAUSTED" in error.message
    assert tried(cloud) == [("n2d-standard-2", "europe-west1-b"), ("n2d-standard-2", "us-central1-a"), ("n2d-standard-4", "europe-west1-b")]


def test_no_room_anywhere_says_so(cloud, driver):
    cloud.full()
    error = failed(create, driver, {"GCP_ZONE": ZONES})
    assert error.kind == "capacity"
    assert re.search(
        r"no room for any of the 2 offerings.*ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS: The zone does not have enough resources "
        r"available to fulfill the request. \(HTTP 503, operation operation-\S+, resource_availability, zone any\)",
        error.message,
    )
    assert cloud.inventory() == {}


@pytest.mark.parametrize("reply", [(403, "rateLimitExceeded"), (429, "rateLimitExceeded"), (403, "userRateLimitExceeded")])
def test_throttled_calls_wait_as_told_and_succeed(cloud, driver, reply):
    cloud.script("instances.insert", refusal(*reply, headers={"Retry-After": "1"}))
    create(driver)
    first, second = inserts(cloud)
    assert second.time - first.time >= 1 and len(set(request_ids(cloud))) == 1


@pytest.mark.parametrize("status, reason", [(500, "internalError"), (502, "backendError"), (503, "backendError"), (504, "deadline")])
def test_passing_faults_are_sent_again_with_the_same_request(cloud, driver, status, reason):
    cloud.script("instances.insert", refusal(status, reason))
    create(driver)
    assert len(inserts(cloud)) == 2 and len(set(request_ids(cloud))) == 1


def test_done_with_an_error_and_no_http_status_is_a_failure(cloud, driver):
    cloud.fail_operation("instances.insert", "PERMISSIONS_ERROR", "Required 'compute.images.useReadOnly' permission", None)
    error = failed(create, driver)
    assert error.kind == "denied" and "PERMISSIONS_ERROR: Required 'compute.images.useReadOnly' permission (operation " in error.message


def test_denied_is_told_with_the_reason_and_what_to_compare(cloud, driver):
    cloud.denied = {"compute.instances.create"}
    error = failed(create, driver)
    assert error.kind == "denied"
    assert "instances.insert: forbidden: Required 'compute.instances.create' permission" in error.message
    assert "(HTTP 403); compare the role with docs/providers/gcp-role.json (request " in error.message


def test_an_api_that_is_not_enabled_is_named(cloud, driver):
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED", "domain": "googleapis.com"}]
    cloud.script("instances.insert", refusal(403, "forbidden", "Compute Engine API has not been used", details=details))
    error = failed(create, driver)
    assert (
        error.kind == "denied"
        and "SERVICE_DISABLED: Compute Engine API has not been used (HTTP 403); enable the API in the project" in error.message
    )


def test_a_token_refused_once_is_renewed_and_the_call_succeeds(cloud, driver):
    cloud.script("instances.insert", lambda call: cloud.refuse_tokens())
    create(driver)
    assert cloud.count("token") == 2 and [call.status for call in inserts(cloud)] == [401, 200]
    cloud.script("instances.insert", refusal(401, "authError"), times=None)
    error = failed(create, driver, name="podvm-other")
    assert error.kind == "denied" and "authError: scripted (HTTP 401)" in error.message and len(inserts(cloud)) == 4


def test_waits_end_at_their_deadline(cloud, driver):
    cloud.script("instances.aggregatedList", refusal(429, "rateLimitExceeded", headers={"Retry-After": "9"}), times=None)
    error = failed(driver.tool, "find", token=new_token(), seconds=2)
    assert error.kind in ("throttled", "timeout")


def test_user_data_over_the_limit_is_refused_before_any_call(cloud, driver, tmp_path):
    (tmp_path / "data").write_bytes(b"x" * 196609)
    error = failed(create, driver, user_data=tmp_path / "data")
    assert error.kind == "invalid" and error.message.startswith(
        "the user data has 196609 bytes, 1 more than the 196608 that Compute Engine takes"
    )
    assert not cloud.calls
    (tmp_path / "data").write_bytes(b"x" * 196608)
    create(driver, user_data=tmp_path / "data")
