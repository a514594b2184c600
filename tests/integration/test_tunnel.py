# SPDX-License-Identifier: Apache-2.0
"""agent-proxy and agent-protocol-forwarder between a shim and an agent."""

import os
import random
import re
import resource
import signal
import socket
import stat
import subprocess
import threading

import pytest

from peerpod import paths, services, ttrpc
from peerpod.proto import agent as pb
from tunnel_rig import AGENT, CHECK, NAME, SERVING, Agent, Certificates, Rig, Upstream, Wire, free_port, wait_for
from tunnel_rig import certificates  # noqa: F401 (a fixture)


@pytest.fixture
def bare(tmp_path, certificates):
    """agent-proxy runs; nothing else yet."""
    with Rig(tmp_path, certificates) as r:
        yield r


@pytest.fixture
def rig(bare):
    bare.start_forwarder()
    assert bare.open().resumable
    return bare


# ---- calls -------------------------------------------------------------------------------------


def test_calls_pass_untouched(rig):
    shim = rig.shim()
    payload = bytes(range(256)) * 100
    assert shim.call(*CHECK, timeout=5) == SERVING
    assert shim.call(AGENT, "Echo", payload, timeout=5) == payload


def test_status_passes_word_for_word(rig):
    def fail(payload, context):
        raise ttrpc.Status(3, "ESRCH: No such process\n   0: rustjail")

    rig.agent.handlers["SignalProcess"] = fail
    with pytest.raises(ttrpc.Status) as failure:
        rig.shim().call(AGENT, "SignalProcess", b"", timeout=5)
    assert (failure.value.code, failure.value.message) == (3, "ESRCH: No such process\n   0: rustjail")


def test_unknown_services_and_methods_pass(rig):
    rig.agent.handlers["NewInKata9"] = lambda payload, context: b"new" + payload
    assert rig.shim().call("grpc.Whatever", "NewInKata9", b"!", timeout=5) == b"new!"


def test_metadata_and_timeout_reach_the_agent(rig):
    seen = []
    rig.agent.handlers["Look"] = lambda payload, context: seen.append(context.request) or b""
    shim = rig.shim()
    shim.call(AGENT, "Look", b"x", timeout=42, metadata={"traceparent": "00-ab"})
    assert seen[0].metadata == {"traceparent": "00-ab"}
    assert seen[0].timeout_ns == 42_000_000_000


def test_blocked_calls_hold_nothing_up(rig):
    shim = rig.shim()
    waits = [shim.start(AGENT, "WaitProcess", b"p%d" % i) for i in range(40)]
    rig.agent.wait_seen("WaitProcess", 40)
    for i in range(100):
        assert shim.call(AGENT, "Echo", b"%d" % i, timeout=5) == b"%d" % i
    for i in reversed(range(40)):
        rig.agent.exit(b"p%d" % i, i)
    assert [ttrpc.fields(w.result(5)).__next__()[1] for w in waits] == list(range(40))


def test_two_shim_connections_with_the_same_ids(rig):
    one, two = rig.shim(), rig.shim()
    wait = one.start(AGENT, "WaitProcess", b"w")
    rig.agent.wait_seen("WaitProcess", 1)
    assert two.call(AGENT, "Echo", b"two", timeout=5) == b"two"
    two.close()
    rig.agent.exit(b"w", 7)
    assert wait.result(5) == b"\x08\x07"


def test_ids_out_of_order_reach_the_agent_increasing(rig):
    sock = ttrpc.connect_unix(str(rig.socket_path), timeout=5)
    ids = [5, 1, 9, 3, 7]
    for i in ids:
        sock.sendall(ttrpc.pack(i, ttrpc.REQUEST, 0, ttrpc.request(AGENT, "Echo", b"%d" % i)))
    got = {f.stream: ttrpc.parse_response(f.data) for f in (ttrpc.read_frame(sock) for _ in ids)}
    assert got == {i: b"%d" % i for i in ids}
    sock.close()


def test_header_and_data_byte_by_byte(rig):
    sock = ttrpc.connect_unix(str(rig.socket_path), timeout=5)
    for byte in ttrpc.pack(1, ttrpc.REQUEST, 0, ttrpc.request(AGENT, "Echo", b"slow")):
        sock.sendall(bytes([byte]))
    assert ttrpc.parse_response(ttrpc.read_frame(sock).data) == b"slow"
    sock.close()


