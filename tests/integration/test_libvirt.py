# SPDX-License-Identifier: Apache-2.0
"""The libvirt driver against a real libvirtd: what it writes, making and removing, no room, wear.

Most tests do not wait for the guest to boot: making and removing is what they check.
"""

import hashlib
import os
import pathlib
import re
import secrets
import shutil
import subprocess
import time
import xml.etree.ElementTree as ET

import pytest

import conftest
from libvirt_rig import BOOT_TIMEOUT, backend, guest, needs_root, rig  # noqa: F401 (fixtures)
from peerpod import cni, paths
from peerpod.provider_tool import Served, documented_options, failed, new_token, told_options

GOLDEN = paths.ROOT / "tests/unit/libvirt"
# SEV-SNP and TDX are newer than the schema of libvirt 9.0, which Debian 12 has: tests/prepare brings a newer one.
SCHEMA = paths.ROOT / ".cache/libvirt-schema"
UNKNOWN_TO_THE_OLD_SCHEMA = {"sev-snp.xml", "sev-snp-kernel.xml", "tdx.xml"}

pytestmark = needs_root


# ---- XML ------------------------------------------------------------------------------------------------


def validate(path, schema=None) -> subprocess.CompletedProcess:
    """virt-xml-validate on a domain, with another schema in the place that it reads."""
    conftest.need(bool(shutil.which("virt-xml-validate")), "virt-xml-validate is not installed")
    command = ["virt-xml-validate", str(path), "domain"]
    if schema:
        conftest.need((schema / "domain.rng").exists(), f"{schema} is missing: run tests/prepare test")
        script = f'mount --bind {schema} /usr/share/libvirt/schemas && exec "$@"'
        command = ["unshare", "--mount", "--propagation", cni.private_mounts(), "sh", "-c", script, "sh", *command]
    return subprocess.run(command, capture_output=True, text=True)


GOLDEN_NAMES = sorted(p.name for p in GOLDEN.glob("*.xml"))


@pytest.mark.parametrize("golden", GOLDEN_NAMES)
def test_golden_xml_is_what_the_newest_schema_allows(golden):
    done = validate(GOLDEN / golden, SCHEMA)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("golden", sorted(set(GOLDEN_NAMES) - UNKNOWN_TO_THE_OLD_SCHEMA))
def test_golden_xml_is_what_the_schema_of_this_machine_allows(golden):
    done = validate(GOLDEN / golden)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_schema_refuses_what_libvirt_would_refuse(tmp_path):
    wrong = tmp_path / "wrong.xml"
    wrong.write_text((GOLDEN / "tdx.xml").read_text().replace("<mrConfigId>", "<mrConfig>").replace("</mrConfigId>", "</mrConfig>"))
    assert validate(wrong, SCHEMA).returncode != 0


def test_running_domain_is_what_the_schema_allows(rig, tmp_path):
    rig.tool("create", token=new_token(), name="podvm-schema", pod="a-pod", namespace="a-namespace")
    (tmp_path / "dom.xml").write_text(rig.virsh("dumpxml", "podvm-schema", "--inactive"))
    for schema in (None, SCHEMA):
        done = validate(tmp_path / "dom.xml", schema)
        assert done.returncode == 0, done.stdout + done.stderr


def test_documentation_has_the_options_of_the_driver():
    assert documented_options("libvirt") == told_options("libvirt")


# ---- making and removing -----------------------------------------------------------------------------------


