# SPDX-License-Identifier: Apache-2.0
"""An agent-proxy takes the place of another while pods run: no byte is lost or doubled, no shim's connection breaks."""

import hashlib
import os
import random
import signal
import socket
import threading

import pytest

from peerpod import paths, ttrpc
from peerpod.proto import handover as ho
from peerpod.proto import proxy as px
from tunnel_rig import AGENT, CHECK, SERVING, Rig, Upstream, wait_for
from tunnel_rig import certificates  # noqa: F401 (a fixture)


@pytest.fixture
def rig(tmp_path, certificates):
    with Rig(tmp_path, certificates) as r:
        r.start_forwarder()
        assert r.open().resumable
        yield r


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


# ---- kill -9 ----------------------------------------------------------------------------------------------


@pytest.fixture
def faults():
    if not paths.is_sanitized():
        pytest.skip("fault points are in builds with SAN=address only")


class Pod:
    """Something is under way, and must come to its end."""

    def __init__(self, rig):
        self.rig, self.shim = rig, rig.shim()
        self.wait = self.shim.start(AGENT, "WaitProcess", b"w")
        rig.agent.wait_seen("WaitProcess", 1)

    def check_lives(self):
        for i in range(3):
            assert self.shim.call(AGENT, "Echo", b"%d" % i, timeout=10) == b"%d" % i
        self.rig.agent.exit(b"w", 6)
        assert self.wait.result(10) == b"\x08\x06"
        assert len(self.rig.agent.seen("WaitProcess")) == 1


@pytest.mark.parametrize("fault", ["takeover-asked", "takeover-begun", "takeover-sandbox", "takeover-told",
                                   "takeover-ready", "takeover-granted"])  # fmt: skip
def test_successor_killed_at_every_step(rig, faults, fault):
    pod = Pod(rig)
    for _ in range(2):
        successor = rig.launch_proxy(env={"PEERPOD_FAULT": fault})
        assert successor.popen.wait(20) == -signal.SIGKILL
        assert rig.state().state == "up" and rig.state().reconnects == 0, "the tunnel itself was touched"
    assert rig.wire.accepted == 1
    assert rig.proxy.text().count("serving on") == 3
    rig.hand_over()
    pod.check_lives()


@pytest.mark.parametrize("fault", ["handover-sandbox", "handover-told", "handover-granted", "handover-started"])
def test_old_one_killed_at_every_step(tmp_path, certificates, faults, fault):
    with Rig(tmp_path, certificates) as rig:
        rig.start_forwarder()
        rig.proxy.stop()
        rig.start_proxy(env={"PEERPOD_FAULT": fault})
        rig.open()
        pod = Pod(rig)
        old, rig.proxy = rig.proxy, rig.launch_proxy()
        assert old.popen.wait(20) == -signal.SIGKILL
        rig.connect_control()
        assert rig.open().resumable
        pod.check_lives()
        assert rig.shim().call(AGENT, "Echo", b"new", timeout=5) == b"new"
        rig.hand_over()
        assert pod.shim.call(*CHECK, timeout=5) == SERVING


def test_old_one_killed_between_two_sandboxes(tmp_path, certificates, faults):
    """What came whole is served on; the other is served again once the adaptor asks, as after any kill."""
    with Rig(tmp_path, certificates) as rig:
        rig.start_forwarder()
        rig.proxy.stop()
        rig.start_proxy(env={"PEERPOD_FAULT": "handover-sandbox"})
        sockets = {s: rig.folder / "pods" / s / "agent.ttrpc" for s in ("sb1", "sb2")}
        for sandbox, path in sockets.items():
            rig.open(sandbox=sandbox, socket_path=path)
        shims = {s: ttrpc.Client.connect(str(p)) for s, p in sockets.items()}
        rig.clients += shims.values()
        for shim in shims.values():
            assert shim.call(*CHECK, timeout=5) == SERVING
        old, rig.proxy = rig.proxy, rig.launch_proxy()
        assert old.popen.wait(20) == -signal.SIGKILL
        rig.connect_control()
        (served,) = [s.sandbox for s in rig.control.List(timeout=5).sandboxes]
        assert "1 of 2 sandboxes came whole" in rig.proxy.text()
        assert shims[served].call(AGENT, "Echo", b"x", timeout=5) == b"x"
        (lost,) = set(sockets) - {served}
        assert shims[lost].wait_closed(5)
        rig.open(sandbox=lost, socket_path=sockets[lost])
        with ttrpc.Client.connect(str(sockets[lost])) as again:
            assert again.call(AGENT, "Echo", b"y", timeout=5) == b"y"


