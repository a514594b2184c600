# SPDX-License-Identifier: Apache-2.0
"""What the AWS driver remembers of an AMI: nothing of one that is still being made."""

import json

import pytest

from aws_rig import Driver
from fakes import ec2


@pytest.fixture
def cloud():
    with ec2.Ec2() as running:
        yield running


def test_an_image_that_becomes_available_serves_without_a_restart(cloud):
    driver = Driver(cloud)
    image = next(iter(cloud.images.values()))
    image.state = "pending"
    process = driver.start("serve")
    process.stdin.write(f"create token={'0a' * 16} name=podvm-a\n")
    process.stdin.flush()
    assert f"image {image.id} is pending, not available" in json.loads(process.stdout.readline())["message"]
    image.state = "available"
    made = driver.finish(process, f"create token={'0b' * 16} name=podvm-b\ncreate token={'0c' * 16} name=podvm-c\n")
    assert [one["name"] for one in made] == ["podvm-b", "podvm-c"] and cloud.count("DescribeImages") == 2
