# SPDX-License-Identifier: Apache-2.0
"""agent-proxy and agent-protocol-forwarder between a shim and an agent."""

import pytest

from peerpod import ttrpc
from tunnel_rig import Certificates, Rig, wait_for

AGENT = "grpc.AgentService"


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def rig(tmp_path, certificates):
    with Rig(tmp_path, certificates) as r:
        r.start_forwarder()
        assert r.open().resumable
        yield r


def test_calls_pass_untouched(rig):
    shim = rig.shim()
    payload = bytes(range(256)) * 100
    assert shim.call("grpc.Health", "Check", b"", timeout=5) == b"\x08\x01"
    assert shim.call(AGENT, "Echo", payload, timeout=5) == payload
