# SPDX-License-Identifier: Apache-2.0
"""The libvirt driver against a real libvirtd: emulated guests that tell what they were given.

Drives the driver through provider-tool. The daemon, its network and its pool are made for this file
(tests/libvirt/daemon), the guest is tests/libvirt/guest. Most tests do not wait for the guest to boot: making and
removing is what they check.
"""

import hashlib
import os
import pathlib
import re
import secrets
import shutil
import signal
import subprocess
import threading
import time
import urllib.request
import uuid
import xml.etree.ElementTree as ET

import pytest

import conftest
from peerpod import cni, libvirt, paths
from peerpod.provider_tool import Driver, Served, ToolError, documented_options, failed, new_token, told_options
from peerpod.shim import wait_until

GOLDEN = paths.ROOT / "tests/unit/libvirt"
# SEV-SNP and TDX are newer than the schema of libvirt 9.0, which Debian 12 has: tests/prepare brings a newer one.
SCHEMA = paths.ROOT / ".cache/libvirt-schema"
UNKNOWN_TO_THE_OLD_SCHEMA = {"sev-snp.xml", "sev-snp-kernel.xml", "tdx.xml"}
NAMESPACE = uuid.UUID("7b0e5d4a-93c1-4f2e-b816-2ad7609f35ec")  # of the UUIDs of our domains
BOOT_TIMEOUT = 60  # seconds; 4-6 s alone under emulation

pytestmark = pytest.mark.skipif(os.geteuid() != 0 and not conftest.IN_CI, reason="needs root: libvirt's system daemon")


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
    assert rig.left() == []


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


# ---- crashes ------------------------------------------------------------------------------------------------

CREATE_POINTS = ["looked", "reserved", "defined", "root-volume", "cidata-volume", "uploaded", "started"]
DELETE_POINTS = ["destroyed", "volume-deleted", "released", "undefined"]


def dies_at(rig, point: str, verb: str, **arguments) -> None:
    process = rig.start(verb, environment={"PEERPOD_FAULT": f"libvirt-{point}"}, **arguments)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, f"the fault point {point} was not reached"


@pytest.fixture
def fault_build():
    with open(paths.program("provider-tool"), "rb") as f:
        conftest.need(b"__asan_init" in f.read(), "this build has no fault points (make SAN=address)")


@pytest.mark.parametrize("point", CREATE_POINTS)
def test_killed_while_creating(rig, fault_build, point):
    """What a killed creation leaves is listed, is found by the token, and goes with its id; a retry works too."""
    token = new_token()
    dies_at(rig, point, "create", token=token)
    if point != "looked":
        assert [i["id"] for i in rig.tool("list")] == [rig.id(token)]
        found = rig.tool("find", token=token)
        assert (found["id"], found["token"]) == (rig.id(token), token)
        with pytest.raises(ToolError) as caught:
            rig.tool("find", token=new_token())
        assert caught.value.kind == "gone"
    rig.tool("delete", id=rig.id(token))
    assert rig.left() == []
    dies_at(rig, point, "create", token=token)
    made = rig.tool("create", token=token)
    assert made["id"] == rig.id(token)
    assert len(rig.backend.domains()) == 1 and len(rig.volumes()) == 2 and len(rig.reservations()) == 1


@pytest.mark.parametrize("point", DELETE_POINTS)
def test_killed_while_deleting(rig, fault_build, point):
    made = rig.tool("create", token=new_token())
    dies_at(rig, point, "delete", id=made["id"])
    rig.tool("delete", id=made["id"])
    assert [name for name in rig.left() if not name.endswith("-serial.log")] == []
    for log in rig.consoles():  # killed before the log, after the record
        (rig.backend.folder / "console" / log).unlink()


def test_leftovers_without_a_domain_are_found(rig):
    made = rig.tool("create", token=new_token())
    rig.virsh("destroy", made["id"])
    rig.virsh("undefine", made["id"])
    left = rig.tool("list")
    assert [i["id"] for i in left] == [made["id"]]
    assert abs(left[0]["created"] - time.time()) < 300
    rig.tool("delete", id=made["id"])
    for log in rig.consoles():
        (rig.backend.folder / "console" / log).unlink()
    assert rig.left() == []


def kill_daemon(rig) -> None:
    os.kill(rig.backend.pid, signal.SIGKILL)


