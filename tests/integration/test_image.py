# SPDX-License-Identifier: Apache-2.0
"""The pod VM images, each by itself on bare QEMU: what is in them, and that they come up to a forwarder that answers."""

import gzip
import hashlib
import os
import pathlib
import re
import shutil
import struct
import subprocess

import pytest

import conftest
from peerpod import paths, services, ttrpc
from tunnel_rig import Certificates
from vm_rig import IMAGES, PodVM, make_medium, user_data
from wireserver_rig import IDS, Wireserver

LOCAL = IMAGES / "local"
FULL = IMAGES / "full"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


def need_image(folder: pathlib.Path, how: str) -> None:
    conftest.need(bool(shutil.which("qemu-system-x86_64")), "qemu-system-x86_64 is not installed")
    conftest.need((folder / "stamp").exists(), f"no image in {folder}: {how}")


@pytest.fixture
def vm(tmp_path, certificates):
    need_image(LOCAL, "make image")
    machine = PodVM(tmp_path, certificates, LOCAL)
    yield machine
    machine.stop()


@pytest.fixture(scope="module")
def initramfs() -> dict:
    """Path to mode, as `cpio -tv` tells them."""
    need_image(LOCAL, "make image")
    unpacked = subprocess.run(["zstd", "-dcq", LOCAL / "initrd"], check=True, capture_output=True).stdout
    listing = subprocess.run(["cpio", "-tv", "--quiet"], input=unpacked, check=True, capture_output=True).stdout.decode()
    lines = (line.split(None, 8) for line in listing.splitlines())
    return {"/" + fields[8].split(" -> ")[0]: (fields[0], fields[2], fields[3]) for fields in lines}


def test_the_initramfs_holds_what_podvm_init_starts(initramfs):
    programs = ["podvm-init", "podvm-dhcp", "process-user-data", "agent-protocol-forwarder", "mini-agent"]
    for path in [f"/usr/local/bin/{name}" for name in programs] + ["/usr/bin/busybox", "/usr/bin/crun"]:
        assert initramfs[path][0].startswith("-rwx"), path
    assert initramfs["/init"][0].startswith("l")
    assert "/usr/share/peerpod/bundles/busybox/config.json" in initramfs


def test_the_initramfs_belongs_to_root_and_nobody_else_may_write_to_it(initramfs):
    for path, (mode, owner, group) in initramfs.items():
        assert (owner, group) == ("root", "root"), path
        if not mode.startswith("l") and not mode.endswith("t"):
            assert mode[8] != "w", path


def test_every_module_stands_behind_those_it_needs():
    need_image(LOCAL, "make image")
    unpacked = subprocess.run(["zstd", "-dcq", LOCAL / "initrd"], check=True, capture_output=True).stdout
    listing = subprocess.run(
        ["cpio", "-i", "--quiet", "--to-stdout", "usr/lib/podvm/modules.list"], input=unpacked, check=True, capture_output=True
    ).stdout.decode()
    order = [line.split()[0] for line in listing.splitlines() if line and not line.startswith("[")]
    names = [name.removesuffix(".ko").replace("-", "_") for name in order]
    assert len(set(names)) == len(names)
    kernel = paths.ROOT / ".cache/kernel"
    for dependencies in kernel.glob("lib/modules/*/modules.dep"):
        needs = {}
        for line in dependencies.read_text().splitlines():
            module, _, wanted = line.partition(":")
            key = pathlib.Path(module).stem.replace("-", "_")
            needs[key] = [pathlib.Path(w).stem.replace("-", "_") for w in wanted.split()]
        for position, name in enumerate(names):
            for wanted in needs[name]:
                assert wanted in names[:position], f"{name} stands before {wanted}"
    assert {"virtio_net", "vxlan", "overlay", "veth", "nf_tables", "sr_mod", "isofs"} <= set(names)


def test_a_second_build_changes_nothing_and_takes_no_time():
    need_image(LOCAL, "make image")
    before = (LOCAL / "initrd").stat().st_mtime_ns
    subprocess.run(
        [paths.ROOT / "podvm-image/build", "local"], check=True, timeout=20, cwd=paths.ROOT, env={**os.environ, "BUILD": str(IMAGES.parent)}
    )
    assert (LOCAL / "initrd").stat().st_mtime_ns == before


