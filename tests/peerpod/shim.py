# SPDX-License-Identifier: Apache-2.0
"""What Kata's Go shim does with a remote hypervisor and with the agent behind it.

Every Hypervisor call has a connection of its own, StartVM's is dialled from inside the pod's network
namespace. After StartVM, one connection to the agent socket lives as long as the pod: if it breaks, the pod
is lost. Container specifications look as the shim sends them: guest paths, host things taken out, the root
file system as an image_guest_pull storage.
"""

import json
import secrets
import threading
import time
from typing import Optional

from peerpod import services, ttrpc
from peerpod.proto import agent as pb

READ_SIZE = 32 * 1024  # what the shim asks for at a time
CALL_TIMEOUT = 60
CHECK_TIMEOUT = 30
SIGTERM, SIGKILL = 15, 9

_MOUNTS = [
    ("/proc", "proc", "proc", ["nosuid", "noexec", "nodev"]),
    ("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ("/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
    ("/dev/mqueue", "mqueue", "mqueue", ["nosuid", "noexec", "nodev"]),
    ("/sys", "sysfs", "sysfs", ["nosuid", "noexec", "nodev", "ro"]),
    ("/sys/fs/cgroup", "cgroup", "cgroup", ["nosuid", "noexec", "nodev", "relatime", "ro"]),
    ("/dev/shm", "/run/kata-containers/sandbox/shm", "bind", ["rbind"]),
]
_CAPABILITIES = [
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL",
    "CAP_AUDIT_WRITE",
]  # fmt: skip
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def sandbox_id() -> str:
    """64 hex digits, as containerd and CRI-O make them."""
    return secrets.token_hex(32)


class Output:
    """One output stream of a process: read by a thread as the shim does, until the agent's error that says its end."""

    def __init__(self, agent, method: str, container: str, exec_id: str):
        self.data = bytearray()
        self.ended = False
        self.error: Optional[BaseException] = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, args=(agent, method, container, exec_id), daemon=True)
        self._thread.start()

    def _read(self, agent, method, container, exec_id):
        try:
            while True:
                answer = getattr(agent, method)(container_id=container, exec_id=exec_id, len=READ_SIZE)
                if not answer.data:
                    raise AssertionError("an empty answer: Kata's Go shim would read on for ever")
                with self._changed:
                    self.data += answer.data
                    self._changed.notify_all()
        except ttrpc.Status as status:
            if not status.message.endswith("eof"):
                self.error = status
        except (ConnectionError, AssertionError) as error:
            self.error = error
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def wait_for(self, text: bytes, timeout: float = 30) -> bytes:
        """All that came once text is part of it."""
        with self._changed:
            good = self._changed.wait_for(lambda: text in self.data or self.ended, timeout)
            if text not in self.data:
                what = "the stream ended" if good else f"{timeout} s passed"
                raise AssertionError(f"{what} without {text!r}; error {self.error}; came: {bytes(self.data)[-2000:]!r}")
            return bytes(self.data)

    def wait_for_size(self, size: int, timeout: float = 30) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.data) >= size or self.ended, timeout):
                raise TimeoutError(f"{len(self.data)} of {size} bytes after {timeout} s")

    def wait_end(self, timeout: float = 30) -> bytes:
        with self._changed:
            if not self._changed.wait_for(lambda: self.ended, timeout):
                raise TimeoutError(f"the stream goes on after {timeout} s; last: {bytes(self.data)[-500:]!r}")
        if self.error:
            raise self.error
        return bytes(self.data)


