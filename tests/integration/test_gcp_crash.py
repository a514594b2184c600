# SPDX-License-Identifier: Apache-2.0
"""One instance or none, and nothing left over, wherever a process of the GCP driver dies."""

import re

import pytest

from fakes.server import Drop
from gcp_rig import NOTHING, ZONES, cloud, driver, inserts, request_ids  # noqa: F401 (fixtures)
from peerpod.provider_tool import create, failed, new_token


def test_create_with_the_same_token_gives_the_same_instance(cloud, driver, tmp_path):
    token = new_token()
    first = create(driver, token=token)
    (tmp_path / "other").write_text("#cloud-config\n# with another key\n")
    assert create(driver, token=token, user_data=tmp_path / "other")["id"] == first["id"]
    assert len(inserts(cloud)) == 1


def test_a_connection_cut_after_the_insert_makes_no_second_instance(cloud, driver):
    cloud.script("instances.insert", Drop("after"))
    made = create(driver)
    assert len(inserts(cloud)) == 2 and len(set(request_ids(cloud))) == 1
    assert [vm.name for vm in cloud.live()] == [made["id"]]


def test_a_crash_after_the_insert_and_other_user_data_give_the_same_instance(cloud, driver, tmp_path):
    """The list does not show it yet: the requestId and the name are what keep it one."""
    token = new_token()
    first = create(driver, token=token)
    cloud.script("instances.list", NOTHING)
    (tmp_path / "other").write_text("#cloud-config\n# with another key\n")
    again = create(driver, token=token, user_data=tmp_path / "other")
    assert again["id"] == first["id"] and len(cloud.live()) == 1
    assert len(inserts(cloud)) == 2 and len(set(request_ids(cloud))) == 1


def test_a_name_that_is_taken_by_ourselves_is_found_when_the_request_is_forgotten(cloud, driver):
    token = new_token()
    first = create(driver, token=token)
    cloud.requests.clear()  # as an hour later
    cloud.script("instances.list", NOTHING)
    assert create(driver, token=token)["id"] == first["id"] and len(cloud.live()) == 1


def test_a_name_that_somebody_else_has_gets_a_tail(cloud, driver):
    cloud.make_vm("podvm-web-01234567")
    token = new_token()
    made = create(driver, token=token)
    assert re.fullmatch(r"podvm-web-01234567-[0-9a-f]{8}", made["id"])
    assert create(driver, token=token)["id"] == made["id"]
    driver.tool("delete", id=made["id"])
    assert [vm.name for vm in cloud.live()] == ["podvm-web-01234567"]


def test_a_disk_that_is_left_with_the_name_makes_room(cloud, driver):
    token = new_token()
    cloud.make_disk("podvm-web-01234567", labels={"peerpod-token": token})
    assert create(driver, token=token)["id"] == "podvm-web-01234567"
    cloud.make_disk("podvm-api-01234567")
    assert re.fullmatch(r"podvm-api-01234567-[0-9a-f]{8}", create(driver, name="podvm-api-01234567")["id"])


@pytest.mark.parametrize("meanwhile", [0, 60, 7200], ids=["at-once", "a-minute-later", "when-requests-are-forgotten"])
def test_a_token_of_an_instance_that_ended_makes_a_new_one(cloud, driver, meanwhile):
    token = new_token()
    first = create(driver, token=token)
    (old,) = cloud.live()
    driver.tool("delete", id=first["id"])
    cloud.age_operations(meanwhile)
    create(driver, token=token)
    (new,) = cloud.live()
    assert new.number != old.number


def test_one_that_ended_by_itself_makes_room_for_another(cloud, driver):
    token = new_token()
    first = create(driver, token=token)
    cloud.lose_vm(first["id"], "TERMINATED")
    second = create(driver, token=token)
    assert second["addresses"] and second["addresses"] != first["addresses"] and len(cloud.live()) == 1


def test_an_operation_of_before_that_failed_is_not_the_answer(cloud, driver):
    token = new_token()
    cloud.fail_operation("instances.insert", "ZONE_RESOURCE_POOL_EXHAUSTED", status=503)
    assert failed(create, driver, token=token).kind == "capacity"
    cloud.age_operations(60)
    create(driver, token=token)
    assert len(cloud.live()) == 1 and len(set(request_ids(cloud))) == 2


def test_a_passing_fault_of_the_operation_is_asked_for_again(cloud, driver):
    cloud.fail_operation("instances.insert", "INTERNAL_ERROR", leaves_disk=True)
    create(driver)
    assert len(set(request_ids(cloud))) == 2
    assert cloud.inventory() == {"instances": ["podvm-web-01234567"], "disks": ["podvm-web-01234567"]}


def test_a_creation_that_fails_half_way_leaves_nothing(cloud, driver):
    for n, leaves_disk in enumerate((False, True)):
        cloud.fail_operation("instances.insert", "INVALID_USAGE", "no such thing", leaves_disk=leaves_disk)
        error = failed(create, driver, name=f"podvm-{n}")
        assert error.kind == "invalid" and "INVALID_USAGE: no such thing (operation operation-" in error.message
        assert cloud.inventory() == {}


def test_an_instance_without_the_protection_asked_for_is_not_used(cloud, driver):
    cloud.tee_shown = "SEV"
    error = failed(create, driver)
    assert error.kind == "unsupported" and "was made with SEV instead of SEV_SNP, so it is not used" in error.message
    assert cloud.inventory() == {}


def test_a_creation_that_ran_out_of_time_is_undone(cloud, driver):
    cloud.steps, cloud.operation_seconds = (("PROVISIONING", False),) * 99, 600
    error = failed(create, driver, seconds=1)
    assert error.kind == "timeout" and cloud.inventory() == {}


def test_an_insert_of_unknown_fate_says_so(cloud, driver):
    cloud.script("instances.insert", Drop("before"), times=None)
    error = failed(create, driver, seconds=5)
    assert (
        error.kind in ("retry", "timeout")
        and "whether an instance was made is not known; if so, it is podvm-web-01234567 in zone us-central1-a" in error.message
    )


@pytest.mark.parametrize("zone", ["us-central1-a", ZONES])
def test_killed_after_each_request_of_a_creation_there_is_one_instance(cloud, driver, zone):
    environment = {"GCP_ZONE": zone}
    for n in range(1, 40):
        if zone == ZONES:
            cloud.full(zone="us-central1-a")
        token = new_token()
        arguments = dict(token=token, name="podvm-web-01234567")
        killed = driver.killed_after(n, "create", environment, **arguments)
        assert len(cloud.live()) <= 1
        made = driver.tool("create", environment, **arguments)
        assert [vm.name for vm in cloud.live()] == [made["id"]]
        driver.tool("delete", id=made["id"])
        assert cloud.inventory() == {}, n
        if not killed:
            break
    assert 5 <= n < 39


def test_killed_after_each_request_of_a_deletion_nothing_is_left(cloud, driver):
    for n in range(1, 20):
        made = create(driver)
        killed = driver.killed_after(n, "delete", id=made["id"])
        driver.tool("delete", id=made["id"])
        assert cloud.inventory() == {} and driver.tool("list") == []
        if not killed:
            break
    assert 3 <= n < 19
