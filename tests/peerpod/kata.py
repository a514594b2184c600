# SPDX-License-Identifier: Apache-2.0
"""The real Go shim of Kata (tests/interop), driven as containerd does.

    with kata.Shim(program, stack.socket, pod, folder) as shim:
        shim.start_pod()
        web = shim.create_container("web", image, ["/bin/httpd", "-f"])
        web.start()

What containerd's CRI plugin does is done here: bundles with config.json, the files that it mounts into
every container, named pipes for the streams, and the calls of the task API in their order. All that is
below is Kata's own code.
"""

import base64
import contextlib
import json
import os
import pathlib
import queue
import secrets
import socket as socketlib
import subprocess
import threading
from typing import Optional

from peerpod.shim import wait_until

CALL_TIMEOUT = 120
CGROUPS = pathlib.Path("/sys/fs/cgroup")

# configuration-remote.toml as it is shipped, without what does not concern the remote hypervisor.
CONFIGURATION = """
[hypervisor.remote]
remote_hypervisor_socket = "{socket}"
remote_hypervisor_timeout = 600
enable_annotations = ["machine_type", "default_memory", "default_vcpus", "image", "default_gpus", "gpu_model", "cc_init_data"]
default_bridges = 1
disable_selinux = false
disable_guest_selinux = true

[agent.kata]
dial_timeout = 30

[runtime]
internetworking_model = "none"
disable_guest_seccomp = true
disable_new_netns = true
sandbox_cgroup_only = {cgroup_only}
static_sandbox_resource_mgmt = true
vfio_mode = "guest-kernel"
disable_guest_empty_dir = false
experimental = []
create_container_timeout = 60
experimental_force_guest_pull = {force_guest_pull}
"""

# The shim's own mounts, as containerd's shims have: what it writes below /run is its own and goes with it. Of
# the machine's /run it sees the network namespaces. The log socket is there because it insists on one. Where /
# is no mount point (a chroot) it cannot be made a slave, and /run is all that is mounted on.
SETUP = """
{ mount --make-rslave / 2>/dev/null || mount --make-rslave /run; } &&
mkdir "$1/run" && mount --rbind /run "$1/run" && mount -t tmpfs tmpfs /run &&
mkdir /run/netns && mount --rbind "$1/run/netns" /run/netns &&
touch /run/syslog && mount --bind "$1/syslog" /run/syslog &&
shift && exec "$@"
"""

