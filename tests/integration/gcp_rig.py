# SPDX-License-Identifier: Apache-2.0
"""The GCP driver, driven by provider-tool, against the fake of Google (fakes/gcp.py)."""

import pytest

from fakes.gcp import Gcp
from fakes.server import Reply
from peerpod import provider_tool

ZONES = "us-central1-a,us-central1-b"
ORDINARY = {"DISABLECVM": "true", "GCP_CONFIDENTIAL_TYPE": None}
NOTHING = Reply(200, {"kind": "compute#instanceList", "id": "x"})


class Driver(provider_tool.Driver):
    def __init__(self, cloud):
        key = cloud.service_account()["private_key"].splitlines()[1]
        super().__init__("gcp", cloud, hidden=("GCP_", "GCE_", "GOOGLE_", "PODVM_"), secrets=[key, "ya29.c."])


class Storm(provider_tool.Storm):
    """A hundred creations at once within a limit of two a second, beside what the limit takes at once."""

    SIZE = 100
    RATE, BURST = 2, 20

    def __init__(self):
        cloud = Gcp(limits={"instances.insert": (self.RATE, self.BURST + 1)})
        cloud.latency = 0.05
        super().__init__(Driver(cloud), self.SIZE, {"GCP_CREATE_RATE": str(self.RATE)}, seconds=110)


@pytest.fixture
def cloud():
    with Gcp() as running:
        yield running


@pytest.fixture
def driver(cloud):
    return Driver(cloud)


def inserts(cloud) -> list:
    return cloud.made("instances.insert")


def sent(cloud) -> dict:
    """The body of the only insert."""
    (body,) = cloud.bodies("instances.insert")
    return body


def tried(cloud) -> list:
    """(type, zone) of every insert."""
    return [(call.json()["machineType"].rpartition("/")[2], call.path.split("/")[6]) for call in inserts(cloud)]


def request_ids(cloud) -> list:
    return [call.one("requestId") for call in inserts(cloud)]
