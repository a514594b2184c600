# SPDX-License-Identifier: Apache-2.0
"""The programs of a worker, started for one test in folders of its own.

    with stack.Stack("netns", worker) as s:
        shim = s.shim(pod)
        shim.start_pod()

A Stack is one adaptor and its agent-proxy: their sockets, state and logs lie below one short folder in /tmp
(the agent socket's path may have 107 bytes, 64 of which are the sandbox id). It waits for sockets by
connecting to them, ends what it started by process id, and looks through the logs for what sanitizers say.
"""

import os
import pathlib
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from typing import Optional

from peerpod import cni, leaks, paths, services, shim, ttrpc

# What must be in no log: sanitizers' words, and the beginning of a private key.
BAD_WORDS = re.compile(
    r"(ERROR: (Address|Leak|Thread)Sanitizer|WARNING: ThreadSanitizer|runtime error:|-----BEGIN [A-Z ]*PRIVATE KEY)"
)


def make_folder() -> pathlib.Path:
    return pathlib.Path(tempfile.mkdtemp(prefix="pp", dir="/tmp"))


def peer_pid(path: str) -> int:
    """The process that listens on a Unix socket."""
    with ttrpc.connect_unix(path) as sock:
        pid, _, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return pid


def alive(pid: int) -> bool:
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] not in "ZX"


