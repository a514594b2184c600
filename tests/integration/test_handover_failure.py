# SPDX-License-Identifier: Apache-2.0
"""A hand-over of agent-proxy that goes wrong: either process is killed, refuses, hangs or tells nonsense."""

import os
import signal
import socket

import pytest

from peerpod import paths, ttrpc
from peerpod.proto import handover as ho
from peerpod.proto import proxy as px
from tunnel_rig import AGENT, CHECK, SERVING, Rig, bare, certificates, rig, wait_for  # noqa: F401 (fixtures)


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
