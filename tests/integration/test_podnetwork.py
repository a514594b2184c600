# SPDX-License-Identifier: Apache-2.0
"""The pod's network between worker and pod VM: what must hold on real namespaces.

The "VM" is a network namespace. Proof that the tunnel carries something is a listener that exists only
behind it: the worker's own kernel answers for the pod's address as long as no redirect is there.
"""

import concurrent.futures
import fcntl
import json
import os
import pathlib
import socket
import struct
import subprocess
import time

import pytest

from peerpod import paths
from podnet_rig import (  # noqa: F401 (fixtures)
    VXLAN_PORT,
    Rig,
    ToolError,
    check_traffic,
    connected,
    HAS_FAULTS,
    inspect_error,
    killed,
    needs_faults,
    needs_root,
    rig,
    run,
    wait_for,
)

pytestmark = needs_root


# ---- the tunnel


def test_fifty_megabytes_each_way(rig):
    pod, vm = connected(rig)
    check_traffic(rig, pod, vm, 50_000_000)
    assert rig.worker.counter("accepted") > 100 and vm.netns.counter("accepted") > 100
    assert rig.worker.counter("dropped") == 0 and vm.netns.counter("dropped") == 0


def test_link_attributes(rig):
    pod, vm = connected(rig)
    [worker] = pod.netns.json("link show vxlan1")
    data = worker["linkinfo"]["info_data"]
    assert (data["id"], data["remote"], data["port"], data["learning"]) == (
        pod.network["vxlan-id"], "192.168.100.20", VXLAN_PORT, False)
    assert worker["inet6_addr_gen_mode"] == "none" and worker["mtu"] == 1450
    assert worker["ifalias"] == "peerpod:sandbox-a"
    assert worker["address"] != pod.network["pod-hw-addr"]
    assert "link_netnsid" in worker
    [inside] = vm.podns.json("link show eth0")
    assert (inside["address"], inside["mtu"], inside["inet6_addr_gen_mode"]) == ("0a:58:0a:f4:01:07", 1450, "none")
    assert [a["family"] for a in vm.podns.json("addr show dev eth0")[0]["addr_info"]] == ["inet"]


@pytest.mark.parametrize("v6", [False, True])
def test_checksums_can_be_left_out_and_kept_from_the_nic(v6):
    with Rig(v4=not v6, v6=v6) as rig:
        pod, vm = rig.bridge_pod("a", 7), rig.vm("a", 20)
        rig.connect(pod, vm, "-no-tunnel-csum", "-no-nic-tx-csum")
        assert pod.network["ext"]["tunnel-csum-off"] is pod.network["ext"]["nic-tx-csum-off"] is True
        for space, name in ((pod.netns, "vxlan1"), (vm.netns, "ppvxlan0")):
            [link] = space.json(f"link show {name}")
            data = link["linkinfo"]["info_data"]
            if v6:
                assert data["udp_zero_csum6_tx"] is data["udp_zero_csum6_rx"] is True
            else:
                assert data.get("udp_csum", False) is False
            assert "tx-checksumming: off" in space.run("ethtool", "-k", name).stdout
        rig.transfer(rig.worker, vm.podns, pod.address, 1_000_000)


def test_an_idle_tunnel_is_silent(rig):
    # The cluster's own noise is not what is looked for.
    rig.worker.sysctl("net.ipv6.conf.all.disable_ipv6", 1)
    rig.worker.sysctl("net.ipv6.conf.default.disable_ipv6", 1)
    pod, vm = rig.routed_pod("a", 7), rig.vm("a", 20)
    rig.connect(pod, vm)
    # Neighbour discovery, multicast reports and router solicitations come in the first seconds.
    time.sleep(4)
    for space, name in ((pod.netns, "vxlan1"), (vm.netns, "ppvxlan0")):
        stats = json.loads(space.run("ip", "-j", "-s", "link", "show", name).stdout)[0]["stats64"]
        assert (name, stats["tx"]["packets"], stats["rx"]["packets"]) == (name, 0, 0)


