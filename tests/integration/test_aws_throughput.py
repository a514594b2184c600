# SPDX-License-Identifier: Apache-2.0
"""A hundred creations at once against EC2's limit of launches. They begin with the first test of AWS (aws_rig.Storm)."""

import aws_rig
from peerpod.provider_tool import one_an_interval

INTERVAL_S = 0.3  # describe.c: INTERVAL_NS


def test_a_hundred_creations_take_what_the_limit_takes_and_no_more(aws_storm):
    made, cloud = aws_storm.finish(), aws_storm.cloud
    assert len({one["id"] for one in made}) == aws_rig.Storm.SIZE and all(len(one["addresses"]) == 1 for one in made)
    launches = cloud.made("RunInstances")
    assert len(cloud.live()) == aws_rig.Storm.SIZE and [call.status for call in launches].count(200) == aws_rig.Storm.SIZE
    # The driver keeps to the limit by itself: it is not EC2 that has to say no.
    assert len(launches) <= aws_rig.Storm.SIZE * 1.1
    budget = (aws_rig.Storm.SIZE - aws_rig.Storm.BURST) / aws_rig.Storm.RATE
    span = max(call.time for call in launches) - min(call.time for call in launches)
    assert span <= budget * 1.1, f"{span:.1f} s for a budget of {budget:.1f} s, {len(launches)} launches"
    # One question for all who wait, by id and by token, each at most once in an interval.
    for name in ("instance-id", "tag:peerpod-token"):
        asked = [call for call in cloud.made("DescribeInstances") if cloud.parameters(call)["Filter.1.Name"] == name]
        assert asked
        one_an_interval(asked, INTERVAL_S)
