# SPDX-License-Identifier: Apache-2.0
"""A worker, its CNI and pod VMs, all made of network namespaces, for tests of lib/podnetwork.

    with Rig() as rig:
        pod = rig.bridge_pod("a", 7)      # as flannel leaves it
        vm = rig.vm("a", 20)
        rig.connect(pod, vm)              # podnet-tool on both ends
        rig.transfer(rig.worker, vm.podns, pod.address)

          switch netns: bridge br0, the underlay
            |               |              |
   worker: ens5 .10     vm a: ens5 .20   (attacker ...)
   worker: cni0 <- vethX | eth0 in the pod netns         podns of vm a: eth0

ip, tc, nft and ss only build what is around the code under test, and look at what it did.
"""

import contextlib
import hashlib
import ipaddress
import itertools
import json
import os
import pathlib
import secrets
import socket
import subprocess
import threading
import time

import pytest

from peerpod import paths, ttrpc

VXLAN_PORT = 4789
MIN_ID = 555000


def run(*command, check=True, input=None, env=None):
    done = subprocess.run(command, capture_output=True, text=True, input=input, env=env)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.returncode}: {done.stdout}{done.stderr}")
    return done


class ToolError(Exception):
    """What podnet-tool wrote to standard error."""

    def __init__(self, text, code):
        super().__init__(text)
        self.killed = code in (-9, 128 + 9)


class Netns:
    def __init__(self, name):
        self.name, self.path = name, f"/run/netns/{name}"
        run("ip", "netns", "add", name)
        self.ip("link set lo up")

    def run(self, *command, **options):
        """A program inside. Not `ip netns exec`, which remounts / and cannot where / is no mount point."""
        return run("nsenter", f"--net={self.path}", *command, **options)

    def ip(self, arguments, check=True):
        return self.run("ip", *arguments.split(), check=check).stdout

    def json(self, arguments):
        return json.loads(self.run("ip", "-j", "-d", *arguments.split()).stdout or "[]")

    def tc(self, arguments):
        return self.run("tc", *arguments.split()).stdout

    def nft(self, text):
        return self.run("nft", "-f", "-", input=text).stdout

    def counter(self, name, table="inet peerpod"):
        family, table = table.split()
        done = self.run("nft", "-j", "list", "counter", family, table, name)
        return next(o["counter"] for o in json.loads(done.stdout)["nftables"] if "counter" in o)["packets"]

    def elements(self):
        """(address, port, VNI, comment) of every tunnel that the filter lets in."""
        done = self.run("nft", "-j", "list", "table", "inet", "peerpod", check=False)
        found = []
        for item in json.loads(done.stdout or '{"nftables": []}')["nftables"]:
            for element in item.get("set", {}).get("elem", []):
                found.append((*element["elem"]["val"]["concat"], element["elem"]["comment"]))
        return sorted(found)

    def sysctl(self, name, value):
        def write():
            with open("/proc/sys/" + name.replace(".", "/"), "w") as f:
                f.write(str(value))

        ttrpc.in_netns(self.path, write)

    def socket(self, family, kind):
        return ttrpc.in_netns(self.path, lambda: socket.socket(family, kind))

    def delete(self):
        run("ip", "netns", "del", self.name, check=False)


class Pod:
    """A pod netns on the worker."""

    def __init__(self, netns, sandbox, addresses, host):
        self.netns, self.sandbox, self.host = netns, sandbox, host
        self.addresses = [str(ipaddress.ip_interface(a).ip) for a in addresses]
        self.address = self.addresses[0]
        self.network = None


class Vm:
    def __init__(self, netns, podns, addresses):
        self.netns, self.podns, self.addresses = netns, podns, addresses


