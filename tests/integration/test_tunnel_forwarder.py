# SPDX-License-Identifier: Apache-2.0
"""The forwarder: peers of every kind at its door, its agent, and how it starts."""

import os
import re
import socket
import subprocess

import pytest

from peerpod import paths, ttrpc
from tunnel_rig import AGENT, CHECK, NAME, Agent, Rig, bare, certificates, rig, wait_for  # noqa: F401 (fixtures)


# ---- the forwarder's door ----------------------------------------------------------------------------------


def s_client(rig, *arguments):
    return subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{rig.forwarder_port}", "-servername", NAME, *arguments],
        input=b"", capture_output=True, timeout=10,
    )  # fmt: skip


@pytest.fixture
def door(bare):
    bare.start_forwarder()
    (bare.folder / "ca.crt").write_text(bare.certificates.ca[0])
    (bare.folder / "client.pem").write_text("".join(bare.certificates.client))
    return bare


def test_client_without_certificate_is_refused(door):
    for count, version in enumerate(("-tls1_2", "-tls1_3"), 1):
        s_client(door, version, "-CAfile", str(door.folder / "ca.crt"))
        text = "connection refused: TLS handshake: the client showed no certificate"
        wait_for(lambda: door.forwarder.text().count(text) == count, "the refusal")


def test_client_with_certificate_is_let_in_by_12_and_13(door):
    for version, name in (("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")):
        result = s_client(door, version, "-CAfile", str(door.folder / "ca.crt"), "-cert",
                          str(door.folder / "client.pem"), "-key", str(door.folder / "client.pem"),
                          "-verify_return_error")  # fmt: skip
        assert name.encode() in result.stdout and b"Verify return code: 0 (ok)" in result.stdout
        assert b"O = cloud-api-adaptor" in result.stdout, "our client's issuer is not in the CertificateRequest"


def test_tls_11_is_refused(door):
    result = s_client(door, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0", "-CAfile", str(door.folder / "ca.crt"))
    assert b"Cipher is (NONE)" in result.stdout or result.returncode != 0


def test_strangers_do_not_fill_the_door(door):
    strangers = [socket.create_connection(("127.0.0.1", door.forwarder_port)) for _ in range(30)]
    assert door.open(timeout=20).resumable
    for s in strangers:
        s.close()


def test_session_of_another_certificate_cannot_be_taken(tmp_path, certificates):
    """Sessions belong to the certificate that made them; plain TCP here, the check is in the unit test too."""
    with Rig(tmp_path, certificates) as rig:
        second = certificates.self_signed("client-second", "/O=cloud-api-adaptor-second")
        rig.start_forwarder(client_ca=certificates.client[0] + second[0])
        rig.open()
        attach = ttrpc.request("peerpod.Session", "Attach", b"\x08\x01\x12\x10" + bytes(16) + b"\x20\x01")
        result = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{rig.forwarder_port}", "-servername", NAME, "-quiet",
             "-cert", certificates.folder / "client-second.crt", "-key", certificates.folder / "client-second.key",
             "-no_ign_eof"],
            input=ttrpc.pack(1, ttrpc.REQUEST, 0, attach), capture_output=True, timeout=10,
        )  # fmt: skip
        assert b"no such session" in result.stdout or result.stdout == b""


# ---- the forwarder starts, or says why not ---------------------------------------------------------------------


@pytest.mark.parametrize("apf, arguments, message", [
    (None, [], r"configuration: .*apf.json.*"),
    ("{", [], r"configuration .*apf.json: .*"),
    ("{}", [], r"no TLS certificate: .*apf.json has none, and -cert-file and -cert-key are not given"),
    ('{"tls-server-cert": "x", "tls-server-key": "y"}', [], r"TLS server: no CA to verify clients with.*"),
    ("{}", ["-kata-agent-socket", "tcp://1"], r'kata-agent-socket: "tcp://1": the path must be absolute and at most '
                                              r"107 bytes long"),
    ("{}", ["-kata-agent-socket", "vsock://x"], r'kata-agent-socket: "vsock://x": write vsock://<cid>:<port>'),
    ("{}", ["-cert-file", "/nowhere"], r"-cert-file and -cert-key belong together"),
    ("{}", ["-tls-skip-verify", "-ca-cert-file", "x"], r"-tls-skip-verify and -ca-cert-file exclude each other"),
    ("{}", ["-disable-tls"], r'pod network: configuration .*apf.json: "pod-network" is missing'),
    ("{}", ["-disable-tls", "-skip-pod-network", "-listen", "nowhere"], r'"nowhere" is no address: .*'),
    ("{}", ["-listne", "x"], r".*listne.*"),
])  # fmt: skip
def test_forwarder_start_errors_are_one_clear_line(tmp_path, apf, arguments, message):
    config = tmp_path / "apf.json"
    if apf is not None:
        config.write_text(apf)
    result = subprocess.run(
        [paths.program("agent-protocol-forwarder"), "-config", config, *arguments],
        capture_output=True, text=True, timeout=10,
    )  # fmt: skip
    lines = [line for line in result.stderr.splitlines() if " error " in line]
    assert result.returncode == 1 and len(lines) == 1, result.stderr
    assert re.search(rf"error agent-protocol-forwarder: {message}$", lines[0]), lines[0]


@pytest.mark.parametrize("abstract", [False, True])
def test_forwarder_tells_the_service_manager(tmp_path, certificates, abstract):
    name = f"\0vsock-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(name)
    manager.settimeout(10)
    with Rig(tmp_path, certificates) as rig:
        rig.start_forwarder(env={"NOTIFY_SOCKET": name.replace("\0", "@")})
        assert manager.recv(100) == b"READY=1"
        assert rig.forwarder.stop() == 0
        assert manager.recv(100) == b"STOPPING=1"
    manager.close()


def test_forwarder_listens_on_both_families(tmp_path, certificates):
    with Rig(tmp_path, certificates, forwarder_options=()) as rig:
        rig.forwarder_options = ["-listen", f"0.0.0.0:{rig.forwarder_port}"]
        rig.start_forwarder()
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, rig.forwarder_port), timeout=5).close()


def test_agent_that_breaks_before_create_sandbox_is_dialled_again(rig):
    shim = rig.shim()
    assert shim.call(AGENT, "Echo", b"x", timeout=5) == b"x"
    rig.agent.close()
    rig.agent = Agent(rig.agent_path)
    assert wait_for(lambda: try_echo(shim), "the new agent")


def try_echo(shim):
    try:
        return shim.call(AGENT, "Echo", b"y", timeout=5) == b"y"
    except ttrpc.Status as status:
        assert status.code == 14
        return False


def test_agent_that_breaks_after_create_sandbox_is_gone(rig):
    shim = rig.shim()
    shim.call(AGENT, "CreateSandbox", b"", timeout=5)
    wait = shim.start(AGENT, "WaitProcess", b"w")
    rig.agent.wait_seen("WaitProcess", 1)
    rig.agent.server.drop_connections()
    with pytest.raises(ttrpc.Status, match="code 14: kata-agent closed its connection, and its socket is gone since"):
        wait.result(5)
    with pytest.raises(ttrpc.Status, match="code 14: kata-agent closed its connection"):
        shim.call(*CHECK, timeout=5)
    assert len(rig.agent.server.connections) == 0, "the agent was dialled again"
