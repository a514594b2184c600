# SPDX-License-Identifier: Apache-2.0
"""The whole path over the netns driver: from CreateVM to nothing left, as a shim goes it."""

import contextlib
import hashlib
import json
import os
import subprocess
import threading

import pytest

from peerpod import cni, services, ttrpc
from peerpod.pods import PORT, Talk, each_at_once, page, start_box, start_ending, start_web
from peerpod.shim import SIGTERM, wait_until

def test_a_pod_lives_and_leaves_nothing(world):
    shim = world.pod()
    shim.start_monitor(0.2)
    web, other = start_web(shim), start_ending(shim)
    wait_until(lambda: page(world.network, shim), 20, "the web server answers from the cluster")
    assert page(world.network, shim) == b"hello from web\n"

    data = os.urandom(300_000)
    status, out, err = web.exec("sha256sum", stdin=data)
    assert (status, out.split()[0].decode(), err) == (0, hashlib.sha256(data).hexdigest(), b"")
    assert web.exec("/bin/sh", "-c", "echo out; echo err >&2; exit 3") == (3, b"out\n", b"err\n")

    other.process.stdout.wait_for(b"started\n")
    stats = web.stats()
    assert stats.memory_stats.usage.usage > 0
    other.process.signal(SIGTERM)
    assert other.process.wait() == 7
    assert bytes(other.process.stdout.data) == b"started\nending\n"
    other.remove()

    assert len(world.stack.records()) == len(world.stack.instances()) == 1
    assert shim.dead is None
    shim.stop_pod()
    assert world.stack.records() == world.stack.instances() == []
    world.nothing_left()


def test_the_pod_sees_its_own_address_and_none_of_the_worker(world):
    shim = world.pod()
    box = start_box(shim)
    status, out, _ = box.exec("ip", "-o", "-4", "address", "show", "dev", "eth0")
    assert status == 0 and str(shim.pod_netns.interface) in out.decode()
    status, out, _ = box.exec("ip", "route")
    assert f"default via {world.network.gateway} dev eth0" in out.decode()
    assert box.exec("cat", "/etc/resolv.conf")[1] == b""
    assert box.exec("hostname")[1] == b"web\n"
    shim.stop_pod()
    world.nothing_left()


def tunnel_mtu(pod) -> int:
    """Of the tunnel's device in a pod's network namespace on the worker."""
    return json.loads(pod.ip("-j", "link", "show", "dev", "vxlan1"))[0]["mtu"]


@pytest.mark.parametrize("underlay, expected", [(1400, 1350), (9000, 1450)])
def test_the_smaller_underlay_of_the_two_ends_fits_the_tunnel_at_both(make_world, underlay, expected):
    world = make_world(environment={"NETNS_MTU": str(underlay)}).start()
    shim = world.pod()
    assert tunnel_mtu(shim.pod_netns) == expected
    box = start_box(shim)
    assert box.exec("cat", "/sys/class/net/eth0/mtu")[1] == f"{expected}\n".encode()
    shim.stop_pod()
    world.nothing_left()


def serve_page(world, shim) -> None:
    start_web(shim, "page")
    wait_until(lambda: page_of(world, shim) == b"page\n", 20, "the web server answers from the cluster")


def page_of(world, shim) -> bytes:
    try:
        return world.network.get(shim.pod_netns.address, PORT, timeout=1)
    except OSError:
        return b""


def test_a_tunnel_device_that_somebody_deletes_is_made_again(world):
    shim = world.pod()
    serve_page(world, shim)
    before = json.loads(shim.pod_netns.ip("-j", "-d", "link", "show", "dev", "vxlan1"))[0]["linkinfo"]["info_data"]["id"]
    shim.pod_netns.ip("link", "delete", "vxlan1")
    wait_until(lambda: page_of(world, shim) == b"page\n", 20, "the pod can be reached again")
    assert json.loads(shim.pod_netns.ip("-j", "-d", "link", "show", "dev", "vxlan1"))[0]["linkinfo"]["info_data"]["id"] == before
    wait_until(lambda: "somebody removed the tunnel's device" in world.stack.log(), 5, "a word about it in the log")
    shim.stop_pod()
    world.nothing_left()