def test_daemon_killed_and_back_while_a_vm_runs(rig):
    made = rig.tool("create", token=new_token())
    address = rig.tool("wait", id=made["id"])["addresses"][0]
    kill_daemon(rig)
    rig.backend.restart_daemon()
    assert rig.tool("find", token=rig.tool("list")[0]["token"])["id"] == made["id"]
    assert rig.tool("wait", id=made["id"])["addresses"] == [address]
    rig.report(address)
    rig.tool("delete", id=made["id"])


@pytest.mark.parametrize("delay_ms", [0, 100, 300, 600])
def test_daemon_killed_while_creating(rig, delay_ms):
    """The call rides out the daemon's restart: it succeeds, or fails as passing and leaves nothing."""
    token = new_token()
    process = rig.start("create", token=token, seconds=60)
    threading.Event().wait(delay_ms / 1000)
    kill_daemon(rig)
    rig.backend.restart_daemon()
    try:
        made = rig.finish(process)
        assert made["id"] == rig.id(token)
        assert len(rig.backend.domains()) == 1 and len(rig.volumes()) == 2
    except ToolError as error:
        assert error.kind == "retry", error
        assert [name for name in rig.left() if not name.endswith("-serial.log")] == []


def test_daemon_killed_while_waiting_and_deleting(rig):
    """One process, so one connection: it comes back by itself."""
    made = rig.tool("create", token=new_token())
    served = Served(rig)
    assert served.ask("list")[0]["id"] == made["id"]
    assert served.ask(f"wait id={made['id']}")["addresses"]
    kill_daemon(rig)
    rig.backend.restart_daemon()
    assert served.ask(f"wait id={made['id']} seconds=30")["addresses"]
    kill_daemon(rig)
    rig.backend.restart_daemon()
    assert served.ask(f"delete id={made['id']}") == {}
    assert served.ask("list") == []
    log = served.end()
    assert "was lost" in log and "again" in log


def test_daemon_that_is_down_is_a_passing_fault(rig):
    kill_daemon(rig)
    try:
        began = time.monotonic()
        refused = failed(rig.tool, "list", seconds=2)
        assert time.monotonic() - began < 10
        assert refused.kind == "timeout"
        assert "Connection refused" in refused.message
    finally:
        rig.backend.restart_daemon()


def test_daemon_that_hangs(rig):
    """Stopped for 25 s: the connection is given up after 20 s, and the call succeeds on a new one."""
    token = new_token()
    os.kill(rig.backend.pid, signal.SIGSTOP)
    timer = threading.Timer(25, os.kill, (rig.backend.pid, signal.SIGCONT))
    timer.start()
    try:
        made = rig.tool("create", token=token, seconds=90)
        assert made["id"] == rig.id(token)
    except ToolError as error:
        assert error.kind == "retry", error
    finally:
        timer.join()
    rig.tool("list")


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


# ---- the check -----------------------------------------------------------------------------------------------


def test_check_passes(rig):
    assert rig.tool("check") == {}


def check_fails(rig, options=()) -> ToolError:
    return failed(rig.tool, "check", options=options)


def test_check_tells_everything_at_once(rig):
    error = check_fails(rig, ["-pool-name=nopool", "-network-name=nonet", "-cpu=4000", "-cpuset=0-4000"])
    for part in (
        "storage pool nopool: Storage pool not found",
        "(LIBVIRT_POOL; make it with:",
        "network nonet: Network not found",
        "LIBVIRT_CPU: 4000 vCPUs, machine q35 has at most",
        'cpuset "0-4000": the host has CPUs 0-',
    ):
        assert part in error.message, error.message
    assert error.kind == "invalid"


