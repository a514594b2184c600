# SPDX-License-Identifier: Apache-2.0
"""agent-proxy and agent-protocol-forwarder between a shim and an agent."""

import random
import re
import signal
import threading

import pytest

from peerpod import paths, ttrpc
from peerpod.proto import agent as pb
from tunnel_rig import AGENT, CHECK, SERVING, Rig, Upstream, bare, certificates, rig, wait_for  # noqa: F401 (fixtures)


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


def test_container_with_volumes_is_refused(rig, tmp_path):
    request = pb.CreateContainerRequest(container_id="c1", OCI=spec())
    request.OCI.Mounts.add(destination="/data", source=str(tmp_path / "mount"), type="bind")
    request.OCI.Annotations["io.confidentialcontainers.org.cloud_volumes"] = '{"vol-0":{"mount_point":"/data","lun":"0"}}'
    with pytest.raises(ttrpc.Status, match=r"code 12: CreateContainer: container c1 has volumes .*cloud_volumes\), and "):
        rig.shim().call(AGENT, "CreateContainer", request, timeout=5)
    assert rig.agent.seen("CreateContainer") == [] and not (tmp_path / "mount").exists()


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