def test_the_udp_socket_is_in_the_root_namespaces(rig):
    pod, vm = connected(rig)

    def has_port(space):
        return f":{VXLAN_PORT} " in space.run("ss", "-lunH").stdout

    assert has_port(rig.worker) and has_port(vm.netns)
    assert not has_port(pod.netns) and not has_port(vm.podns)


def test_everything_twice_and_teardown_without_a_netns(rig):
    pod, vm = rig.bridge_pod("a", 7), rig.vm("a", 20)
    first = rig.inspect(pod)
    assert rig.inspect(pod) == first
    for _ in range(2):
        rig.setup(pod, vm)
        rig.vm_setup(vm, pod)
    check_traffic(rig, pod, vm)
    assert len(rig.worker.elements()) == 1 and len(vm.netns.elements()) == 1
    for _ in range(2):
        rig.vm_teardown(vm, pod)
    assert vm.netns.elements() == [] and [link["ifname"] for link in vm.podns.json("link")] == ["lo"]
    assert {link["ifname"] for link in vm.netns.json("link")} == {"lo", "ens5"}
    pod.netns.delete()
    for _ in range(2):
        rig.teardown(pod)
    assert rig.worker.elements() == []


def test_no_tunnel_is_made_in_another_pods_netns_that_has_the_path_meanwhile(rig):
    pod, vm = connected(rig)
    inode = os.stat(pod.netns.path).st_ino
    known = ("-netns-inode", str(inode))
    rig.setup(pod, vm, *known)
    other, other_vm = connected(rig, "b", 8, 21)
    with open(pod.netns.path):  # it lives on: no new namespace gets its number
        pod.netns.delete()
        pathlib.Path(pod.netns.path).touch()
        run("mount", "--bind", other.netns.path, pod.netns.path)
        before = other.netns.json("link show")
        with pytest.raises(ToolError) as refused:
            rig.setup(pod, vm, *known)
        said = (f"netns {pod.netns.path}: the network namespace there (inode {os.stat(other.netns.path).st_ino}) is another "
                f"one than when the pod was created (inode {inode})")
        assert str(refused.value) == f"connect the pod's network to its VM: {said}"
        assert inspect_error(rig, pod, *known) == said.replace(pod.netns.path, "PATH")
        for _ in range(2):
            rig.teardown(pod, *known)
        assert other.netns.json("link show") == before
        assert [e[3] for e in rig.worker.elements()] == ["sandbox-b"]
        check_traffic(rig, other, other_vm)


def test_teardown_leaves_a_pod_netns_that_answers_to_nobody(rig):
    pod, vm = connected(rig)
    server = rig.serve(pod.netns, pod.address, port=8085)
    rig.teardown(pod)
    assert [link["ifname"] for link in pod.netns.json("link")] == ["lo", "eth0"]
    client = rig.worker.socket(socket.AF_INET, socket.SOCK_STREAM)
    with client, pytest.raises(OSError):
        client.settimeout(1)
        client.connect((pod.address, 8085))
    own = pod.netns.socket(socket.AF_INET, socket.SOCK_STREAM)
    with own:
        own.connect((pod.address, 8085))
    server.join()


WORKER_STEPS = ["podnet-reserved", "podnet-named", "podnet-port-held"]
WORKER_SETUP_STEPS = ["podnet-device", "podnet-filter", "podnet-remote", "podnet-up", "podnet-redirect",
                      "podnet-connected"]
VM_STEPS = ["podnet-vm-uplink", "podnet-vm-filter", "podnet-vm-device", "podnet-vm-up", "podnet-vm-interface",
            "podnet-vm-named", "podnet-vm-addresses", "podnet-vm-neighbors", "podnet-vm-routes"]

