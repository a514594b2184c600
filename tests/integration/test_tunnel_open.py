# SPDX-License-Identifier: Apache-2.0
"""agent-proxy opens, closes and lists tunnels, and says why one cannot be opened."""

import os
import re
import resource
import signal
import socket
import stat
import subprocess
import threading

import pytest

from peerpod import paths, services, ttrpc
from tunnel_rig import (  # noqa: F401 (fixtures)
    AGENT,
    CHECK,
    SERVING,
    Agent,
    Rig,
    Wire,
    bare,
    certificates,
    free_port,
    refusal,
    rig,
    wait_for,
)


# ---- Open says why not --------------------------------------------------------------------------------



def test_open_refused(bare):
    port = free_port()
    status = refusal(bare, timeout=0.5, address=f"127.0.0.1:{port}")
    assert status.code == 4
    assert re.fullmatch(
        rf"refused: 127\.0\.0\.1:{port} refuses connections \(connect: Connection refused; \d+ attempts in 0\.5 s\); "
        "the VM runs but no agent-protocol-forwarder listens there: look at its console or journal", status.message
    )  # fmt: skip


def test_open_no_route(bare):
    status = refusal(bare, timeout=0.5, address="[fd00:dead:beef::1]:15150")
    assert re.match(r"(no-route: \[fd00:dead:beef::1\]:15150 cannot be reached \(connect: Network is unreachable; \d+ "
                    r"attempts|no-answer: )", status.message)  # fmt: skip


def test_open_no_answer(bare):
    # A listener with a full backlog drops SYNs.
    full = socket.socket()
    full.bind(("127.0.0.1", 0))
    full.listen(0)
    fillers = [socket.socket() for _ in range(4)]
    for f in fillers:
        f.setblocking(False)
        f.connect_ex(full.getsockname())
    port = full.getsockname()[1]
    status = refusal(bare, timeout=2.5, address=f"127.0.0.1:{port}")
    assert re.fullmatch(
        rf"no-answer: 127\.0\.0\.1:{port} does not answer \(connect: no answer; 3 attempts in 2\.5 s\); either the VM "
        "did not boot, or a security group or firewall drops packets from this node to this port", status.message
    )  # fmt: skip
    for s in [full, *fillers]:
        s.close()


def test_open_without_descriptors_does_not_blame_the_vm(bare):
    port = free_port()
    pending = bare.open(timeout=3, wait=False, address=f"127.0.0.1:{port}")
    wait_for(lambda: bare.state() and "refused" in bare.state().last_error, "an attempt")
    pid, (_, hard) = bare.proxy.popen.pid, resource.getrlimit(resource.RLIMIT_NOFILE)
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE, (0, hard))
    with pytest.raises(ttrpc.Status) as failure:
        pending.result(10)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    assert re.fullmatch(
        rf"no-resources: 127\.0\.0\.1:{port} was not dialled \(connect: Too many open files; \d+ attempts in 3\.0 s\); it is "
        "this node that lacks what the message names: look at agent-proxy's limits", failure.value.message
    )  # fmt: skip


ADVICE = (
    "the address may belong to another VM by now, or this node's certificates and those in the VM's user data differ"
)


@pytest.mark.parametrize("case, cause", [
    ("name", "TLS handshake: .*podvm-web-0a1b2c3d.*"),
    ("expired", "TLS handshake: .*expired.*"),
    ("foreign", "TLS handshake: .*"),
    ("pin", "TLS handshake: .*"),
    ("client", ".*refuses our certificate.*|.*does not trust.*|.*verify our signature.*"),
])  # fmt: skip
def test_open_wrong_certificate_is_final(bare, certificates, case, cause):
    server, client, pinned, ca = None, None, "", None
    if case == "name":
        server = certificates.server("other-name", server_name="podvm-other-12345678")
    elif case == "expired":
        server = certificates.server("expired", days=-1)
    elif case == "foreign":
        certificates.self_signed("ca-foreign", "/O=somebody-else")
        server = certificates.server("foreign", ca="ca-foreign")
    elif case == "pin":
        pinned = certificates.server("pinned")[0]
    elif case == "client":
        client = certificates.self_signed("client-foreign", "/O=cloud-api-adaptor")
    bare.start_forwarder(server=server)
    status = refusal(bare, timeout=60, client=client, pinned=pinned, ca=ca)
    print(status.message)
    assert status.code == 7
    assert re.fullmatch(
        rf"wrong-certificate: 127\.0\.0\.1:{bare.wire.port} failed TLS verification \(({cause}); \d attempts in "
        rf"[0-4]\.\d s\); {re.escape(ADVICE)}", status.message
    )  # fmt: skip


def test_open_agent_not_answering(tmp_path, certificates):
    with Rig(tmp_path, certificates, with_agent=False) as rig:
        rig.start_forwarder()
        status = refusal(rig, timeout=6)
        assert re.fullmatch(
            rf"agent-not-answering: the forwarder at 127\.0\.0\.1:{rig.wire.port} is connected but kata-agent did not "
            rf"answer within (5\.9|6\.0) s: Unavailable: kata-agent is not there: unix://{rig.agent_path}: connect: No such "
            "file or directory; look at the kata-agent journal in the VM", status.message
        )  # fmt: skip


