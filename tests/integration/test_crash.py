# SPDX-License-Identifier: Apache-2.0
"""kill -9 at any time: no pod is lost, none leaks, no byte of an answered call is lost."""

import os
import signal
import threading

import pytest

import conftest
from peerpod import paths, services, ttrpc
from peerpod.pods import IMAGE, Talk, start_box
from peerpod.shim import wait_until
from peerpod.stack import wait_gone

# Where the driver can be killed besides the adaptor's own steps (tests/providers/netns/{create,remove}.c).
DRIVER_FAULTS = ["netns-create-recorded", "netns-create-spawned", "netns-create-done", "netns-delete-killed"]


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


def dying_world(make_world, fault: str, **how):
    """Its adaptor kills itself there. What was there before is looked at while one runs that does not."""
    world = make_world(**how).start()
    world.stack.stop()
    return world.start(fault=fault)


@pytest.mark.parametrize("fault", faults("create."))
def test_killed_in_create_vm_a_stop_cleans_up(make_world, fault):
    world = dying_world(make_world, fault)
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
    world = dying_world(make_world, fault, environment={"NETNS_ADDRESS_DELAY": "1ms"})
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
    world = dying_world(make_world, fault)
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
    world = dying_world(make_world, fault, options=["-shim-grace=1s"])
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
    box = start_box(shim)
    connection = shim.client
    talk = Talk(box, 2000, pause_us=1000)
    for line in (50, 500, 1000):
        talk.reach(line)
        world.stack.kill()
        assert shim.dead is None
        world.start()
    assert talk.came_whole()
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
    box = start_box(shim)
    world.stack.kill()
    assert Talk(box, 2000).came_whole()
    other = shim.create_container("other", IMAGE, ["true"])
    assert other.start() and other.process.wait() == 0
    world.start()
    shim.stop_pod()
    world.nothing_left()


def test_a_restart_by_sigterm_is_not_noticed_either(make_world):
    world = make_world().start()
    shim = world.pod()
    box = start_box(shim)
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


def test_agent_proxy_dies_while_it_is_told_what_runs(make_world):
    """The adaptor's thread that makes the connection again is the one whose call broke."""
    world = make_world().start()
    shim = world.pod()
    old = world.stack.proxy_pid()
    world.stack.stop()
    os.kill(old, signal.SIGSTOP)
    connections = world.stack.connections()
    world.stack.options.append("-agent-proxy=")
    world.stack.start()
    wait_until(lambda: world.stack.connections() > connections, 20, "the adaptor's connection")
    os.kill(old, signal.SIGKILL)
    wait_gone(old)
    other = world.stack.start_proxy()
    wait_until(lambda: world.stack.connections() > connections + 1, 10, "the adaptor's next connection")
    shim.close()
    shim.stop_vm()
    world.nothing_left()
    world.stack.stop_proxy()
    assert other.wait(10) == 0


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
