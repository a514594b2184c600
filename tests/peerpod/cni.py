# SPDX-License-Identifier: Apache-2.0
"""Pod network namespaces as a CNI leaves them, on a worker that is this machine or a namespace.

    with cni.Worker("t1") as worker, cni.Bridge(worker, "t1") as network:
        pod = network.add_pod("web")        # pod.path goes into CreateVM
        network.get(pod.address, 8080)      # an HTTP request from a "cluster" namespace

The shape is that of the bridge and flannel plugins: a bridge on the worker with the first address of the
pod subnet, a veth pair per pod, eth0 with a /24, the default route by the bridge. All names begin with the
prefix that is given, so that everything made can be told from what was there before.
"""

import http.client
import ipaddress
import json
import os
import pathlib
import shutil
import subprocess
from typing import Optional

from peerpod import ttrpc

NETNS_FOLDER = pathlib.Path("/run/netns")


def run(*command: str, check: bool = True) -> str:
    """Runs a program; what it printed. A failure shows what it said."""
    done = subprocess.run(command, capture_output=True, text=True)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def private_mounts() -> str:
    """The propagation to give unshare(1), so that mounts inside stay inside. Where / is no mount point (a chroot on a
    plain folder) it cannot be changed, and is left as it is."""
    known = subprocess.run(["findmnt", "-n", "-M", "/"], capture_output=True).returncode == 0
    return "private" if known else "unchanged"


class Netns:
    """A named network namespace; loopback is up."""

    def __init__(self, name: str):
        self.name = name
        self.path = str(NETNS_FOLDER / name)
        run("ip", "netns", "add", name)
        self.ip("link", "set", "lo", "up")

    def ip(self, *arguments: str, check: bool = True) -> str:
        """Not `ip -n`, which remounts / and cannot where / is no mount point (a chroot)."""
        return run("nsenter", f"--net={self.path}", "ip", *arguments, check=check)

    def run(self, function):
        """Calls a function on a thread inside."""
        return ttrpc.in_netns(self.path, function)

    def close(self) -> None:
        run("ip", "netns", "delete", self.name, check=False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Host:
    """This machine's own network as the worker's."""

    path: Optional[str] = None

    def ip(self, *arguments: str, check: bool = True) -> str:
        return run("ip", *arguments, check=check)

    def command(self, *command: str) -> list:
        return list(command)

    def run(self, function):
        return function()

    def close(self) -> None:
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Worker(Netns):
    """A worker node as a namespace: tests with one of their own do not meet."""

    def __init__(self, prefix: str):
        super().__init__(f"{prefix}-worker")

    def command(self, *command: str) -> list:
        """The command line that runs a program here. Not `ip netns exec`, which would hide /sys/fs/cgroup."""
        nsenter = shutil.which("nsenter", path=f"{os.environ.get('PATH', '')}:/usr/bin")
        return [nsenter or "nsenter", f"--net={self.path}", "--", *command]


class Pod(Netns):
    """A pod's network namespace with eth0."""

    def __init__(self, bridge: "Bridge", name: str, number: int):
        super().__init__(f"{bridge.prefix}-{name}")
        self.interface = ipaddress.ip_interface(f"{bridge.subnet[number]}/{bridge.subnet.prefixlen}")
        self.number = number
        self.address = str(self.interface.ip)
        self.host_end = f"{bridge.prefix}v{number}"
        self._bridge = bridge
        worker = bridge.worker
        worker.ip("link", "add", self.host_end, "type", "veth", "peer", "name", "eth0", "netns", self.path)
        worker.ip("link", "set", self.host_end, "master", bridge.name, "up")
        self.ip("address", "add", str(self.interface), "dev", "eth0")
        self.ip("link", "set", "eth0", "up")
        self.ip("route", "add", "default", "via", str(bridge.gateway))

    def close(self) -> None:
        # By hand, as the namespace's own removal happens a little later than the command that orders it.
        self._bridge.worker.ip("link", "delete", self.host_end, check=False)
        super().close()


class Bridge:
    """The pod network of one worker, and a "cluster" namespace on it from which requests come."""

    def __init__(self, worker, prefix: str, subnet: str = "10.244.7.0/24"):
        if len(prefix) > 8:
            raise ValueError(f"prefix {prefix!r} is longer than 8 characters: link names have 15")
        self.worker = worker
        self.prefix = prefix
        self.subnet = ipaddress.ip_network(subnet)
        self.gateway = self.subnet[1]
        self.name = f"{prefix}cni0"
        self.pods: list = []
        self._last = 1
        worker.ip("link", "add", self.name, "type", "bridge")
        try:
            worker.ip("address", "add", f"{self.gateway}/{self.subnet.prefixlen}", "dev", self.name)
            worker.ip("link", "set", self.name, "up")
            self.cluster = self.add_pod("cluster")
        except BaseException:
            worker.ip("link", "delete", self.name, check=False)
            raise

    def add_pod(self, name: str) -> Pod:
        """With the next free address, round and round, as CNI's host-local gives them."""
        used = {pod.number for pod in self.pods}
        numbers = [*range(self._last + 1, self.subnet.num_addresses - 1), *range(2, self._last + 1)]
        self._last = next(n for n in numbers if n not in used)
        pod = Pod(self, name, self._last)
        self.pods.append(pod)
        return pod

    def remove_pod(self, pod: Pod) -> None:
        self.pods.remove(pod)
        pod.close()

    def get(self, address: str, port: int, path: str = "/", timeout: float = 10) -> bytes:
        """The body of an HTTP answer, asked for from the cluster namespace."""

        def request():
            connection = http.client.HTTPConnection(address, port, timeout=timeout)
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                body = answer.read()
                if answer.status != 200:
                    raise RuntimeError(f"http://{address}:{port}{path}: status {answer.status}: {body[:200]!r}")
                return body
            finally:
                connection.close()

        return self.cluster.run(request)

    def close(self) -> None:
        for pod in list(self.pods):
            self.remove_pod(pod)
        self.worker.ip("link", "delete", self.name, check=False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def sweep(prefix: str) -> None:
    """Removes the namespaces and links that a run with this prefix left behind when it was killed."""
    for path in NETNS_FOLDER.glob(f"{prefix}-*"):
        run("ip", "netns", "delete", path.name, check=False)
    for name in links():
        if name.startswith(prefix):
            run("ip", "link", "delete", name, check=False)


def links(netns: Optional[str] = None) -> set:
    """Names of the links of a named namespace, or of this machine's own."""
    inside = ["nsenter", f"--net={NETNS_FOLDER / netns}"] if netns else []
    return {link["ifname"] for link in json.loads(run(*inside, "ip", "-j", "link", "show") or "[]")}