def test_open_waits_for_a_vm_that_boots(bare):
    pending = bare.open(timeout=20, wait=False)
    wait_for(lambda: bare.state() and "refused" in bare.state().last_error or bare.state().last_error, "first attempt")
    assert bare.state().state == "dialing"
    bare.start_forwarder()
    assert pending.result(10).resumable


def test_open_waits_for_an_agent_that_starts_late(tmp_path, certificates):
    with Rig(tmp_path, certificates, with_agent=False) as rig:
        rig.start_forwarder()
        pending = rig.open(timeout=20, wait=False)
        wait_for(lambda: "tunnel" in rig.proxy.text() or rig.wire.accepted, "connection")
        rig.agent = Agent(rig.agent_path)
        pending.result(15)


def test_a_call_whose_time_is_over_does_not_wait_for_the_agent(tmp_path, certificates):
    with Rig(tmp_path, certificates, with_agent=False, tls=False) as rig:
        rig.start_forwarder()
        wait_for(lambda: "listening" in rig.forwarder.text(), "the forwarder")
        with socket.create_connection(("127.0.0.1", rig.forwarder_port), 10) as sock:
            for stream, timeout_ns in ((1, -1), (3, 20 * 10**9)):
                sock.sendall(ttrpc.pack(stream, 1, data=ttrpc.request(*CHECK, timeout_ns=timeout_ns)))
            answer = ttrpc.read_frame(sock)
            assert answer.stream == 1
            with pytest.raises(ttrpc.Status, match="kata-agent is not there"):
                ttrpc.parse_response(answer.data)


@pytest.mark.parametrize("values, message", [
    ({"sandbox": ""}, 'open: sandbox: "" is no sandbox id'),
    ({"sandbox": "../x"}, 'open: sandbox: "../x" is no sandbox id'),
    ({"socket_path": "relative"}, 'open: socket_path: "relative" must be absolute and at most 107 bytes long'),
    ({"address": "podvm:15150"},
     'open: address: "podvm:15150" is no address: write 192.0.2.7:15150 or [2001:db8::7]:15150'),
    ({"address": "::1:15150"}, 'open: address: "::1:15150" is no address: write 192.0.2.7:15150 or [2001:db8::7]:15150'),
    ({"rules": ["gpu", "volumes"]}, 'open: rules: there is no rule "volumes"'),
])  # fmt: skip
def test_open_bad_input(bare, values, message):
    good = {"sandbox": "sb1", "socket_path": str(bare.socket_path), "address": "127.0.0.1:1", "timeout_ns": 1}
    with pytest.raises(ttrpc.Status) as failure:
        bare.control.Open(**(good | values), timeout=5)
    assert (failure.value.code, failure.value.message) == (3, message)


def test_open_bad_certificates(bare):
    with pytest.raises(ttrpc.Status, match="code 3: open: tls: ") as failure:
        bare.open(client=("garbage", "garbage"))
    assert "BEGIN" not in failure.value.message
    assert "garbage" not in bare.proxy.text()


# ---- Open, Close, List, Quit -----------------------------------------------------------------------------


def test_open_is_idempotent(rig):
    shim = rig.shim()
    assert rig.open().resumable
    assert shim.call(*CHECK, timeout=5) == SERVING
    assert rig.wire.accepted == 1


def test_open_with_another_address_redials(rig, tmp_path):
    shim = rig.shim()
    other = Wire(rig.forwarder_port)
    rig.open(address=f"127.0.0.1:{other.port}")
    wait_for(lambda: rig.state().state == "up", "up")
    assert other.accepted == 1
    assert shim.call(AGENT, "Echo", b"x", timeout=5) == b"x"
    other.close()


def test_open_elsewhere_is_refused(rig, tmp_path):
    with pytest.raises(ttrpc.Status, match=f"code 6: open: sandbox sb1 is served on {rig.socket_path} already"):
        rig.open(socket_path=tmp_path / "elsewhere")


