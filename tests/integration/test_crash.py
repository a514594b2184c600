# SPDX-License-Identifier: Apache-2.0
"""kill -9 at any time: no pod is lost, none leaks, no byte of an answered call is lost."""

import os
import threading

import pytest

import conftest
from peerpod import paths, services, ttrpc
from peerpod.shim import wait_until

IMAGE = "docker.io/library/busybox:1.36"
# Where the driver can be killed besides the adaptor's own steps (tests/providers/netns/driver.c).
DRIVER_FAULTS = ["netns-create-recorded", "netns-create-spawned", "netns-create-done", "netns-delete-killed"]
LINES = 2000
TALK = f"n=0; while [ $n -lt {LINES} ]; do echo line $n; n=$((n+1)); done; echo done"


def faults(stage: str) -> list:
    """Those of the adaptor's fault points that this stage of a sandbox's life passes."""
    try:
        listed = conftest.list_fault_points()
    except FileNotFoundError:
        listed = []
    return [f for f in listed if f.startswith(stage)] or [pytest.param("", id="no-faults-in-this-build")]


@pytest.fixture(autouse=True)
def faults_are_built_in(request):
    if request.node.callspec.params.get("fault") == "" if hasattr(request.node, "callspec") else False:
        conftest.need(False, f"{paths.BUILD} is built without fault points: use SAN=address")


def calls_fail(function) -> None:
    """The call does not come back: the adaptor is dead. (Killed after its last step, it may have answered.)"""
    try:
        function()
    except (ttrpc.Closed, ttrpc.Status, ConnectionError, OSError):
        pass


@pytest.mark.parametrize("fault", faults("create."))
def test_killed_in_create_vm_a_stop_cleans_up(make_world, fault):
    world = make_world().start()
    world.stack.stop()
    world.start(fault=fault)
    shim = world.shim()
    calls_fail(shim.create_vm)
    world.stack.wait_killed()
    world.start()
    assert world.stack.instances() == []
    shim.stop_vm()
    world.nothing_left()


@pytest.mark.parametrize("fault", faults("start.") + DRIVER_FAULTS[:3])
def test_killed_in_start_vm_there_is_never_a_second_instance(make_world, fault):
    # Addresses that come later, as in a cloud, are a step of their own.
    world = make_world(environment={"NETNS_ADDRESS_DELAY": "1ms"}).start()
    world.stack.stop()
    world.start(fault=fault)
    shim = world.shim()
    shim.create_vm()
    calls_fail(lambda: shim.start_vm(60))
    world.stack.wait_killed()
    assert len(world.stack.instances()) <= 1
    world.start()
    assert len(world.stack.instances()) <= 1
    shim.stop_vm()
    assert world.stack.instances() == []
    world.nothing_left()


@pytest.mark.parametrize("fault", ["start.create.after", "start.record-instance.before"])
def test_killed_between_made_and_recorded_nothing_leaks_without_a_stop(make_world, fault):
    """The shim that called may be gone too: the restarted adaptor finds the instance by its token."""
    conftest.need(paths.is_sanitized(), "fault points need SAN=address")
    world = make_world().start()
    world.stack.stop()
    world.start(fault=fault)
    shim = world.shim()
    shim.create_vm()
    calls_fail(lambda: shim.start_vm(60))
    world.stack.wait_killed()
    assert len(world.stack.instances()) == 1
    world.start()
    wait_until(lambda: not world.stack.instances(), 30, "the half-made instance is removed")
    shim.stop_vm()
    world.nothing_left()


@pytest.mark.parametrize("fault", faults("stop.") + DRIVER_FAULTS[3:])
def test_killed_in_stop_vm_the_deletion_is_finished_later(make_world, fault):
    # Killed before it could note that it was asked: then it is the shim's absence that tells.
    world = make_world(options=["-shim-grace=1s"]).start()
    world.stack.stop()
    world.start(fault=fault)
    shim = world.pod()
    shim.close()
    calls_fail(shim.stop_vm)
    world.stack.wait_killed()
    world.start()
    wait_until(lambda: not world.stack.instances() and not world.stack.records(), 30, "the deletion is finished")
    shim.stop_vm()
    world.nothing_left()