def test_old_one_killed_before_the_first_sandbox(tmp_path, certificates, faults):
    with Rig(tmp_path, certificates) as rig:
        rig.start_forwarder()
        rig.proxy.stop()
        rig.start_proxy(env={"PEERPOD_FAULT": "handover-begun"})
        rig.open()
        shim = rig.shim()
        old, rig.proxy = rig.proxy, rig.launch_proxy()
        assert old.popen.wait(20) == -signal.SIGKILL
        assert shim.wait_closed(5)
        rig.connect_control()
        assert rig.open().resumable
        assert rig.shim().call(AGENT, "Echo", b"x", timeout=5) == b"x"


# ---- the successor refuses, or is none -------------------------------------------------------------------


class Successor:
    """What a new agent-proxy says, said by the test."""

    def __init__(self, rig, oldest=1, newest=1):
        self.sock = ttrpc.connect_unix(str(rig.control_path), timeout=15)
        self.fds, self.items = [], []
        request = px.HandOverRequest(oldest_format=oldest, newest_format=newest, version="of the test")
        self.sock.sendall(ttrpc.pack(1, ttrpc.REQUEST, 2, ttrpc.request(
            "peerpod.AgentProxy", "HandOver", request.SerializeToString())))  # fmt: skip

    def receive(self):
        """The next item, or the status as an exception."""
        head = b""
        while len(head) < 10:
            part, fds, flags, _ = socket.recv_fds(self.sock, 10 - len(head), 4)
            assert part, "the connection ended"
            head += part
            self.fds += fds
        length = int.from_bytes(head[:4], "big")
        data = ttrpc.read_exactly(self.sock, length) if length else b""
        if head[8] == ttrpc.RESPONSE:
            ttrpc.parse_response(data)
        self.items.append(ho.Item.FromString(data))
        return self.items[-1]

    def receive_all(self):
        while self.receive().WhichOneof("item") != "end":
            pass

    def say(self, **reply):
        self.sock.sendall(ttrpc.pack(1, ttrpc.DATA, 0, ho.Reply(**reply).SerializeToString()))

    def close(self):
        self.sock.close()
        for fd in self.fds:
            os.close(fd)


@pytest.mark.parametrize("oldest, newest, says", [(0, 0, "0 to 0"), (2, 7, "2 to 7")])
def test_another_format_is_told_no(rig, oldest, newest, says):
    pod, successor = Pod(rig), Successor(rig, oldest, newest)
    with pytest.raises(ttrpc.Status, match=f"code 9: hand over: agent-proxy of the test reads formats {says}, and "
                                           "agent-proxy .* writes 1"):  # fmt: skip
        successor.receive()
    successor.close()
    pod.check_lives()


def test_a_connection_that_carries_other_calls_is_told_no(rig):
    with pytest.raises(ttrpc.Status, match="code 3: hand over: asked on a connection that carries other calls"):
        rig.control_client.call(
            "peerpod.AgentProxy", "HandOver", px.HandOverRequest(oldest_format=1, newest_format=1), timeout=5
        )
    assert rig.state().state == "up"


@pytest.mark.parametrize("step", ["asked", "begun", "told", "ready", "refused", "nonsense"])
def test_successor_that_gives_up_changes_nothing(rig, step):
    pod = Pod(rig)
    successor = Successor(rig)
    if step != "asked":
        successor.receive()
        assert successor.items[0].begin.sandboxes == 1
        lifeline = successor.fds[1]
    if step not in ("asked", "begun"):
        successor.receive_all()
        kinds = [i.WhichOneof("item") for i in successor.items]
        assert [k for k in kinds if k != "data"] == ["begin", "sandbox", "front", "calls", "end"]
    if step == "ready":
        successor.say(ready=ho.Ready(sandboxes=1))
        assert os.read(lifeline, 1) == b"G"
    if step == "refused":
        successor.say(refusal=ho.Refusal(why="no room here"))
        assert os.read(lifeline, 1) == b"C"
    if step == "nonsense":
        successor.say(started=ho.Started())
        assert os.read(lifeline, 1) == b"C"
    successor.close()
    said = {"refused": "the successor refuses: no room here", "nonsense": "the successor answers with something else"}
    wait_for(lambda: said.get(step, "ended") + "; serving on" in rig.proxy.text(), "the refusal")
    assert rig.wire.accepted == 1
    assert rig.state().state == "up"
    pod.check_lives()


