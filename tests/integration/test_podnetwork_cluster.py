# SPDX-License-Identifier: Apache-2.0
"""The cluster around a pod, a VM with interfaces of its own, and ways out of the VM itself."""

import concurrent.futures

import pytest

from podnet_rig import (  # noqa: F401 (fixtures)
    ToolError,
    check_traffic,
    connected,
    killed,
    needs_faults,
    needs_root,
    rig,
)

pytestmark = needs_root


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