class Process:
    """A process in a container: its input, its two outputs, its end."""

    def __init__(self, agent, container: str, exec_id: str, terminal: bool = False):
        self._agent = agent
        self.container = container
        self.exec_id = exec_id
        self.status: Optional[int] = None
        self.stdout = Output(agent, "ReadStdout", container, exec_id)
        self.stderr = None if terminal else Output(agent, "ReadStderr", container, exec_id)

    def write(self, data: bytes) -> None:
        at = 0
        while at < len(data):
            chunk = data[at : at + READ_SIZE]
            answer = self._agent.WriteStdin(
                container_id=self.container, exec_id=self.exec_id, data=chunk, timeout=CALL_TIMEOUT
            )
            at += answer.len or len(chunk)

    def close_stdin(self) -> None:
        self._agent.CloseStdin(container_id=self.container, exec_id=self.exec_id, timeout=CALL_TIMEOUT)

    def signal(self, number: int) -> None:
        self._agent.SignalProcess(
            container_id=self.container, exec_id=self.exec_id, signal=number, timeout=CALL_TIMEOUT
        )

    def wait(self, timeout: float = 30) -> int:
        """The exit status; asked for once, and only after both outputs have ended, as the shim does."""
        if self.status is not None:
            return self.status
        self.stdout.wait_end(timeout)
        if self.stderr:
            self.stderr.wait_end(timeout)
        call = self._agent.start_WaitProcess(container_id=self.container, exec_id=self.exec_id)
        self.status = call.result(timeout).status
        return self.status


class Container:
    def __init__(self, shim: "Shim", id: str, name: str):
        self.shim = shim
        self.id = id
        self.name = name
        self.process: Optional[Process] = None

    def start(self) -> Process:
        self.shim.agent.StartContainer(container_id=self.id, timeout=CALL_TIMEOUT)
        self.process = Process(self.shim.agent, self.id, self.id)
        return self.process

    def start_exec(self, *args: str, env=(), terminal: bool = False, cwd: str = "/") -> Process:
        """ExecProcess: a running process with its outputs being read."""
        exec_id = secrets.token_hex(16)
        process = _process(list(args), env, cwd, terminal)
        self.shim.agent.ExecProcess(container_id=self.id, exec_id=exec_id, process=process, timeout=CALL_TIMEOUT)
        return Process(self.shim.agent, self.id, exec_id, terminal)

    def exec(self, *args: str, stdin: bytes = b"", timeout: float = 30) -> tuple:
        """(status, stdout, stderr) of a command with this input."""
        process = self.start_exec(*args)
        if stdin:
            process.write(stdin)
        process.close_stdin()
        status = process.wait(timeout)
        return status, bytes(process.stdout.data), bytes(process.stderr.data)

    def signal(self, number: int) -> None:
        """To all of the container."""
        self.shim.agent.SignalProcess(container_id=self.id, exec_id="", signal=number, timeout=CALL_TIMEOUT)

    def stats(self) -> pb.CgroupStats:
        return self.shim.agent.StatsContainer(container_id=self.id, timeout=CALL_TIMEOUT).cgroup_stats

    def remove(self) -> None:
        self.shim.agent.RemoveContainer(container_id=self.id, timeout=CALL_TIMEOUT)
        self.shim.containers.remove(self)

    def kill(self) -> int:
        """What the shim does at a container's end: the signal, the exit status, the removal."""
        if self.process is None or self.process.status is None:
            try:
                self.signal(SIGKILL)
            except ttrpc.Status as status:
                if "ESRCH" not in status.message and status.code != ttrpc.NOT_FOUND:
                    raise
        status = self.process.wait() if self.process else -1
        self.remove()
        return status


def _process(args, env, cwd, terminal) -> pb.Process:
    capabilities = pb.LinuxCapabilities(
        Bounding=_CAPABILITIES, Effective=_CAPABILITIES, Permitted=_CAPABILITIES, Inheritable=[], Ambient=[]
    )
    return pb.Process(
        Args=args,
        Env=[_PATH, *env],
        Cwd=cwd,
        Terminal=terminal,
        User=pb.User(UID=0, GID=0),
        Capabilities=capabilities,
        NoNewPrivileges=False,
    )