def test_a_vm_from_create_to_nothing(rig):
    token = new_token()
    began = time.monotonic()
    made = rig.tool("create", token=token, name="podvm-web-01234567", sandbox="s1", pod="web", node="n1", cluster="c1")
    assert made["id"] == rig.id(token)
    assert rig.backend.domains() == ["podvm-web-01234567"]
    assert len(rig.volumes()) == 2 and all(made["id"] in volume for volume in rig.volumes())
    assert len(rig.reservations()) == 1 and made["id"] in rig.reservations()[0]
    for volume in rig.volumes():
        assert (pathlib.Path(rig.backend.values["LIBVIRT_POOL_DIR"]) / volume).stat().st_mode & 0o777 == 0o600

    address = rig.tool("wait", id=made["id"])["addresses"][0]
    report = rig.report(address)
    assert time.monotonic() - began < 30
    assert report["files"] == ["meta-data user-data vendor-data"]
    assert f"instance-id: {made['id']}" in report["meta"]
    assert "local-hostname: podvm-web-01234567" in report["meta"]
    assert "guest: ready" in rig.tool("console", id=made["id"])["tail"]

    found = rig.tool("find", token=token)
    assert (found["id"], found["sandbox"], found["pod"], found["node"]) == (made["id"], "s1", "web", "n1")
    assert [i["id"] for i in rig.tool("list", node="n1", cluster="c1")] == [made["id"]]
    assert rig.tool("list", node="n2") == [] and rig.tool("list", cluster="c2") == []

    assert rig.tool("delete", id=made["id"]) == {}
    assert rig.left() == []
    assert rig.tool("delete", id=made["id"]) == {}
    assert rig.tool("delete", id="00000000-0000-5000-8000-000000000000") == {}
    refused = failed(rig.tool, "find", token=token)
    assert refused.kind == "gone"


@pytest.mark.parametrize("bus", ["scsi", "virtio", "fwcfg"])
def test_user_data_arrives_byte_for_byte(rig, tmp_path, bus):
    data = secrets.token_hex({"scsi": 512 * 1024, "virtio": 32 * 1024, "fwcfg": 512}[bus]).encode()
    (tmp_path / "user-data").write_bytes(data)
    made = rig.tool("create", options=[f"-cidata-bus={bus}"], token=new_token(), user_data=tmp_path / "user-data")
    report = rig.report(rig.tool("wait", id=made["id"])["addresses"][0])
    digest, where = report["user-data"][0].split()[:2]
    assert digest == hashlib.sha256(data).hexdigest()
    assert where == {"scsi": "/dev/sr0", "virtio": "/dev/vdb", "fwcfg": "fwcfg"}[bus]
    # Never where every user of the host could read it.
    for arguments in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert data[:64] not in arguments.read_bytes()
        except OSError:
            pass


def test_data_disk_and_second_nic(rig):
    pool = pathlib.Path(rig.backend.values["LIBVIRT_POOL_DIR"])
    disk = pool / f"{rig.backend.name}-data.img"
    disk.write_bytes(b"kept" + bytes(1024 * 1024 - 4))
    made = rig.tool(
        "create",
        options=[f"-network-ext-name={rig.backend.name}"],
        token=new_token(),
        volumes=f"{disk.name}:pv-1",
        second_nic=1,
    )
    addresses = rig.tool("wait", id=made["id"], needed=2)["addresses"]
    assert len(set(addresses)) == 2
    report = rig.report(addresses[0])
    assert "vdb 2048 pv-1" in report["disk"]
    domain = ET.fromstring(rig.virsh("dumpxml", made["id"]))
    macs = [nic.find("mac").get("address") for nic in domain.iter("interface")]
    assert report["nic"] == [f"eth0 {macs[0]}", f"eth1 {macs[1]}"]
    rig.tool("delete", options=[f"-network-ext-name={rig.backend.name}"], id=made["id"])
    assert disk.read_bytes()[:4] == b"kept"
    disk.unlink()


def test_create_again_finds_the_same(rig):
    token = new_token()
    first = rig.tool("create", token=token)
    second = rig.tool("create", token=token)
    assert first["id"] == second["id"]
    assert len(rig.backend.domains()) == 1 and len(rig.volumes()) == 2 and len(rig.reservations()) == 1


def test_create_twice_at_once_from_two_processes_and_threads(rig):
    token = new_token()
    processes = [rig.start("parallel 2 create", token=token) for _ in range(2)]
    made = [one for process in processes for one in rig.finish(process)]
    assert len({one["id"] for one in made}) == 1
    assert len(rig.backend.domains()) == 1 and len(rig.volumes()) == 2 and len(rig.reservations()) == 1