@pytest.mark.parametrize(
    "content, part",
    [
        (lambda whole: bytes(len(whole)), "it is named .qcow2, but its content is none"),
        (lambda whole: b"", "it is empty"),
        (lambda whole: whole[: 3 * 65536], "it is truncated"),
    ],
    ids=["zero-filled", "empty", "truncated"],
)
def test_bad_base_image_is_refused(rig, content, part):
    pool = pathlib.Path(rig.backend.values["LIBVIRT_POOL_DIR"])
    whole = (pool / f"{rig.backend.name}-podvm-base.qcow2").read_bytes()
    bad = pool / f"{rig.backend.name}-bad.qcow2"
    bad.write_bytes(content(whole))
    rig.virsh("pool-refresh", rig.backend.name)
    try:
        error = check_fails(rig, [f"-vol-name={bad.name}"])
        assert f"base image {bad.name} is unusable" in error.message and part in error.message
        assert error.kind == "invalid"
        if part != "it is truncated":
            refused = failed(rig.tool, "create", options=[f"-vol-name={bad.name}"], token=new_token())
            assert refused.kind == "invalid" and part in refused.message
    finally:
        bad.unlink()
        rig.virsh("pool-refresh", rig.backend.name)


def test_a_volume_of_another_vm_is_no_base_image(rig):
    """A pod may name its image: the user data of another hold the keys of its tunnel."""
    made = rig.tool("create", token=new_token())
    folder = pathlib.Path(rig.backend.values["LIBVIRT_POOL_DIR"])
    assert len(rig.volumes()) == 2
    for image in rig.volumes() + [str(folder / name) for name in rig.volumes()]:
        with pytest.raises(ToolError) as caught:
            rig.tool("create", token=new_token(), image=image)
        assert caught.value.kind == "invalid"
        assert caught.value.message == f"base image {image} is unusable: it is a volume of VM {made['id']}"
    rig.tool("delete", id=made["id"])
    assert rig.left() == []


def test_missing_base_image(rig):
    refused = failed(rig.tool, "create", options=["-vol-name=none.qcow2"], token=new_token())
    assert refused.kind == "invalid"
    assert refused.message == (
        f"base image none.qcow2 in pool {rig.backend.name}: Storage volume not found: no storage vol with matching name "
        "'none.qcow2' (LIBVIRT_VOL_NAME; upload one with virsh vol-create-as and vol-upload)"
    )


def test_stopped_pool_and_network_are_started(rig):
    name = f"{rig.backend.name}-stopped"
    folder = rig.backend.folder / "stopped"
    folder.mkdir()
    rig.virsh("pool-define-as", name, "dir", "--target", str(folder))
    xml = rig.backend.folder / "net.xml"
    xml.write_text(
        f"<network><name>{name}</name><bridge name='vb{secrets.token_hex(3)}'/>"
        f"<ip address='10.250.{secrets.randbelow(250)}.1' netmask='255.255.255.0'/></network>"
    )
    rig.virsh("net-define", str(xml))
    try:
        check_fails(rig, [f"-pool-name={name}", f"-network-name={name}"])  # no base image there
        assert "running" in rig.virsh("pool-info", name)
        assert re.search(r"Active:\s+yes", rig.virsh("net-info", name))
    finally:
        rig.virsh("net-destroy", name)
        rig.virsh("net-undefine", name)
        rig.virsh("pool-destroy", name)
        rig.virsh("pool-undefine", name)


def test_a_pool_that_was_stopped_meanwhile_keeps_no_volume(rig):
    """As after a restart of the machine's storage: the VM runs on, and its volumes are there."""
    name = f"{rig.backend.name}-meanwhile"
    folder = rig.backend.folder / "meanwhile"
    folder.mkdir()
    rig.virsh("pool-define-as", name, "dir", "--target", str(folder))
    rig.virsh("pool-start", name)
    try:
        base = pathlib.Path(rig.backend.values["LIBVIRT_POOL_DIR"]) / f"{rig.backend.name}-podvm-base.qcow2"
        shutil.copyfile(base, folder / "base.qcow2")
        options = [f"-pool-name={name}", "-vol-name=base.qcow2"]
        made = rig.tool("create", options=options, token=new_token())
        assert len(list(folder.iterdir())) == 3
        rig.virsh("pool-destroy", name)
        rig.tool("delete", options=options, id=made["id"])
        assert [p.name for p in folder.iterdir()] == ["base.qcow2"]
        assert "running" in rig.virsh("pool-info", name)
        assert rig.left() == []
    finally:
        rig.backend.virsh("pool-destroy", name, check=False)
        rig.virsh("pool-undefine", name)


