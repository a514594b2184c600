# SPDX-License-Identifier: Apache-2.0
"""A tunnel on one machine: agent-proxy, a TCP relay that can be cut, the forwarder, and an agent.

    with Rig(tmp_path) as rig:
        rig.open()
        shim = rig.shim()
        rig.wire.cut()

The agent is a Python ttrpc server. Certificates are made with the openssl program, not with ours.
"""

import json
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time

import pytest

from peerpod import paths, services, ttrpc

NAME = "podvm-web-0a1b2c3d"
AGENT = "grpc.AgentService"
CHECK = ("grpc.Health", "Check", b"")
SERVING = b"\x08\x01"
EXTENSIONS = """
[server]
subjectAltName=DNS:{name}
extendedKeyUsage=serverAuth
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature,keyCertSign
[client]
extendedKeyUsage=clientAuth
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature,keyCertSign
[ca]
basicConstraints=critical,CA:TRUE
keyUsage=critical,digitalSignature,keyCertSign
"""


def openssl(*arguments, input=None):
    return subprocess.run(
        ["openssl", *map(str, arguments)], check=True, capture_output=True, text=True, input=input
    ).stdout


class Certificates:
    """A CA, and certificates of it: made once for a test run."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.ca = self.self_signed("ca", "/O=agent-protocol-forwarder")
        self.client = self.self_signed("client", "/O=cloud-api-adaptor")

    def key(self, name: str) -> pathlib.Path:
        path = self.folder / f"{name}.key"
        path.write_text(openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"))
        return path

    def _extensions(self, server_name: str) -> pathlib.Path:
        path = self.folder / "extensions"
        path.write_text(EXTENSIONS.format(name=server_name))
        return path

    def self_signed(self, name: str, subject: str) -> tuple:
        key = self.key(name)
        request = openssl("req", "-new", "-key", key, "-subj", subject)
        section = "ca" if name.startswith("ca") else "client"
        cert = openssl("x509", "-req", "-signkey", key, "-days", "2", "-sha256",
                       "-extfile", self._extensions(NAME), "-extensions", section, input=request)  # fmt: skip
        (self.folder / f"{name}.crt").write_text(cert)
        return cert, key.read_text()

    def server(self, name: str, server_name: str = NAME, ca: str = "ca", days: int = 2) -> tuple:
        """days < 0: expired."""
        key = self.key(name)
        request = openssl("req", "-new", "-key", key, "-subj", f"/O=agent-protocol-forwarder/CN={server_name}")
        validity = ["-days", days]
        cert = openssl("x509", "-req", "-CA", self.folder / f"{ca}.crt", "-CAkey", self.folder / f"{ca}.key",
                       "-CAcreateserial", *validity, "-sha256", "-extfile", self._extensions(server_name),
                       "-extensions", "server", input=request)  # fmt: skip
        return cert, key.read_text()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


class Wire:
    """A TCP relay between proxy and forwarder. cut() breaks what runs; `stop` refuses new ones."""

    def __init__(self, target_port: int):
        self.target_port = target_port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.cut_after = None  # bytes towards the proxy or the forwarder until the next cut
        self.accepted = 0
        self.changed = threading.Condition()
        self._pairs = []
        self._open = True
        self._mute = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            with self.changed:
                usable = self._open
            if not usable:
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self.target_port))
            except OSError:
                near.close()
                continue
            for s in (near, far):
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.changed:
                self._pairs.append((near, far))
                self.accepted += 1
                self.changed.notify_all()
            for a, b in ((near, far), (far, near)):
                threading.Thread(target=self._copy, args=(a, b), daemon=True).start()

    def _copy(self, a, b):
        try:
            while data := a.recv(65536):
                with self.changed:
                    left = self.cut_after
                    if left is not None:
                        self.cut_after = left - len(data)
                        if self.cut_after <= 0:
                            self.cut_after = None
                            data = data[:left]
                        else:
                            left = None
                b.sendall(data)
                if left is not None:
                    self.cut()
                    return
        except OSError:
            pass
        finally:
            for s in (a, b):
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def cut(self):
        with self.changed:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for s in pair:
                try:
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                    s.shutdown(socket.SHUT_RDWR)
                    s.close()
                except OSError:
                    pass

    def block(self):
        with self.changed:
            self._open = False
        self.cut()

    def unblock(self):
        with self.changed:
            self._open = True

    def wait_accepted(self, count: int, timeout: float = 10):
        with self.changed:
            assert self.changed.wait_for(lambda: self.accepted >= count, timeout), f"{self.accepted} connections"

    def close(self):
        self.listener.close()
        self.cut()


class Process:
    def __init__(self, arguments, log: pathlib.Path, env=None, user=None):
        self.log = log
        self._out = open(log, "ab")
        self.popen = subprocess.Popen(arguments, stderr=self._out, stdout=self._out, env={**os.environ, **(env or {})},
                                      user=user)  # fmt: skip

    def text(self) -> str:
        return self.log.read_text()

    def stop(self, sig=signal.SIGTERM, timeout=10) -> int:
        if self.popen.poll() is None:
            self.popen.send_signal(sig)
        code = self.popen.wait(timeout)
        self._out.close()
        return code


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def wait_for(condition, what: str, timeout: float = 10):
    end = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < end, f"{what}: not within {timeout} s"
        time.sleep(0.002)
    return value


class Agent:
    """What the tests ask of an agent. Handlers run on threads of their own."""

    def __init__(self, path: pathlib.Path, rust_style=True):
        self.path = path
        self.calls = []  # (method, payload), one entry per request that arrived
        self.exits = {}
        self.lock = threading.Condition()
        self.server = ttrpc.Server(
            str(path), {"grpc.Health": {"Check": lambda p, c: b"\x08\x01"}}, unknown=self._any, rust_style=rust_style
        )
        self.handlers = {"WaitProcess": self._wait, "Echo": lambda payload, context: payload, "Sum": self._sum}

    def _any(self, service, method, payload, context):
        with self.lock:
            self.calls.append((method, payload))
            self.lock.notify_all()
        handler = self.handlers.get(method)
        return handler(payload, context) if handler else b""

    def _wait(self, payload, context):
        with self.lock:
            self.lock.wait_for(lambda: payload in self.exits)
            return b"\x08" + ttrpc.varint(self.exits[payload])

    def _sum(self, payload, context):
        """A stream: after each message the sum of their lengths."""
        total = 0
        while (message := context.receive()) is not None:
            total += len(message)
            context.send(b"%d" % total)
        return b""

    def exit(self, payload: bytes, code: int):
        with self.lock:
            self.exits[payload] = code
            self.lock.notify_all()

    def seen(self, method: str) -> list:
        with self.lock:
            return [payload for name, payload in self.calls if name == method]

    def wait_seen(self, method: str, count: int, timeout: float = 10):
        with self.lock:
            assert self.lock.wait_for(
                lambda: sum(1 for name, _ in self.calls if name == method) >= count, timeout
            ), f"{method}: {len(self.seen(method))} of {count}"

    def close(self):
        self.server.close()
        self.path.unlink(missing_ok=True)


class Upstream:
    """As upstream's forwarder: plain ttrpc over TLS or TCP, unknown services answered with 12."""

    def __init__(self, rig):
        listener = socket.create_server(("127.0.0.1", rig.forwarder_port))
        self.last_id = 0
        self.server = ttrpc.Server(listener, {
            "grpc.Health": {"Check": lambda p, c: SERVING},
            "grpc.AgentService": {
                "WaitProcess": rig.agent._wait, "Echo": lambda p, c: p, "Hang": rig.agent._wait,
                "WriteStdin": rig.agent._wait},
        })  # fmt: skip