def test_twelve_at_once(rig):
    """More than libvirtd serves at a time for one client: the driver keeps the rest waiting."""
    made = rig.tool("parallel 12 create", token=new_token() + "-%d", name="podvm-many-%d", memory=80)
    assert len({one["id"] for one in made}) == 12
    addresses = [host.get("ip") for host in rig.backend.network_xml().iter("host")]
    assert len(set(addresses)) == 12
    for one in made:
        rig.virsh("destroy", one["id"])  # room for the others
    assert len(rig.tool("list")) == 12


def test_a_name_that_is_taken_gets_longer(rig):
    first, second = new_token(), new_token()
    rig.tool("create", token=first, name="podvm-web-01234567")
    made = rig.tool("create", token=second, name="podvm-web-01234567")
    assert made["name"] == f"podvm-web-01234567-{second[:8]}"


def test_uefi_leaves_no_nvram(rig):
    made = rig.tool("create", options=["-kernel=", "-initrd=", "-cmdline=", "-firmware=auto"], token=new_token(), environment=NO_KERNEL)
    assert len(rig.nvram()) == 1
    rig.tool("delete", id=made["id"])
    assert rig.nvram() == []


NO_KERNEL = {"LIBVIRT_KERNEL": "", "LIBVIRT_INITRD": "", "LIBVIRT_CMDLINE": ""}


def test_foreign_domains_are_left_alone(rig):
    domain = (
        "<domain type='qemu'><name>foreign</name><memory unit='MiB'>64</memory>"
        "<os><type arch='x86_64' machine='q35'>hvm</type></os></domain>"
    )
    file = rig.backend.folder / "foreign.xml"
    file.write_text(domain)
    rig.virsh("define", str(file))
    uuid = rig.virsh("domuuid", "foreign").strip()
    try:
        assert rig.tool("list") == []
        refused = failed(rig.tool, "delete", id=uuid)
        assert refused.kind == "denied"
        assert refused.message == (
            f"delete VM {uuid}: domain foreign carries no metadata of ours: it was not made by this driver and is left alone"
        )
    finally:
        rig.virsh("undefine", "foreign")
        file.unlink()


# ---- no room ------------------------------------------------------------------------------------------------