_MOUNTS = [
    {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
    {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
     "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
    {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
    {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
    {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
     "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]},
]  # fmt: skip
_CAPABILITIES = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETGID", "CAP_SETUID"]


class Error(Exception):
    """What the shim answered instead of a reply."""


class Stream:
    """One output: a named pipe that is read until the shim closes it."""

    def __init__(self, path: pathlib.Path):
        os.mkfifo(path)
        self.path = str(path)
        self.data = bytearray()
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        with open(self.path, "rb", buffering=0) as pipe:
            while some := pipe.read(65536):
                with self._changed:
                    self.data += some
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_for(self, text: bytes, timeout: float = 30) -> bytes:
        with self._changed:
            self._changed.wait_for(lambda: text in self.data or self._ended, timeout)
            if text not in self.data:
                raise AssertionError(f"no {text!r} within {timeout} s; came: {bytes(self.data)[-2000:]!r}")
            return bytes(self.data)

    def wait_end(self, timeout: float = 30) -> bytes:
        with self._changed:
            if not self._changed.wait_for(lambda: self._ended, timeout):
                raise TimeoutError(f"the stream goes on after {timeout} s; last: {bytes(self.data)[-500:]!r}")
            return bytes(self.data)


class Process:
    """A container's first process (exec "") or one that came later."""

    def __init__(self, shim: "Shim", id: str, exec: str = "", terminal: bool = False):
        self.shim, self.id, self.exec = shim, id, exec
        folder = shim.folder / "fifo" / (exec or id)
        folder.mkdir(parents=True)
        self._stdin_path = folder / "stdin"
        os.mkfifo(self._stdin_path)
        self.stdout = Stream(folder / "stdout")
        self.stderr = None if terminal else Stream(folder / "stderr")
        # Open for reading as well, so that this end does not wait for the shim's.
        self._stdin: Optional[int] = os.open(self._stdin_path, os.O_RDWR)

    def pipes(self) -> dict:
        return {
            "stdin": str(self._stdin_path),
            "stdout": self.stdout.path,
            "stderr": self.stderr.path if self.stderr else "",
        }

    def write(self, data: bytes) -> None:
        with open(self._stdin_path, "wb", buffering=0) as pipe:
            at = 0
            while at < len(data):
                at += pipe.write(data[at:])

    def close_stdin(self) -> None:
        self.forget_stdin()
        try:
            self.shim.call("CloseIO", id=self.id, exec=self.exec)
        except Error as error:
            if "NotFound" not in str(error):  # ended meanwhile: containerd only logs that
                raise

    def forget_stdin(self) -> None:
        if self._stdin is not None:
            os.close(self._stdin)
            self._stdin = None

    def kill(self, signal: int, all: bool = False) -> None:
        self.shim.call("Kill", id=self.id, exec=self.exec, signal=signal, all=all)

    def wait(self, timeout: float = 60) -> int:
        return self.shim.call("Wait", timeout, id=self.id, exec=self.exec).get("exitStatus", 0)

    def delete(self) -> dict:
        return self.shim.call("Delete", id=self.id, exec=self.exec)


class Container:
    def __init__(self, shim: "Shim", id: str, name: str):
        self.shim, self.id, self.name = shim, id, name
        self.process = Process(shim, id)

    def start(self) -> Process:
        self.shim.call("Start", id=self.id)
        return self.process

    def start_exec(self, *args: str, terminal: bool = False) -> Process:
        process = Process(self.shim, self.id, secrets.token_hex(16), terminal)
        self.shim.call("Start", id=self.id, exec=process.exec, process=_process(args, terminal), **process.pipes())
        return process

    def exec(self, *args: str, stdin: bytes = b"") -> tuple:
        """(status, stdout, stderr)."""
        process = self.start_exec(*args)
        if stdin:
            process.write(stdin)
        process.close_stdin()
        status = process.wait()
        process.delete()
        return status, process.stdout.wait_end(), process.stderr.wait_end()

    def state(self) -> str:
        return self.shim.call("State", id=self.id).get("status", "UNKNOWN")

    def stats(self) -> dict:
        return self.shim.call("Stats", id=self.id)

    def stop(self) -> int:
        """SIGKILL to all of it, the exit status, the removal."""
        self.process.kill(9, all=True)
        status = self.process.wait()
        self.remove()
        return status

    def remove(self) -> None:
        self.process.forget_stdin()
        self.process.delete()
        self.shim.containers.remove(self)


def _process(args, terminal: bool = False) -> dict:
    return {
        "args": list(args),
        "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        "cwd": "/",
        "terminal": terminal,
        "user": {"uid": 0, "gid": 0},
        "capabilities": {"bounding": _CAPABILITIES, "effective": _CAPABILITIES, "permitted": _CAPABILITIES},
    }


class Shim:
    """One pod and the process that is its shim."""

    def __init__(self, program, socket: str, netns_path: str, folder: pathlib.Path, name: str = "web",
                 namespace: str = "default", force_guest_pull: bool = False):  # fmt: skip
        self.id = secrets.token_hex(32)
        self.name, self.namespace, self.netns_path, self.folder = name, namespace, netns_path, pathlib.Path(folder)
        self.force_guest_pull = force_guest_pull
        self.containers: list = []
        self.events: list = []
        self._closed = False
        self._answers: dict = {}
        self._next = 1
        self._lock = threading.Lock()
        self.folder.mkdir(parents=True, exist_ok=True)
        configuration = self.folder / "configuration-remote.toml"
        configuration.write_text(
            CONFIGURATION.format(socket=socket, force_guest_pull=str(force_guest_pull).lower(), cgroup_only="false")
        )
        self.log_path = self.folder / "kata-shim.log"
        self._syslog = socketlib.socket(socketlib.AF_UNIX, socketlib.SOCK_DGRAM)
        self._syslog.bind(str(self.folder / "syslog"))
        self._syslog_reader = threading.Thread(target=self._drain, daemon=True)
        self._syslog_reader.start()
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "--propagation", "unchanged", "sh", "-c", SETUP, "sh", str(self.folder),
                 str(program), self.id],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=self.folder,
                env={**os.environ, "KATA_CONF_FILE": str(configuration)},
            )  # fmt: skip
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    # ---- calls

    def _drain(self):
        """The same lines as on standard error: read, so that the shim does not wait."""
        with contextlib.suppress(OSError):
            while self._syslog.recv(65536):
                pass

    def _read(self):
        for line in self.process.stdout:
            message = json.loads(line)
            if "event" in message:
                self.events.append(message)
            elif waiting := self._answers.pop(message.get("n"), None):
                waiting.put(message)
        with self._lock:
            for waiting in self._answers.values():
                waiting.put({"error": f"the shim ended; its log ends:\n{self.log_tail()}"})

    def begin(self, call: str, **fields) -> queue.SimpleQueue:
        """Sends a call; what is returned gives the answer."""
        answer: queue.SimpleQueue = queue.SimpleQueue()
        with self._lock:
            n = self._next
            self._next += 1
            self._answers[n] = answer
            self.process.stdin.write(json.dumps({"n": n, "call": call, **fields}).encode() + b"\n")
            self.process.stdin.flush()
        return answer

    def call(self, name: str, timeout: float = CALL_TIMEOUT, **fields) -> dict:
        try:
            message = self.begin(name, **fields).get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"{name}: no answer in {timeout} s; the shim's log ends:\n{self.log_tail()}") from None
        if "error" in message:
            raise Error(f"{name}: {message['error']}")
        return message

    def log_tail(self, size: int = 6000) -> str:
        return self.log_path.read_text(errors="replace")[-size:]

    # ---- the pod

    def _annotations(self, kind: str, name: str, image: str) -> dict:
        values = {
            "io.kubernetes.cri.container-type": kind,
            "io.kubernetes.cri.sandbox-id": self.id,
            "io.kubernetes.cri.sandbox-name": self.name,
            "io.kubernetes.cri.sandbox-namespace": self.namespace,
            "io.kubernetes.cri.sandbox-uid": "2f6e1c3a-0000-4000-8000-" + self.id[:12],
            "io.kubernetes.cri.sandbox-cpu-period": "100000",
            "io.kubernetes.cri.sandbox-cpu-quota": "0",
            "io.kubernetes.cri.sandbox-cpu-shares": "2",
            "io.kubernetes.cri.sandbox-memory": "0",
        }
        if kind == "container":
            values["io.kubernetes.cri.container-name"] = name
            values["io.kubernetes.cri.image-name"] = image
        return values

    def _host_files(self, id: str) -> list:
        """The files that CRI mounts into every container; the shim sends their content into the VM."""
        folder = self.folder / "cri" / id
        folder.mkdir(parents=True)
        mounts = []
        for path, text in [
            ("/etc/hostname", self.name + "\n"),
            ("/etc/hosts", f"127.0.0.1 localhost\n10.9.8.7 {self.name}.of-the-test\n"),
            ("/etc/resolv.conf", "nameserver 10.96.0.10\n"),
        ]:
            source = folder / path.rsplit("/", 1)[1]
            source.write_text(text)
            mounts.append(
                {"destination": path, "type": "bind", "source": str(source), "options": ["rbind", "rprivate", "rw"]}
            )
        return mounts

    def _bundle(self, id: str, kind: str, name: str, image: str, args) -> pathlib.Path:
        bundle = self.folder / "bundle" / id
        (bundle / "rootfs").mkdir(parents=True)
        namespaces = [{"type": t} for t in ("pid", "ipc", "uts", "mount")]
        namespaces.append({"type": "network", "path": self.netns_path})
        spec = {
            "ociVersion": "1.1.0",
            "process": _process(args),
            "root": {"path": "rootfs", "readonly": kind == "sandbox"},
            "mounts": _MOUNTS + self._host_files(id),
            "annotations": self._annotations(kind, name, image),
            "linux": {
                "resources": {"cpu": {"shares": 2}, "devices": [{"allow": False, "access": "rwm"}]},
                "cgroupsPath": f"/{self._cgroup()}/{id}",
                "namespaces": namespaces,
                "maskedPaths": ["/proc/acpi", "/proc/kcore"],
                "readonlyPaths": ["/proc/bus", "/proc/sys"],
            },
        }
        if kind == "sandbox":
            spec["hostname"] = self.name
        (bundle / "config.json").write_text(json.dumps(spec))
        return bundle

    def _rootfs(self) -> Optional[dict]:
        """What nydus-snapshotter gives for an image that the guest pulls."""
        if self.force_guest_pull:
            return None
        volume = {"volume_type": "image_guest_pull", "source": "", "image_pull": {"metadata": {}}}
        text = base64.b64encode(json.dumps(volume).encode()).decode()
        return {
            "type": "fuse.nydus-overlayfs",
            "source": "overlay",
            "options": ["lowerdir=/nothing", "io.katacontainers.volume=" + text],
        }

    def create_container(self, name: str, image: str, args, kind: str = "container") -> Container:
        id = self.id if kind == "sandbox" else secrets.token_hex(32)
        container = Container(self, id, name)
        bundle = self._bundle(id, kind, name, image, args)
        self.containers.append(container)
        self.call("Create", id=id, bundle=str(bundle), rootfs=self._rootfs(), **container.process.pipes())
        return container

    def start_pod(self) -> Container:
        """RunPodSandbox: the VM, the sandbox, its own container."""
        pause = self.create_container("pause", "registry.k8s.io/pause:3.9", ["/pause"], "sandbox")
        pause.start()
        return pause

    def stop_pod(self) -> None:
        """StopPodSandbox and RemovePodSandbox: every container, then the sandbox's own, which ends the VM."""
        for container in reversed(list(self.containers)):
            container.stop()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for container in self.containers:
            container.process.forget_stdin()
        if self.process.poll() is None:
            self.process.stdin.close()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join(10)
        self.process.stdout.close()
        self._remove_cgroups()
        self._syslog.shutdown(socketlib.SHUT_RD)
        self._syslog_reader.join(10)
        self._syslog.close()

    def _cgroup(self) -> str:
        """The pod's cgroup, which kubelet would have made and would remove."""
        return f"pp-kata-{self.id[:8]}"

    def _remove_cgroups(self) -> None:
        """With the one that the shim keeps for all pods of a node, once it is empty."""
        for name in (self._cgroup(), "kata_overhead"):
            for root in [*CGROUPS.glob(name), *CGROUPS.glob(f"*/{name}")]:
                folders = sorted((p for p in root.rglob("*") if p.is_dir()), reverse=True)
                for folder in [*folders, root]:
                    with contextlib.suppress(OSError):  # another pod's
                        folder.rmdir()

    def __enter__(self) -> "Shim":
        return self

    def __exit__(self, kind, *_) -> None:
        if kind is not None:
            print(f"---- {self.log_path} ends:\n{self.log_tail()}")
        self.close()


def exit_events(shim: Shim) -> dict:
    """Exec id (or container id) to exit status, of the exits that the shim has published."""
    return {e["exec"]: e.get("status", 0) for e in shim.events if e["event"] == "/tasks/exit"}


__all__ = ["Container", "Error", "Process", "Shim", "exit_events", "wait_until"]
