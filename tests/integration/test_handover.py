# SPDX-License-Identifier: Apache-2.0
"""An agent-proxy takes the place of another while pods run: no byte is lost or doubled, no shim's connection breaks."""

import hashlib
import random
import threading

import pytest

from peerpod import ttrpc
from tunnel_rig import AGENT, CHECK, SERVING, Rig, Upstream, bare, certificates, rig, wait_for  # noqa: F401 (fixtures)


class Source:
    """A stream that the agent hands out with each call of a method, a piece at a time."""

    def __init__(self, rig, method: str, data: bytes, piece: int):
        self.data, self.piece, self.position = data, piece, 0
        self.lock = threading.Lock()
        rig.agent.handlers[method] = self._read

    def _read(self, payload, context):
        with self.lock:
            data = self.data[self.position : self.position + self.piece]
            self.position += len(data)
        return ttrpc.field(1, data) if data else b""


class Sink(threading.Thread):
    """Reads a Source through the tunnel, one call after the other."""

    def __init__(self, shim, method: str):
        super().__init__()
        self.shim, self.method = shim, method
        self.got, self.error = bytearray(), None
        self.changed = threading.Condition()

    def run(self):
        try:
            while answer := self.shim.call(AGENT, self.method, b"", timeout=30):
                with self.changed:
                    self.got += next(ttrpc.fields(answer))[1]
                    self.changed.notify_all()
        except Exception as error:  # noqa: BLE001 - the test tells
            self.error = error

    def wait_for(self, count: int):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.got) >= count or not self.is_alive(), 30)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_everything_goes_through_several_handovers(rig):
    """A streaming exec (1 MiB out, 1 MiB in), a log stream, a process that is waited for, calls one by one."""
    rng = random.Random(7)
    out, log, stdin = rng.randbytes(1 << 20), rng.randbytes(300_000), rng.randbytes(1 << 20)
    Source(rig, "ReadStdout", out, 4096)
    Source(rig, "ReadStderr", log, 1171)
    shim = rig.shim()
    wait = shim.start(AGENT, "WaitProcess", b"w")
    readers = [Sink(shim, "ReadStdout"), Sink(shim, "ReadStderr")]
    written, echoed = [], []

    def write():
        for at in range(0, len(stdin), 8192):
            shim.call(AGENT, "WriteStdin", stdin[at : at + 8192], timeout=30)
            written.append(at)

    def echo():
        while any(r.is_alive() for r in readers):
            text = b"%d" % len(echoed)
            echoed.append(shim.call(AGENT, "Echo", text, timeout=30) == text)

    others = [threading.Thread(target=write), threading.Thread(target=echo)]
    for t in [*readers, *others]:
        t.start()
    handovers = 5
    for i in range(handovers):
        readers[0].wait_for(len(out) * (i + 1) // (handovers + 2))
        rig.hand_over()
    for t in [*readers, *others]:
        t.join(60)
    assert [r.error for r in readers] == [None, None]
    assert sha256(bytes(readers[0].got)) == sha256(out)
    assert sha256(bytes(readers[1].got)) == sha256(log)
    assert sha256(b"".join(rig.agent.seen("WriteStdin"))) == sha256(stdin), "a write was lost, repeated or reordered"
    assert all(echoed)
    rig.agent.exit(b"w", 3)
    assert wait.result(10) == b"\x08\x03"
    assert len(rig.agent.seen("WaitProcess")) == 1
    assert len(rig.agent.server.connections) == 1, "the agent's connection was made anew"
    assert rig.state().shim_connections == 1 and rig.state().calls > len(echoed)


def test_frames_cut_in_the_middle(rig):
    """Half a request was read; an answer is half sent, since the shim does not read; both go on."""
    chunk = random.Random(2).randbytes(1 << 20)
    rig.agent.handlers["Read"] = lambda payload, context: chunk
    sock = ttrpc.connect_unix(str(rig.socket_path), timeout=30)
    count = 12
    for i in range(count):
        sock.sendall(ttrpc.pack(2 * i + 1, ttrpc.REQUEST, 0, ttrpc.request(AGENT, "Read")))
    rig.agent.wait_seen("Read", count)
    large = ttrpc.pack(101, ttrpc.REQUEST, 0, ttrpc.request(AGENT, "Echo", chunk))
    small = ttrpc.pack(103, ttrpc.REQUEST, 0, ttrpc.request(AGENT, "Echo", b"small"))
    parts = [large[:7], large[7:200_000], large[200_000:] + small[:3], small[3:]]
    for part in parts:
        sock.sendall(part)
        rig.hand_over()
    frames = [ttrpc.read_frame(sock) for _ in range(count + 2)]
    got = {f.stream: ttrpc.parse_response(f.data) for f in frames}
    assert sorted(got) == [*range(1, 2 * count, 2), 101, 103]
    assert all(got[2 * i + 1] == chunk for i in range(count))
    assert got[101] == chunk and got[103] == b"small"
    assert len(rig.agent.seen("Read")) == count
    sock.close()


def test_oversized_request_half_thrown_away(rig):
    sock = ttrpc.connect_unix(str(rig.socket_path), timeout=10)
    size = 5 << 20
    sock.sendall(ttrpc.pack(1, ttrpc.REQUEST, 0, b"", length=size) + bytes(size // 2))
    rig.hand_over()
    sock.sendall(bytes(size - size // 2) + ttrpc.pack(3, ttrpc.REQUEST, 0, ttrpc.request(AGENT, "Echo", b"after")))
    with pytest.raises(ttrpc.Status, match=f"code 8: message length {size} exceed maximum message size of 4194304"):
        ttrpc.parse_response(ttrpc.read_frame(sock).data)
    assert ttrpc.parse_response(ttrpc.read_frame(sock).data) == b"after"
    sock.close()


def test_many_calls_on_two_connections_with_the_same_ids(rig):
    shims = [rig.shim(), rig.shim()]
    waits = [[shim.start(AGENT, "WaitProcess", b"%d.%d" % (n, i)) for i in range(300)] for n, shim in enumerate(shims)]
    silent = ttrpc.connect_unix(str(rig.socket_path))
    rig.agent.wait_seen("WaitProcess", 600)
    rig.hand_over()
    assert rig.state().shim_connections == 3
    late = shims[0].start(AGENT, "WaitProcess", b"0.0")
    for n in range(2):
        for i in range(300):
            rig.agent.exit(b"%d.%d" % (n, i), n * 10 + i % 10)
    for n in range(2):
        for i, wait in enumerate(waits[n]):
            assert next(ttrpc.fields(wait.result(10)))[1] == n * 10 + i % 10
    assert next(ttrpc.fields(late.result(10)))[1] == 0
    assert len(rig.agent.seen("WaitProcess")) == 601, "a call was made twice"
    silent.close()


def test_streams_go_on(rig):
    stream = rig.shim().stream(AGENT, "Sum", b"")
    for i in range(1, 4):
        stream.send(b"x" * i)
        assert stream.receive(5) == b"%d" % (i * (i + 1) // 2)
        rig.hand_over()
    stream.close_send()
    assert stream.receive(5) is None


def test_plain_tcp_to_our_forwarder(tmp_path, certificates):
    with Rig(tmp_path, certificates, tls=False) as rig:
        rig.start_forwarder()
        rig.open()
        shim = rig.shim()
        wait = shim.start(AGENT, "WaitProcess", b"w")
        rig.agent.wait_seen("WaitProcess", 1)
        rig.hand_over()
        assert shim.call(AGENT, "Echo", b"x", timeout=5) == b"x"
        rig.agent.exit(b"w", 4)
        assert wait.result(5) == b"\x08\x04"
        assert len(rig.agent.seen("WaitProcess")) == 1


# ---- the other parts of what is handed over ---------------------------------------------------------


def test_sockets_keep_their_paths_and_files(rig):
    shim = rig.shim()
    before = [(p.stat().st_ino, p.stat().st_mtime_ns) for p in (rig.socket_path, rig.control_path)]
    for _ in range(3):
        rig.hand_over()
        assert [(p.stat().st_ino, p.stat().st_mtime_ns) for p in (rig.socket_path, rig.control_path)] == before
    assert shim.call(*CHECK, timeout=5) == SERVING
    assert rig.shim().call(AGENT, "Echo", b"new", timeout=5) == b"new"
    rig.control.Close(sandbox="sb1", timeout=5)
    assert not rig.socket_path.exists(), "the successor does not know the file as its own"
    assert rig.proxy.stop() == 0
    assert not rig.control_path.exists()


def test_open_with_the_same_settings_succeeds_at_once(rig, certificates):
    accepted = rig.wire.accepted
    rig.hand_over()
    rig.wire.wait_accepted(accepted + 1)
    assert rig.open().resumable
    assert rig.wire.accepted == accepted + 1, "the same settings were taken for others"
    with pytest.raises(ttrpc.Status, match="code 6"):
        rig.open(socket_path=rig.folder / "elsewhere")


def test_pinned_certificate_stays_pinned(tmp_path, certificates):
    with Rig(tmp_path, certificates, grace="300ms") as rig:
        rig.start_forwarder()
        rig.open(pinned=rig.server[0])
        shim = rig.shim()
        rig.hand_over()
        assert shim.call(AGENT, "Echo", b"x", timeout=5) == b"x"
        # Another certificate of the same CA and name is not the pinned one.
        rig.forwarder.stop()
        rig.start_forwarder(server=certificates.server("impostor"))
        with pytest.raises(ttrpc.Status, match="code 14"):
            shim.call(AGENT, "Echo", b"x", timeout=10)
        wait_for(lambda: "another certificate than" in rig.state().last_error, "the refusal")


def test_rules_that_were_not_wanted_stay_off(tmp_path, certificates):
    from peerpod.proto import agent as pb

    with Rig(tmp_path, certificates, tls=False) as rig:
        rig.start_forwarder()
        rig.control.Open(sandbox="sb1", socket_path=str(rig.socket_path), timeout_ns=10**10, rules=["gpu"],
                         address=f"127.0.0.1:{rig.wire.port}", timeout=20)  # fmt: skip
        rig.hand_over()
        request = pb.CreateContainerRequest(container_id="c1", OCI=pb.Spec(Version="1.1", Annotations={
            "io.katacontainers.config.hypervisor.default_gpus": "1"}))  # fmt: skip
        rig.shim().call(AGENT, "CreateContainer", request, timeout=5)
        got = pb.CreateContainerRequest.FromString(rig.agent.seen("CreateContainer")[0])
        assert got.OCI.Annotations["cdi.k8s.io/peer-pods"] == "nvidia.com/gpu=all"


def test_while_the_vm_cannot_be_reached(rig):
    shim = rig.shim()
    rig.wire.block()
    wait_for(lambda: rig.state().state == "down", "the break")
    calls = [shim.start(AGENT, "Echo", b"%d" % i) for i in range(20)]
    for _ in range(2):
        rig.hand_over()
    assert rig.state().state == "down"
    assert shim.call(*CHECK, timeout=5) == SERVING, "Check is answered during the grace period"
    rig.wire.unblock()
    assert [c.result(10) for c in calls] == [b"%d" % i for i in range(20)]
    assert rig.agent.seen("Echo") == [b"%d" % i for i in range(20)]


def test_the_grace_period_goes_on(tmp_path, certificates):
    """A hand-over does not give a VM that is gone more time; what was refused stays refused."""
    with Rig(tmp_path, certificates, grace="1s") as rig:
        rig.start_forwarder()
        rig.open()
        shim = rig.shim()
        rig.wire.block()
        wait_for(lambda: rig.state().state == "down", "the break")
        call = shim.start(AGENT, "Echo", b"late")
        rig.hand_over()
        with pytest.raises(ttrpc.Status, match="code 14: the pod VM at .* has been unreachable for"):
            call.result(10)
        rig.hand_over()
        with pytest.raises(ttrpc.Status, match="code 14: the pod VM at .* has been unreachable for"):
            shim.call(*CHECK, timeout=5)
        rig.wire.unblock()
        wait_for(lambda: rig.state().state == "up", "the way back up")
        assert shim.call(AGENT, "Echo", b"x", timeout=5) == b"x"
        assert rig.agent.seen("Echo") == [b"x"]


def test_while_an_open_waits(tmp_path, certificates):
    """The adaptor's call breaks with its connection; asked again, the successor goes on with the same sandbox."""
    with Rig(tmp_path, certificates) as rig:
        pending = rig.open(timeout=20, wait=False)
        wait_for(lambda: rig.state(), "the sandbox")
        rig.hand_over()
        with pytest.raises(ttrpc.Closed):
            pending.result(5)
        pending = rig.open(timeout=20, wait=False)
        rig.start_forwarder()
        assert pending.result(10).resumable
        assert rig.shim().call(AGENT, "Echo", b"x", timeout=5) == b"x"


def test_nothing_is_served(tmp_path, certificates):
    with Rig(tmp_path, certificates) as rig:
        rig.hand_over()
        rig.start_forwarder()
        assert rig.open().resumable
        assert rig.control.Quit(timeout=5).serving == 1


# ---- a forwarder that keeps no sessions ------------------------------------------------------------


def test_upstream_forwarder_as_when_the_tunnel_breaks(tmp_path, certificates):
    """Safe calls are made again, others fail, the shim's connection stays."""
    with Rig(tmp_path, certificates, tls=False) as rig:
        rig.upstream = Upstream(rig)
        server = rig.upstream.server
        assert not rig.open().resumable
        shim = rig.shim()
        wait, write = shim.start(AGENT, "WaitProcess", b"w"), shim.start(AGENT, "WriteStdin", b"hang")
        wait_for(lambda: (AGENT, "WriteStdin") in server.requests and (AGENT, "WaitProcess") in server.requests, "calls")
        rig.hand_over()
        with pytest.raises(ttrpc.Status, match="code 14: the connection to the pod VM broke"):
            write.result(10)
        wait_for(lambda: server.requests.count((AGENT, "WaitProcess")) == 2, "the second WaitProcess")
        rig.hand_over()
        wait_for(lambda: server.requests.count((AGENT, "WaitProcess")) == 3, "the third WaitProcess")
        rig.agent.exit(b"w", 5)
        assert wait.result(10) == b"\x08\x05"
        assert shim.call(AGENT, "Echo", b"x", timeout=5) == b"x"
        assert server.requests.count((AGENT, "WriteStdin")) == 1
        rig.wire.block()
        wait_for(lambda: rig.state().state == "down", "the break")
        late = [shim.start(AGENT, "Echo", b"%d" % i) for i in range(5)]
        rig.hand_over()
        rig.wire.unblock()
        assert [c.result(10) for c in late] == [b"%d" % i for i in range(5)], "what was never sent waits"
        server.close()


# ---- many --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count, tls", [(50, True), (250, False)])
def test_many_sandboxes(tmp_path, certificates, count, tls):
    """One forwarder for all of them, which lets eight handshakes at once in: so the many go without."""
    with Rig(tmp_path, certificates, tls=tls, forwarder_options=["-max-connections=1000"]) as rig:
        rig.start_forwarder()
        paths_of = {f"sb{i}": rig.folder / "pods" / f"sb{i}" / "agent.ttrpc" for i in range(count)}
        for pending in [rig.open(sandbox=s, socket_path=p, wait=False, timeout=60) for s, p in paths_of.items()]:
            assert pending.result(60).resumable
        shims = [ttrpc.Client.connect(str(p)) for p in paths_of.values()]
        rig.clients += shims
        waits = [shim.start(AGENT, "WaitProcess", b"%d" % i) for i, shim in enumerate(shims)]
        rig.agent.wait_seen("WaitProcess", count)
        rig.hand_over()
        calls = [shim.start(AGENT, "Echo", b"%d" % i) for i, shim in enumerate(shims)]
        assert [c.result(60) for c in calls] == [b"%d" % i for i in range(count)]
        for i in range(count):
            rig.agent.exit(b"%d" % i, i % 100)
        assert all(w.result(30) == b"\x08" + ttrpc.varint(i % 100) for i, w in enumerate(waits))
        assert len(rig.agent.seen("WaitProcess")) == count
        assert {s.sandbox for s in rig.control.List(timeout=5).sandboxes} == set(paths_of)