def test_full_pool_is_capacity_and_leaves_nothing(rig):
    folder = rig.backend.folder / "tiny"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(folder)], check=True)
    # The daemon looks at the machine from a mount namespace of its own.
    inside = ["nsenter", f"--target={rig.backend.pid}", "--mount", "--root"]
    subprocess.run([*inside, "mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(folder)], check=True)
    pool = f"{rig.backend.name}-tiny"
    try:
        rig.virsh("pool-create-as", pool, "dir", "--target", str(folder))
        base = pathlib.Path(rig.backend.values["LIBVIRT_POOL_DIR"]) / f"{rig.backend.name}-podvm-base.qcow2"
        rig.virsh("vol-create-as", pool, "base.qcow2", str(base.stat().st_size), "--format", "raw")
        rig.virsh("vol-upload", "base.qcow2", str(base), "--pool", pool)
        rig.virsh("pool-refresh", pool)
        fill = rig.backend.folder / "fill"
        fill.write_bytes(bytes(19 * 1024 * 1024 + 300 * 1024))
        rig.virsh("vol-create-as", pool, "fill", str(fill.stat().st_size), "--format", "raw")
        subprocess.run([*inside, "dd", f"if={fill}", f"of={folder}/fill", "status=none"], check=False)
        options = [f"-pool-name={pool}", "-vol-name=base.qcow2", "-disk-cache=writeback"]
        user_data = rig.backend.folder / "user-data"
        user_data.write_bytes(bytes(2 * 1024 * 1024))
        refused = failed(rig.tool, "create", options=options, token=new_token(), user_data=user_data)
        assert refused.kind == "capacity", refused
        assert "No space left on device" in refused.message
        assert rig.backend.domains() == [] and rig.reservations() == []
        volumes = rig.virsh("vol-list", pool)
        assert "podvm-" not in volumes
        refused = failed(rig.tool, "check", options=options)
        assert f"storage pool {pool} is full" in refused.message
    finally:
        subprocess.run(["virsh", "-q", "-c", rig.backend.values["LIBVIRT_URI"], "pool-destroy", pool], check=False)
        subprocess.run([*inside, "umount", str(folder)], check=False)
        subprocess.run(["umount", str(folder)], check=False)
        for log in rig.consoles():
            (rig.backend.folder / "console" / log).unlink()


@pytest.fixture
def two_addresses(rig):
    """A network with room for two."""
    name = f"{rig.backend.name}-two"
    octets = rig.backend.values["LIBVIRT_NET_GATEWAY"].split(".")
    subnet = f"10.{217 + secrets.randbelow(30)}.{octets[2]}"
    xml = rig.backend.folder / "two.xml"
    xml.write_text(
        f"<network xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'><name>{name}</name>"
        f"<bridge name='vb{secrets.token_hex(3)}' stp='off' delay='0'/><ip address='{subnet}.1' netmask='255.255.255.0'>"
        f"<dhcp><range start='{subnet}.10' end='{subnet}.11'><lease expiry='2' unit='minutes'/></range></dhcp></ip>"
        "<dnsmasq:options><dnsmasq:option value='no-ping'/></dnsmasq:options></network>"
    )
    rig.virsh("net-create", str(xml))
    yield name
    for instance in rig.tool("list", options=[f"-network-name={name}"]):
        rig.tool("delete", options=[f"-network-name={name}"], id=instance["id"])
    rig.virsh("net-destroy", name)


def test_addresses_run_out_and_come_back(rig, two_addresses):
    options = [f"-network-name={two_addresses}"]
    made = [rig.tool("create", options=options, token=new_token(), name=f"podvm-two-{i}") for i in range(2)]
    for one in made:  # so that both addresses are leased
        rig.report(rig.tool("wait", options=options, id=one["id"])["addresses"][0])
    refused = failed(rig.tool, "create", options=options, token=new_token())
    assert refused.kind == "capacity"
    assert refused.message == f"network {two_addresses}: all 2 addresses of its DHCP range are taken"
    # A lease outlives its VM by two minutes: the next VM takes it over with the MAC that it belongs to.
    rig.tool("delete", options=options, id=made[0]["id"])
    third = rig.tool("create", options=options, token=new_token())
    rig.report(rig.tool("wait", options=options, id=third["id"])["addresses"][0])


def test_leases_alone(rig, two_addresses):
    options = [f"-network-name={two_addresses}", "-ip-source=lease"]
    made = rig.tool("create", options=options, token=new_token())
    assert rig.reservations() == []
    address = rig.tool("wait", options=options, id=made["id"], seconds=BOOT_TIMEOUT)["addresses"][0]
    rig.report(address)
    # By the kernel's neighbour table, now that it has spoken.
    assert rig.tool("wait", options=[*options, "-ip-source=neigh"], id=made["id"], seconds=10)["addresses"] == [address]


def test_a_wait_ends_at_its_bound_and_shows_the_console(rig, two_addresses):
    options = [f"-network-name={two_addresses}", "-ip-source=lease"]
    made = rig.tool("create", options=[*options, "-cmdline=console=ttyS0 quiet rdinit=/nothing"], token=new_token())
    began = time.monotonic()
    refused = failed(rig.tool, "wait", options=options, id=made["id"], seconds=8)
    assert time.monotonic() - began < 14
    assert refused.kind in ("timeout", "internal")
    assert "its console said last:" in refused.message, refused.message
    assert re.search("panic|nothing", refused.message, re.IGNORECASE)


# ---- wear ------------------------------------------------------------------------------------------------------


def test_forty_cycles_grow_nothing(rig):
    """Descriptors of one process that makes and removes VMs; guests without a kernel do not get far."""
    served = Served(rig, {"LIBVIRT_MEMORY": "64"})

    def cycle():
        # An unknown volume: everything up to it is done and undone.
        answer = served.ask(f"create token={secrets.token_hex(16)} cidata-bus=scsi image=none.qcow2")
        assert answer["error"] == "invalid"
        assert served.ask("list") == []

    cycle()
    before = len(os.listdir(f"/proc/{served.process.pid}/fd"))
    for _ in range(40):
        cycle()
    assert len(os.listdir(f"/proc/{served.process.pid}/fd")) == before
    served.end()
