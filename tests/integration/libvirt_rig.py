# SPDX-License-Identifier: Apache-2.0
"""The libvirt driver, driven by provider-tool, against a real libvirtd with emulated guests.

The daemon, its network and its pool are made for each file of tests (tests/libvirt/daemon), the guest is tests/libvirt/guest:
it tells what it was given.
"""

import os
import pathlib
import subprocess
import urllib.request
import uuid

import pytest

import conftest
from peerpod import libvirt, paths
from peerpod.provider_tool import Driver
from peerpod.shim import wait_until

NAMESPACE = uuid.UUID("7b0e5d4a-93c1-4f2e-b816-2ad7609f35ec")  # of the UUIDs of our domains
BOOT_TIMEOUT = 60  # seconds; 4-6 s alone under emulation

needs_root = pytest.mark.skipif(os.geteuid() != 0 and not conftest.IN_CI, reason="needs root: libvirt's system daemon")


class Rig(Driver):
    """The driver against one daemon, and what of ours exists in it."""

    def __init__(self, backend: libvirt.Libvirt):
        super().__init__("libvirt", backend)
        self.backend = backend

    def environment(self, more=()) -> dict:
        return super().environment({"LIBVIRT_MEMORY": "192", "LIBVIRT_CMDLINE": "console=ttyS0 quiet", **dict(more)})

    @staticmethod
    def id(token: str) -> str:
        """RFC 9562's version 5 in the driver's own namespace: what is left behind is found by it in every release."""
        return str(uuid.uuid5(NAMESPACE, token))

    def virsh(self, *arguments) -> str:
        return self.backend.virsh(*arguments)

    def reservations(self) -> list:
        return self.backend.reservations()

    def volumes(self) -> list:
        return sorted(v for v in self.backend.volumes() if v.startswith("podvm-"))

    def nvram(self) -> list:
        return sorted(p.name for p in (self.backend.folder / "lib/qemu/nvram").glob("*"))

    def consoles(self) -> list:
        return sorted(p.name for p in (self.backend.folder / "console").glob("*"))

    def left(self) -> list:
        return self.backend.domains() + self.volumes() + self.reservations() + self.nvram() + self.consoles()

    def report(self, address: str) -> dict:
        """What the guest says: a list of the rest of the line for every first word."""
        text = None

        def answered() -> bool:
            nonlocal text
            try:
                with urllib.request.urlopen(f"http://{address}:15150/report", timeout=2) as response:
                    text = response.read().decode()
            except OSError:
                return False
            return "ready" in text

        try:
            wait_until(answered, BOOT_TIMEOUT, f"the guest at {address} answers", 0.1)
        except TimeoutError as error:
            networks = self.virsh("net-list", "--name").split()
            leases = "".join(self.virsh("net-dhcp-leases", name) for name in networks)
            raise AssertionError(f"{error}\nleases:\n{leases}\nconsole:\n{self.backend.console()[-2000:]}") from None
        report: dict = {}
        for line in text.splitlines():
            word, _, rest = line.partition(" ")
            report.setdefault(word, []).append(rest.strip())
        return report


@pytest.fixture(scope="module")
def guest(tmp_path_factory) -> pathlib.Path:
    folder = paths.ROOT / ".cache/libvirt-guest"
    done = subprocess.run([str(paths.ROOT / "tests/libvirt/guest"), str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def backend(guest):
    conftest.need(libvirt.is_installed(), "libvirtd is not installed")
    with libvirt.own_daemon("d", guest) as backend:
        yield backend


@pytest.fixture
def rig(backend):
    rig = Rig(backend)
    yield rig
    for instance in rig.tool("list"):
        rig.tool("delete", id=instance["id"])
    left = rig.left()
    assert not left, left
