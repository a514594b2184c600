# SPDX-License-Identifier: Apache-2.0
"""The pod's network between worker and pod VM: what must hold on real namespaces.

The "VM" is a network namespace. Proof that the tunnel carries something is a listener that exists only
behind it: the worker's own kernel answers for the pod's address as long as no redirect is there.
"""

import concurrent.futures
import contextlib
import errno
import fcntl
import json
import os
import re
import socket
import struct
import subprocess
import time

import pytest

from peerpod import paths
from podnet_rig import MIN_ID, VXLAN_PORT, Pod, Rig, ToolError, run

@contextlib.contextmanager
def killed():
    """podnet-tool kills itself in here."""
    with pytest.raises(ToolError) as ended:
        yield
    assert ended.value.killed, ended.value


pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces")


def has_faults():
    with open(paths.program("podnet-tool"), "rb") as f:
        return b"PEERPOD_FAULT" in f.read()


@pytest.fixture
def rig():
    with Rig() as made:
        yield made


def connected(rig, name="a", number=7, vm_number=20):
    pod, vm = rig.bridge_pod(name, number), rig.vm(name, vm_number)
    rig.connect(pod, vm)
    return pod, vm


def check_traffic(rig, pod, vm, size=100_000):
    """Both ways: from the worker to the pod, and from the pod to the worker."""
    rig.transfer(rig.worker, vm.podns, pod.address, size)
    rig.transfer(vm.podns, rig.worker, "10.244.1.1", size, port=8090)


def routes_of(space):
    """Routes of table main as (family, dst, gateway, protocol, scope, metric)."""
    found = set()
    for family in ("-4", "-6"):
        for r in space.json(f"{family} route show table main"):
            if r["dst"] not in ("fe80::/64", "multicast"):
                gateway = r.get("gateway") or r.get("via", {}).get("host")
                found.add((family, r["dst"], gateway, r["protocol"], r.get("scope"), r.get("metric")))
    return found


# ---- what inspect finds (golden: upstream's JSON, with the default route as 0.0.0.0/0)


def shape_flannel(rig):
    pod = rig.bridge_pod("a", 7)
    pod.netns.ip("route add 10.244.0.0/16 via 10.244.1.1")
    return pod, {
        "podip": "10.244.1.7/24",
        "pod-hw-addr": "0a:58:0a:f4:01:07",
        "routes": [
            {"dst": "0.0.0.0/0", "gw": "10.244.1.1", "dev": "eth0", "protocol": "boot"},
            {"dst": "10.244.0.0/16", "gw": "10.244.1.1", "dev": "eth0", "protocol": "boot"},
            {"dst": "10.244.1.0/24", "gw": "", "dev": "eth0", "protocol": "kernel", "scope": "link"},
        ],
        "neighbors": None,
    }


def shape_calico(rig):
    return rig.routed_pod("a", 7), {
        "podip": "10.65.0.7/32",
        "pod-hw-addr": "0a:58:0a:f4:01:07",
        "routes": [
            {"dst": "0.0.0.0/0", "gw": "169.254.1.1", "dev": "eth0", "protocol": "boot"},
            {"dst": "169.254.1.1/32", "gw": "", "dev": "eth0", "protocol": "boot", "scope": "link"},
        ],
        "neighbors": None,
    }


def shape_aws(rig):
    pod, golden = shape_calico(rig)
    pod.netns.ip("neigh add 169.254.1.1 lladdr 3a:11:de:9d:70:4c dev eth0 nud permanent")
    golden["neighbors"] = [
        {"ip": "169.254.1.1", "hw-addr": "3a:11:de:9d:70:4c", "dev": "eth0", "state": "permanent"}]
    return pod, golden


