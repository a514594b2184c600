# SPDX-License-Identifier: Apache-2.0
"""Kata's own Go shim against the adaptor: what no client of ours can prove.

tests/interop links the shim's code from the Go module registry; peerpod.kata drives it as containerd does.
"""

import hashlib
import os
import shutil
import subprocess

import pytest
from conftest import need
from test_libvirt_path import backend  # noqa: F401 (a fixture)
from test_libvirt_path import world as libvirt_world  # noqa: F401

from peerpod import kata, paths
from peerpod.pods import IMAGE, page, start_ending, start_web

SIGTERM = 15


@pytest.fixture(scope="session")
def kata_client(tmp_path_factory):
    """The program, built once; its parts are cached in .cache/ between runs."""
    has_go = shutil.which("go") or (paths.ROOT / ".cache/go/bin/go").exists()
    need(bool(has_go), "there is no Go to build Kata's shim with (tests/prepare test installs one)")
    program = tmp_path_factory.mktemp("interop") / "kata-client"
    done = subprocess.run(
        [paths.ROOT / "tests/interop/build", program], capture_output=True, text=True, timeout=900
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return program


@pytest.fixture
def make_kata(world, kata_client, tmp_path):
    """A function that makes shims on the world's worker."""
    shims = []

    def make(name="web", **more) -> kata.Shim:
        pod = world.network.add_pod(name)
        shim = kata.Shim(kata_client, world.stack.socket, pod.path, tmp_path / name, name, **more)
        shim.pod_netns = pod
        shims.append(shim)
        return shim

    yield make
    for shim in shims:
        shim.close()
        if shim.pod_netns in world.network.pods:
            world.network.remove_pod(shim.pod_netns)


def live_and_end(shim: kata.Shim, network) -> None:
    """A pod with two containers, from RunPodSandbox to RemovePodSandbox, with all that a kubelet asks meanwhile."""
    shim.start_pod()
    web, other = start_web(shim), start_ending(shim)
    assert web.state() == "RUNNING"

    kata.wait_until(lambda: page(network, shim), 20, "the web server answers from the cluster")
    assert page(network, shim) == b"hello from web\n"

    # exec: status, both outputs, more input than any buffer holds
    assert web.exec("/bin/sh", "-c", "echo out; echo err >&2; exit 3") == (3, b"out\n", b"err\n")
    data = os.urandom(300_000)
    status, out, err = web.exec("sha256sum", stdin=data)
    assert (status, out.split()[0].decode(), err) == (0, hashlib.sha256(data).hexdigest(), b"")

    # what containerd mounts from the host arrived by CopyFile; the network is the pod's
    assert f"{shim.name}.of-the-test".encode() in web.exec("cat", "/etc/hosts")[1]
    assert shim.pod_netns.address.encode() in web.exec("ip", "address", "show", "eth0")[1]

    # a terminal: one stream, line ends as a terminal has them
    terminal = web.start_exec("/bin/sh", "-c", "read line; echo got $line", terminal=True)
    terminal.write(b"this\n")
    assert terminal.wait() == 0
    assert b"got this\r\n" in terminal.stdout.wait_end()
    terminal.forget_stdin()
    terminal.delete()

    memory = web.stats()["memory"]
    usage = memory["usage"]
    assert int(usage["usage"] if isinstance(usage, dict) else usage) > 0

    # a signal, the output until the end, the exit status
    other.process.stdout.wait_for(b"started\n")
    other.process.kill(SIGTERM)
    assert other.process.wait() == 7
    assert other.process.stdout.wait_end() == b"started\nending\n"
    other.remove()

    shim.stop_pod()
    kata.wait_until(lambda: {web.id, other.id, shim.id} <= kata.exit_events(shim).keys(), 10, "all exits are published")
    assert [kata.exit_events(shim)[id] for id in (web.id, other.id)] == [137, 7]


@pytest.mark.parametrize("force_guest_pull", [False, True], ids=["nydus", "forced guest pull"])
def test_a_pod_over_netns_lives_and_leaves_nothing(world, make_kata, force_guest_pull):
    shim = make_kata(force_guest_pull=force_guest_pull)
    live_and_end(shim, world.network)
    assert world.stack.records() == world.stack.instances() == []
    shim.close()
    world.network.remove_pod(shim.pod_netns)
    world.nothing_left()


def test_a_killed_adaptor_is_not_noticed(world, make_kata):
    """The shim keeps its agent and its streams; the adaptor that comes back stops the pod for it."""
    shim = make_kata()
    shim.start_pod()
    web = shim.create_container("web", IMAGE, ["/bin/sh", "-c", "while read line; do echo got $line; done; exit 5"])
    process = web.start()
    process.write(b"one\n")
    process.stdout.wait_for(b"got one\n")
    world.stack.kill()
    process.write(b"two\n")
    process.stdout.wait_for(b"got two\n")
    world.stack.start()
    process.write(b"three\n")
    process.stdout.wait_for(b"got three\n")
    assert web.exec("echo", "still here") == (0, b"still here\n", b"")
    process.close_stdin()
    assert process.wait() == 5
    assert process.stdout.wait_end() == b"got one\ngot two\ngot three\n"
    web.remove()
    shim.stop_pod()
    kata.wait_until(lambda: not world.stack.instances(), 20, "the instance is gone")
    assert world.stack.records() == []


def test_why_a_pod_does_not_start_reaches_its_events(make_world, kata_client, tmp_path):
    """What kubelet shows is what the shim returns: it names the stage, the cause and the pod."""
    world = make_world().start()
    shim = kata.Shim(kata_client, world.stack.socket, "/run/netns/there-is-none", tmp_path / "none", "web")
    try:
        with pytest.raises(kata.Error) as failure:
            shim.start_pod()
    finally:
        shim.close()
    assert "remote hypervisor call failed" in str(failure.value)
    assert "/run/netns/there-is-none" in str(failure.value)
    assert world.stack.records() == []


def test_a_pod_over_libvirt_lives_and_leaves_nothing(libvirt_world, kata_client, tmp_path):
    libvirt_world.stack.start()
    pod = libvirt_world.network.add_pod("web")
    shim = kata.Shim(kata_client, libvirt_world.stack.socket, pod.path, tmp_path / "web", "web")
    shim.pod_netns = pod
    with shim:
        live_and_end(shim, libvirt_world.network)
    assert libvirt_world.stack.records() == []
    libvirt_world.network.remove_pod(pod)
    libvirt_world.nothing_left()
