# SPDX-License-Identifier: Apache-2.0
"""The whole path over libvirt: real virtual machines, emulated where there is no KVM."""

import hashlib
import os
import signal

import pytest

import conftest
from peerpod import cni, leaks, libvirt, paths, stack, ttrpc
from peerpod.pods import Talk, page, start_box, start_ending, start_web
from peerpod.shim import SIGTERM, wait_until

# The image is built by `make image` with the plain programs: it is what a user has.
IMAGE_FOLDER = paths.ROOT / "build/image/local"
START_TIMEOUT = 180  # seconds; 4-6 s alone under emulation, more beside other work


@pytest.fixture(scope="module")
def backend():
    conftest.need(os.geteuid() == 0, "needs root: libvirt's system daemon")
    conftest.need(libvirt.is_installed(), "libvirtd is not installed")
    conftest.need((IMAGE_FOLDER / "stamp").exists(), f"no image in {IMAGE_FOLDER}: make image")
    with libvirt.own_daemon("t", IMAGE_FOLDER) as backend:
        yield backend


class LibvirtWorld:
    """The machine itself is the worker here: libvirt's bridge is in its network."""

    def __init__(self, backend):
        self.backend = backend
        self.network = cni.Bridge(cni.Host(), backend.name, "10.244.78.0/24")
        self.stack = stack.Stack("libvirt", cni.Host(), backend.environment(), backend.options())
        self.before = self.picture()
        self.shims: list = []

    def picture(self) -> leaks.Picture:
        return self.stack.picture(uri=self.backend.values["LIBVIRT_URI"], pool=self.backend.values["LIBVIRT_POOL"], netns=self.backend.name)

    def shim(self, name="web"):
        pod = self.network.add_pod(name)
        shim = self.stack.shim(pod, pod=name)
        shim.pod_netns = pod
        self.shims.append(shim)
        return shim

    def start_pod(self, name="web"):
        shim = self.shim(name)
        shim.start_pod(START_TIMEOUT)
        return shim

    def nothing_left(self) -> None:
        for shim in self.shims:
            shim.close()
            pod = shim.pod_netns
            wait_until(lambda: not leaks.in_pod(pod), 30, f"no tunnel device is left in {pod.path}")
            self.network.remove_pod(shim.pod_netns)
        self.shims = []

        def left() -> list:
            # Other libvirts of this machine come and go; a tap device goes with its domain.
            lines = self.picture().new_since(self.before)
            return [line for line in lines if "virbr" not in line and "vnet" not in line and "LIBVIRT_" not in line]

        try:
            wait_until(lambda: not left(), 30, "nothing is left", 0.2)
        except TimeoutError:
            raise AssertionError("left behind:\n" + "\n".join(left())) from None
        assert self.stack.records() == []

    def close(self, failed: bool) -> None:
        for shim in self.shims:
            shim.close()
        if failed:
            print(f"---- the pod VM's console ends:\n{self.backend.console()[-4000:]}")
        try:
            self.stack.__exit__(AssertionError if failed else None)
        finally:
            self.network.close()
            if failed:  # a later test must not find it
                for domain in self.backend.domains():
                    self.backend.virsh("destroy", domain, check=False)
                    self.backend.virsh("undefine", "--nvram", domain, check=False)


@pytest.fixture
def world(backend, request):
    world = LibvirtWorld(backend)
    yield world
    report = getattr(request.node, "report_call", None)
    world.close(failed=report is None or report.failed)


def test_a_pod_lives_in_a_virtual_machine_and_leaves_nothing(world):
    world.stack.start()
    shim = world.start_pod()
    shim.start_monitor(1)
    web, other = start_web(shim, "from $(uname -r)"), start_ending(shim)
    wait_until(lambda: page(world.network, shim), 30, "the web server answers from the cluster")
    kernel = web.exec("uname", "-r")[1]
    assert page(world.network, shim) == b"from " + kernel
    assert kernel.decode().strip() != os.uname().release, "the container runs on this machine's kernel"

    data = os.urandom(500_000)
    status, out, _ = web.exec("sha256sum", stdin=data, timeout=60)
    assert (status, out.split()[0].decode()) == (0, hashlib.sha256(data).hexdigest())
    other.process.stdout.wait_for(b"started\n")
    assert web.stats().memory_stats.usage.usage > 0
    other.process.signal(SIGTERM)
    assert other.process.wait() == 7
    other.remove()
    assert shim.dead is None
    shim.stop_pod()
    assert world.backend.left() == []
    world.nothing_left()


@pytest.mark.parametrize("fault, domains", [("libvirt-reserved", 0), ("libvirt-uploaded", 1), ("start.create.after", 1),
                                           ("start.network.after", 1)])
def test_killed_while_a_vm_is_made_nothing_leaks(world, fault, domains):
    conftest.need(paths.is_sanitized(), "fault points need SAN=address")
    world.stack.start(fault=fault)
    shim = world.shim()
    shim.create_vm()
    with pytest.raises((ttrpc.Closed, OSError)):
        shim.start_vm(START_TIMEOUT)
    world.stack.wait_killed(START_TIMEOUT)
    assert len(world.backend.domains()) == domains and world.backend.left() != []
    world.stack.start()
    shim.stop_vm()
    wait_until(lambda: not world.backend.left(), 60, "the VM and its volumes are gone", 0.2)
    world.nothing_left()


def test_a_running_pod_survives_the_adaptor_and_libvirtd(world):
    """The adaptor is killed and restarted, libvirtd is killed and restarted, an exec streams all the while; then the
    adaptor is killed while it deletes."""
    conftest.need(paths.is_sanitized(), "fault points need SAN=address")
    world.stack.start()
    shim = world.start_pod()
    box = start_box(shim)
    talk = Talk(box, 600, pause_us=10000)
    talk.reach(20)
    world.stack.kill()
    os.kill(world.backend.pid, signal.SIGKILL)
    stack.wait_gone(world.backend.pid)
    world.backend.restart_daemon()
    world.stack.start(fault="stop.record.after")
    assert talk.came_whole()
    assert not shim.client.closed
    assert box.exec("echo", "after")[1] == b"after\n"
    assert len(world.backend.domains()) == 1

    shim.close()
    try:
        shim.stop_vm()
    except (ttrpc.Closed, OSError):
        pass  # killed before it could answer
    world.stack.wait_killed()
    world.stack.start()
    wait_until(lambda: not world.backend.left(), 60, "the deletion is finished", 0.2)
    world.nothing_left()
