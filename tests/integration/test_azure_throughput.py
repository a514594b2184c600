# SPDX-License-Identifier: Apache-2.0
"""Many at once. The hundred creations begin with the first test of Azure (azure_rig.Storm)."""

import collections

from azure_rig import Driver, cloud, driver, make_cloud  # noqa: F401 (fixtures)
from peerpod.provider_tool import new_token, one_an_interval


def test_deletions_at_once_share_lists(make_cloud):
    cloud = make_cloud(delete_ticks=2)
    driver = Driver(cloud)
    made = driver.tool("parallel 9 create", token=new_token()[:20] + "%d", name="podvm-%d")
    before = cloud.count("list_nics")
    assert driver.tool("parallel 9 delete", id=made[0]["id"].replace(made[0]["name"], "podvm-%d")) == [{}] * 9
    assert cloud.inventory() == {}
    assert cloud.count("list_nics") - before <= 4 and cloud.count("list_vms") <= 6


def test_few_calls_that_are_left_slow_us_down(cloud, driver):
    cloud.remaining = {"x-ms-ratelimit-remaining-subscription-reads": "8"}
    driver.tool("list")
    times = [call.time for call in cloud.calls if call.operation.startswith("list_")]
    assert all(later - earlier >= 0.9 for earlier, later in zip(times, times[1:]))


def test_a_hundred_creations_at_once_against_a_limit_of_two_a_second(azure_storm):
    made, cloud = azure_storm.finish(), azure_storm.cloud
    size = azure_storm.SIZE
    assert len({one["id"] for one in made}) == size and all(one["addresses"] for one in made)
    creations = cloud.made("create_vm")
    statuses = collections.Counter(call.status for call in creations)
    assert statuses[201] == size and statuses[429] <= 10 and set(statuses) <= {201, 429}
    # Never more than the limit allows: what it takes is its own time.
    times = sorted(call.time for call in creations if call.status == 201)
    assert times[-1] - times[0] < (size - azure_storm.BURST) / azure_storm.RATE * 1.1
    one_an_interval(cloud.made("list_nics"), 0.5)
    one_an_interval(cloud.made("list_vms"), 1.5)
    assert [cloud.count(name) for name in ("token", "list_skus", "get_image_definition", "get_operation")] == [1, 1, 1, 0]