def test_even_id_is_refused(rig):
    sock = ttrpc.connect_unix(str(rig.socket_path), timeout=5)
    sock.sendall(ttrpc.pack(2, ttrpc.REQUEST, 0, ttrpc.request(AGENT, "Echo")))
    with pytest.raises(ttrpc.Status, match="code 3: StreamID must be odd for client initiated streams"):
        ttrpc.parse_response(ttrpc.read_frame(sock).data)
    sock.close()


def test_garbage_envelope_is_refused(rig):
    sock = ttrpc.connect_unix(str(rig.socket_path), timeout=5)
    sock.sendall(ttrpc.pack(1, ttrpc.REQUEST, 0, b"\x0a\xff\xff\xff\xff\x0f"))
    with pytest.raises(ttrpc.Status, match="code 3: unmarshal request error"):
        ttrpc.parse_response(ttrpc.read_frame(sock).data)
    sock.sendall(ttrpc.pack(3, ttrpc.REQUEST, 0, ttrpc.request(AGENT, "Echo", b"still here")))
    assert ttrpc.parse_response(ttrpc.read_frame(sock).data) == b"still here"
    sock.close()


def test_silent_connection_gets_nothing_and_is_kept(rig):
    """The Rust shim's log connection."""
    silent = ttrpc.connect_unix(str(rig.socket_path))
    shim = rig.shim()
    assert shim.call(*CHECK, timeout=5) == SERVING
    silent.setblocking(False)
    with pytest.raises(BlockingIOError):
        silent.recv(1)
    assert rig.state().shim_connections == 2
    silent.close()
    wait_for(lambda: rig.state().shim_connections == 1, "the silent connection's end")
    assert shim.call(*CHECK, timeout=5) == SERVING


def test_largest_frame_passes_and_a_larger_one_is_refused(rig):
    shim = rig.shim()
    envelope = len(ttrpc.request(AGENT, "Echo", b"x" * (4 << 20), 20_000_000_000)) - (4 << 20)
    answer_room = 16  # the agent's answer has an envelope as well
    payload = random.Random(1).randbytes((4 << 20) - envelope - answer_room)
    assert shim.call(AGENT, "Echo", payload, timeout=20) == payload
    with pytest.raises(ttrpc.Status) as failure:
        shim.call(AGENT, "Echo", b"x" * (4 << 20), timeout=20)
    size = (4 << 20) + envelope
    assert (failure.value.code, failure.value.message) == (
        8, f"message length {size} exceed maximum message size of 4194304")  # fmt: skip
    assert shim.call(AGENT, "Echo", b"after", timeout=5) == b"after"


def test_oversized_answer_fails_that_call_only(rig):
    big = b"\x12" + ttrpc.varint(5 << 20) + bytes(5 << 20)

    def oversized(payload, context):
        context.connection.send(ttrpc.pack(context.stream, ttrpc.RESPONSE, 0, big))
        raise ttrpc.Status(2, "late second answer, dropped")

    rig.agent.handlers["Big"] = oversized
    shim = rig.shim()
    with pytest.raises(ttrpc.Status, match="code 8: message length 5242885 exceed maximum message size of 4194304"):
        shim.call(AGENT, "Big", b"", timeout=20)
    assert shim.call(AGENT, "Echo", b"after", timeout=5) == b"after"