def test_successor_that_hangs_is_not_waited_for(rig):
    pod, successor = Pod(rig), Successor(rig)
    call = pod.shim.start(AGENT, "Echo", b"meanwhile")
    successor.receive_all()
    assert os.read(successor.fds[1], 1) == b"C"  # after 10 s
    assert call.result(5) == b"meanwhile"
    pod.check_lives()
    successor.close()


def test_the_key_is_in_no_log(rig):
    key = rig.certificates.client[1].splitlines()[1]
    rig.hand_over()
    with Successor(rig).sock:
        pass
    wait_for(lambda: "serving on" in rig.proxy.text(), "the log")
    assert all(key not in p.text() and "PRIVATE KEY" not in p.text() for p in rig.proxies)


def test_another_user_is_told_no(tmp_path, certificates):
    """Root may ask an agent-proxy of another user for much, but not for its pods' keys."""
    folder = tmp_path / "run"
    folder.mkdir()
    with Rig(folder, certificates) as rig:
        rig.proxy.stop()
        for path in (folder, *folder.parents):
            if path.owner() == "root" and path != path.parent:
                os.chmod(path, path.stat().st_mode | 0o011)
        os.chown(folder, 65534, 65534)
        rig.start_proxy(user=65534)
        successor = Successor(rig)
        with pytest.raises(ttrpc.Status, match="code 7: hand over: to a process of user 65534 only"):
            successor.receive()
        successor.close()


# ---- what an old one tells may be anything ----------------------------------------------------------------


def told(**changes) -> ho.Sandbox:
    """A sandbox that is well."""
    sandbox = ho.Sandbox(
        sandbox="sb1", socket_path="/nowhere/agent.ttrpc", address="127.0.0.1:1", digest=bytes(32), next_id=101,
        socket=ho.SocketFile(device=1, inode=2, made_ns=3), link=ho.Link(session=bytes(16)), back=ho.Port(),
    )  # fmt: skip
    sandbox.MergeFrom(ho.Sandbox(**changes))
    return sandbox