def shape_ptp(rig):
    """The connected route is gone; the gateway has a route of its own."""
    space = rig.pod_space("a", "ptp7")
    rig.worker.ip("link set ptp7 up")
    space.ip("addr add 10.66.0.7/24 dev eth0 noprefixroute")
    space.ip("link set eth0 up")
    space.ip("route add 10.66.0.1/32 dev eth0 scope link src 10.66.0.7")
    space.ip("route add 10.66.0.0/24 via 10.66.0.1 src 10.66.0.7")
    space.ip("route add default via 10.66.0.1")
    return Pod(space, "sandbox-a", ["10.66.0.7/24"], "ptp7"), {
        "podip": "10.66.0.7/24",
        "pod-hw-addr": "0a:58:0a:f4:01:07",
        "routes": [
            {"dst": "0.0.0.0/0", "gw": "10.66.0.1", "dev": "eth0", "protocol": "boot"},
            {"dst": "10.66.0.0/24", "gw": "10.66.0.1", "dev": "eth0", "protocol": "boot"},
            {"dst": "10.66.0.1/32", "gw": "", "dev": "eth0", "protocol": "boot", "scope": "link"},
        ],
        "neighbors": None,
    }


SHAPES = [shape_flannel, shape_calico, shape_aws, shape_ptp]


@pytest.mark.parametrize("shape", SHAPES)
def test_inspect_writes_what_upstream_writes(rig, shape):
    pod, golden = shape(rig)
    network = rig.inspect(pod)
    assert network.pop("vxlan-id") == network.pop("index") + MIN_ID
    assert network == {
        **golden, "interface": "eth0", "worker-node-ip": "192.168.100.10/24", "tunnel-type": "vxlan", "mtu": 1500,
        "vxlan-port": VXLAN_PORT, "dedicated": False, "external-net-via-pod-vm": False,
        "ext": {"underlay-mtu": 1500},
    }


@pytest.mark.parametrize("shape", SHAPES)
def test_the_vm_gets_the_routes_of_the_worker_pod(rig, shape):
    pod, golden = shape(rig)
    vm = rig.vm("a", 20)
    rig.connect(pod, vm)
    assert routes_of(vm.podns) == routes_of(pod.netns)
    if golden["neighbors"]:
        [entry] = vm.podns.json("neigh show dev eth0 nud permanent")
        assert (entry["dst"], entry["lladdr"]) == ("169.254.1.1", "3a:11:de:9d:70:4c")


# ---- inspect, the odd cases


def inspect_error(rig, pod, *options):
    with pytest.raises(ToolError) as refused:
        rig.inspect(pod, *options)
    return str(refused.value).removeprefix("inspect the pod's network: ").replace(pod.netns.path, "PATH")


def test_the_better_metric_wins_over_the_lower_number(rig):
    rig.plug(rig.worker, 11, name="ens6")
    rig.worker.ip("route del default")
    rig.worker.ip("route add default via 192.168.100.1 dev ens5 metric 100")
    rig.worker.ip("route add default via 192.168.100.1 dev ens6 metric 50")
    assert rig.inspect(rig.bridge_pod("a", 7))["worker-node-ip"] == "192.168.100.11/24"


def test_eth0_is_the_pods_interface_even_beside_a_better_default(rig):
    pod = rig.bridge_pod("a", 7)
    pod.netns.ip("link add net1 type veth peer name net1peer")
    pod.netns.ip("addr add 10.99.0.2/24 dev net1")
    pod.netns.ip("link set net1 up")
    pod.netns.ip("link set net1peer up")
    pod.netns.ip("route del default")
    pod.netns.ip("route add default via 10.99.0.1 dev net1 metric 50")
    pod.netns.ip("route add default via 10.244.1.1 dev eth0 metric 100")
    network = rig.inspect(pod)
    assert network["interface"] == "eth0"
    assert all(r["dev"] == "eth0" for r in network["routes"])
    assert rig.inspect(pod, "-pod-interface", "net1")["podip"] == "10.99.0.2/24"


