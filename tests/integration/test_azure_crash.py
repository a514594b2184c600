# SPDX-License-Identifier: Apache-2.0
"""One instance or none, and nothing left over, wherever a process of the Azure driver dies."""

import concurrent.futures
import re

import pytest

from azure_rig import Driver, cloud, driver, make_cloud  # noqa: F401 (fixtures)
from fakes.server import Drop
from peerpod.provider_tool import create, new_token


def test_create_with_the_same_token_gives_the_same_instance_also_with_other_user_data(cloud, driver, tmp_path):
    (tmp_path / "other").write_text("#cloud-config\nother: true\n")
    token = new_token()
    made = create(driver, token=token)
    assert create(driver, token=token, user_data=tmp_path / "other", type="Standard_DC8as_v5")["id"] == made["id"]
    assert cloud.count("create_vm") == 1


def test_a_connection_that_breaks_after_the_put_makes_no_second_vm(cloud, driver):
    cloud.script("create_vm", Drop("after"))
    create(driver)
    assert [call.status for call in cloud.made("create_vm")] == [0, 412]
    assert len(cloud.inventory()["vm"]) == 1


def test_a_connection_that_breaks_before_the_put_is_tried_again(cloud, driver):
    cloud.script("create_vm", Drop("before"))
    create(driver)
    assert len(cloud.inventory()["vm"]) == 1


def test_eight_digits_that_collide_give_another_name_and_the_same_one_again(cloud, driver):
    cloud.add_foreign_vm("PODVM-web-01234567", {"peerpod-token": "somebody else's"})
    token = new_token()
    made = create(driver, token=token)
    assert re.fullmatch(r"podvm-web-01234567-[0-9a-f]{8}", made["name"])
    # Also when the other one has gone, and the first name is free.
    del cloud.vms["podvm-web-01234567"]
    assert create(driver, token=token)["id"] == made["id"]
    assert create(driver)["name"] == "podvm-web-01234567"
    assert len(cloud.inventory()["vm"]) == 2


@pytest.mark.parametrize("state", ["Failed", "Deleting"])
def test_what_an_earlier_try_left_goes_before_the_vm_is_made(cloud, driver, state):
    token = new_token()
    create(driver, token=token)
    cloud.vms["podvm-web-01234567"]["document"]["properties"]["provisioningState"] = state
    cloud.vms["podvm-web-01234567"]["looks"] = -1
    create(driver, token=token)
    assert {kind: len(names) for kind, names in cloud.inventory().items()} == {"vm": 1, "nic": 1, "disk": 1}
    assert cloud.count("create_vm") == 2 and cloud.count("delete_vm") == (state == "Failed")


def test_what_failed_for_want_of_room_after_a_crash_is_made_elsewhere(make_cloud):
    cloud = make_cloud(host_ticks=10**6, ticks=10**6)
    driver = Driver(cloud)
    arguments = {"token": new_token(), "name": "podvm-web-01234567"}
    cloud.fail_creation("AllocationFailed", ticks=3)
    assert driver.killed_after(6, "create", **arguments)
    assert len(cloud.inventory()["vm"]) == 1
    cloud.host_ticks = 0
    assert create(driver, **arguments)["addresses"]
    assert cloud.count("create_vm") == 2 and len(cloud.inventory()["vm"]) == 1


def kill_after(cloud, verb, left, call) -> bool:
    """Kills after that call, then does it again; whether there was such a call."""
    driver = Driver(cloud)
    token = new_token()
    cloud.leave_behind = set(left)
    arguments = {"token": token, "name": "podvm-web-01234567", "cluster": "c1", "node": "n1"}
    if verb == "delete":
        arguments = {"id": driver.tool("create", **arguments)["id"]}
    killed = driver.killed_after(call, verb, **arguments)
    if verb == "create":
        again = driver.tool("create", **arguments)
        assert len(cloud.inventory()["vm"]) == 1 and driver.tool("find", token=token)["name"] == again["name"]
        assert [one["token"] for one in driver.tool("list", cluster="c1", node="n1")] == [token]
        arguments = {"id": again["id"]}
    driver.tool("delete", **arguments)
    assert cloud.inventory() == {} and driver.tool("list") == [], call
    return killed


@pytest.mark.parametrize("left", [(), ("nic", "ip", "disk")], ids=["deleted-by-azure", "left-by-azure"])
@pytest.mark.parametrize("verb", ["create", "delete"])
def test_kill_after_every_request_leaves_one_instance_or_none(make_cloud, verb, left):
    most = 18
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(kill_after, make_cloud(), verb, left, call) for call in range(1, most + 1)]
    killed = [run.result() for run in runs]
    # There are at least so many requests and not more than were tried.
    assert all(killed[:5]) and not killed[-1]