FRAME = ttrpc.pack(1, ttrpc.RESPONSE, 0, b"12345")
BAD = {
    "no protobuf": ([b"\xff\xff"], "unmarshal"),
    "no beginning": ([(ho.Item(end=ho.End()), 0)], "before its beginning"),
    "format": ([(ho.Item(begin=ho.Begin(format=9, control=ho.SocketFile())), 2)], "format 9 is told, 1 to 1 are read"),
    "no descriptors": ([(ho.Item(begin=ho.Begin(format=1, control=ho.SocketFile())), 0)], "0 descriptors instead of 2"),
    "unknown item": (["begin", b""], "not known here"),
    "begins twice": (["begin", "begin"], "begins twice"),
    "early end": (["begin", (ho.Item(end=ho.End()), 0)], "ends after 0 of 1 sandboxes"),
    "too many": (["begin", told(), told(sandbox="sb2")], "more sandboxes than were said"),
    "id": (["begin", told(sandbox="../x")], 'sandbox: "../x" is no sandbox id'),
    "path": (["begin", told(socket_path="x")], "must be absolute"),
    "address": (["begin", told(address="nowhere:1")], '"nowhere:1" is no address'),
    "digest": (["begin", told(digest=bytes(3))], "lacks something"),
    "rules": (["begin", told(rules=["none such"])], 'no rule "none such"'),
    "certificates": (["begin", told(tls=ho.Tls(server_name="x", ca_pem="x"))], "sandbox sb1: TLS"),
    "offsets": (["begin", told(back=ho.Port(start=5, sent=3, end=9))], "out of order"),
    "log size": (["begin", told(back=ho.Port(end=1 << 40))], "holds too much"),
    "even id": (["begin", told(next_id=100)], "is even"),
    "data of nothing": (["begin", (ho.Item(data=b"x"), 0)], "belong to nothing"),
    "missing data": (["begin", told(back=ho.Port(end=15)), (ho.Item(end=ho.End()), 0)], "bytes of a port are missing"),
    "too much data": (["begin", told(back=ho.Port(end=15)), (ho.Item(data=bytes(16)), 0)], "more bytes than"),
    "half a frame": (["begin", told(back=ho.Port(end=14)), (ho.Item(data=FRAME[:14]), 0)], "ends within a frame"),
    "call": (["begin", told(fronts=1, calls=1), (ho.Item(front=ho.Front(port=ho.Port())), 1),
              (ho.Item(calls=ho.Calls(calls=[ho.Call(id=101, front=1)])), 0)], "a call that cannot be"),
    "call's copy": (["begin", told(fronts=1, calls=1), (ho.Item(front=ho.Front(port=ho.Port())), 1),
                     (ho.Item(calls=ho.Calls(calls=[ho.Call(id=101, copy=FRAME[:12])])), 0)], "request that cannot be"),
    "twin calls": (["begin", told(fronts=1, calls=2), (ho.Item(front=ho.Front(port=ho.Port())), "stream"),
                    (ho.Item(calls=ho.Calls(calls=[ho.Call(id=103), ho.Call(id=103)])), 0)], "two calls with the id 103"),
    "no socket": (["begin", told(fronts=1), (ho.Item(front=ho.Front(port=ho.Port())), 1)], "is no socket"),
    "frame size": ([ttrpc.pack(1, ttrpc.DATA, 0, b"", length=5 << 20)], "a frame of 5242880 bytes is too large"),
    "too old": ([ttrpc.pack(1, ttrpc.RESPONSE, 0, ttrpc.response(b"", 12, "unknown method"))], "too old to hand over"),
    "keeps": ([ttrpc.pack(1, ttrpc.RESPONSE, 0, ttrpc.response(b"", 9, "not now"))], "keeps serving: FailedPrecondition: "
              "not now"),
}  # fmt: skip


class Predecessor:
    """What an old agent-proxy says, said by the test."""

    def __init__(self, path):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.listener.settimeout(10)
        self.lifeline = os.pipe()
        self.agent = socket.socketpair()

    def meet(self):
        self.sock, _ = self.listener.accept()
        self.sock.settimeout(10)
        assert ttrpc.parse_request(ttrpc.read_frame(self.sock).data).method == "HandOver"

    def tell(self, item):
        if isinstance(item, bytes):
            self.sock.sendall(item if item[8:9] in (b"\x02", b"\x03") else ttrpc.pack(1, ttrpc.DATA, 0, item))
            return
        count = 2 if item == "begin" else 1 if isinstance(item, ho.Sandbox) else item[1]
        fds = [self.listener.fileno(), self.lifeline[0]]
        if count == "stream":
            fds, count = [self.agent[0].fileno()], 1
        if item == "begin":
            item = ho.Item(begin=ho.Begin(format=1, version="of the test", sandboxes=1, control=ho.SocketFile(inode=1))), 2
        message = ho.Item(sandbox=item) if isinstance(item, ho.Sandbox) else item[0]
        frame = ttrpc.pack(1, ttrpc.DATA, 0, message.SerializeToString())
        if count:
            socket.send_fds(self.sock, [frame], fds[:count] if count > 1 or fds[0] != self.listener.fileno()
                            else [self.file_for(message)])  # fmt: skip
        else:
            self.sock.sendall(frame)

    def file_for(self, message) -> int:
        """A sandbox wants a listening socket; a front that gets one is to be refused."""
        return self.listener.fileno()

    def close(self):
        for s in (self.sock, self.listener, *self.agent):
            s.close()
        for fd in self.lifeline:
            os.close(fd)


@pytest.mark.parametrize("name", BAD)
def test_bad_bytes_are_refused(tmp_path, certificates, name):
    items, message = BAD[name]
    with Rig(tmp_path, certificates) as rig:
        rig.proxy.stop()
        old = Predecessor(rig.control_path)
        rig.proxy = rig.launch_proxy()
        old.meet()
        try:
            for item in items:
                old.tell(item)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert rig.proxy.popen.wait(10) == 1
        (line,) = [line for line in rig.proxy.text().splitlines() if " error " in line]
        assert message in line, line
        assert rig.control_path.exists(), "the socket of the one that serves was removed"
        old.close()