def test_two_defaults_on_one_device_v1_has_the_best_ext_has_both(rig):
    pod = rig.bridge_pod("a", 7)
    pod.netns.ip("route add default via 10.244.1.2 dev eth0 metric 100")
    network = rig.inspect(pod)
    assert [r["gw"] for r in network["routes"] if r["dst"] == "0.0.0.0/0"] == ["10.244.1.1"]
    assert [(r["gw"], r.get("metric")) for r in network["ext"]["routes"] if r["dst"] == "0.0.0.0/0"] == [
        ("10.244.1.1", None), ("10.244.1.2", 100)]


def test_a_default_route_with_several_hops_uses_the_first(rig):
    pod = rig.bridge_pod("a", 7)
    pod.netns.ip("route del default")
    pod.netns.ip("route add default nexthop via 10.244.1.1 dev eth0 nexthop via 10.244.1.2 dev eth0")
    assert rig.inspect(pod)["routes"][0]["gw"] == "10.244.1.1"


def test_a_default_route_without_gateway(rig):
    pod = rig.bridge_pod("a", 7)
    pod.netns.ip("route del default")
    pod.netns.ip("route add default dev eth0")
    assert rig.inspect(pod)["routes"][0] == {
        "dst": "0.0.0.0/0", "gw": "", "dev": "eth0", "protocol": "boot", "scope": "link"}


def test_no_default_route_takes_the_only_interface(rig):
    pod = rig.bridge_pod("a", 7)
    pod.netns.ip("route del default")
    assert rig.inspect(pod)["interface"] == "eth0"


def test_no_address_in_the_pod(rig):
    pod = rig.bridge_pod("a", 7)
    pod.netns.ip("addr flush dev eth0")
    assert inspect_error(rig, pod) == (
        "netns PATH: no default route, and no interface with an address: cannot tell which is the pod's "
        "interface; has the CNI plugin finished?")


def test_several_addresses_the_first_is_the_pods_and_all_are_sent(rig):
    pod = rig.bridge_pod("a", 7)
    pod.netns.ip("addr add 10.244.1.70/24 dev eth0")
    network = rig.inspect(pod)
    assert network["podip"] == "10.244.1.7/24"
    assert network["ext"]["podips"] == ["10.244.1.7/24", "10.244.1.70/24"]


def test_an_address_with_a_peer_is_the_local_one(rig):
    pod = rig.bridge_pod("a", 7)
    pod.netns.ip("addr flush dev eth0")
    pod.netns.ip("addr add 10.0.0.7 peer 10.0.0.1/32 dev eth0")
    assert rig.inspect(pod)["podip"] == "10.0.0.7/32"


def test_routes_that_v1_cannot_say_are_in_the_extension_and_reach_the_vm(rig):
    pod, vm = rig.bridge_pod("a", 7), rig.vm("a", 20)
    for route in (
        "10.10.0.0/16 via 10.244.1.1 proto bird",
        "10.11.0.0/16 via 10.244.1.1 proto static metric 7 mtu 1300 advmss 1200",
        "10.12.0.0/16 via 10.98.0.1 dev eth0 onlink",
        "blackhole 10.13.0.0/16",
        "10.14.0.0/16 via 10.244.1.1 table 200",
        "10.15.0.0/16 dev eth0 scope 100",
    ):
        pod.netns.ip(f"route add {route}")
    pod.netns.ip("rule add from 10.244.1.7 lookup 200 priority 1000")
    network = rig.inspect(pod)
    v1 = {r["dst"]: r for r in network["routes"]}
    assert {"10.10.0.0/16", "10.13.0.0/16", "10.14.0.0/16"}.isdisjoint(v1)
    assert v1["10.98.0.1/32"]["scope"] == "link"  # what makes the onlink gateway reachable for upstream's VM
    assert v1["10.15.0.0/16"]["scope"] == "link"
    for r in network["routes"]:
        assert r.get("protocol") in ("static", "boot", "dhcp", "kernel")
    rig.setup(pod, vm)
    rig.vm_setup(vm, pod)
    seen = {r["dst"]: r for r in vm.podns.json("route show table all")}
    assert seen["10.10.0.0/16"]["protocol"] == "bird"
    assert (seen["10.11.0.0/16"]["metric"], seen["10.11.0.0/16"]["metrics"][0]["mtu"]) == (7, 1300)
    assert "onlink" in seen["10.12.0.0/16"]["flags"]
    assert seen["10.13.0.0/16"]["type"] == "blackhole"
    assert seen["10.14.0.0/16"]["table"] == "200"
    assert any(r["priority"] == 1000 and r["src"] == "10.244.1.7" for r in vm.podns.json("rule show"))
    rig.vm_setup(vm, pod)  # twice
    rig.vm_teardown(vm, pod)
    assert not any(r["priority"] == 1000 for r in vm.podns.json("rule show"))