class Rig:
    def __init__(self, folder: pathlib.Path, certificates: Certificates, *, grace="30s", with_agent=True, tls=True,
                 forwarder_options=()):  # fmt: skip
        self.folder = folder
        self.certificates = certificates
        self.tls = tls
        self.grace = grace
        self.forwarder_options = forwarder_options
        self.control_path = folder / "control.sock"
        self.socket_path = folder / "pods" / "sb1" / "agent.ttrpc"
        self.agent_path = folder / "agent.sock"
        self.agent = Agent(self.agent_path) if with_agent else None
        self.server = certificates.server("server") if tls else ("", "")
        self.forwarder_port = free_port()
        self.forwarder = self.proxy = self.control_client = None
        self.proxies = []
        self.wire = Wire(self.forwarder_port)
        self.clients = []

    def __enter__(self):
        self.start_proxy()
        return self

    def __exit__(self, *_):
        for client in self.clients:
            client.close()
        if self.control_client:
            self.control_client.close()
        processes = [*self.proxies, *([self.forwarder] if self.forwarder else [])]
        codes = [p.stop() for p in processes]
        self.wire.close()
        if self.agent:
            self.agent.close()
        for p in processes:
            assert "runtime error" not in p.text() and "Sanitizer" not in p.text(), p.text()
        assert all(code in (0, 1, -9) for code in codes), codes

    def start_forwarder(self, server=None, client_ca=None, **kwargs):
        cert, key = server or self.server
        apf = {"pod-namespace": "default", "pod-name": "web"}
        if self.tls:
            apf |= {"tls-server-cert": cert, "tls-server-key": key,
                    "tls-client-ca": client_ca or self.certificates.client[0]}  # fmt: skip
        config = self.folder / "apf.json"
        config.write_text(json.dumps(apf))
        self.forwarder = Process(
            [paths.program("agent-protocol-forwarder"), "-config", config, "-listen",
             f"127.0.0.1:{self.forwarder_port}", "-kata-agent-socket", f"unix://{self.agent_path}",
             "-skip-pod-network", *([] if self.tls else ["-disable-tls"]), *self.forwarder_options],
            self.folder / "forwarder.log", **kwargs,
        )  # fmt: skip
        wait_for(lambda: "listening" in self.forwarder.text() or self.forwarder.popen.poll() is not None, "forwarder")
        return self.forwarder

    def launch_proxy(self, options=(), **kwargs) -> Process:
        """Starts an agent-proxy, and waits for nothing."""
        number = len(self.proxies)
        process = Process(
            [paths.program("agent-proxy"), "-control-socket", self.control_path, "-grace", self.grace, *options],
            self.folder / (f"proxy-{number}.log" if number else "proxy.log"), **kwargs,
        )  # fmt: skip
        self.proxies.append(process)
        return process

    def start_proxy(self, options=(), **kwargs):
        self.proxy = self.launch_proxy(options, **kwargs)
        self.connect_control()

    def connect_control(self):
        if self.control_client:
            self.control_client.close()
        self.control_client = ttrpc.Client(
            ttrpc.wait_for_socket(str(self.control_path), alive=lambda: self.proxy.popen.poll() is None)
        )
        self.control = services.agent_proxy(self.control_client)

    def hand_over(self, options=(), **kwargs) -> Process:
        """Another agent-proxy takes over; returns the old one, which has ended."""
        old, self.proxy = self.proxy, self.launch_proxy(options, **kwargs)
        assert old.popen.wait(20) == 0, old.text() + self.proxy.text()
        self.connect_control()
        return old

    def open(self, timeout=10.0, address=None, server_name=NAME, ca=None, client=None, pinned="", sandbox="sb1",
             socket_path=None, wait=True):  # fmt: skip
        tls = {}
        if self.tls:
            cert, key = client or self.certificates.client
            tls = {"tls": {"server_name": server_name, "ca_pem": (ca or self.certificates.ca)[0],
                           "client_cert_pem": cert, "client_key_pem": key, "pinned_cert_pem": pinned}}  # fmt: skip
        pending = self.control.start_Open(
            sandbox=sandbox, pod="web", pod_namespace="default", socket_path=str(socket_path or self.socket_path),
            address=address or f"127.0.0.1:{self.wire.port}", timeout_ns=int(timeout * 1e9), **tls,
        )  # fmt: skip
        return pending.result(timeout + 10) if wait else pending

    def shim(self) -> ttrpc.Client:
        client = ttrpc.Client.connect(str(self.socket_path))
        self.clients.append(client)
        return client

    def state(self, sandbox="sb1"):
        return next((s for s in self.control.List(timeout=5).sandboxes if s.sandbox == sandbox), None)


def refusal(rig, **kwargs):
    with pytest.raises(ttrpc.Status) as failure:
        rig.open(**kwargs)
    assert rig.state() is None, "a sandbox that never opened is still served"
    assert not rig.socket_path.exists()
    return failure.value


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
