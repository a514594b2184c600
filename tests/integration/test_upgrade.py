# SPDX-License-Identifier: Apache-2.0
"""An upgrade of agent-proxy on a worker whose pods run: by hand beside it, and by the adaptor that starts it."""

import hashlib
import random
import shutil

from peerpod import paths
from peerpod.pods import IMAGE, Talk, start_box
from peerpod.shim import wait_until
from peerpod.stack import wait_gone

LINES = 1500


def restart_adaptor(world) -> None:
    """Until it has looked at the agent-proxy that runs."""
    count = world.stack.connections()
    world.stack.restart()
    wait_until(lambda: world.stack.connections() > count, 20, "the adaptor's connection")


def test_pods_do_not_notice_that_agent_proxy_was_replaced(make_world):
    """A streaming exec, one that reads 1 MiB and tells its sum, calls of the adaptor: across three hand-overs."""
    world = make_world().start()
    shim = world.pod()
    shim.start_monitor(0.1)
    box = start_box(shim)
    connection = shim.client
    talk = Talk(box, LINES, pause_us=1000)
    data = random.Random(5).randbytes(1 << 20)
    summing = box.start_exec("sha256sum")
    started = []
    for i, line in enumerate((50, 500, 1000)):
        talk.reach(line)
        old = world.stack.proxy_pid()
        started.append(world.stack.start_proxy())
        summing.write(data[i * 400_000 : (i + 1) * 400_000])
        wait_gone(old)
        assert world.stack.proxy_pid() == started[-1].pid
    summing.close_stdin()
    assert summing.wait(60) == 0
    assert bytes(summing.stdout.wait_end()).split()[0].decode() == hashlib.sha256(data).hexdigest()
    assert talk.came_whole()
    assert shim.client is connection and not connection.closed and shim.dead is None
    assert [p.wait(10) for p in started[:-1]] == [0, 0]
    # The adaptor has found the new one, and a pod that starts now is served by it.
    other = world.pod("other")
    assert other.create_container("box", IMAGE, ["true"]).start() is not None
    with world.stack.agent_proxy() as proxy:
        assert {s.sandbox for s in proxy.List(timeout=5).sandboxes} == {shim.id, other.id}
    other.stop_pod()
    shim.stop_pod()
    with world.stack.agent_proxy() as proxy:
        assert len(proxy.List(timeout=5).sandboxes) == 0
    world.nothing_left()
    world.stack.stop_proxy()
    assert started[-1].wait(10) == 0


def test_an_upgraded_adaptor_replaces_agent_proxy_too(make_world):
    world = make_world().start()
    shim = world.pod()
    shim.start_monitor(0.1)
    box = start_box(shim)
    talk = Talk(box, LINES, pause_us=1000)
    talk.reach(50)
    first = world.stack.proxy_pid()
    # The same program: left alone.
    restart_adaptor(world)
    assert world.stack.proxy_pid() == first
    # Another one is installed, and the adaptor started anew: it brings its agent-proxy along.
    program = world.stack.folder / "agent-proxy-of-another-build"
    shutil.copy(paths.program("agent-proxy"), program)
    world.stack.options.append(f"-agent-proxy={program}")
    restart_adaptor(world)
    second = world.stack.proxy_pid()
    assert second != first
    wait_gone(first)
    assert box.exec("echo", "after")[1] == b"after\n"
    # It is the right one now.
    restart_adaptor(world)
    assert world.stack.proxy_pid() == second
    assert talk.came_whole()
    assert shim.dead is None
    shim.stop_pod()
    world.nothing_left()


def test_an_agent_proxy_that_cannot_take_over_changes_nothing(make_world):
    """A program that ends at once: the adaptor says so and goes on with the one that runs."""
    world = make_world().start()
    shim = world.pod()
    shim.start_monitor(0.1)
    first = world.stack.proxy_pid()
    program = world.stack.folder / "no-agent-proxy"
    program.write_text("#!/bin/sh\nexit 7\n")
    program.chmod(0o755)
    world.stack.options.append(f"-agent-proxy={program}")
    world.stack.restart()
    world.stack.wait_log("was not replaced and serves on")
    world.stack.wait_log("ended with status 7")
    box = start_box(shim)
    assert box.exec("echo", "still")[1] == b"still\n"
    assert world.stack.proxy_pid() == first and shim.dead is None
    shim.stop_pod()
    world.nothing_left()