def test_a_rule_that_cannot_be_copied_is_refused(rig):
    pod = rig.bridge_pod("a", 7)
    pod.netns.ip("rule add uidrange 100-200 lookup 200 priority 1000")
    assert inspect_error(rig, pod) == (
        "netns PATH: the IPv4 routing rule of priority 1000 says more than from, to, interface, mark and "
        "table, and cannot be made in the pod VM: use a CNI configuration without it")


def test_pod_subnets_are_added_once(rig):
    pod = rig.bridge_pod("a", 7)
    network = rig.inspect(pod, "-pod-subnet-cidrs", "10.244.0.0/16, 10.244.1.0/24,nonsense,10.244.0.0/16")
    assert network["routes"][-1] == {"dst": "10.244.0.0/16", "gw": "10.244.1.1", "dev": "eth0"}
    assert len(network["routes"]) == 3


def test_paths_that_are_no_pod_netns(rig, tmp_path):
    pod = rig.bridge_pod("a", 7)
    plain = tmp_path / "plain"
    plain.touch()
    cases = [
        ("/run/netns/ppn-none", "netns PATH: No such file or directory; is it on this node, and /run/netns "
         "mounted with mountPropagation HostToContainer?"),
        (str(plain), "netns PATH: a plain file, not a network namespace: it was unmounted, or /run/netns is not "
         "mounted into this container with mountPropagation HostToContainer"),
        ("/proc/self/ns/mnt", "netns PATH: a namespace, but not of the network"),
        (rig.worker.path, "netns PATH: is the network namespace of this process itself; a pod needs one of its own "
         "(pods with hostNetwork cannot be peer pods)"),
        ("", "the path of the pod's network namespace is empty"),
    ]
    for path, message in cases:
        pod.netns.path = path
        with pytest.raises(ToolError) as refused:
            rig.inspect(pod)
        assert str(refused.value) == message.replace("PATH", path)


def test_host_interface_missing_without_address_and_the_primary_itself(rig):
    pod = rig.bridge_pod("a", 7)
    rig.worker.ip("link add ens9 type veth peer name ens9peer")
    assert inspect_error(rig, pod, "-host-interface", "ens7") == (
        '-host-interface: this node has no network interface "ens7"')
    assert inspect_error(rig, pod, "-host-interface", "ens9") == (
        "interface ens9 of this node has no IP address for the tunnel: give it one, or set -host-interface")
    assert rig.inspect(pod, "-host-interface", "ens5")["dedicated"] is False
    rig.worker.ip("route del default")
    assert inspect_error(rig, pod) == (
        "this node has no default route to find the tunnel's interface by: set -host-interface")


def test_virtual_and_secondary_addresses_of_the_node_are_passed_over(rig):
    pod = rig.bridge_pod("a", 7)
    rig.worker.ip("addr flush dev ens5")
    rig.worker.ip("addr add 192.168.100.99/32 dev ens5")
    rig.worker.ip("addr add 192.168.100.10/24 dev ens5")
    rig.worker.ip("addr add 192.168.100.11/24 dev ens5")
    rig.gateway(rig.worker)
    assert rig.inspect(pod)["worker-node-ip"] == "192.168.100.10/24"
    assert rig.inspect(pod, "-node-ip", "192.168.100.11")["worker-node-ip"] == "192.168.100.11/24"
    assert inspect_error(rig, pod, "-node-ip", "192.168.100.12") == (
        "node IP 192.168.100.12 is not an address of this node")


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
needs_faults = pytest.mark.skipif(not has_faults(), reason="fault points are in SAN=address builds only")


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