@needs_faults
@pytest.mark.parametrize("step", WORKER_STEPS + WORKER_SETUP_STEPS + VM_STEPS)
def test_killed_at_any_step_the_next_run_converges(rig, step):
    pod, vm = rig.bridge_pod("a", 7), rig.vm("a", 20)

    def attempt(work, *arguments):
        if step in work[1]:
            with killed():
                work[0](*arguments, fault=step)
        work[0](*arguments)

    attempt((rig.inspect, WORKER_STEPS), pod)
    attempt((rig.setup, WORKER_SETUP_STEPS), pod, vm)
    attempt((lambda fault=None: rig.vm_setup(vm, pod, fault=fault), VM_STEPS))
    check_traffic(rig, pod, vm)
    assert [link["ifname"] for link in pod.netns.json("link")] == ["lo", "eth0", "vxlan1"]
    assert [link["ifname"] for link in vm.podns.json("link")] == ["lo", "eth0"]
    assert len(rig.worker.elements()) == 1 and len(vm.netns.elements()) == 1


@needs_faults
@pytest.mark.parametrize("step", WORKER_STEPS + WORKER_SETUP_STEPS)
def test_killed_at_any_step_reconcile_leaves_nothing_of_a_dead_sandbox(rig, step):
    pod, vm = rig.bridge_pod("a", 7), rig.vm("a", 20)
    with killed():
        rig.inspect(pod, fault=step)
        rig.setup(pod, vm, fault=step)
    rig.reconcile()
    assert [link["ifname"] for link in pod.netns.json("link")] == ["lo", "eth0"]
    assert rig.worker.elements() == []


@needs_faults
def test_killed_in_teardown_the_next_run_finishes(rig):
    pod, vm = connected(rig)
    with killed():
        rig.teardown(pod, fault="podnet-device-removed")
    rig.teardown(pod)
    assert rig.worker.elements() == []


def test_fifty_at_once_get_fifty_ids(rig):
    vm = rig.vm("a", 20)
    pods = [rig.bridge_pod(f"{i}", 50 + i) for i in range(50)]

    def start(pod):
        rig.inspect(pod)
        rig.setup(pod, vm)

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(start, pods))
    assert len({pod.network["vxlan-id"] for pod in pods}) == 50
    assert len(rig.worker.elements()) == 50
    for pod in pods[:3]:
        rig.vm_setup(vm, pod)
        rig.transfer(rig.worker, vm.podns, pod.address)
        rig.vm_teardown(vm, pod)
    rig.reconcile(*pods[1:])
    assert len(rig.worker.elements()) == 49


def test_ids_that_are_taken_or_in_quarantine_are_passed_over(rig):
    pod = rig.bridge_pod("a", 7)
    first = rig.inspect(pod)["vxlan-id"]
    rig.teardown(pod)
    rig.worker.ip(f"link add foreign type vxlan id {first} dstport {VXLAN_PORT} remote 192.168.100.77")
    assert rig.inspect(pod)["vxlan-id"] == first + 1
    rig.teardown(pod)
    assert rig.inspect(pod, "-quarantine", f"{first + 1},{first + 2}")["vxlan-id"] == first + 3


def test_no_id_is_left(rig):
    pod = rig.bridge_pod("a", 7)
    rig.worker.ip(f"link add foreign type vxlan id 16777215 dstport {VXLAN_PORT} remote 192.168.100.77")
    assert inspect_error(rig, pod, "-vxlan-min-id", "16777215").startswith(
        "no free VXLAN network id: 1 tried from 16777215 up on UDP port 4789")


def test_a_port_that_is_taken_is_named_before_a_vm_is_made(rig):
    pod = rig.bridge_pod("a", 7)
    rig.worker.ip("link add cilium type vxlan external dstport 8472")
    rig.worker.ip("link set cilium up")
    assert inspect_error(rig, pod, "-vxlan-port", "8472") == (
        "open UDP port 8472 for the tunnel: Address already in use; a program, or a VXLAN device of the CNI that "
        "takes every id (Cilium, Open vSwitch), has it: set -vxlan-port (VXLAN_PORT) to a free port and allow it in "
        "firewalls")
    assert [link["ifname"] for link in pod.netns.json("link")] == ["lo", "eth0"]
    assert rig.worker.run("nft", "list", "ruleset").stdout == ""