def test_rules_that_somebody_flushes_come_back(world):
    shims = [world.pod(name) for name in ("one", "two")]

    def rules() -> str:
        return cni.run(*world.worker.command("nft", "list", "ruleset"))

    assert all(shim.id in rules() for shim in shims)
    cni.run(*world.worker.command("nft", "flush", "ruleset"))
    wait_until(lambda: all(shim.id in rules() for shim in shims), 20, "the rules are there again")
    for shim in shims:
        shim.stop_pod()
    world.nothing_left()


def test_large_output_and_input_come_whole(world):
    shim = world.pod()
    box = start_box(shim)
    data = os.urandom(4_000_000)
    status, out, _ = box.exec("cat", stdin=data, timeout=120)
    assert status == 0
    assert hashlib.sha256(out).digest() == hashlib.sha256(data).digest()
    shim.stop_pod()


def test_files_are_copied_into_containers(world):
    shim = world.pod()
    content = os.urandom(1_500_000)
    box = start_box(shim, files={"/etc/data": content})
    assert box.exec("sha256sum", "/etc/data")[1].split()[0].decode() == hashlib.sha256(content).hexdigest()
    shim.stop_pod()


def test_stop_vm_succeeds_again_and_for_what_never_was(world):
    shim = world.pod()
    shim.stop_pod()
    shim.stop_vm()
    world.shim("never").stop_vm()
    world.nothing_left()


def test_stop_vm_before_start_vm_forgets_the_sandbox(world):
    shim = world.shim()
    shim.create_vm()
    assert len(world.stack.records()) == 1
    shim.stop_vm()
    world.nothing_left()


def test_stop_vm_goes_on_when_its_caller_is_gone(world):
    """The Go shim may write the request and close at once; the Rust shim waits one second."""
    shim = world.pod()
    shim.close()
    with ttrpc.connect_unix(world.stack.socket) as sock:
        request = services.hv.StopVMRequest(id=shim.id).SerializeToString()
        sock.sendall(ttrpc.pack(1, ttrpc.REQUEST, 0, ttrpc.request("hypervisor.Hypervisor", "StopVM", request, 1)))
    world.nothing_left()


def test_stop_vm_cancels_start_vm(make_world):
    world = make_world(environment={"NETNS_CREATE_DELAY": "1h"}).start()
    shim = world.shim()
    shim.create_vm()
    failures = []

    def start():
        try:
            shim.start_vm()
        except ttrpc.Status as status:
            failures.append(status)

    thread = threading.Thread(target=start)
    thread.start()
    wait_until(world.stack.instances, 10, "the instance is being made")
    shim.stop_vm()
    thread.join(10)
    assert not thread.is_alive() and len(failures) == 1
    assert "web" in failures[0].message
    world.nothing_left()


def test_start_vm_is_undone_when_its_caller_is_gone(make_world):
    world = make_world(environment={"NETNS_CREATE_DELAY": "1h"}).start()
    shim = world.shim()
    shim.create_vm()
    sock = ttrpc.connect_unix(world.stack.socket, shim.netns_path)
    request = services.hv.StartVMRequest(id=shim.id).SerializeToString()
    sock.sendall(ttrpc.pack(1, ttrpc.REQUEST, 0, ttrpc.request("hypervisor.Hypervisor", "StartVM", request)))
    wait_until(world.stack.instances, 10, "the instance is being made")
    sock.close()
    wait_until(lambda: not world.stack.instances(), 15, "the instance is gone")
    shim.stop_vm()
    world.nothing_left()


@pytest.mark.parametrize(
    "fail, words",
    [
        ("create:capacity", "ordered by NETNS_FAIL: create fails"),
        ("create:denied", "ordered by NETNS_FAIL: create fails"),
        ("addresses:invalid", "ordered by NETNS_FAIL: addresses fails"),
    ],
)
def test_a_failed_start_says_why_and_leaves_nothing(make_world, fail, words):
    world = make_world(environment={"NETNS_FAIL": fail, "NETNS_ADDRESS_DELAY": "1ms"}).start()
    shim = world.shim()
    shim.create_vm()
    with pytest.raises(ttrpc.Status) as caught:
        shim.start_vm(60)
    assert words in caught.value.message and "default/web" in caught.value.message
    shim.stop_vm()
    world.nothing_left()


