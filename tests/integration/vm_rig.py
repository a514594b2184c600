# SPDX-License-Identifier: Apache-2.0
"""A pod VM on bare QEMU, without libvirt and without an adaptor: kernel, initramfs, a medium with user data.

    vm = PodVM(folder, certificates, IMAGE)
    vm.start(); vm.wait_line("forwarder started"); sock = vm.connect(); vm.stop()

Its network is QEMU's own (slirp): a port of this machine's loopback leads to the forwarder.
"""

import json
import os
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import time

from peerpod import paths
from tunnel_rig import NAME, Certificates, free_port

# Images are built by `make image` with the plain programs, whichever programs are under test.
IMAGES = pathlib.Path(os.environ.get("PEERPOD_IMAGES") or paths.ROOT / "build/image")

STAGE = re.compile(r"podvm-init: (\d+\.\d{3}) s (.*)")


def user_data(certificates: Certificates, scratch: bool = False) -> str:
    """As an adaptor writes it, for a pod whose worker is QEMU's gateway; scratch: with encrypted scratch space."""
    cert, key = certificates.server("server")
    apf = {
        "pod-network": {
            "podip": "10.244.7.31/24", "pod-hw-addr": "5a:1c:0e:77:20:b4", "interface": "eth0",
            "worker-node-ip": "10.0.2.2/24", "tunnel-type": "vxlan",
            "routes": [{"dst": "0.0.0.0/0", "gw": "10.244.7.1", "dev": "eth0"}], "neighbors": None,
            "mtu": 1500, "index": 0, "vxlan-port": 4789, "vxlan-id": 555000,
            "dedicated": False, "external-net-via-pod-vm": False,
        },
        "pod-namespace": "default", "pod-name": "web",
        "tls-server-key": key, "tls-server-cert": cert, "tls-client-ca": certificates.client[0],
    }  # fmt: skip
    lines = "".join(f"      {line}\n" for line in json.dumps(apf, indent=4).splitlines())
    marker = "  - path: /run/peerpod/scratch-space.marker\n" if scratch else ""
    return f"#cloud-config\n\nwrite_files:\n  - path: /run/peerpod/apf.json\n    content: |\n{lines}{marker}"


def make_medium(folder: pathlib.Path, text: str) -> pathlib.Path:
    seed = folder / "seed"
    seed.mkdir()
    (seed / "user-data").write_text(text)
    (seed / "meta-data").write_text("local-hostname: podvm-web\n")
    (seed / "vendor-data").write_text("")
    iso = folder / "cidata.iso"
    subprocess.run(
        ["xorriso", "-as", "mkisofs", "-quiet", "-V", "cidata", "-R", "-o", iso, seed], check=True, capture_output=True
    )
    return iso


class PodVM:
    def __init__(self, folder: pathlib.Path, certificates: Certificates, image: pathlib.Path, *, memory=320, cpus=1):
        self.folder = folder
        self.certificates = certificates
        self.image = image
        self.console = folder / "console"
        self.port = free_port()
        self.memory = memory
        self.cpus = cpus
        self.process = None
        self.started = 0.0

    def start(self, *, medium=None, firmware_entry=None, disk=None, command_line=None, uefi=False, sata=False, network=True, more=()):
        """medium: an ISO9660 file; firmware_entry: a file handed in as fw_cfg; uefi: the disk boots by itself; sata: disk and
        medium are SATA's."""
        hard_disk, cd = ("ide-hd,bus=ide.0,", "ide-cd,bus=ide.1,") if sata else ("virtio-blk-pci,", "scsi-cd,")
        disk = disk or self.image / "podvm-base.qcow2"
        # Debian 12's QEMU emulates cmpxchg16b wrongly, which kernels use from 6.5 on: they crash, now here, now there.
        accelerated, cpu = ("kvm", "max") if can_use_kvm() else ("tcg", "max,cx16=off")
        command = [
            "qemu-system-x86_64", "-machine", f"q35,accel={accelerated}", "-cpu", cpu, "-m", str(self.memory),
            "-smp", str(self.cpus), "-display", "none", "-nodefaults", "-no-reboot", "-serial", f"file:{self.console}",
            "-drive", f"if=none,id=root,file={disk},format=qcow2,snapshot=on",
            "-device", f"{hard_disk}drive=root,bootindex=1",
            "-device", "virtio-scsi-pci",
            "-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng",
        ]  # fmt: skip
        if network:
            command += ["-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-:15150",
                        "-device", "virtio-net-pci,netdev=net,romfile="]  # fmt: skip
        if medium:
            command += ["-drive", f"if=none,id=cidata,media=cdrom,readonly=on,file={medium}",
                        "-device", f"{cd}drive=cidata"]  # fmt: skip
        if firmware_entry:
            command += ["-fw_cfg", f"name=opt/org.peerpod/user-data,file={firmware_entry}"]
        if uefi:
            variables = self.folder / "variables"
            shutil.copyfile("/usr/share/OVMF/OVMF_VARS_4M.fd", variables)
            command += ["-drive", "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd",
                        "-drive", f"if=pflash,format=raw,file={variables}"]  # fmt: skip
        else:
            line = command_line or "console=ttyS0 quiet panic=1"
            command += ["-kernel", self.image / "vmlinuz", "-initrd", self.image / "initrd", "-append", line]
        self.console.unlink(missing_ok=True)
        self.started = time.monotonic()
        self.process = subprocess.Popen([*command, *more], stdin=subprocess.DEVNULL)
        return self

    def text(self) -> str:
        return self.console.read_text(errors="replace").replace("\r", "") if self.console.exists() else ""

    def stages(self) -> list:
        """(seconds since power-on, what) of each stage line."""
        return [(float(s), what) for s, what in STAGE.findall(self.text())]

    def wait_line(self, part: str, timeout: float = 90) -> None:
        while part not in self.text():
            assert time.monotonic() - self.started < timeout, f"no {part!r} on the console:\n{self.text()}"
            assert self.process.poll() is None or part in self.text(), f"QEMU ended without {part!r}:\n{self.text()}"
            time.sleep(0.02)

    def connect(self, timeout: float = 90) -> ssl.SSLSocket:
        """TLS to the forwarder, as an adaptor does it; tried until it answers.

        Not before it listens: QEMU's network accepts at once and asks the guest ever more rarely.
        """
        self.wait_line("agent-protocol-forwarder: listening on", timeout)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self.certificates.ca[0])
        context.load_cert_chain(self.certificates.folder / "client.crt", self.certificates.folder / "client.key")
        error = None
        while time.monotonic() - self.started < timeout and self.process.poll() is None:
            try:
                plain = socket.create_connection(("127.0.0.1", self.port), 2)
                plain.settimeout(10)
                return context.wrap_socket(plain, server_hostname=NAME)
            except (OSError, ssl.SSLError) as e:
                if isinstance(e, ssl.SSLCertVerificationError):
                    raise
                error = e
                time.sleep(0.02)
        raise AssertionError(f"the forwarder does not answer ({error}); console:\n{self.text()}")

    def wait_end(self, timeout: float = 60) -> int:
        return self.process.wait(timeout)

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)


def can_use_kvm() -> bool:
    """A /dev/kvm alone is not enough: some hosts have one that runs no ordinary guest."""
    try:
        with open("/proc/cpuinfo") as f, open("/dev/kvm", "r+b", buffering=0):
            return bool(re.search(r"^flags.*\b(vmx|svm)\b", f.read(), re.M))
    except OSError:
        return False