def test_the_same_inputs_give_the_same_bytes(tmp_path):
    need_image(LOCAL, "make image")
    where = {"BUILD": str(IMAGES.parent), "OUT": str(tmp_path / "out"), "TMPDIR": str(tmp_path)}
    subprocess.run([paths.ROOT / "podvm-image/build", "local"], check=True, cwd=paths.ROOT, env={**os.environ, **where})
    for name in ("vmlinuz", "initrd", "podvm-base.qcow2"):
        assert (tmp_path / "out" / name).read_bytes() == (LOCAL / name).read_bytes(), name


def test_the_local_image_boots_to_an_agent_that_answers(vm, tmp_path, certificates):
    vm.start(medium=make_medium(tmp_path, user_data(certificates)))
    with ttrpc.Client(vm.connect()) as client:
        assert services.health(client).Check(timeout=30).status == 1

    told = [what for _, what in vm.stages()]
    expected = [
        r"podvm-init \d", "file systems", r"modules for the network: [1-9]", r"modules for media: [1-9]",
        r"medium /dev/sr0", r"modules for the pod: [1-9]", r"scratch disk /dev/vda", "user-data",
        "agent mini-agent started", "forwarder started",
    ]  # fmt: skip
    position = -1
    for pattern in expected:
        found = [i for i, what in enumerate(told) if i > position and re.match(pattern, what)]
        assert found, f"no {pattern!r} after {told[: position + 1]} in {told}"
        position = found[0]
    assert any(re.match(r"network 10\.0\.2\.15/24 on eth0", what) for what in told)


def test_user_data_from_the_firmware(vm, tmp_path, certificates):
    entry = tmp_path / "user-data"
    entry.write_text(user_data(certificates))
    vm.start(firmware_entry=entry)
    vm.connect().close()
    assert "medium firmware configuration" in [what for _, what in vm.stages()]


def test_an_address_from_the_kernel_command_line(vm, tmp_path, certificates):
    vm.start(
        medium=make_medium(tmp_path, user_data(certificates)),
        command_line="console=ttyS0 quiet panic=1 ip=10.0.2.99::10.0.2.2:255.255.255.0",
        more=["-netdev", f"user,id=other,restrict=on,hostfwd=tcp:127.0.0.1:{vm.port}-10.0.2.99:15150",
              "-device", "virtio-net-pci,netdev=other,romfile="],
        network=False,
    )  # fmt: skip
    vm.connect().close()
    assert "network 10.0.2.99/24 on eth0" in [what for _, what in vm.stages()]
    assert "udhcpc" not in vm.text()


def test_bad_user_data_ends_the_machine_and_says_why(vm, tmp_path):
    vm.start(medium=make_medium(tmp_path, "#cloud-config\n\nwrite_files: nothing\n"))
    vm.wait_line("power off", 240)
    assert "podvm-init" in vm.text() and "the pod VM has no usable user data" in vm.text()
    assert vm.wait_end() == 0


# ---- the full image ------------------------------------------------------------------------------------------------


@pytest.fixture
def full_files() -> dict:
    """Path to mode of the root file system of the full image."""
    need_image(FULL, "make image FLAVOUR=full")
    lines = (line.split(" ", 1) for line in (FULL / "files").read_text().splitlines())
    return {path[1:]: mode for mode, path in lines}


def test_units_are_sound(tmp_path):
    """systemd's own verifier, on the units with programs in the places that they name."""
    conftest.need(bool(shutil.which("systemd-analyze")), "systemd-analyze is not installed")
    root = tmp_path / "root"
    units = root / "usr/lib/systemd/system"
    units.mkdir(parents=True)
    room = paths.ROOT / "podvm-image"
    ours = sorted(p.name for p in (room / "units").iterdir() if p.suffix in (".service", ".path"))
    for name in ours:
        shutil.copy(room / "units" / name, units)
    for file in (room / "units").glob("*.service"):
        for program in re.findall(r"^Exec\w+=[-+!@:]*(/\S+)", file.read_text(), re.M):
            place = root / program.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text("")
            place.chmod(0o755)
    for target in ("network", "network-online", "multi-user", "shutdown", "local-fs", "sysinit", "basic", "paths"):
        (units / f"{target}.target").write_text("[Unit]\nDescription=a target\n")
    names = [n.replace("netns@", "netns@podns") for n in ours]
    done = subprocess.run(
        ["systemd-analyze", "verify", f"--root={root}", "--man=no", *names], capture_output=True, text=True
    )
    complaints = [line for line in done.stderr.splitlines() if any(n.replace("@podns", "@") in line or n in line for n in names)]
    assert not complaints, "\n".join(complaints)