def wait_for(condition, what, seconds=5):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


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


# ---- the cluster around it


def test_a_pod_reaches_its_own_service(rig):
    pod, vm = connected(rig)
    rig.worker.run("bridge", "link", "set", "dev", pod.host, "hairpin", "on")
    rig.worker.sysctl("net.ipv4.ip_forward", 1)
    rig.worker.sysctl("net.bridge.bridge-nf-call-iptables", 1)
    rig.worker.nft(f"""table ip svc {{
        chain pre {{ type nat hook prerouting priority -100; ip daddr 10.96.0.1 tcp dport 80 dnat to {pod.address}:8080; }}
        chain post {{ type nat hook postrouting priority 100; ip saddr {pod.address} ip daddr {pod.address} masquerade; }}
    }}""")
    rig.transfer(vm.podns, vm.podns, pod.address, to=("10.96.0.1", 80))


def test_two_pods_talk_to_each_other_to_the_gateway_and_by_service(rig):
    one, one_vm = connected(rig, "a", 7, 20)
    two, two_vm = connected(rig, "b", 8, 21)
    assert one.network["vxlan-id"] != two.network["vxlan-id"]
    rig.transfer(one_vm.podns, two_vm.podns, two.address)
    rig.transfer(two_vm.podns, one_vm.podns, one.address)
    rig.transfer(one_vm.podns, rig.worker, "10.244.1.1")
    rig.worker.sysctl("net.ipv4.ip_forward", 1)
    rig.worker.sysctl("net.bridge.bridge-nf-call-iptables", 1)
    rig.worker.nft(f"""table ip svc {{
        chain pre {{ type nat hook prerouting priority -100; ip daddr 10.96.0.2 tcp dport 80 dnat to {two.address}:8080; }}
    }}""")
    rig.transfer(one_vm.podns, two_vm.podns, two.address, to=("10.96.0.2", 80))


def test_a_dedicated_interface_on_both_ends(rig):
    rig.plug(rig.worker, 10, name="ens6", subnet=101)
    pod, vm = rig.bridge_pod("a", 7), rig.vm("a", 20)
    rig.plug(vm.netns, 20, name="ens6", subnet=101)
    network = rig.inspect(pod, "-host-interface", "ens6")
    assert (network["dedicated"], network["worker-node-ip"]) == (True, "192.168.101.10/24")
    with pytest.raises(ToolError, match="the pod VM has 1 addresses; a tunnel over a dedicated interface needs a second"):
        rig.setup(pod, vm)
    vm.addresses.append("192.168.101.20")
    rig.setup(pod, vm)
    for options, message in (
        ((), "the worker wants a dedicated tunnel interface: set -host-interface to the VM's second one"),
        (("-host-interface", "ens5"), "-host-interface ens5 is not a dedicated interface: it is the VM's primary one"),
        (("-host-interface", "ens7", "-timeout", "100ms"), "the dedicated tunnel interface"),
    ):
        with pytest.raises(ToolError, match=message):
            rig.vm_setup(vm, pod, *options)
    rig.vm_setup(vm, pod, "-host-interface", "ens6")
    check_traffic(rig, pod, vm)
    assert [e[0] for e in rig.worker.elements()] == ["192.168.101.20"]


def test_the_vm_waits_for_its_network(rig):
    pod, vm = rig.bridge_pod("a", 7), rig.vm("a", 20)
    rig.inspect(pod)
    rig.setup(pod, vm)
    vm.netns.ip("addr flush dev ens5")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(rig.vm_setup, vm, pod)
        with pytest.raises(concurrent.futures.TimeoutError):
            waiting.result(0.5)
        vm.netns.ip("addr add 192.168.100.20/24 dev ens5")
        waiting.result(5)
    check_traffic(rig, pod, vm)


