# SPDX-License-Identifier: Apache-2.0
"""What an instance is to a fake cloud.

Imaginary: an address from a pool, nothing runs. Netns: a set of namespaces on this machine in which the real programs of
a pod VM run, started through the netns driver (tests/providers/netns) with the user data that the cloud received, byte
for byte; its address is one on the bridge that the worker sees.

    create(name, user_data, nics=1) -> handle with .name, .address, .addresses
    delete(handle)
    close()
"""

import dataclasses
import hashlib
import ipaddress
import json
import os
import pathlib
import secrets
import shutil
import subprocess
import tempfile
import threading
from typing import Optional

from peerpod import cni, paths


@dataclasses.dataclass(eq=False)
class Instance:
    name: str
    addresses: list
    token: str = ""
    user_data: bytes = b""

    @property
    def address(self) -> str:
        return self.addresses[0]


class Imaginary:
    """Addresses that nobody answers at. worker: from whose network the cloud is reached (cni.Worker)."""

    def __init__(self, subnet: str = "10.99.0.0/16", worker=None):
        self.worker = worker or cni.Host()
        self.existing: list = []
        self._lock = threading.Lock()
        self._subnet = ipaddress.ip_network(subnet)
        self._next = 4  # the first ones are a cloud's own

    def run(self, function):
        """Calls a function in the worker's network."""
        return self.worker.run(function)

    def create(self, name: str, user_data: bytes, nics: int = 1) -> Instance:
        with self._lock:
            instance = Instance(name, [str(self._subnet[self._next + n]) for n in range(nics)], "", bytes(user_data))
            self._next += nics
            self.existing.append(instance)
        return instance

    def delete(self, instance: Instance) -> None:
        """Deleting what is gone is fine, as the kinds below a cloud's own front may do it twice."""
        with self._lock:
            if instance in self.existing:
                self.existing.remove(instance)

    def close(self) -> None:
        with self._lock:
            self.existing.clear()


class Netns:
    """bridge, subnet: where the worker meets its pod VMs; the bridge is made if missing, and then goes with close()."""

    def __init__(self, bridge: str = "pp-netns0", subnet: str = "192.168.151.0/24", worker=None, state: Optional[pathlib.Path] = None):
        self.worker = worker or cni.Host()
        self.bridge, self.subnet = bridge, subnet
        self.existing: list = []
        self._own_state = state is None
        self.state = pathlib.Path(state or tempfile.mkdtemp(prefix="ppn", dir="/tmp"))
        self.state.mkdir(parents=True, exist_ok=True)
        self._salt = secrets.token_hex(8)  # cgroups are named after tokens, and every fake's first instance has the same name
        self._lock = threading.Lock()
        self._log = self.state / "provider-tool.log"
        self._had_bridge = self._bridge_exists()
        self._tool = self._start()

    def run(self, function):
        return self.worker.run(function)

    def create(self, name: str, user_data: bytes, nics: int = 1) -> Instance:
        token = hashlib.sha256(f"{self._salt} {name}".encode()).hexdigest()[:32]
        descriptor, file = tempfile.mkstemp(prefix="user-data-", dir=self.state)
        try:
            with open(descriptor, "wb") as out:
                out.write(user_data)
            answer = self._ask(
                "create", token=token, name=token[:12], **{"user-data": file, "second-nic": int(nics > 1), "cluster": "fake"}
            )
        finally:
            os.unlink(file)
        instance = Instance(name, answer["addresses"], token, bytes(user_data))
        with self._lock:
            self.existing.append(instance)
        return instance

    def delete(self, instance: Instance) -> None:
        self._ask("delete", id=f"netns-{instance.token}")
        with self._lock:
            if instance in self.existing:
                self.existing.remove(instance)

    def tokens(self) -> list:
        """Of the instances that there are on this machine."""
        return sorted(path.parent.name for path in self.state.glob("*/metadata.json"))

    def console(self, instance: Instance) -> str:
        path = self.state / instance.token / "console.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def log(self) -> str:
        """What the netns driver said."""
        return self._log.read_text(errors="replace")

    def sweep(self) -> None:
        """Deletes all, also what a run left that was killed."""
        for token in self.tokens():
            self._ask("delete", id=f"netns-{token}")
        with self._lock:
            self.existing.clear()

    def close(self) -> None:
        """Deletes what is left; then nothing is there that was not before. A second time does nothing."""
        if self._tool.poll() is not None and self._tool.stdin.closed:
            return
        try:
            self.sweep()
        finally:
            self._tool.stdin.close()
            self._tool.wait(20)
            self._tool.stdout.close()
            if not self._had_bridge and self._bridge_exists():
                self.worker.ip("link", "delete", self.bridge, check=False)
        said = self.log()
        if "Sanitizer" in said or "runtime error:" in said:
            raise AssertionError(f"{self._log}:\n{said[-4000:]}")
        if self._own_state:
            shutil.rmtree(self.state, ignore_errors=True)

    # ---- the driver, in a process of its own that serves verbs

    def _bridge_exists(self) -> bool:
        return bool(self.worker.ip("-j", "link", "show", "dev", self.bridge, check=False).strip())

    def _start(self) -> subprocess.Popen:
        kept = ("PATH", "HOME", "LANG", "NETNS_AGENT", "TMPDIR")
        environment = {k: v for k, v in os.environ.items() if k in kept or k.endswith("SAN_OPTIONS")}
        environment.update(
            NETNS_STATE_DIR=str(self.state),
            NETNS_BRIDGE=self.bridge,
            NETNS_SUBNET=self.subnet,
            NETNS_BUNDLES=str(paths.BUILD / "bundles"),
        )
        command = [paths.program("provider-tool"), str(paths.BUILD / "providers/netns.so"), "--", "serve"]
        with open(self._log, "ab") as log:
            return subprocess.Popen(
                self.worker.command(*command),
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )

    def _ask(self, verb: str, **arguments) -> dict:
        words = [verb, *(f"{key}={value}" for key, value in arguments.items())]
        if any(set(word) & set(" \n") for word in words):
            raise ValueError(f"a word with a blank: {words}")
        with self._lock:
            try:
                self._tool.stdin.write(" ".join(words).encode() + b"\n")
                self._tool.stdin.flush()
                line = self._tool.stdout.readline()
            except BrokenPipeError:
                line = b""
        if not line:
            raise RuntimeError(f"provider-tool ended: {self.log()[-2000:]}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"netns {verb}: {answer['error']}: {answer['message']}")
        return answer