def test_a_reserved_tunnel_lets_nobody_in(rig):
    """From inspect on the port is open, and the VM's address not known yet."""
    pod, attacker = rig.bridge_pod("a", 7), rig.space("e")
    rig.plug(attacker, 66)
    vni = rig.inspect(pod)["vxlan-id"]
    inject(rig, attacker, vni)
    wait_for(lambda: rig.worker.counter("dropped") == 1, "dropped")
    assert received_packets(pod.netns, "vxlan1") == 0


def test_a_reserved_tunnel_lets_nobody_in_when_the_last_connected_pod_has_gone(rig):
    other, _ = connected(rig)
    pod, attacker = rig.bridge_pod("b", 8), rig.space("e")
    rig.plug(attacker, 66)
    vni = rig.inspect(pod)["vxlan-id"]
    rig.teardown(other)
    inject(rig, attacker, vni)
    wait_for(lambda: rig.worker.counter("dropped") == 1, "dropped")
    assert received_packets(pod.netns, "vxlan1") == 0
    rig.teardown(pod)
    assert rig.worker.run("nft", "list", "ruleset").stdout == ""


def test_a_tunnel_below_a_raised_lowest_id_lets_nobody_in(rig):
    """The adaptor was restarted with a higher -vxlan-min-id; pods from before run on."""
    pod, vm = connected(rig)
    rig.inspect(rig.bridge_pod("b", 8), "-vxlan-min-id", "16000000")
    attacker = rig.space("e")
    rig.plug(attacker, 66)
    before = received_packets(pod.netns, "vxlan1")
    inject(rig, attacker, pod.network["vxlan-id"])
    wait_for(lambda: rig.worker.counter("dropped") == 1, "dropped")
    assert received_packets(pod.netns, "vxlan1") == before
    check_traffic(rig, pod, vm)


def test_whoever_keeps_the_network_namespace_locked_keeps_no_pod(rig):
    """The lock is anybody's in the namespace: a pod with hostNetwork may take it and never let go."""
    pod = rig.bridge_pod("a", 7)
    with open(rig.worker.path, "rb") as namespace:
        fcntl.flock(namespace, fcntl.LOCK_EX)
        rig.inspect(pod)
    rig.teardown(pod)
    assert rig.worker.run("nft", "list", "ruleset").stdout == ""


def test_a_deleted_tunnel_device_comes_back_with_its_id(rig):
    pod, vm = connected(rig)
    pod.netns.ip("link del vxlan1")
    other = rig.bridge_pod("b", 8)
    rig.inspect(other)  # another pod meanwhile takes another id
    rig.setup(pod, vm)
    check_traffic(rig, pod, vm)


def test_reconcile_leaves_live_pods_and_strangers_alone(rig):
    pod, vm = connected(rig)
    pod.netns.ip(f"link add stranger type vxlan id 600000 dstport {VXLAN_PORT} remote 192.168.100.9")
    dead = rig.bridge_pod("b", 8)
    rig.inspect(dead)
    rig.setup(dead, vm)
    rig.reconcile(pod)
    assert "vxlan1" not in [link["ifname"] for link in dead.netns.json("link")]
    assert [e[3] for e in rig.worker.elements()] == ["sandbox-a"]
    assert "stranger" in [link["ifname"] for link in pod.netns.json("link")]
    check_traffic(rig, pod, vm)


def test_the_vm_moves_to_another_address(rig):
    pod, vm = connected(rig)
    rig.vm_teardown(vm, pod)
    other = rig.vm("b", 21)
    rig.setup(pod, other)
    rig.vm_setup(other, pod)
    check_traffic(rig, pod, other)
    assert [e[0] for e in rig.worker.elements()] == ["192.168.100.21"]


# ---- who may send