def test_a_passing_fault_of_deletion_is_tried_again(make_world):
    world = make_world(environment={"NETNS_FAIL": "delete:retry:2"}).start()
    shim = world.pod()
    with pytest.raises(ttrpc.Status) as caught:  # the shim ignores it
        shim.stop_pod()
    assert "default/web" in caught.value.message and "taken down in the background" in caught.value.message
    wait_until(lambda: not world.stack.instances(), 30, "the instance is gone")
    world.nothing_left()


def test_many_pods_at_once_do_not_meet(world):
    shims = [world.shim(f"p{n}") for n in range(8)]

    def live(shim):
        shim.start_pod(120)
        box = start_box(shim)
        assert box.exec("hostname")[1].decode().strip() == shim.pod
        status, out, _ = box.exec("ip", "-o", "-4", "address", "show", "dev", "eth0")
        assert shim.pod_netns.address in out.decode()

    each_at_once(shims, live)
    assert len(world.stack.instances()) == 8
    each_at_once(shims, lambda shim: shim.stop_pod())
    world.nothing_left()


def test_the_csi_wrapper_can_ask_for_the_instance(world):
    shim = world.pod()
    with world.stack.podvminfo() as info:
        answer = info.GetInfo(PodName="web", PodNamespace="default", timeout=5)
        assert answer.VMID == f"netns-{world.stack.instances()[0]}"
        with pytest.raises(ttrpc.Status) as caught:
            info.GetInfo(PodName="nobody", PodNamespace="default", timeout=5)
    assert caught.value.code == ttrpc.NOT_FOUND
    assert caught.value.message == "VM ID for default:nobody was not found"
    shim.stop_pod()


def test_the_shims_connection_outlives_a_break_of_the_tunnel(world):
    """The network between worker and VM is cut and comes back: the shim sees a pause."""
    shim = world.pod()
    box = start_box(shim)
    talk = Talk(box, 400, pause_us=5000)
    talk.reach(10)
    with tunnel_refused(world):
        wait_until(lambda: proxy_state(world).state != "up", 20, "agent-proxy sees the break")
        assert not shim.client.closed
    assert talk.came_whole()
    assert not shim.client.closed
    assert proxy_state(world).reconnects >= 1
    shim.check()
    shim.stop_pod()
    world.nothing_left()


def proxy_state(world):
    with world.stack.agent_proxy() as proxy:
        return proxy.List(timeout=5).sandboxes[0]


@contextlib.contextmanager
def tunnel_refused(world):
    """While inside, what a forwarder sends is answered with a reset, and so are in turn those who talk to it."""
    rules = """table inet cut {
        chain in { type filter hook input priority 0; tcp sport 15150 tcp flags & rst == 0 reject with tcp reset; }
    }"""
    subprocess.run(world.worker.command("nft", rules), check=True)
    try:
        yield
    finally:
        subprocess.run(world.worker.command("nft", "delete table inet cut"), check=True)


def test_no_secret_is_in_a_log_or_on_a_command_line(world):
    shim = world.pod()
    wait_until(lambda: world.stack.instances(), 5, "an instance")
    for process in os.scandir("/proc"):
        if process.name.isdigit():
            try:
                command = open(f"/proc/{process.name}/cmdline", "rb").read()
            except OSError:
                continue
            assert b"PRIVATE KEY" not in command
    for folder, _, files in os.walk(world.stack.folder):
        for file in files:
            path = os.path.join(folder, file)
            try:
                content = open(path, "rb").read()
            except OSError:
                continue
            if b"PRIVATE KEY" in content:
                assert os.stat(path).st_mode & 0o077 == 0, f"{path} holds a key and others may read it"
    shim.stop_pod()
