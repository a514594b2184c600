# SPDX-License-Identifier: Apache-2.0
"""The libvirt driver is killed at every step, and so is its daemon."""

import os
import signal
import threading
import time

import pytest

import conftest
from libvirt_rig import backend, guest, needs_root, rig  # noqa: F401 (fixtures)
from peerpod import paths
from peerpod.provider_tool import Served, ToolError, failed, new_token

pytestmark = needs_root

CREATE_POINTS = ["looked", "reserved", "defined", "root-volume", "cidata-volume", "uploaded", "started"]
DELETE_POINTS = ["destroyed", "volume-deleted", "released", "undefined"]


def dies_at(rig, point: str, verb: str, **arguments) -> None:
    process = rig.start(verb, environment={"PEERPOD_FAULT": f"libvirt-{point}"}, **arguments)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, f"the fault point {point} was not reached"


@pytest.fixture
def fault_build():
    with open(paths.program("provider-tool"), "rb") as f:
        conftest.need(b"__asan_init" in f.read(), "this build has no fault points (make SAN=address)")


@pytest.mark.parametrize("point", CREATE_POINTS)
def test_killed_while_creating(rig, fault_build, point):
    """What a killed creation leaves is listed, is found by the token, and goes with its id; a retry works too."""
    token = new_token()
    dies_at(rig, point, "create", token=token)
    if point != "looked":
        assert [i["id"] for i in rig.tool("list")] == [rig.id(token)]
        found = rig.tool("find", token=token)
        assert (found["id"], found["token"]) == (rig.id(token), token)
        with pytest.raises(ToolError) as caught:
            rig.tool("find", token=new_token())
        assert caught.value.kind == "gone"
    rig.tool("delete", id=rig.id(token))
    assert rig.left() == []
    dies_at(rig, point, "create", token=token)
    made = rig.tool("create", token=token)
    assert made["id"] == rig.id(token)
    assert len(rig.backend.domains()) == 1 and len(rig.volumes()) == 2 and len(rig.reservations()) == 1


@pytest.mark.parametrize("point", DELETE_POINTS)
def test_killed_while_deleting(rig, fault_build, point):
    made = rig.tool("create", token=new_token())
    dies_at(rig, point, "delete", id=made["id"])
    rig.tool("delete", id=made["id"])
    assert [name for name in rig.left() if not name.endswith("-serial.log")] == []
    for log in rig.consoles():  # killed before the log, after the record
        (rig.backend.folder / "console" / log).unlink()


def test_leftovers_without_a_domain_are_found(rig):
    made = rig.tool("create", token=new_token())
    rig.virsh("destroy", made["id"])
    rig.virsh("undefine", made["id"])
    left = rig.tool("list")
    assert [i["id"] for i in left] == [made["id"]]
    assert abs(left[0]["created"] - time.time()) < 300
    rig.tool("delete", id=made["id"])
    for log in rig.consoles():
        (rig.backend.folder / "console" / log).unlink()
    assert rig.left() == []


def kill_daemon(rig) -> None:
    os.kill(rig.backend.pid, signal.SIGKILL)


def test_daemon_killed_and_back_while_a_vm_runs(rig):
    made = rig.tool("create", token=new_token())
    address = rig.tool("wait", id=made["id"])["addresses"][0]
    kill_daemon(rig)
    rig.backend.restart_daemon()
    assert rig.tool("find", token=rig.tool("list")[0]["token"])["id"] == made["id"]
    assert rig.tool("wait", id=made["id"])["addresses"] == [address]
    rig.report(address)
    rig.tool("delete", id=made["id"])


@pytest.mark.parametrize("delay_ms", [0, 100, 300, 600])
def test_daemon_killed_while_creating(rig, delay_ms):
    """The call rides out the daemon's restart: it succeeds, or fails as passing and leaves nothing."""
    token = new_token()
    process = rig.start("create", token=token, seconds=60)
    threading.Event().wait(delay_ms / 1000)
    kill_daemon(rig)
    rig.backend.restart_daemon()
    try:
        made = rig.finish(process)
        assert made["id"] == rig.id(token)
        assert len(rig.backend.domains()) == 1 and len(rig.volumes()) == 2
    except ToolError as error:
        assert error.kind == "retry", error
        assert [name for name in rig.left() if not name.endswith("-serial.log")] == []


def test_daemon_killed_while_waiting_and_deleting(rig):
    """One process, so one connection: it comes back by itself."""
    made = rig.tool("create", token=new_token())
    served = Served(rig)
    assert served.ask("list")[0]["id"] == made["id"]
    assert served.ask(f"wait id={made['id']}")["addresses"]
    kill_daemon(rig)
    rig.backend.restart_daemon()
    assert served.ask(f"wait id={made['id']} seconds=30")["addresses"]
    kill_daemon(rig)
    rig.backend.restart_daemon()
    assert served.ask(f"delete id={made['id']}") == {}
    assert served.ask("list") == []
    log = served.end()
    assert "was lost" in log and "again" in log


def test_daemon_that_is_down_is_a_passing_fault(rig):
    kill_daemon(rig)
    try:
        began = time.monotonic()
        refused = failed(rig.tool, "list", seconds=2)
        assert time.monotonic() - began < 10
        assert refused.kind == "timeout"
        assert "Connection refused" in refused.message
    finally:
        rig.backend.restart_daemon()


def test_daemon_that_hangs(rig):
    """Stopped for 25 s: the connection is given up after 20 s, and the call succeeds on a new one."""
    token = new_token()
    os.kill(rig.backend.pid, signal.SIGSTOP)
    timer = threading.Timer(25, os.kill, (rig.backend.pid, signal.SIGCONT))
    timer.start()
    try:
        made = rig.tool("create", token=token, seconds=90)
        assert made["id"] == rig.id(token)
    except ToolError as error:
        assert error.kind == "retry", error
    finally:
        timer.join()
    rig.tool("list")