def test_streams_pass_both_ways(rig):
    stream = rig.shim().stream(AGENT, "Sum", b"")
    for i in range(1, 4):
        stream.send(b"x" * i)
        assert stream.receive(5) == b"%d" % (i * (i + 1) // 2)
    stream.close_send()
    assert stream.receive(5) is None


def test_shim_that_goes_away_is_forgotten(rig):
    gone, stays = rig.shim(), rig.shim()
    gone.start(AGENT, "WaitProcess", b"w")
    rig.agent.wait_seen("WaitProcess", 1)
    gone.close()
    rig.agent.exit(b"w", 1)  # a late answer for nobody
    assert stays.call(AGENT, "Echo", b"x", timeout=5) == b"x"


def test_slow_reader_stops_the_other_side_and_nothing_is_lost(rig):
    """A shim that does not read: memory stays bounded, and all of it arrives once it reads."""
    chunk = random.Random(2).randbytes(1 << 20)
    rig.agent.handlers["Read"] = lambda payload, context: chunk
    sock = ttrpc.connect_unix(str(rig.socket_path), timeout=20)
    count = 40
    for i in range(count):
        sock.sendall(ttrpc.pack(2 * i + 1, ttrpc.REQUEST, 0, ttrpc.request(AGENT, "Read")))
    rig.agent.wait_seen("Read", count)
    wait_for(lambda: rss_kib(rig.proxy) > 0, "proxy")
    got = [ttrpc.read_frame(sock) for _ in range(count)]
    assert sorted(f.stream for f in got) == [2 * i + 1 for i in range(count)]
    assert all(ttrpc.parse_response(f.data) == chunk for f in got)
    if not paths.is_sanitized():
        assert peak_kib(rig.proxy) < 40 * 1024, "the proxy took the whole backlog into memory"
        assert peak_kib(rig.forwarder) < 40 * 1024
    sock.close()


def status_kib(process, key):
    text = open(f"/proc/{process.popen.pid}/status").read()
    return int(re.search(rf"{key}:\s+(\d+)", text).group(1))


def rss_kib(process):
    return status_kib(process, "VmRSS")


def peak_kib(process):
    return status_kib(process, "VmHWM")


# ---- rules --------------------------------------------------------------------------------------


def spec(**annotations):
    return pb.Spec(Version="1.1", Annotations=annotations, Linux=pb.Linux(CgroupsPath="x"))


def created(rig, request):
    rig.shim().call(AGENT, "CreateContainer", request, timeout=5)
    return pb.CreateContainerRequest.FromString(rig.agent.seen("CreateContainer")[-1])


def test_create_container_gets_the_network_namespace(rig):
    request = pb.CreateContainerRequest(container_id="c1", OCI=spec())
    request.OCI.Linux.Namespaces.add(Type="pid")
    expected = pb.CreateContainerRequest.FromString(request.SerializeToString())
    expected.OCI.Linux.Namespaces.add(Type="network", Path="/run/netns/podns")
    assert created(rig, request) == expected


def test_gpu_annotation_only_for_pods_with_gpus(rig):
    key = "io.katacontainers.config.hypervisor.default_gpus"
    for value, expected in (("2", "nvidia.com/gpu=all"), ("0", None), ("", None)):
        request = pb.CreateContainerRequest(container_id="c1", OCI=spec())
        request.OCI.Annotations[key] = value
        assert created(rig, request).OCI.Annotations.get("cdi.k8s.io/peer-pods") == expected


def test_missing_bind_sources_are_made(rig, tmp_path):
    source = tmp_path / "volumes" / "deep"
    request = pb.CreateContainerRequest(container_id="c1", OCI=spec())
    request.OCI.Mounts.add(destination="/a", source=str(source), type="bind")
    request.OCI.Mounts.add(destination="/b", source=str(tmp_path / "not-bind"), type="tmpfs")
    created(rig, request)
    assert source.is_dir() and not (tmp_path / "not-bind").exists()


def test_create_sandbox_loses_its_dns_and_nothing_else(rig):
    request = pb.CreateSandboxRequest(hostname="web", dns=["nameserver 10.0.0.10", ""], sandbox_id="sb1")
    rig.shim().call(AGENT, "CreateSandbox", request, timeout=5)
    got = pb.CreateSandboxRequest.FromString(rig.agent.seen("CreateSandbox")[0])
    assert got == pb.CreateSandboxRequest(hostname="web", sandbox_id="sb1")


def test_request_that_a_rule_makes_too_large_is_refused(rig):
    request = pb.CreateContainerRequest(container_id="c1", OCI=spec())
    room = (4 << 20) - len(ttrpc.request(AGENT, "CreateContainer", request.SerializeToString() + bytes(4 << 19)))
    raw = request.SerializeToString() + ttrpc.field(1000, bytes((4 << 19) + room - 20))
    with pytest.raises(ttrpc.Status, match=r"code 8: message length \d+ exceed maximum message size of 4194304"):
        rig.shim().call(AGENT, "CreateContainer", raw, timeout=20)
    assert rig.agent.seen("CreateContainer") == []


def test_malformed_create_container_is_refused(rig):
    with pytest.raises(ttrpc.Status, match="code 3: CreateContainer: malformed message at byte 0"):
        rig.shim().call(AGENT, "CreateContainer", b"\x32\x7f", timeout=5)


# ---- the tunnel breaks -----------------------------------------------------------------------------


def test_cut_between_calls(rig):
    shim = rig.shim()
    for i in range(5):
        assert shim.call(AGENT, "Echo", b"%d" % i, timeout=10) == b"%d" % i
        rig.wire.cut()
    assert shim.call(AGENT, "Echo", b"end", timeout=10) == b"end"
    assert len(rig.agent.seen("Echo")) == 6
    wait_for(lambda: rig.state().state == "up" and rig.state().reconnects >= 4, "reconnects")
    assert len(rig.agent.server.connections) == 1, "the agent's connection was made anew"


@pytest.mark.parametrize("seed", range(4))
def test_streaming_read_loses_no_byte_and_no_call_runs_twice(rig, seed):
    """A reader, a writer and a waiter while the tunnel is cut at random places."""
    rng = random.Random(seed)
    stream = rng.randbytes(600_000)
    position = 0
    lock = threading.Lock()

    def read_stdout(payload, context):
        nonlocal position
        with lock:
            data = stream[position : position + 3000]
            position += len(data)
            return ttrpc.field(1, data) if data else b""

    rig.agent.handlers["ReadStdout"] = read_stdout
    shim = rig.shim()
    wait = shim.start(AGENT, "WaitProcess", b"w")
    got, written = bytearray(), []

    def reader():
        while answer := shim.call(AGENT, "ReadStdout", b"", timeout=30):
            got.extend(next(ttrpc.fields(answer))[1])

    def writer():
        for i in range(150):
            shim.call(AGENT, "WriteStdin", b"%06d" % i, timeout=30)
            written.append(b"%06d" % i)

    threads = [threading.Thread(target=reader), threading.Thread(target=writer)]
    for t in threads:
        t.start()
    while any(t.is_alive() for t in threads):
        accepted = rig.wire.accepted
        with rig.wire.changed:
            rig.wire.cut_after = rng.randrange(1, 60_000)
            # The next cut, or the end of the work.
            rig.wire.changed.wait_for(
                lambda: rig.wire.accepted > accepted or not any(t.is_alive() for t in threads), 2
            )
    rig.wire.cut_after = None
    for t in threads:
        t.join()
    assert bytes(got) == stream
    assert rig.agent.seen("WriteStdin") == written, "a write was lost, repeated or reordered"
    rig.agent.exit(b"w", 0)
    assert wait.result(10) == b"\x08\x00"
    assert len(rig.agent.seen("WaitProcess")) == 1
    assert rig.state().reconnects > 3


def test_check_is_answered_during_the_grace_period(rig):
    shim = rig.shim()
    rig.wire.block()
    wait_for(lambda: rig.state().state == "down", "the break")
    assert shim.call(*CHECK, timeout=5) == SERVING
    late = shim.start(AGENT, "Echo", b"late")
    rig.wire.unblock()
    assert late.result(10) == b"late"
    assert rig.agent.seen("Echo") == [b"late"]


def test_check_under_way_is_answered_when_the_tunnel_breaks(rig):
    hangs = threading.Event()

    def check(payload, context):
        hangs.wait(20)
        return SERVING

    rig.agent.server.services["grpc.Health"]["Check"] = check
    pending = rig.shim().start(*CHECK)
    wait_for(lambda: rig.agent.server.requests.count(("grpc.Health", "Check")) == 2, "Check at the agent")
    rig.wire.block()
    assert pending.result(5) == SERVING
    hangs.set()


def test_calls_fail_after_the_grace_period(tmp_path, certificates):
    with Rig(tmp_path, certificates, grace="300ms") as rig:
        rig.start_forwarder()
        rig.open()
        shim = rig.shim()
        wait = shim.start(AGENT, "WaitProcess", b"w")
        rig.agent.wait_seen("WaitProcess", 1)
        rig.wire.block()
        with pytest.raises(ttrpc.Status) as failure:
            wait.result(10)
        assert failure.value.code == 14
        assert re.fullmatch(
            rf"the pod VM at 127.0.0.1:{rig.wire.port} has been unreachable for \d+ s: .+", failure.value.message
        )
        with pytest.raises(ttrpc.Status, match="code 14: the pod VM at"):
            shim.call(*CHECK, timeout=5)
        rig.wire.unblock()
        wait_for(lambda: rig.state().state == "up", "the way back up")
        assert shim.call(*CHECK, timeout=5) == SERVING


def test_calls_that_failed_are_not_made_later(tmp_path, certificates):
    with Rig(tmp_path, certificates, grace="200ms") as rig:
        rig.start_forwarder()
        rig.open()
        shim = rig.shim()
        rig.wire.block()
        wait_for(lambda: rig.state().state == "down", "the break")
        with pytest.raises(ttrpc.Status, match="code 14"):
            shim.call(AGENT, "WriteStdin", b"never", timeout=10)
        rig.wire.unblock()
        wait_for(lambda: rig.state().state == "up", "the way back up")
        assert shim.call(AGENT, "Echo", b"x", timeout=5) == b"x"
        assert rig.agent.seen("WriteStdin") == []


def test_forwarder_that_lost_the_session(rig):
    """Restarted forwarder: repeatable calls are made again, others fail, new ones work."""
    shim = rig.shim()
    wait = shim.start(AGENT, "WaitProcess", b"w")
    rig.agent.handlers["Hang"] = rig.agent._wait
    hang = shim.start(AGENT, "Hang", b"never")
    rig.agent.wait_seen("WaitProcess", 1)
    rig.agent.wait_seen("Hang", 1)
    rig.forwarder.stop(signal.SIGKILL)
    rig.start_forwarder()
    with pytest.raises(ttrpc.Status) as failure:
        hang.result(10)
    assert failure.value.code == 14
    assert failure.value.message == "the connection to the pod VM broke: the forwarder has lost the session"
    rig.agent.wait_seen("WaitProcess", 2)
    rig.agent.exit(b"w", 3)
    assert wait.result(10) == b"\x08\x03"
    assert rig.open().resumable


# ---- a forwarder that keeps no sessions -------------------------------------------------------------


@pytest.fixture
def upstream(tmp_path, certificates):
    with Rig(tmp_path, certificates, tls=False) as rig:
        rig.upstream = Upstream(rig)
        assert not rig.open().resumable
        yield rig
        rig.upstream.server.close()


def test_upstream_forwarder(upstream):
    assert upstream.upstream.server.requests[:2] == [("peerpod.Session", "Attach"), ("grpc.Health", "Check")]
    assert upstream.shim().call(AGENT, "Echo", b"x", timeout=5) == b"x"


def test_upstream_forwarder_break_replays_what_may_be(upstream):
    shim = upstream.shim()
    server = upstream.upstream.server
    wait = shim.start(AGENT, "WaitProcess", b"w")
    write = shim.start(AGENT, "WriteStdin", b"once")
    wait_for(lambda: (AGENT, "WriteStdin") in server.requests and (AGENT, "WaitProcess") in server.requests, "calls")
    upstream.wire.cut()
    with pytest.raises(ttrpc.Status) as failure:
        write.result(10)
    assert failure.value.code == 14
    assert failure.value.message == "the connection to the pod VM broke: the forwarder keeps no sessions"
    wait_for(lambda: server.requests.count((AGENT, "WaitProcess")) == 2, "the second WaitProcess")
    upstream.agent.exit(b"w", 5)
    assert wait.result(10) == b"\x08\x05"
    assert server.requests.count((AGENT, "WriteStdin")) == 1


def test_upstream_forwarder_gets_what_waited(upstream):
    shim = upstream.shim()
    upstream.wire.block()
    wait_for(lambda: upstream.state().state == "down", "the break")
    late = [shim.start(AGENT, "Echo", b"%d" % i) for i in range(5)]
    upstream.wire.unblock()
    assert [c.result(10) for c in late] == [b"%d" % i for i in range(5)]


# ---- Open says why not --------------------------------------------------------------------------------


def refusal(rig, **kwargs):
    with pytest.raises(ttrpc.Status) as failure:
        rig.open(**kwargs)
    assert rig.state() is None, "a sandbox that never opened is still served"
    assert not rig.socket_path.exists()
    return failure.value


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