def test_the_vm_gives_up_at_its_deadline(rig):
    pod, vm = rig.bridge_pod("a", 7), rig.vm("a", 20)
    rig.inspect(pod)
    vm.netns.ip("link set ens5 down")
    with pytest.raises(ToolError, match="set up the pod's network: .*a route to the worker"):
        rig.vm_setup(vm, pod, "-timeout", "200ms")


def test_an_interface_of_others_in_podns_is_not_touched(rig):
    pod, vm = rig.bridge_pod("a", 7), rig.vm("a", 20)
    rig.inspect(pod)
    vm.podns.ip("link add eth0 type veth peer name x")
    with pytest.raises(ToolError) as refused:
        rig.vm_setup(vm, pod)
    assert str(refused.value) == (f"set up the pod's network: netns {vm.podns.path}: it has an interface eth0 (veth) "
                                  "already that is not ours: remove it")


# ---- a way out of the VM itself


def external(rig, subnet=102, own_default=True):
    pod, vm = rig.bridge_pod("a", 7), rig.vm("a", 20)
    rig.plug(vm.netns, 30, name="ens6", subnet=subnet)
    if own_default:
        vm.netns.ip(f"route add default via 192.168.{subnet}.40 dev ens6 metric 50")
        vm.netns.ip("route del default via 192.168.100.1")
        vm.netns.ip("route add default via 192.168.100.1 dev ens5 metric 10")
    outside = rig.space("out")
    rig.plug(outside, 40, subnet=subnet)
    outside.ip("addr add 203.0.113.1/32 dev lo")
    return pod, vm, outside


def picture(space):
    links = {link["ifname"]: link.get("ifalias") for link in space.json("link")}
    addresses = {(a["local"], a["prefixlen"]) for link in space.json("addr") for a in link["addr_info"]
                 if a["family"] == "inet"}
    routes = {(r["dst"], r.get("gateway"), r["dev"], r.get("metric")) for r in space.json("route")
              if r["dst"] == "default"}
    return links, addresses, routes


def test_external_network_by_an_interface_with_its_own_default(rig):
    pod, vm, outside = external(rig)
    before = picture(vm.netns)
    rig.inspect(pod, "-ext-network-via-podvm", "-pod-subnet-cidrs", "10.244.0.0/16")
    rig.setup(pod, vm)
    for _ in range(2):
        rig.vm_setup(vm, pod)
        [default] = vm.podns.json("route show default")
        assert (default["gateway"], default["dev"], default["metric"]) == ("192.168.102.40", "ppext0", 50)
        check_traffic(rig, pod, vm)
        rig.transfer(vm.podns, outside, "203.0.113.1")
    rig.vm_teardown(vm, pod)
    assert picture(vm.netns) == before


def test_external_network_by_an_interface_in_the_primary_subnet(rig):
    pod, vm, _ = external(rig, subnet=100, own_default=False)
    rig.inspect(pod, "-ext-network-via-podvm")
    rig.setup(pod, vm)
    rig.vm_setup(vm, pod)
    [default] = vm.podns.json("route show default")
    assert (default["gateway"], default["dev"]) == ("192.168.100.1", "ppext0")
    rig.vm_teardown(vm, pod)
    assert "ens6" in [link["ifname"] for link in vm.netns.json("link")]


def test_external_network_without_an_interface_for_it_fails(rig):
    pod, vm, _ = external(rig, own_default=False)
    rig.inspect(pod, "-ext-network-via-podvm")
    with pytest.raises(ToolError, match="the VM has no second network interface with an IPv4 address and a default route"):
        rig.vm_setup(vm, pod)


@needs_faults
@pytest.mark.parametrize("step", ["podnet-ext-marked", "podnet-ext-moved", "podnet-ext-routes"])
def test_external_network_killed_at_any_step(rig, step):
    pod, vm, outside = external(rig)
    before = picture(vm.netns)
    rig.inspect(pod, "-ext-network-via-podvm")
    rig.setup(pod, vm)
    with killed():
        rig.vm_setup(vm, pod, fault=step)
    rig.vm_setup(vm, pod)
    rig.transfer(vm.podns, outside, "203.0.113.1")
    if step == "podnet-ext-moved":
        with killed():
            rig.vm_teardown(vm, pod, fault=step)
    rig.vm_teardown(vm, pod)
    assert picture(vm.netns) == before