def test_upstream_r9_a_stale_agent_socket_is_removed_before_the_agent_starts():
    for name in ("kata-agent", "mini-agent"):
        text = (paths.ROOT / f"podvm-image/units/{name}.service").read_text()
        assert "ExecStartPre=/bin/rm -f /run/kata-containers/agent.sock" in text
        assert "Restart=" not in text


def test_upstream_r11_user_data_is_ordered_after_both_names_of_cloud_init():
    text = (paths.ROOT / "podvm-image/units/process-user-data.service").read_text()
    after = re.search(r"^After=(.*)$", text, re.M)[1].split()
    assert {"cloud-init.service", "cloud-init-network.service"} <= set(after)


def test_upstream_r12_no_unit_refers_to_a_mount_that_does_not_exist():
    for file in (paths.ROOT / "podvm-image/units").iterdir():
        assert ".mount" not in file.read_text(), file.name


def test_the_report_to_azure_is_sent_there_alone_and_again_until_it_is_taken():
    text = (paths.ROOT / "podvm-image/units/azure-ready.service").read_text().splitlines()
    assert {
        "ConditionVirtualization=microsoft", "Wants=network-online.target", "After=network-online.target",
        "Type=oneshot", "Restart=on-failure", "RestartSec=10s", "TimeoutStartSec=5min",
    } <= set(text)  # fmt: skip


@pytest.mark.parametrize(
    "tpm, extend, status, printed",
    [
        (False, 0, 0, "no TPM"),
        (True, 0, 0, ""),
        (True, 1, 1, ""),
    ],
)
def test_upstream_s4_a_failed_measurement_fails_the_boot(tmp_path, tpm, extend, status, printed):
    script = (paths.ROOT / "podvm-image/full/files/measure-initdata").read_text()
    calls = tmp_path / "calls"
    (tmp_path / "initdata.digest").write_text("ab" * 48)
    if tpm:
        (tmp_path / "tpmrm0").write_text("")
    tool = tmp_path / "tpm2_pcrextend"
    tool.write_text(f"#!/bin/sh\necho \"$@\" >>{calls}\nexit {extend}\n")
    tool.chmod(0o755)
    script = script.replace("/run/peerpod", str(tmp_path)).replace("/dev/tpm", f"{tmp_path}/tpm")
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for _ in range(2):  # a unit that is started anew must not extend twice
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, env=environment)
        assert done.returncode == status and printed in done.stdout
    if tpm:
        assert calls.read_text() == f"8:sha256={'ab' * 32}\n" * (1 if status == 0 else 2)


def test_what_is_laid_over_the_root_is_in_the_image(tmp_path):
    """And nothing else changes: not the mode of a folder that is there, not the link /lib."""
    need_image(FULL, "make image FLAVOUR=full")
    overlay = tmp_path / "overlay"
    for name in ("etc/certificates/tls.crt", "lib/laid-over/file"):
        (overlay / name).parent.mkdir(parents=True)
        (overlay / name).write_text("text")
    overlay.chmod(0o700)
    where = {"BUILD": str(IMAGES.parent), "OUT": str(tmp_path / "out"), "TMPDIR": str(tmp_path), "OVERLAY": str(overlay)}
    subprocess.run([paths.ROOT / "podvm-image/build", "full"], check=True, cwd=paths.ROOT, env={**os.environ, **where})
    added = set((tmp_path / "out/files").read_text().splitlines()) ^ set((FULL / "files").read_text().splitlines())
    assert {line.split(" ")[1] for line in added} == {
        "./etc/certificates", "./etc/certificates/tls.crt", "./usr/lib/laid-over", "./usr/lib/laid-over/file",
    }  # fmt: skip