def test_a_running_pod_does_not_notice_the_death_of_the_adaptor(make_world):
    """Killed again and again while an exec streams: no byte is lost, the connection stays, StopVM works."""
    world = make_world().start()
    shim = world.pod()
    shim.start_monitor(0.1)
    box = shim.create_container("box", IMAGE, ["sleep", "1000"])
    box.start()
    connection = shim.client
    process = box.start_exec("/bin/sh", "-c", TALK.replace("echo line", "usleep 1000; echo line"))
    for at in (50, 500, 1000):
        process.stdout.wait_for(b"line %d\n" % at)
        world.stack.kill()
        assert shim.dead is None
        world.start()
    assert process.wait(120) == 0
    expected = b"".join(b"line %d\n" % n for n in range(LINES)) + b"done\n"
    assert bytes(process.stdout.data) == expected
    assert shim.client is connection and not connection.closed and shim.dead is None
    # What was begun before the crash goes on being served, and new things can be begun.
    assert box.exec("echo", "after")[1] == b"after\n"
    assert len(world.stack.instances()) == len(world.stack.records()) == 1
    shim.stop_pod()
    assert world.stack.instances() == []
    world.nothing_left()


def test_pods_run_while_no_adaptor_does(make_world):
    world = make_world().start()
    shim = world.pod()
    box = shim.create_container("box", IMAGE, ["sleep", "1000"])
    box.start()
    world.stack.kill()
    status, out, _ = box.exec("/bin/sh", "-c", TALK, timeout=60)
    assert status == 0 and out.endswith(b"done\n") and out.count(b"\n") == LINES + 1
    other = shim.create_container("other", IMAGE, ["true"])
    assert other.start() and other.process.wait() == 0
    world.start()
    shim.stop_pod()
    world.nothing_left()


def test_a_restart_by_sigterm_is_not_noticed_either(make_world):
    world = make_world().start()
    shim = world.pod()
    box = shim.create_container("box", IMAGE, ["sleep", "1000"])
    box.start()
    proxy = world.stack.proxy_pid()
    assert world.stack.stop() == 0
    assert world.stack.proxy_pid() == proxy
    assert box.exec("echo", "still")[1] == b"still\n"
    world.start()
    assert world.stack.proxy_pid() == proxy
    shim.stop_pod()
    world.nothing_left()


def test_agent_proxy_comes_back_and_serves_new_connections(make_world):
    """Its death breaks the shim's connection, which no shim survives; but the sockets are served again."""
    world = make_world().start()
    shim = world.pod()
    old = world.stack.kill_proxy()
    assert shim.client.wait_closed(10)

    def answers() -> bool:
        try:
            with ttrpc.Client.connect(shim.agent_path) as client:
                return services.health(client).Check(timeout=5).status == 1
        except (OSError, ttrpc.Status, TimeoutError):
            return False

    wait_until(answers, 30, "the agent answers on the same socket")
    assert world.stack.proxy_pid() != old
    with world.stack.agent_proxy() as proxy:
        assert [s.sandbox for s in proxy.List(timeout=5).sandboxes] == [shim.id]
    shim.close()
    shim.stop_vm()
    world.nothing_left()


def test_both_die_and_the_pod_can_be_stopped(make_world):
    world = make_world().start()
    shim = world.pod()
    proxy = world.stack.proxy_pid()
    world.stack.kill()
    os.kill(proxy, 9)
    world.start()
    shim.close()
    shim.stop_vm()
    world.nothing_left()


def test_a_dead_pod_vm_is_seen_and_cleaned_up(make_world):
    world = make_world().start()
    shim = world.pod()
    shim.start_monitor(0.2)
    pid = int((world.stack.netns_state / world.stack.instances()[0] / "process").read_text().split()[0])
    os.kill(pid, 9)
    gone = threading.Event()

    def look():
        while shim.dead is None and not shim.client.closed:
            if gone.wait(0.05):
                return

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    watcher.join(90)
    gone.set()
    assert shim.dead is not None or shim.client.closed, "the shim never learned that the VM is dead"
    shim.close()
    shim.stop_vm()
    world.nothing_left()