def wait_gone(pid: int, timeout: float = 10) -> None:
    """Until a process that may not be ours to wait for has ended."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        import select

        if not select.select([fd], [], [], timeout)[0]:
            raise TimeoutError(f"process {pid} still runs after {timeout} s")
    finally:
        os.close(fd)


def rss_kib(pid: int) -> int:
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


class Stack:
    """driver: "netns", "libvirt", or a cloud's. environment: more variables for the adaptor, as a ConfigMap has them."""

    def __init__(self, driver: str, worker, environment=(), options=(), folder: Optional[pathlib.Path] = None):
        self.driver = driver
        self.worker = worker
        self.folder = folder or make_folder()
        self._own_folder = folder is None
        self.socket = str(self.folder / "hypervisor.sock")
        self.pods_dir = self.folder / "pods"
        self.state_dir = self.folder / "state"
        self.proxy_socket = str(self.folder / "agent-proxy.sock")
        self.netns_state = self.folder / "netns"
        self.log_path = self.folder / "adaptor.log"
        self.options = list(options)
        self.environment = {
            "NODE_NAME": "",
            "NETNS_STATE_DIR": str(self.netns_state),
            "NETNS_BUNDLES": str(paths.BUILD / "bundles"),
            f"{driver.upper()}_CATALOGUE_FOLDER": str(self.folder / "catalogue"),
            **dict(environment),
        }
        self.process: Optional[subprocess.Popen] = None

    # ---- life

    def command(self) -> list:
        return [
            paths.program("cloud-api-adaptor"),
            self.driver,
            f"-socket={self.socket}",
            f"-pods-dir={self.pods_dir}",
            f"-state-dir={self.state_dir}",
            f"-agent-proxy-socket={self.proxy_socket}",
            f"-agent-proxy={paths.program('agent-proxy')}",
            f"-provider-dir={paths.BUILD / 'providers'}",
            *self.options,
        ]

    def start(self, fault: str = "", wait: bool = True) -> "Stack":
        """Starts the adaptor and waits until it answers. fault: the place where it is to kill itself."""
        # NETNS_AGENT: the same tests against another agent.
        kept = ("PATH", "HOME", "LANG", "NETNS_AGENT")
        environment = {k: v for k, v in os.environ.items() if k in kept or k.endswith("SAN_OPTIONS")}
        environment.update({k: v for k, v in self.environment.items() if v})
        if fault:
            listed = subprocess.run([self.command()[0], "faults"], capture_output=True, text=True).stdout.split()
            if fault not in listed and not fault.startswith(f"{self.driver}-"):
                raise ValueError(f"the adaptor has no fault point {fault!r}; it lists {' '.join(listed)}")
            environment["PEERPOD_FAULT"] = fault
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.worker.command(*self.command()), env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        if wait:
            try:
                self.wait_ready()
            except (ttrpc.Closed, ttrpc.Timeout) as error:
                raise RuntimeError(f"the adaptor does not serve: {error}; its log ends:\n{self.log_tail()}") from error
        return self

    def wait_ready(self, timeout: float = 60) -> None:
        process = self.process
        ttrpc.wait_for_socket(self.socket, timeout, lambda: process.poll() is None).close()

    def stop(self, timeout: float = 30) -> int:
        """Ends the adaptor as a node's shutdown does (SIGTERM); its exit status."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise TimeoutError(f"the adaptor still runs {timeout} s after SIGTERM; its log ends:\n{self.log_tail()}") from None
        self.process = None
        return status

    def kill(self) -> None:
        """kill -9 of the adaptor."""
        self.process.kill()
        self.process.wait()
        self.process = None

    def wait_killed(self, timeout: float = 60) -> None:
        """Until a fault point has killed the adaptor."""
        status = self.process.wait(timeout)
        self.process = None
        if status != -signal.SIGKILL:
            raise AssertionError(f"the adaptor ended with status {status}, not by a fault point; its log ends:\n{self.log_tail()}")

    def restart(self) -> None:
        self.stop()
        self.start()

    def proxy_pid(self) -> int:
        """
        Waits for agent-proxy: it is started, or comes back, a moment after the adaptor serves. A hand-over's successor
        can be connected to before it has made the socket its own, and SO_PEERCRED names the one of before until then;
        whoever answers has done so.
        """
        ttrpc.wait_for_socket(self.proxy_socket, 10).close()
        with self.agent_proxy() as proxy:
            proxy.List(timeout=10)
        return peer_pid(self.proxy_socket)

    def connections(self) -> int:
        """How often an adaptor has connected to agent-proxy, after a look at which one it is."""
        return self.log().count("agent-proxy: connected to")

    def start_proxy(self) -> subprocess.Popen:
        """As an installer would: another agent-proxy on the same socket."""
        with open(self.folder / "other-agent-proxy.log", "ab") as log:
            return subprocess.Popen(
                self.worker.command(paths.program("agent-proxy"), "-control-socket", self.proxy_socket),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def kill_proxy(self) -> int:
        """kill -9 of agent-proxy; the pid it had."""
        pid = self.proxy_pid()
        os.kill(pid, signal.SIGKILL)
        wait_gone(pid)
        return pid

    def stop_proxy(self) -> None:
        try:
            pid = peer_pid(self.proxy_socket)
        except OSError:
            return
        os.kill(pid, signal.SIGTERM)
        try:
            wait_gone(pid)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            wait_gone(pid)

    def close(self) -> None:
        """Ends everything, instances too, and looks through the logs."""
        try:
            self.stop()
            self.stop_proxy()
        finally:
            if self.process is not None:
                self.kill()
            self.kill_instances()
        self.check_logs()
        if self._own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    def kill_instances(self) -> None:
        """Ends netns instances that a failed test left; removing them is the driver's part."""
        for record in self.netns_state.glob("*/process"):
            try:
                pid = int(record.read_text().split()[0])
                os.kill(pid, signal.SIGKILL)
                wait_gone(pid)
            except (OSError, ValueError, IndexError):
                continue
        for folder in self.netns_state.glob("*/metadata.json"):
            for group in leaks._cgroups():
                if folder.parent.name in group:
                    for path in sorted(pathlib.Path(group).rglob("*"), reverse=True):
                        if path.is_dir():
                            path.rmdir()
                    pathlib.Path(group).rmdir()

    def __enter__(self) -> "Stack":
        if self.process is None:
            try:
                self.start()
            except BaseException:
                self._give_up()
                raise
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is None:
            self.close()
        else:
            self._give_up()

    def _give_up(self) -> None:
        """After a failure: everything ends, and what the programs said is shown."""
        print(f"---- {self.log_path} ends:\n{self.log_tail(6000)}")
        for console in sorted(self.netns_state.glob("*/console.log")):
            print(f"---- {console} ends:\n{console.read_text(errors='replace')[-3000:]}")
        try:
            self.close()
        except (OSError, AssertionError, TimeoutError) as error:
            print(f"---- closing: {error}")

    # ---- questions

    def hypervisor(self):
        """A service on a connection of its own: with s.hypervisor() as hypervisor: ..."""
        return _Connected(self.socket, services.hypervisor)

    def agent_proxy(self):
        return _Connected(self.proxy_socket, services.agent_proxy)

    def podvminfo(self):
        return _Connected(self.socket, services.podvminfo)

    def shim(self, netns: cni.Pod, **more) -> shim.Shim:
        return shim.Shim(self.socket, netns.path, **more)

    def records(self) -> list:
        """Ids of the sandboxes in the journal."""
        return sorted(p.stem for p in (self.state_dir / "sandboxes").glob("*.json"))

    def instances(self) -> list:
        """Tokens of the netns instances that exist."""
        return sorted(p.parent.name for p in self.netns_state.glob("*/metadata.json"))

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def log_tail(self, size: int = 4000) -> str:
        return self.log()[-size:]

    def wait_log(self, text: str, timeout: float = 30) -> None:
        """Until a line with this text is in the log."""
        shim.wait_until(lambda: text in self.log(), timeout, f"{text!r} in {self.log_path}")

    def logs(self) -> list:
        return [p for p in self.folder.rglob("*.log") if p.is_file()]

    def check_logs(self) -> None:
        for path in self.logs():
            text = path.read_text(errors="replace")
            if found := BAD_WORDS.search(text):
                raise AssertionError(f"{path}: {found.group()}:\n{text[max(0, found.start() - 500) : found.start() + 4000]}")

    def picture(self, also_log: str = "", **more) -> leaks.Picture:
        """What exists now, for a comparison; logs and what a stack keeps for its life are left out. also_log: what
        names instances besides the adaptor's log."""
        keep = [".log", "/tls/", "hypervisor.sock", "agent-proxy", "/lock", "/addresses", "cluster"]
        folders = [self.pods_dir, self.state_dir / "sandboxes", self.netns_state]
        log = self.log() + also_log
        return leaks.Picture(self.worker, folders, keep, commands=[str(self.netns_state)], log=log, **more)


class _Connected:
    def __init__(self, path: str, make):
        self._path = path
        self._make = make

    def __enter__(self):
        self._client = ttrpc.Client.connect(self._path)
        return self._make(self._client)

    def __exit__(self, *_):
        self._client.close()


def seconds_since(start: float) -> float:
    return time.monotonic() - start