def test_socket_is_private_and_replaces_a_stale_file(bare):
    bare.socket_path.parent.mkdir(parents=True)
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(bare.socket_path))
    stale.close()
    bare.start_forwarder()
    bare.open()
    assert stat.S_IMODE(os.stat(bare.socket_path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(bare.control_path).st_mode) == 0o600
    assert bare.shim().call(*CHECK, timeout=5) == SERVING


def test_close_ends_the_shim_connection_and_removes_the_socket(rig):
    shim = rig.shim()
    wait = shim.start(AGENT, "WaitProcess", b"w")
    rig.agent.wait_seen("WaitProcess", 1)
    rig.control.Close(sandbox="sb1", timeout=5)
    with pytest.raises(ttrpc.Closed):
        wait.result(5)
    assert not rig.socket_path.exists()
    rig.control.Close(sandbox="sb1", timeout=5)  # again
    assert len(rig.control.List(timeout=5).sandboxes) == 0


def test_quit_only_when_nothing_is_served(rig):
    assert rig.control.Quit(timeout=5).serving == 1
    rig.control.Close(sandbox="sb1", timeout=5)
    assert rig.control.Quit(timeout=5).serving == 0
    assert rig.proxy.popen.wait(5) == 0
    assert not rig.control_path.exists()


def test_list_tells_the_state(rig):
    rig.shim().call(AGENT, "Echo", b"", timeout=5)
    answer = rig.control.List(timeout=5)
    assert answer.version
    state = answer.sandboxes[0]
    assert (state.sandbox, state.state, state.address) == ("sb1", "up", f"127.0.0.1:{rig.wire.port}")
    assert state.calls == 1 and state.shim_connections == 1 and state.connected_ns_ago > 0


def test_adaptor_that_dies_changes_nothing(rig):
    shim = rig.shim()
    wait = shim.start(AGENT, "WaitProcess", b"w")
    rig.agent.wait_seen("WaitProcess", 1)
    rig.control_client.close()
    assert shim.call(AGENT, "Echo", b"x", timeout=5) == b"x"
    rig.control_client = ttrpc.Client.connect(str(rig.control_path))
    rig.control = services.agent_proxy(rig.control_client)
    assert rig.open().resumable
    rig.agent.exit(b"w", 9)
    assert wait.result(5) == b"\x08\x09"


def test_adaptor_that_dies_during_open(bare):
    bare.open(timeout=20, wait=False)
    wait_for(lambda: bare.state(), "the sandbox")
    bare.control_client.close()
    bare.control_client = ttrpc.Client.connect(str(bare.control_path))
    bare.control = services.agent_proxy(bare.control_client)
    bare.start_forwarder()
    assert bare.open().resumable


def test_killed_proxy_comes_back_on_the_same_socket(rig):
    shim = rig.shim()
    shim.call(*CHECK, timeout=5)
    rig.proxy.stop(signal.SIGKILL)
    rig.control_client.close()
    assert shim.wait_closed(5)
    rig.start_proxy()
    assert rig.open().resumable
    assert rig.shim().call(AGENT, "Echo", b"again", timeout=5) == b"again"
    assert len(rig.agent.server.connections) == 1, "the agent's connection was made anew"


@pytest.mark.parametrize("fault", ["proxy-tunnel-open", "proxy-link-up", "proxy-opened", "relay-forwarded"])
def test_killed_proxy_at_every_step(tmp_path, certificates, fault):
    if not paths.is_sanitized():
        pytest.skip("fault points are in builds with SAN=address only")
    with Rig(tmp_path, certificates) as rig:
        rig.start_forwarder()
        rig.proxy.stop()
        rig.control_client.close()
        rig.start_proxy(env={"PEERPOD_FAULT": fault})
        with pytest.raises(ttrpc.Closed):
            rig.open()
            rig.shim().call(AGENT, "Echo", b"x", timeout=5)
        assert rig.proxy.popen.wait(5) == -signal.SIGKILL
        rig.start_proxy()
        assert rig.open().resumable
        assert rig.shim().call(AGENT, "Echo", b"again", timeout=5) == b"again"


def test_restore_does_not_wait(bare):
    """timeout 0: after a restart the socket is there at once, and calls wait for the VM."""
    assert not bare.open(timeout=0).resumable
    call = bare.shim().start(AGENT, "Echo", b"early")
    bare.start_forwarder()
    assert call.result(10) == b"early"


def test_control_socket_of_another_program_is_left_alone(tmp_path):
    """Another agent-proxy would hand over: test_handover.py."""
    path = tmp_path / "control.sock"
    other = socket.socket(socket.AF_UNIX)
    other.bind(str(path))
    other.listen()

    def hang_up():
        try:
            while True:
                other.accept()[0].close()
        except OSError:
            pass

    threading.Thread(target=hang_up, daemon=True).start()
    proxy = subprocess.run(
        [paths.program("agent-proxy"), "-control-socket", path], capture_output=True, text=True, timeout=10
    )
    assert proxy.returncode == 1
    assert f"{path}: another process is listening there" in proxy.stderr
    assert path.exists()
    other.shutdown(socket.SHUT_RDWR)
    other.close()


def test_proxy_has_no_rights_to_lose(rig):
    status = open(f"/proc/{rig.proxy.popen.pid}/status").read()
    for which in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert re.search(rf"{which}:\s+0+\n", status), which
    assert re.search(r"NoNewPrivs:\s+1\n", status)
    assert re.search(r"Max core file size +0 +0 ", open(f"/proc/{rig.proxy.popen.pid}/limits").read())


def test_sigterm_ends_cleanly(rig):
    shim = rig.shim()
    shim.call(*CHECK, timeout=5)
    assert rig.proxy.stop() == 0
    assert not rig.socket_path.exists() and not rig.control_path.exists()