class Shim:
    """One pod, from CreateVM to StopVM."""

    def __init__(
        self, socket: str, netns_path: str, pod: str = "web", namespace: str = "default", id: str = "", annotations=()
    ):
        self.socket = socket
        self.netns_path = netns_path
        self.pod = pod
        self.namespace = namespace
        self.id = id or sandbox_id()
        self.annotations = dict(annotations)
        self.agent_path = ""
        self.client: Optional[ttrpc.Client] = None
        self.agent = None
        self.containers: list = []
        self._monitor_stop = threading.Event()
        self._monitor: Optional[threading.Thread] = None
        self.dead: Optional[BaseException] = None  # why the monitor gave the agent up

    # ---- the hypervisor

    def vm_annotations(self) -> dict:
        """The nine that every shim sends."""
        prefix = "io.katacontainers.config.hypervisor."
        values = {
            "io.kubernetes.cri.sandbox-name": self.pod,
            "io.kubernetes.cri.sandbox-namespace": self.namespace,
            prefix + "machine_type": "",
            prefix + "image": "",
            prefix + "default_vcpus": "0",
            prefix + "default_memory": "0",
            prefix + "cc_init_data": "",
            prefix + "default_gpus": "0",
            prefix + "default_gpu_model": "",
        }
        values.update(self.annotations)
        return values

    def create_vm(self) -> str:
        with ttrpc.Client.connect(self.socket) as client:
            answer = services.hypervisor(client).CreateVM(
                id=self.id, annotations=self.vm_annotations(), networkNamespacePath=self.netns_path
            )
        if not answer.agentSocketPath:
            raise AssertionError("CreateVM answered without agentSocketPath: the shim takes that for a failure")
        self.agent_path = answer.agentSocketPath
        return self.agent_path

    def start_vm(self, timeout: float = 600) -> None:
        """From inside the pod's network namespace: abstract sockets would not be seen there."""
        sock = ttrpc.connect_unix(self.socket, self.netns_path)
        with ttrpc.Client(sock) as client:
            services.hypervisor(client).StartVM(id=self.id, timeout=timeout)

    def stop_vm(self, timeout: Optional[float] = None) -> None:
        with ttrpc.Client.connect(self.socket) as client:
            services.hypervisor(client).StopVM(id=self.id, timeout=timeout)

    # ---- the agent

    def connect(self) -> None:
        """The one connection to the agent, and its first call."""
        self.client = ttrpc.Client.connect(self.agent_path)
        self.agent = services.agent(self.client)
        self.check()

    def check(self) -> None:
        status = services.health(self.client).Check(timeout=CHECK_TIMEOUT).status
        if status != 1:
            raise AssertionError(f"Health.Check: status {status}, not SERVING")

    def start_monitor(self, interval: float = 5) -> None:
        """Health.Check every 5 s: the first failure is the end of the pod."""

        def watch():
            while not self._monitor_stop.wait(interval):
                try:
                    self.check()
                except (ttrpc.Status, OSError, AssertionError) as error:
                    self.dead = error
                    return

        self._monitor = threading.Thread(target=watch, daemon=True)
        self._monitor.start()

    def create_sandbox(self) -> None:
        self.agent.CreateSandbox(
            hostname=self.pod,
            dns=["nameserver 10.96.0.10", "search default.svc.cluster.local", ""],
            storages=[
                pb.Storage(
                    driver="ephemeral",
                    source="shm",
                    fstype="tmpfs",
                    mount_point="/run/kata-containers/sandbox/shm",
                    options=["noexec", "nosuid", "nodev", "mode=1777", "size=67108864"],
                )
            ],
            sandbox_id=self.id,
            timeout=300,
        )
        self.agent.GetGuestDetails(mem_block_size=True, mem_hotplug_probe=True, timeout=CALL_TIMEOUT)

    def container_annotations(self, kind: str, name: str, image: str) -> dict:
        values = {
            "io.kubernetes.cri.container-type": kind,
            "io.kubernetes.cri.sandbox-id": self.id,
            "io.kubernetes.cri.sandbox-name": self.pod,
            "io.kubernetes.cri.sandbox-namespace": self.namespace,
            "io.katacontainers.pkg.oci.container_type": "pod_sandbox" if kind == "sandbox" else "pod_container",
        }
        if kind == "container":
            values["io.kubernetes.cri.container-name"] = name
            values["io.kubernetes.cri.image-name"] = image
        return values

    def copy_file(self, container: str, name: str, data: bytes) -> str:
        """What a bind mount of a file becomes: its content in the guest. The guest's path."""
        path = f"/run/kata-containers/shared/containers/{container}-{secrets.token_hex(8)}-{name}"
        for at in range(0, max(len(data), 1), 1 << 20):
            self.agent.CopyFile(
                path=path,
                file_size=len(data),
                file_mode=0o100644,
                dir_mode=0o755,
                uid=0,
                gid=0,
                offset=at,
                data=data[at : at + (1 << 20)],
                timeout=CALL_TIMEOUT,
            )
        return path

    def create_container(self, name: str, image: str, args, env=(), cwd: str = "/", files=(), timeout=60) -> Container:
        """files: {path in the container: content}."""
        kind = "sandbox" if name == "pause" else "container"
        id = self.id if kind == "sandbox" else sandbox_id()
        rootfs = f"/run/kata-containers/{id}/rootfs"
        annotations = self.container_annotations(kind, name, image)
        mounts = [pb.Mount(destination=d, source=s, type=t, options=o) for d, s, t, o in _MOUNTS]
        for path, data in dict(files).items():
            source = self.copy_file(id, path.rsplit("/", 1)[-1], data)
            mounts.append(pb.Mount(destination=path, source=source, type="bind", options=["rbind", "rprivate", "rw"]))
        spec = pb.Spec(
            Version="1.1.0",
            Process=_process(list(args), env, cwd, False),
            Root=pb.Root(Path=rootfs, Readonly=kind == "sandbox"),
            Hostname=self.pod if kind == "sandbox" else "",
            Mounts=mounts,
            Annotations=annotations,
            Linux=pb.Linux(
                CgroupsPath=f"/kubepods/besteffort/pod{self.id[:8]}/{id}",
                Namespaces=[pb.LinuxNamespace(Type=t) for t in ("ipc", "uts", "mount")],
                MaskedPaths=["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list"],
                ReadonlyPaths=["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            ),
        )
        pull = json.dumps({"metadata": annotations})
        storage = pb.Storage(
            driver="image_guest_pull",
            driver_options=[f"image_guest_pull={pull}"],
            source="pause" if kind == "sandbox" else image,
            fstype="overlay",
            mount_point=rootfs,
        )
        self.agent.CreateContainer(
            container_id=id, exec_id=id, storages=[storage], OCI=spec, sandbox_pidns=False, timeout=timeout
        )
        container = Container(self, id, name)
        self.containers.append(container)
        return container

    # ---- the whole

    def start_pod(self, timeout: float = 600) -> None:
        """All up to a running sandbox container."""
        self.create_vm()
        self.start_vm(timeout)
        self.connect()
        self.create_sandbox()
        self.create_container("pause", "pause", ["/pause"]).start()

    def stop_pod(self) -> None:
        """The normal end: every container, the sandbox, the VM."""
        self._monitor_stop.set()
        if self._monitor:
            self._monitor.join()
        if self.client and not self.client.closed:
            for container in reversed(list(self.containers)):
                container.kill()
            try:
                self.agent.start_DestroySandbox().result(CALL_TIMEOUT)
            except (ttrpc.Status, ConnectionError, TimeoutError):
                pass  # the agent ends with its sandbox; the shim only logs this
        self.close()
        self.stop_vm()

    def close(self) -> None:
        self._monitor_stop.set()
        if self.client:
            self.client.close()
            self.client = None


def wait_until(condition, timeout: float, what: str, pause: float = 0.01) -> None:
    """For what gives no event: looks until it is so."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not so after {timeout} s")
        time.sleep(pause)
