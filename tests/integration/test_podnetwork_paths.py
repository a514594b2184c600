# SPDX-License-Identifier: Apache-2.0
"""Sizes and families: the MTU comes from the path, and IPv4 and IPv6 go inside and outside in every combination."""

import errno
import json
import socket

import pytest

from podnet_rig import (  # noqa: F401 (fixtures)
    Pod,
    Rig,
    ToolError,
    connected,
    inspect_error,
    needs_root,
    rig,
    routes_of,
    wait_for,
)

pytestmark = needs_root


# ---- sizes


def test_frames_longer_than_the_tunnel_arrive_in_fragments(rig):
    pod, vm = connected(rig)
    assert rig.datagram(rig.worker, vm.podns, pod.address, 1472, fragment=False)
    assert rig.datagram(rig.worker, vm.podns, pod.address, 4000)
    assert rig.datagram(vm.podns, rig.worker, "10.244.1.1", 4000)


@pytest.mark.parametrize("underlay, pod_mtu, v6, expected", [
    (1500, 1500, False, 1450), (9000, 1500, False, 1500), (9000, 9000, False, 8950), (1500, 1400, False, 1400),
    (1500, 1500, True, 1430), (1400, 1500, False, 1350),
])
def test_mtu_comes_from_the_path(underlay, pod_mtu, v6, expected):
    with Rig(v4=not v6, v6=v6, underlay_mtu=underlay) as rig:
        pod, vm = rig.bridge_pod("a", 7, mtu=pod_mtu), rig.vm("a", 20)
        rig.connect(pod, vm)
        assert vm.podns.json("link show eth0")[0]["mtu"] == expected
        assert pod.netns.json("link show vxlan1")[0]["mtu"] == expected
        assert rig.datagram(vm.podns, rig.worker, "10.244.1.1", expected - 28, fragment=False)
        with pytest.raises(OSError) as too_long:
            rig.datagram(vm.podns, rig.worker, "10.244.1.1", expected - 27, fragment=False)
        assert too_long.value.errno == errno.EMSGSIZE
        rig.transfer(rig.worker, vm.podns, pod.address, 1_000_000)


def test_a_route_with_a_smaller_mtu_counts(rig):
    pod, vm = rig.bridge_pod("a", 7), rig.vm("a", 20)
    vm.netns.ip("route add 192.168.100.10/32 dev ens5 mtu 1300")
    rig.connect(pod, vm)
    assert vm.podns.json("link show eth0")[0]["mtu"] == 1250


def test_a_path_too_narrow_for_ipv6_is_refused():
    with Rig(underlay_mtu=1300) as rig:
        assert inspect_error(rig, rig.bridge_pod("a", 7, families=(4, 6))) == (
            "the tunnel's MTU would be 1250, and IPv6 needs 1280: the path between worker and pod VM has an MTU of "
            "1300, the tunnel takes 50 of it, and the pod's interface has 1500")


def test_routed_pods_answer_fragmentation_needed(rig):
    pod, vm = rig.routed_pod("a", 7), rig.vm("a", 20)
    rig.connect(pod, vm)
    assert rig.worker.json(f"link show {pod.host}")[0]["mtu"] == 1450
    client = rig.space("x")
    rig.worker.ip(f"link add cali9 type veth peer name eth0 netns {client.name}")
    rig.worker.ip("addr add 10.65.1.1/24 dev cali9")
    rig.worker.ip("link set cali9 up")
    client.ip("addr add 10.65.1.9/24 dev eth0")
    client.ip("link set eth0 up")
    client.ip("route add default via 10.65.1.1")
    probe = client.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with probe:
        probe.setsockopt(socket.IPPROTO_IP, 10, 2)
        probe.connect((pod.address, 8081))

        def path_mtu():
            try:
                probe.send(b"x" * 1472)
            except OSError as refused:
                assert refused.errno == errno.EMSGSIZE
            return probe.getsockopt(socket.IPPROTO_IP, 14)  # IP_MTU

        wait_for(lambda: path_mtu() == 1450, "the worker says that 1450 is the limit")
    rig.transfer(client, vm.podns, pod.address, 1_000_000)