def test_the_full_image_holds_the_units_and_no_identity(full_files):
    for name in ("process-user-data.service", "kata-agent.path", "agent-protocol-forwarder.service", "netns@.service", "azure-ready.service"):
        assert f"/usr/lib/systemd/system/{name}" in full_files
    assert full_files["/etc/systemd/system/multi-user.target.wants/azure-ready.service"].startswith("l")
    # Without it the target that azure-ready waits for would be reached before there is a network.
    assert full_files["/etc/systemd/system/network-online.target.wants/systemd-networkd-wait-online.service"].startswith("l")
    for name in ("process-user-data", "agent-protocol-forwarder", "azure-ready"):
        assert full_files[f"/usr/local/bin/{name}"] == "-rwxr-xr-x"
    assert full_files["/etc/systemd/system/systemd-pcrphase.service"].startswith("l")
    assert full_files["/etc/machine-id"] == "-rw-r--r--"
    assert not [path for path in full_files if path.startswith(("/var/cache/apt/archives/", "/etc/ssh/"))]
    assert "/usr/local/bin/podvm-init" not in full_files


@pytest.mark.parametrize("uefi", [False, True], ids=["direct", "uefi"])
def test_the_full_image_boots_to_an_agent_that_answers(tmp_path, certificates, uefi):
    """By UEFI with SATA, as upstream's libvirt driver has its disks."""
    need_image(FULL, "make image FLAVOUR=full")
    vm = PodVM(tmp_path, certificates, FULL, memory=768, cpus=2)
    try:
        vm.start(
            medium=make_medium(tmp_path, user_data(certificates)), disk=FULL / "podvm.qcow2", uefi=uefi, sata=uefi,
            command_line=(FULL / "cmdline").read_text(),
        )  # fmt: skip
        with ttrpc.Client(vm.connect(240)) as client:
            assert services.health(client).Check(timeout=60).status == 1
        assert any("verified" in what for _, what in vm.stages())
    finally:
        vm.stop()


def formatted(name: str) -> pathlib.Path:
    how = 'make image FLAVOUR=full FORMATS="vhd tar.gz"'
    need_image(FULL, how)
    conftest.need((FULL / name).exists(), f"no {name} in {FULL}: {how}")
    return FULL / name


def test_the_vhd_is_a_fixed_one_of_whole_mib_with_the_disk_in_it():
    vhd = formatted("podvm.vhd")
    raw = FULL / "podvm.raw"
    size = vhd.stat().st_size - 512
    with open(vhd, "rb") as file:
        file.seek(size)
        footer = file.read()
    cookie, features, version, after, made = struct.unpack(">8sIIQI", footer[:28])
    first, current, kind, checksum, identity = struct.unpack(">QQ4xII16s", footer[40:84])
    assert (cookie, features & 2, version, after, made) == (b"conectix", 2, 0x10000, 2**64 - 1, 0)
    assert kind == 2 and first == current == size and size % (1 << 20) == 0
    assert checksum == ~sum(footer[:64] + footer[68:]) & 0xFFFFFFFF
    assert identity.hex() == hashlib.sha256(raw.read_bytes()).hexdigest()[:32]
    compared = subprocess.run(["qemu-img", "compare", "-f", "vpc", "-F", "raw", vhd, raw], capture_output=True, text=True)
    assert compared.returncode == 0, compared.stdout + compared.stderr


def test_the_archive_for_compute_engine_boots(tmp_path, certificates):
    """Its disk is larger than the image's own: the second partition table has another place, and the rest becomes scratch
    space, without which the agent would not start."""
    archive = formatted("podvm.tar.gz")
    with gzip.open(archive) as unpacked:
        assert unpacked.read(265)[257:] == b"ustar  \0"  # GNU's old format
    subprocess.run(["tar", "-C", tmp_path, "-xzf", archive], check=True)
    assert [p.name for p in tmp_path.iterdir()] == ["disk.raw"]
    disk = tmp_path / "disk.raw"
    assert disk.stat().st_size % (1 << 30) == 0
    verified = subprocess.run(["/usr/sbin/sfdisk", "--verify", disk], capture_output=True, text=True)
    assert verified.returncode == 0 and "not on the end" not in verified.stderr, verified.stdout + verified.stderr
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", disk, tmp_path / "disk.qcow2"], check=True)
    vm = PodVM(tmp_path, certificates, FULL, memory=768, cpus=2)
    try:
        vm.start(medium=make_medium(tmp_path, user_data(certificates, scratch=True)), disk=tmp_path / "disk.qcow2", uefi=True)
        with ttrpc.Client(vm.connect(240)) as client:
            assert services.health(client).Check(timeout=60).status == 1
        assert "wrote /run/peerpod/scratch-space.marker" in vm.text() and "Encrypted scratch space" not in vm.text()  # a failure
    finally:
        vm.stop()


