# SPDX-License-Identifier: Apache-2.0
"""What the worker's end finds in the pod's network namespace, and what upstream's other half makes of it."""

import re

import pytest

from podnet_rig import (  # noqa: F401 (fixtures)
    MIN_ID,
    VXLAN_PORT,
    Pod,
    ToolError,
    check_traffic,
    inspect_error,
    needs_root,
    rig,
    routes_of,
)

pytestmark = needs_root


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