def test_only_the_pods_own_host_side_is_lowered(rig):
    """The pod's veth ends in another namespace, and the worker has one with the same numbers."""
    between, stranger, pod_space = rig.space("m"), rig.space("s"), rig.space("wpa")
    between.ip(f"link add host index 77 type veth peer name eth0 netns {pod_space.name} index 78")
    rig.worker.ip(f"link add bystander index 77 type veth peer name x netns {stranger.name} index 78")
    between.ip("link set host up")
    pod_space.ip("addr add 10.65.0.7/32 dev eth0")
    pod_space.ip("link set eth0 up")
    pod_space.ip("route add default dev eth0")
    rig.connect(Pod(pod_space, "sandbox-a", ["10.65.0.7/32"], "host"), rig.vm("a", 20))
    assert rig.worker.json("link show bystander")[0]["mtu"] == 1500


# ---- families


@pytest.mark.parametrize("families, v4, v6", [
    ((6,), True, False), ((4, 6), True, False), ((4,), False, True), ((6,), False, True), ((4, 6), True, True),
])
def test_families_inside_and_outside(families, v4, v6):
    with Rig(v4=v4, v6=v6) as rig:
        pod, vm = rig.bridge_pod("a", 7, families=families), rig.vm("a", 20)
        rig.connect(pod, vm)
        for address in pod.addresses:
            rig.transfer(rig.worker, vm.podns, address)
            rig.transfer(vm.podns, rig.worker, "fd00:244::1" if ":" in address else "10.244.1.1")
        assert routes_of(vm.podns) == routes_of(pod.netns)
        assert rig.worker.counter("dropped") == 0
        network = json.dumps(pod.network["routes"])
        assert "fd00" not in network  # v1 is IPv4 only: an upstream VM would fail on it


def test_an_ipv6_gateway_that_is_link_local(rig):
    """Calico's and the clouds' shape: a single address, the default route by the host side's fe80:: address."""
    space = rig.pod_space("a", "cali7")
    rig.worker.ip("addr add fe80::1/64 dev cali7 nodad")
    rig.worker.ip("link set cali7 up")
    rig.worker.ip("addr add fd00:1::1/128 dev lo")
    rig.worker.ip("-6 route add fd00:65::7/128 dev cali7")
    rig.worker.sysctl("net.ipv6.conf.all.forwarding", 1)
    space.ip("addr add fd00:65::7/128 dev eth0 nodad")
    space.ip("link set eth0 up")
    space.ip("-6 route add default via fe80::1 dev eth0")
    pod, vm = Pod(space, "sandbox-a", ["fd00:65::7/128"], "cali7"), rig.vm("a", 20)
    rig.connect(pod, vm)
    assert pod.network["podip"] == "fd00:65::7/128" and pod.network["routes"] is None
    rig.transfer(rig.worker, vm.podns, pod.address)
    rig.transfer(vm.podns, rig.worker, "fd00:1::1")


def test_ipv6_switched_off_in_the_vm_is_switched_on_for_the_pod(rig):
    pod, vm = rig.bridge_pod("a", 7, families=(4, 6)), rig.vm("a", 20)
    vm.podns.sysctl("net.ipv6.conf.default.disable_ipv6", 1)
    vm.podns.sysctl("net.ipv6.conf.lo.disable_ipv6", 1)
    rig.connect(pod, vm)
    rig.transfer(rig.worker, vm.podns, pod.addresses[1])


def test_a_vm_of_the_other_family_is_refused(rig):
    pod, vm = rig.bridge_pod("a", 7), rig.vm("a", 20)
    rig.inspect(pod)
    vm.addresses = ["fd00::1"]
    with pytest.raises(ToolError) as refused:
        rig.setup(pod, vm)
    assert str(refused.value) == (
        "connect the pod's network to its VM: the pod VM has no IPv4 address, and the worker's tunnel address "
        "192.168.100.10/24 is one: give the VM such an address, or choose the worker's with -host-interface")