class Rig:
    def __init__(self, v4=True, v6=False, underlay_mtu=1500):
        self.prefix = f"ppn-{secrets.token_hex(2)}"
        self.spaces, self.files = [], []
        self.numbers = itertools.count()  # several threads write
        self.v4, self.v6, self.underlay_mtu = v4, v6, underlay_mtu
        self.switch = self.space("sw")
        self.switch.ip("link add br0 type bridge")
        self.switch.ip("link set br0 addrgenmode none")
        self.switch.ip(f"link set br0 mtu {underlay_mtu} up")
        self.ports = 0
        self.worker = self.space("w")
        self.plug(self.worker, 10)
        self.gateway(self.worker)
        self.bridge = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for space in self.spaces:
            space.delete()
        for name in self.files:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)

    def space(self, name):
        space = Netns(f"{self.prefix}-{name}")
        self.spaces.append(space)
        return space

    # ---- underlay

    def plug(self, space, number, name="ens5", subnet=100):
        """An interface on the underlay, with the addresses of this number."""
        self.ports += 1
        port = f"p{self.ports}"
        self.switch.ip(f"link add {port} mtu {self.underlay_mtu} type veth peer name {name} netns {space.name} "
                       f"mtu {self.underlay_mtu}")
        self.switch.ip(f"link set {port} master br0 addrgenmode none")
        self.switch.ip(f"link set {port} up")
        if self.v4:
            space.ip(f"addr add 192.168.{subnet}.{number}/24 dev {name}")
        if self.v6:
            space.ip(f"addr add fd00:{subnet}::{number}/64 dev {name} nodad")
        space.ip(f"link set {name} up")

    def gateway(self, space, name="ens5"):
        """Nobody is there; a default route is what makes an interface the primary one."""
        if self.v4:
            space.ip(f"route add default via 192.168.100.1 dev {name}")
        if self.v6:
            space.ip(f"-6 route add default via fd00:100::1 dev {name}")

    def vm(self, name, number):
        vm = Vm(self.space(f"vm{name}"), self.space(f"pp{name}"), [])
        self.plug(vm.netns, number)
        self.gateway(vm.netns)
        vm.addresses = ([f"192.168.100.{number}"] if self.v4 else []) + ([f"fd00:100::{number}"] if self.v6 else [])
        return vm

    # ---- pods, as CNIs leave them

    def cni_bridge(self, mtu=1500):
        if not self.bridge:
            self.worker.ip("link add cni0 type bridge")
            self.worker.ip("addr add 10.244.1.1/24 dev cni0")
            self.worker.ip("addr add fd00:244::1/64 dev cni0 nodad")
            self.worker.ip(f"link set cni0 mtu {mtu} up")
            self.bridge = True

    def pod_space(self, name, host, mac="0a:58:0a:f4:01:07", mtu=1500, link="eth0"):
        space = self.space(f"wp{name}")
        self.worker.ip(f"link add {host} mtu {mtu} type veth peer name {link} netns {space.name} "
                       f"address {mac} mtu {mtu}")
        return space

    def bridge_pod(self, name, number, mtu=1500, families=(4,)):
        """flannel, bridge: one subnet, one bridge."""
        self.cni_bridge(mtu)
        host = f"veth{number}"
        space = self.pod_space(name, host, mac=f"0a:58:0a:f4:01:{number:02x}", mtu=mtu)
        self.worker.ip(f"link set {host} master cni0 up")
        addresses = []
        space.ip("link set eth0 up")
        if 4 in families:
            addresses.append(f"10.244.1.{number}/24")
            space.ip(f"addr add {addresses[-1]} dev eth0")
            space.ip("route add default via 10.244.1.1")
        if 6 in families:
            addresses.append(f"fd00:244::{number}/64")
            space.ip(f"addr add {addresses[-1]} dev eth0 nodad")
            space.ip("-6 route add default via fd00:244::1")
        return Pod(space, f"sandbox-{name}", addresses, host)

    def routed_pod(self, name, number, mtu=1500):
        """Calico: a single address, a gateway that every pod has, proxy ARP on the host side."""
        host = f"cali{number}"
        space = self.pod_space(name, host, mtu=mtu)
        self.worker.ip(f"link set {host} up")
        self.worker.sysctl(f"net.ipv4.conf.{host}.proxy_arp", 1)
        self.worker.sysctl("net.ipv4.ip_forward", 1)
        self.worker.ip(f"route add 10.65.0.{number}/32 dev {host} scope link")
        space.ip(f"addr add 10.65.0.{number}/32 dev eth0")
        space.ip("link set eth0 up")
        space.ip("route add 169.254.1.1 dev eth0 scope link")
        space.ip("route add default via 169.254.1.1 dev eth0")
        return Pod(space, f"sandbox-{name}", [f"10.65.0.{number}/32"], host)

    # ---- the code under test

    def tool(self, where, verb, *options, fault=None):
        environment = dict(os.environ)
        if fault:
            environment["PEERPOD_FAULT"] = fault
        done = where.run(paths.program("podnet-tool"), verb, *options,
                   check=False, env=environment)
        if done.returncode:
            assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
            raise ToolError(done.stderr.strip(), done.returncode)
        return done.stdout

    def write(self, network):
        name = f"/tmp/{self.prefix}-{next(self.numbers)}.json"
        with open(name, "w") as f:
            json.dump(network, f)
        self.files.append(name)
        return name

    def inspect(self, pod, *options, fault=None):
        text = self.tool(self.worker, "inspect", "-sandbox", pod.sandbox, "-netns", pod.netns.path, *options,
                         fault=fault)
        pod.network = json.loads(text)
        pod.file = self.write(pod.network)
        return pod.network

    def setup(self, pod, vm, *options, fault=None):
        self.tool(self.worker, "setup", "-sandbox", pod.sandbox, "-netns", pod.netns.path, "-network", pod.file,
                  "-instance-ips", ",".join(vm.addresses), *options, fault=fault)

    def teardown(self, pod, *options, fault=None):
        self.tool(self.worker, "teardown", "-sandbox", pod.sandbox, "-netns", pod.netns.path, *options, fault=fault)

    def reconcile(self, *live):
        self.tool(self.worker, "reconcile", "-live", ",".join(pod.sandbox for pod in live))

    def vm_setup(self, vm, pod, *options, fault=None):
        self.tool(vm.netns, "vm-setup", "-netns", vm.podns.path, "-network", pod.file, *options, fault=fault)

    def vm_teardown(self, vm, pod, fault=None):
        self.tool(vm.netns, "vm-teardown", "-netns", vm.podns.path, "-network", pod.file, fault=fault)

    def connect(self, pod, vm, *options):
        self.inspect(pod, *options)
        self.setup(pod, vm)
        self.vm_setup(vm, pod)

    # ---- traffic

    def serve(self, space, address, port=8080):
        """A listener, and a thread that takes one connection and returns its bytes in .received."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = space.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))
        listener.listen(1)
        listener.settimeout(20)
        server = threading.Thread(target=self.take_one, args=(listener,))
        server.received = None
        server.start()
        return server

    @staticmethod
    def take_one(listener):
        with listener, contextlib.suppress(OSError):
            connection, _ = listener.accept()
            digest = hashlib.sha256()
            with connection:
                connection.settimeout(20)
                while chunk := connection.recv(1 << 20):
                    digest.update(chunk)
                threading.current_thread().received = digest.hexdigest()

    def transfer(self, source, target, address, size=100_000, port=8080, to=None, timeout=10):
        """TCP from source to a listener that exists only in target; to: another address and port to call."""
        server = self.serve(target, address, port)
        blob = os.urandom(size)
        host, target_port = to or (address, port)
        client = source.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        client.settimeout(timeout)
        try:
            with client:
                client.connect((host, target_port))
                client.sendall(blob)
        finally:
            server.join()
        assert server.received == hashlib.sha256(blob).hexdigest()

    def datagram(self, source, target, address, size, fragment=True, port=8081, wait=5):
        """One UDP datagram of so many bytes; True when it arrived. fragment False: DF, as path discovery does."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        receiver = target.socket(family, socket.SOCK_DGRAM)
        receiver.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", port))
        receiver.settimeout(wait)
        sender = source.socket(family, socket.SOCK_DGRAM)
        with receiver, sender:
            if not fragment and family == socket.AF_INET:
                sender.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
            if not fragment and family == socket.AF_INET6:
                sender.setsockopt(socket.IPPROTO_IPV6, 23, 2)  # IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DO
            sender.sendto(b"x" * size, (address, port))
            try:
                return len(receiver.recv(65536)) == size
            except socket.timeout:
                return False


# ---- what the tests share


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: network namespaces")
HAS_FAULTS = b"PEERPOD_FAULT" in pathlib.Path(paths.program("podnet-tool")).read_bytes()
needs_faults = pytest.mark.skipif(not HAS_FAULTS, reason="fault points are in SAN=address builds only")


@pytest.fixture
def rig():
    with Rig() as made:
        yield made


@contextlib.contextmanager
def killed():
    """podnet-tool kills itself in here."""
    with pytest.raises(ToolError) as ended:
        yield
    assert ended.value.killed, ended.value


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


def inspect_error(rig, pod, *options):
    with pytest.raises(ToolError) as refused:
        rig.inspect(pod, *options)
    return str(refused.value).removeprefix("inspect the pod's network: ").replace(pod.netns.path, "PATH")


def wait_for(condition, what, seconds=5):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)