def test_predecessor_that_changes_its_mind(tmp_path, certificates):
    with Rig(tmp_path, certificates) as rig:
        rig.proxy.stop()
        old = Predecessor(rig.control_path)
        rig.proxy = rig.launch_proxy()
        old.meet()
        for item in ("begin", told(), (ho.Item(end=ho.End(sandboxes=1)), 0)):
            old.tell(item)
        frame = ttrpc.read_frame(old.sock)
        assert ho.Reply.FromString(frame.data).ready.sandboxes == 1
        os.write(old.lifeline[1], b"C")
        assert rig.proxy.popen.wait(10) == 1
        assert "whoever serves has changed its mind" in rig.proxy.text()
        assert rig.control_path.exists()
        old.close()


# ---- how the old one ends -----------------------------------------------------------------------------------


def test_sigterm_waits_for_a_successor_where_it_is_told_to(tmp_path, certificates):
    with Rig(tmp_path, certificates) as rig:
        rig.start_forwarder()
        rig.hand_over(["-handover-wait=60s"])
        rig.open()
        pod = Pod(rig)
        rig.proxy.popen.send_signal(signal.SIGTERM)
        wait_for(lambda: "until another agent-proxy takes over" in rig.proxy.text(), "the signal")
        assert pod.shim.call(AGENT, "Echo", b"x", timeout=5) == b"x"
        rig.hand_over()
        pod.check_lives()


def test_sigterm_without_a_successor_ends_after_the_wait(tmp_path, certificates):
    with Rig(tmp_path, certificates) as rig:
        rig.start_forwarder()
        rig.hand_over(["-handover-wait=200ms"])
        rig.open()
        shim = rig.shim()
        assert rig.proxy.stop() == 0
        assert shim.wait_closed(5)
        assert not rig.socket_path.exists() and not rig.control_path.exists()
        assert "no other agent-proxy took over: ending" in rig.proxy.text()


@pytest.mark.parametrize("what", ["signal", "close"])
def test_the_wait_ends_early(tmp_path, certificates, what):
    """With a second signal, or with the last sandbox."""
    with Rig(tmp_path, certificates) as rig:
        rig.start_forwarder()
        rig.hand_over(["-handover-wait=1h"])
        rig.open()
        rig.proxy.popen.send_signal(signal.SIGTERM)
        wait_for(lambda: "until another agent-proxy takes over" in rig.proxy.text(), "the signal")
        if what == "signal":
            rig.proxy.popen.send_signal(signal.SIGTERM)
        else:
            rig.control.Close(sandbox="sb1", timeout=5)
        assert rig.proxy.popen.wait(10) == 0
        assert not rig.socket_path.exists() and not rig.control_path.exists()


def test_one_that_stays_ends_with_its_signal_and_removes_nothing(tmp_path, certificates):
    with Rig(tmp_path, certificates) as rig:
        rig.start_forwarder()
        rig.hand_over(["-handover-stay"])
        rig.open()
        pod = Pod(rig)
        old, rig.proxy = rig.proxy, rig.launch_proxy()
        wait_for(lambda: "waiting for SIGTERM" in old.text(), "the hand-over")
        rig.connect_control()
        pod.check_lives()
        assert old.popen.poll() is None
        assert len(os.listdir(f"/proc/{old.popen.pid}/fd")) < 15, "it holds on to descriptors"
        assert old.stop() == 0
        assert rig.socket_path.exists() and rig.control_path.exists()
        assert pod.shim.call(*CHECK, timeout=5) == SERVING


def test_two_successors_at_once_follow_each_other(rig):
    pod = Pod(rig)
    old, others = rig.proxy, [rig.launch_proxy(), rig.launch_proxy()]
    assert old.popen.wait(20) == 0
    wait_for(lambda: sum(p.popen.poll() is None for p in others) == 1, "one that is left", 20)
    (rig.proxy,) = [p for p in others if p.popen.poll() is None]
    rig.connect_control()
    pod.check_lives()
