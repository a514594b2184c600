# SPDX-License-Identifier: Apache-2.0
"""Kata's own Go shim against the adaptor: what no client of ours can prove.

tests/interop links the shim's code from the Go module registry; peerpod.kata drives it as containerd does.
"""

import hashlib
import os
import pathlib
import re
import shutil
import subprocess

import pytest
from conftest import need

from peerpod import kata, leaks, paths

IMAGE = "docker.io/library/busybox:1.36"
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


@pytest.mark.parametrize("force_guest_pull", [False, True], ids=["nydus", "forced guest pull"])
def test_a_pod_of_two_containers_lives_and_leaves_nothing(world, make_kata, force_guest_pull):
    shim = make_kata(force_guest_pull=force_guest_pull)
    shim.start_pod()
    web = shim.create_container(
        "web", IMAGE, ["/bin/sh", "-c", "mkdir -p /srv; echo hello from $(hostname) >/srv/index.html; exec httpd -f -p 8080 -h /srv"]
    )
    web.start()
    other = shim.create_container(
        "other", IMAGE, ["/bin/sh", "-c", "trap 'echo ending; exit 7' TERM; echo started; while :; do sleep 1 & wait $!; done"]
    )
    other.start()
    assert web.state() == "RUNNING"

    def page() -> bytes:
        try:
            return world.network.get(shim.pod_netns.address, 8080)
        except ConnectionRefusedError:
            return b""

    kata.wait_until(page, 20, "the web server answers from the cluster")
    assert page() == b"hello from web\n"

    # exec: status, both outputs, more input than any buffer holds
    assert web.exec("/bin/sh", "-c", "echo out; echo err >&2; exit 3") == (3, b"out\n", b"err\n")
    data = os.urandom(300_000)
    status, out, err = web.exec("sha256sum", stdin=data)
    assert (status, out.split()[0].decode(), err) == (0, hashlib.sha256(data).hexdigest(), b"")

    # what containerd mounts from the host arrived by CopyFile; DNS is the VM's business
    assert f"{shim.name}.of-the-test".encode() in web.exec("cat", "/etc/hosts")[1]
    assert shim.pod_netns.address.encode() in web.exec("ip", "address", "show", "eth0")[1]

    # a terminal: one stream, line ends as a terminal has them
    terminal = web.start_exec("/bin/sh", "-c", "read line; echo got $line", terminal=True)
    terminal.write(b"this\n")
    assert terminal.wait() == 0
    assert b"got this\r\n" in terminal.stdout.wait_end()
    terminal.forget_stdin()
    terminal.delete()

    stats = web.stats()
    assert re.search(r'"usage(_usec)?": ?\{?"?', str(stats).replace("'", '"')), stats

    # a signal, the output until the end, the exit status
    other.process.stdout.wait_for(b"started\n")
    other.process.kill(SIGTERM)
    assert other.process.wait() == 7
    assert other.process.stdout.wait_end() == b"started\nending\n"
    other.remove()

    shim.stop_pod()
    kata.wait_until(lambda: {web.id, other.id, shim.id} <= kata.exit_events(shim).keys(), 10, "all exits are published")
    assert [kata.exit_events(shim)[id] for id in (web.id, other.id)] == [137, 7]
    assert world.stack.records() == world.stack.instances() == []
    shim.close()
    world.network.remove_pod(shim.pod_netns)
    world.nothing_left()