def test_why_a_pool_or_a_network_does_not_start_is_said(rig):
    name = f"{rig.backend.name}-broken"
    missing = rig.backend.folder / "missing"
    rig.virsh("pool-define-as", name, "dir", "--target", str(missing))
    xml = rig.backend.folder / "net.xml"
    xml.write_text(f"<network><name>{name}</name><bridge name='lo'/></network>")
    rig.virsh("net-define", str(xml))
    try:
        error = check_fails(rig, [f"-pool-name={name}", f"-network-name={name}"])
        assert f"start storage pool {name}: cannot open directory '{missing}'" in error.message
        assert f"start network {name}: " in error.message and "File exists" in error.message
    finally:
        rig.virsh("net-undefine", name)
        rig.virsh("pool-undefine", name)


def test_kvm_node_that_qemu_cannot_open_is_named_with_both_remedies(rig):
    """The fault that makes every definition take 72 s; found without probing QEMU, so at once."""
    if not os.path.exists("/dev/kvm"):
        pytest.skip("this machine has no /dev/kvm")
    inside = ["nsenter", f"--target={rig.backend.pid}", "--mount", "--root"]
    before = subprocess.run([*inside, "stat", "-c", "%a %U %G", "/dev/kvm"], capture_output=True, text=True, check=True)
    mode, user, group = before.stdout.split()
    if (rig.backend.folder / "kvm").exists() is False:
        pytest.skip("the daemon sees the machine's own /dev/kvm")
    try:
        subprocess.run([*inside, "chown", "root:root", "/dev/kvm"], check=True)
        subprocess.run([*inside, "chmod", "0600", "/dev/kvm"], check=True)
        # What libvirt itself looks at once, seconds on a busy machine; a definition looks 18 times.
        began = time.monotonic()
        rig.virsh("capabilities")
        once = time.monotonic() - began
        began = time.monotonic()
        error = check_fails(rig)
        assert time.monotonic() - began < max(10, 4 * once)
        assert "/dev/kvm (mode 0600, owner 0:0) cannot be opened by QEMU's user libvirt-qemu" in error.message
        assert "chgrp kvm /dev/kvm && chmod 0660 /dev/kvm" in error.message
        assert 'user = "root" and group = "root" in /etc/libvirt/qemu.conf' in error.message
    finally:
        subprocess.run([*inside, "chown", f"{user}:{group}", "/dev/kvm"], check=True)
        subprocess.run([*inside, "chmod", mode, "/dev/kvm"], check=True)


def test_confidential_vm_on_a_host_that_cannot_is_refused(rig):
    error = check_fails(rig, ["-disable-cvm=false"])
    assert "a confidential VM is asked for (DISABLECVM=false), but this libvirt host offers neither" in error.message
    refused = failed(rig.tool, "create", token=new_token(), tee="snp")
    assert refused.kind == "invalid"
    assert "a confidential VM of kind sev-snp is asked for, but libvirt on this host cannot start one" in refused.message


@pytest.mark.parametrize(
    "arguments, kind, part",
    [
        ({"vcpus": 4000}, "invalid", "4000 vCPUs are asked for; machine q35 has at most"),
        ({"gpus": 1}, "invalid", "1 GPUs are asked for; the libvirt driver passes none through"),
        ({"type": "huge"}, "invalid", 'instance type "huge" is neither one of LIBVIRT_INSTANCE_TYPES'),
        ({"image": "other.qcow2"}, "invalid", "base image other.qcow2 in pool"),
        ({"second-nic": 1}, "invalid", "no network is set for it: LIBVIRT_NET_EXT"),
        ({"volumes": "none.img:x"}, "invalid", "data disk none.img: Storage volume not found"),
        ({"pod": "a\x01b"}, "invalid", "pod holds a control character"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 10 else "",
)
def test_bad_requests_say_what_is_wrong(rig, arguments, kind, part):
    refused = failed(rig.tool, "create", token=new_token(), **arguments)
    assert refused.kind == kind and part in refused.message, refused


def test_unknown_scheme_and_dead_socket():
    driver = Driver("libvirt", None)
    refused = failed(driver.tool, "list", {"LIBVIRT_URI": "qemu+unix:///system?socket=/nonexistent/sock"}, seconds=1)
    assert refused.kind == "timeout" and "/nonexistent/sock" in refused.message
    refused = failed(driver.tool, "list", {"LIBVIRT_URI": "nonsense"})
    assert refused.kind == "invalid"
    assert refused.message.startswith('LIBVIRT_URI: "nonsense" is no connection URI')


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