@pytest.mark.parametrize("name", ["podvm.vhd", "podvm.tar.gz"])
def test_the_formats_of_clouds_are_the_same_bytes_again(tmp_path, name):
    made = formatted(name)
    os.symlink(FULL / "podvm.raw", tmp_path / "podvm.raw")
    (tmp_path / "work").mkdir()
    room = paths.ROOT / "podvm-image"
    where = {"IMAGE_ROOM": str(room), "OUT": str(tmp_path), "WORK": str(tmp_path / "work")}
    subprocess.run([room / "format", name.removeprefix("podvm.")], check=True, env={**os.environ, **where})
    assert subprocess.run(["cmp", made, tmp_path / name]).returncode == 0


@pytest.mark.parametrize(
    "flavour, formats, message",
    [
        ("full", "vmdk", "FORMATS: there is no format vmdk: vhd (Azure), tar.gz (Compute Engine)"),
        ("local", "vhd", "FORMATS: clouds boot the full image: FLAVOUR=full"),
    ],
)
def test_formats_that_cannot_be_made_are_told(flavour, formats, message):
    need_image(LOCAL, "make image")
    environment = {**os.environ, "BUILD": str(IMAGES.parent), "FORMATS": formats}
    done = subprocess.run([paths.ROOT / "podvm-image/build", flavour], cwd=paths.ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == f"podvm-image/build: {message}\n"


def test_the_full_image_reports_to_azure_that_it_is_ready(tmp_path, certificates):
    """A machine that says it is one of Microsoft's, whose network leads 168.63.129.16 to the test."""
    need_image(FULL, "make image FLAVOUR=full")
    vm = PodVM(tmp_path, certificates, FULL, memory=768, cpus=2)
    try:
        with Wireserver(host="168.63.129.16") as server:
            lead = f"guestfwd=tcp:168.63.129.16:80-cmd:busybox nc 127.0.0.1 {server.port}"
            vm.start(
                medium=make_medium(tmp_path, user_data(certificates)), disk=FULL / "podvm.qcow2", network=False,
                command_line=(FULL / "cmdline").read_text(),
                more=["-cpu", "max,-hypervisor,cx16=off", "-smbios", "type=1,manufacturer=Hyper-V",
                      "-netdev", f"user,id=azure,restrict=on,net=168.63.129.0/24,dhcpstart=168.63.129.100,{lead}",
                      "-device", "virtio-net-pci,netdev=azure,romfile="],
            )  # fmt: skip
            vm.wait_line("azure-ready: reported ready to Azure", 240)
            server.assert_reported(*IDS)
    finally:
        vm.stop()


def test_a_changed_root_does_not_boot(tmp_path, certificates):
    """One byte of the root's superblock: what the hash in the command line no longer covers is not run."""
    need_image(FULL, "make image FLAVOUR=full")
    disk = tmp_path / "changed.raw"
    shutil.copyfile(FULL / "podvm.raw", disk)
    start = int(subprocess.run(["/usr/sbin/sfdisk", "-l", "-o", "Name,Start", disk], check=True, capture_output=True, text=True)
                .stdout.split("\nroot ")[1].split()[0])  # fmt: skip
    with open(disk, "r+b") as f:
        f.seek(start * 512 + 1024 + 0x78)
        f.write(b"X")
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", disk, tmp_path / "changed.qcow2"], check=True)
    vm = PodVM(tmp_path, certificates, FULL, memory=768, cpus=2)
    try:
        vm.start(disk=tmp_path / "changed.qcow2", command_line=(FULL / "cmdline").read_text())
        vm.wait_line("power off", 120)
        assert "failed:" in vm.text() and "root file system" not in [what for _, what in vm.stages()]
    finally:
        vm.stop()
