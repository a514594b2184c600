# SPDX-License-Identifier: Apache-2.0
"""A libvirt that answers, with the pod VM image where its QEMU can read it.

    backend = libvirt.Libvirt(folder, "name", image)
    backend.start()
    stack.Stack("libvirt", worker, backend.environment(), backend.options())

tests/libvirt/daemon finds or starts the daemon, the network and the pool; both are called `name`.
"""

import contextlib
import os
import pathlib
import secrets
import shutil
import subprocess
import xml.etree.ElementTree as ET

from peerpod import paths, stack

DAEMON = paths.ROOT / "tests/libvirt/daemon"


class Libvirt:
    def __init__(self, folder: pathlib.Path, name: str, image: pathlib.Path, private: bool = False):
        self.folder = folder
        self.name = name
        self.image = image
        self.private = private  # a daemon of its own, even where one runs
        self.values: dict = {}

    def _daemon(self, verb: str, *more: str) -> str:
        environment = {**os.environ, **({"PRIVATE_DAEMON": "1"} if self.private else {})}
        done = subprocess.run(
            [str(DAEMON), verb, str(self.folder), *more],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env=environment,
        )
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
        return done.stdout

    def start(self) -> "Libvirt":
        lines = self._daemon("start", self.name).splitlines()
        self.values = dict(line.split("=", 1) for line in lines if "=" in line)
        pool = pathlib.Path(self.values["LIBVIRT_POOL_DIR"])
        for file in ("vmlinuz", "initrd", "podvm-base.qcow2"):
            shutil.copyfile(self.image / file, pool / f"{self.name}-{file}")
            (pool / f"{self.name}-{file}").chmod(0o644)
        self.virsh("pool-refresh", self.values["LIBVIRT_POOL"])
        return self

    def restart_daemon(self) -> None:
        """After the daemon was killed."""
        lines = self._daemon("restart").splitlines()
        self.values.update(line.split("=", 1) for line in lines if "=" in line)

    @property
    def is_ours(self) -> bool:
        return "LIBVIRTD_PID" in self.values

    @property
    def pid(self) -> int:
        return int(self.values["LIBVIRTD_PID"])

    def virsh(self, *arguments: str, check: bool = True) -> str:
        command = ["virsh", "-q", "-c", self.values["LIBVIRT_URI"], *arguments]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode and check:
            raise RuntimeError(f"virsh {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def environment(self) -> dict:
        """What the adaptor's environment says, as a ConfigMap would."""
        pool = self.values["LIBVIRT_POOL_DIR"]
        values = {
            "LIBVIRT_URI": self.values["LIBVIRT_URI"],
            "LIBVIRT_NET": self.values["LIBVIRT_NET"],
            "LIBVIRT_POOL": self.values["LIBVIRT_POOL"],
            "LIBVIRT_VOL_NAME": f"{self.name}-podvm-base.qcow2",
            "LIBVIRT_KERNEL": f"{pool}/{self.name}-vmlinuz",
            "LIBVIRT_INITRD": f"{pool}/{self.name}-initrd",
            "LIBVIRT_CMDLINE": "console=ttyS0 quiet",
            "LIBVIRT_CPU": "1",
            "LIBVIRT_MEMORY": "384",
            "LIBVIRT_ROOT_DISK_SIZE": "1",
        }
        if "LIBVIRT_CONSOLE_LOG" in self.values:
            values["LIBVIRT_CONSOLE_LOG"] = self.values["LIBVIRT_CONSOLE_LOG"]
        return values

    def options(self) -> list:
        """None: the tunnel ends at the node's own address, which pod VMs reach through their gateway. Another
        -host-interface would ask for a dedicated tunnel, with a NIC of its own in the pod VM."""
        return []

    def domains(self) -> list:
        """Pod VMs, running or not."""
        return [d for d in self.virsh("list", "--all", "--name").split() if d.startswith("podvm-")]

    def volumes(self) -> list:
        """Volumes beyond the files of the image."""
        lines = self.virsh("vol-list", self.values["LIBVIRT_POOL"]).splitlines()
        names = [line.split()[0] for line in lines if line.strip()]
        return [name for name in names if not name.startswith(f"{self.name}-")]

    def network_xml(self) -> ET.Element:
        return ET.fromstring(self.virsh("net-dumpxml", self.name))

    def reservations(self) -> list:
        """Names of the addresses that are reserved in our network."""
        return [host.get("name") for host in self.network_xml().iter("host")]

    def left(self) -> list:
        return ([f"domain {d}" for d in self.domains()] + [f"volume {v}" for v in self.volumes()]
                + [f"address {r}" for r in self.reservations()])

    def console(self) -> str:
        """What the newest pod VM wrote on its serial console."""
        folder = pathlib.Path(self.values.get("LIBVIRT_CONSOLE_LOG", ""))
        logs = sorted(folder.rglob("*.log"), key=lambda p: p.stat().st_mtime) if folder.is_absolute() else []
        return logs[-1].read_text(errors="replace") if logs else ""

    def stop(self) -> None:
        if "LIBVIRT_POOL_DIR" in self.values:
            for file in pathlib.Path(self.values["LIBVIRT_POOL_DIR"]).glob(f"{self.name}-*"):
                file.unlink()
        self._daemon("stop")


def is_installed() -> bool:
    return bool(shutil.which("libvirtd", path=os.environ.get("PATH", "") + ":/usr/sbin"))


@contextlib.contextmanager
def own_daemon(prefix: str, image: pathlib.Path):
    """A daemon for this process alone, with an image; what it has is called by the prefix and six digits."""
    # Not below pytest's own folder: the path of a socket may have 107 bytes.
    folder = stack.make_folder()
    folder.chmod(0o755)
    backend = Libvirt(folder / "lv", prefix + secrets.token_hex(3), image, private=True)
    try:
        yield backend.start()
    finally:
        backend.stop()
        shutil.rmtree(folder, ignore_errors=True)
