# SPDX-License-Identifier: Apache-2.0
"""Many at once. The hundred creations begin with the first test of GCP (gcp_rig.Storm)."""

from gcp_rig import cloud, driver, inserts  # noqa: F401 (fixtures)
from peerpod.provider_tool import new_token, one_an_interval


def batches_keep_the_interval(cloud) -> None:
    """By token and by name there is a batch each."""
    for operation in ("instances.list", "zoneOperations.list"):
        for kind in ("labels.peerpod-token=", "name="):
            one_an_interval([call for call in cloud.made(operation) if kind in call.one("filter")], 0.3)


def test_many_creations_share_their_questions(cloud, driver):
    cloud.steps = (("PROVISIONING", False), ("STAGING", False), ("RUNNING", True))
    made = driver.tool("parallel 20 create", {"GCP_CREATE_RATE": "100"}, token=new_token()[:20] + "%d", name="podvm-%d")
    assert len({one["id"] for one in made}) == 20 and cloud.count("instances.insert") == 20
    batches_keep_the_interval(cloud)
    assert cloud.count("images.get") <= 20 and cloud.count("token") == 1


def test_a_hundred_creations_at_once_within_a_limit_of_two_a_second(gcp_storm):
    """The limit's own time is (100 - what it takes at once) / 2 s. Nothing is refused, so no turn of the limit is lost."""
    made, cloud = gcp_storm.finish(), gcp_storm.cloud
    size = gcp_storm.SIZE
    assert len({one["id"] for one in made}) == size and len(cloud.live()) == size
    calls = inserts(cloud)
    assert [call.status for call in calls] == [200] * size
    assert calls[-1].time - calls[0].time <= (size - gcp_storm.BURST) / gcp_storm.RATE * 1.1
    batches_keep_the_interval(cloud)