def inject(rig, attacker, vni, target="192.168.100.10"):
    """A broadcast ARP request in a VXLAN frame, from a raw UDP socket."""
    frame = (b"\xff" * 6 + b"\x02\0\0\0\0\x66" + b"\x08\x06" + b"\0\x01\x08\0\x06\x04\0\x01" + b"\x02\0\0\0\0\x66"
             + socket.inet_aton("10.244.1.66") + b"\0" * 6 + socket.inet_aton("10.244.1.1")).ljust(60, b"\0")
    sender = attacker.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sender:
        sender.sendto(struct.pack("!II", 0x08000000, vni << 8) + frame, (target, VXLAN_PORT))


def received_packets(space, name):
    return json.loads(space.run("ip", "-j", "-s", "link", "show", name).stdout)[0]["stats64"]["rx"]["packets"]



def test_injected_frames_are_dropped_and_strangers_ids_pass(rig):
    pod, vm = connected(rig)
    attacker = rig.space("e")
    rig.plug(attacker, 66)
    rig.worker.ip(f"link add calico type vxlan id 4096 dstport {VXLAN_PORT} nolearning")
    rig.worker.ip("link set calico up")
    vni = pod.network["vxlan-id"]
    before = received_packets(pod.netns, "vxlan1")
    inject(rig, attacker, vni)
    inject(rig, attacker, vni + 1)
    wait_for(lambda: rig.worker.counter("dropped") == 2, "wrong source and wrong id are dropped")
    assert received_packets(pod.netns, "vxlan1") == before
    inject(rig, attacker, 4096)
    wait_for(lambda: received_packets(rig.worker, "calico") == 1, "another's id on the same port passes")
    inject(rig, attacker, vni, "192.168.100.20")
    wait_for(lambda: vm.netns.counter("dropped") == 1, "the VM drops as well")
    check_traffic(rig, pod, vm)


def test_tunnel_packets_are_not_tracked(rig):
    rules = f"""table inet seen {{
        counter tracked {{ }}
        counter untracked {{ }}
        chain in {{ type filter hook input priority 10; udp dport {VXLAN_PORT} ct state untracked counter name untracked accept;
            udp dport {VXLAN_PORT} counter name tracked; }}
        chain out {{ type filter hook output priority 10; udp dport {VXLAN_PORT} ct state untracked counter name untracked accept;
            udp dport {VXLAN_PORT} counter name tracked; }}
    }}"""
    pod, vm = connected(rig)
    for space in (rig.worker, vm.netns):
        space.nft(rules)
    for i in range(200):
        assert rig.datagram(rig.worker, vm.podns, pod.address, 100, port=9000 + i)
    for space in (rig.worker, vm.netns):
        assert space.counter("tracked", "inet seen") == 0
        assert space.counter("untracked", "inet seen") >= 200


# ---- nothing leaks


def test_no_descriptor_and_no_netns_is_kept(rig):
    """A thousand times (fewer where sanitizers make it slow), on several threads of one process."""
    pods, vm = [rig.bridge_pod(f"{i}", 10 + i) for i in range(4)], rig.vm("a", 20)
    count = 50 if HAS_FAULTS else 250
    text = rig.tool(rig.worker, "cycle", "-netns", ",".join(pod.netns.path for pod in pods), "-instance-ips",
                    vm.addresses[0], "-count", str(count))
    before, after = text.split()
    assert before == after
    for pod in pods:
        assert [link["ifname"] for link in pod.netns.json("link")] == ["lo", "eth0"]
    assert rig.worker.elements() == []
    assert "peerpod" not in rig.worker.run("nft", "list", "tables").stdout


def test_no_process_is_started(rig):
    """ip, tc, nft and iptables are not needed: nothing is on the path of the program."""
    pod, vm = rig.bridge_pod("a", 7), rig.vm("a", 20)
    program = paths.program("podnet-tool")
    done = subprocess.run(
        ["nsenter", f"--net={rig.worker.path}", "/usr/bin/env", "PATH=/nowhere", program, "inspect", "-sandbox",
         pod.sandbox, "-netns", pod.netns.path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pod.file = rig.write(json.loads(done.stdout))
    rig.setup(pod, vm)
    rig.vm_setup(vm, pod)
    check_traffic(rig, pod, vm)