# ---- the other half is upstream's


UPSTREAM_JSON = {
    "podip": "10.244.1.7/24", "pod-hw-addr": "0a:58:0a:f4:01:07", "interface": "eth0",
    "worker-node-ip": "192.168.100.10/24", "tunnel-type": "vxlan",
    "routes": [{"dst": "::ffff:0.0.0.0/0", "gw": "10.244.1.1", "dev": "eth0", "protocol": "boot"},
               {"dst": "10.244.1.0/24", "gw": "", "dev": "eth0", "protocol": "kernel", "scope": "link"}],
    "neighbors": None, "mtu": 1500, "index": 3, "vxlan-port": VXLAN_PORT, "vxlan-id": 555003, "dedicated": False,
    "external-net-via-pod-vm": False,
}


def test_upstreams_worker_and_our_vm(rig):
    pod, vm = rig.bridge_pod("a", 7), rig.vm("a", 20)
    pod.file = rig.write(UPSTREAM_JSON)
    rig.worker.ip(f"link add ppvxlan1 type vxlan id 555003 remote 192.168.100.20 dstport {VXLAN_PORT} nolearning")
    rig.worker.ip(f"link set ppvxlan1 netns {pod.netns.name} name vxlan1")
    pod.netns.ip("link set vxlan1 up")
    for source, target in (("eth0", "vxlan1"), ("vxlan1", "eth0")):
        pod.netns.tc(f"qdisc add dev {source} ingress")
        pod.netns.tc(f"filter add dev {source} parent ffff: protocol all u32 match u32 0 0 action mirred egress "
                     f"redirect dev {target}")
    rig.vm_setup(vm, pod)
    check_traffic(rig, pod, vm)
    assert vm.podns.json("link show eth0")[0]["mtu"] == 1450


@pytest.mark.parametrize("shape", SHAPES)
def test_our_worker_and_upstreams_vm(rig, shape):
    pod, _ = shape(rig)
    vm = rig.vm("a", 20)
    network = rig.inspect(pod)
    rig.setup(pod, vm)
    # Upstream's order: device, address, the connected route away, routes without a gateway, routes with one.
    vm.netns.ip(f"link add vxlan0 type vxlan id {network['vxlan-id']} remote 192.168.100.10 dstport "
                f"{network['vxlan-port']} nolearning")
    vm.netns.ip(f"link set vxlan0 netns {vm.podns.name} name eth0 address {network['pod-hw-addr']} mtu 1450")
    vm.podns.ip(f"addr add {network['podip']} dev eth0")
    vm.podns.ip("link set eth0 up")
    if not network["podip"].endswith("/32"):
        vm.podns.ip(f"route del {re.sub('[.]7/24', '.0/24', network['podip'])} dev eth0")
    for route in sorted(network["routes"], key=lambda r: bool(r["gw"])):
        via = f"via {route['gw']}" if route["gw"] else "scope link"
        vm.podns.ip(f"route add {route['dst']} {via} dev {route['dev']} proto {route['protocol']}")
    if shape in (shape_flannel, shape_calico):
        rig.transfer(rig.worker, vm.podns, pod.address)
    # A forwarder of ours that takes over from upstream's finds its device in the way.
    vm.podns.ip("link set eth0 down")
    rig.vm_setup(vm, pod)
    if shape in (shape_flannel, shape_calico):
        rig.transfer(rig.worker, vm.podns, pod.address)


# ---- nothing leaks


def test_no_descriptor_and_no_netns_is_kept(rig):
    """A thousand times (fewer where sanitizers make it slow), on several threads of one process."""
    pods, vm = [rig.bridge_pod(f"{i}", 10 + i) for i in range(4)], rig.vm("a", 20)
    count = 50 if has_faults() else 250
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
