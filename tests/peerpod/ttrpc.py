# SPDX-License-Identifier: Apache-2.0
"""ttrpc in Python: a client, a server, and the bare frames for tests that send bad ones.

A frame is a header of ten bytes (data length, stream id, type, flags; big-endian) and the data.
One thread per connection reads frames and hands them to whoever waits for that stream; writers
take turns with a lock. Any number of calls may be under way, from any threads.

    with ttrpc.Client.connect("/run/peerpod/hypervisor.sock") as client:
        reply = client.call("hypervisor.Hypervisor", "Version", b"", timeout=5)

A status other than OK is raised as Status, a broken connection as Closed.
"""

import os
import queue
import socket
import struct
import threading
import time
from typing import Callable, NamedTuple, Optional

REQUEST, RESPONSE, DATA = 1, 2, 3
REMOTE_CLOSED, REMOTE_OPEN, NO_DATA = 0x01, 0x02, 0x04
MAX_DATA = 4 << 20

OK, CANCELED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND = range(6)
ALREADY_EXISTS, PERMISSION_DENIED, RESOURCE_EXHAUSTED, FAILED_PRECONDITION = range(6, 10)
ABORTED, OUT_OF_RANGE, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS, UNAUTHENTICATED = range(10, 17)


class Status(Exception):
    """The peer answered with a status other than OK."""

    def __init__(self, code: int, message: str):
        super().__init__(f"code {code}: {message}")
        self.code = code
        self.message = message


class Closed(ConnectionError):
    """The connection ended before the answer came."""


class Timeout(TimeoutError):
    """No answer in the time given. Nothing is told to the server, as with every ttrpc client."""


# ---- frames -----------------------------------------------------------------------------------


class Frame(NamedTuple):
    stream: int
    type: int
    flags: int
    data: bytes


def pack(stream: int, type: int, flags: int = 0, data: bytes = b"", length: Optional[int] = None) -> bytes:
    """A frame's bytes. `length` puts another length than the data's into the header."""
    return struct.pack(">IIBB", len(data) if length is None else length, stream, type, flags) + data


def read_exactly(sock: socket.socket, count: int) -> bytes:
    """count bytes; b"" at an end before the first byte; Closed at an end in the middle."""
    parts, have = [], 0
    while have < count:
        part = sock.recv(min(count - have, 1 << 20))
        if not part:
            if have:
                raise Closed(f"connection ended after {have} of {count} bytes")
            return b""
        parts.append(part)
        have += len(part)
    return b"".join(parts)


def read_frame(sock: socket.socket) -> Optional[Frame]:
    """The next frame, None at the end of the connection."""
    header = read_exactly(sock, 10)
    if not header:
        return None
    length, stream, type, flags = struct.unpack(">IIBB", header)
    data = read_exactly(sock, length) if length else b""
    if len(data) != length:
        raise Closed("connection ended after a header")
    return Frame(stream, type, flags, data)


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, data: bytes) -> bytes:
    """A length-delimited protobuf field."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def fields(data: bytes):
    """Yields (number, value) of a protobuf message: int for varints, bytes for the rest."""

    def number(at):
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value, at

    at = 0
    while at < len(data):
        key, at = number(at)
        kind = key & 7
        if kind == 0:
            value, at = number(at)
        elif kind == 2:
            size, at = number(at)
            value, at = data[at : at + size], at + size
            if len(value) != size:
                raise ValueError("truncated protobuf field")
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            value, at = data[at : at + size], at + size
        else:
            raise ValueError(f"protobuf wire type {kind}")
        yield key >> 3, value


def request(service: str, method: str, payload: bytes = b"", timeout_ns: int = 0, metadata=()) -> bytes:
    """The data of a request frame."""
    out = field(1, service.encode()) + field(2, method.encode())
    if payload:
        out += field(3, payload)
    if timeout_ns:
        out += b"\x20" + varint(timeout_ns)
    for key, value in dict(metadata).items():
        out += field(5, field(1, key.encode()) + field(2, value.encode()))
    return out


def response(payload: bytes = b"", code: int = OK, message: str = "") -> bytes:
    """The data of a response frame, as a Go server makes it."""
    out = b""
    if code:
        out += field(1, b"\x08" + varint(code) + field(2, message.encode()))
    if payload:
        out += field(2, payload)
    return out


def parse_response(data: bytes) -> bytes:
    """The payload; Status where the response says so."""
    code, message, payload = 0, "", b""
    for number, value in fields(data):
        if number == 1:
            for inner, v in fields(value):
                if inner == 1:
                    code = v
                elif inner == 2:
                    message = v.decode(errors="replace")
        elif number == 2:
            payload = value
    if code:
        raise Status(code, message)
    return payload


class Request(NamedTuple):
    service: str
    method: str
    payload: bytes
    timeout_ns: int
    metadata: dict


def parse_request(data: bytes) -> Request:
    service = method = ""
    payload, timeout, metadata = b"", 0, {}
    for number, value in fields(data):
        if number == 1:
            service = value.decode()
        elif number == 2:
            method = value.decode()
        elif number == 3:
            payload = value
        elif number == 4:
            timeout = value - (1 << 64) if value >> 63 else value
        elif number == 5:
            pair = {n: v.decode() for n, v in fields(value)}
            metadata[pair.get(1, "")] = pair.get(2, "")
    return Request(service, method, payload, timeout, metadata)


def _bytes(message) -> bytes:
    return message if isinstance(message, (bytes, bytearray)) else message.SerializeToString()


# ---- sockets --------------------------------------------------------------------------------------


def connect_unix(path: str, netns: Optional[str] = None, timeout: Optional[float] = None) -> socket.socket:
    """A connection to a Unix socket; with netns, made by a thread inside that network namespace, as
    the shim dials for StartVM."""
    if netns is None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            sock.settimeout(timeout)
            sock.connect(path)
            sock.settimeout(None)
            return sock
        except BaseException:
            sock.close()
            raise
    return in_netns(netns, lambda: connect_unix(path, None, timeout))


def in_netns(path: str, function: Callable):
    """Runs function on a thread of its own inside a network namespace, and returns what it returns."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    result: list = []

    def run():
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if libc.setns(fd, 0x40000000):  # CLONE_NEWNET
                errno = ctypes.get_errno()
                raise OSError(errno, f"setns {path}: {os.strerror(errno)}")
            result.append((True, function()))
        except BaseException as error:  # handed to the caller
            result.append((False, error))
        finally:
            os.close(fd)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if not result:
        raise RuntimeError(f"no result from the thread in {path}")
    good, value = result[0]
    if not good:
        raise value
    return value


def wait_for_socket(path: str, timeout: float = 10, alive: Optional[Callable[[], bool]] = None) -> socket.socket:
    """Connects as soon as somebody listens. `alive` false ends the waiting: who should listen is gone."""
    end = time.monotonic() + timeout
    pause = 0.001
    while True:
        try:
            return connect_unix(path)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            if alive is not None and not alive():
                raise Closed(f"{path}: the process that should listen has ended") from error
            if time.monotonic() > end:
                raise Timeout(f"{path}: nobody listens after {timeout} s") from error
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


# ---- client -------------------------------------------------------------------------------------------


class Call:
    """One call under way. result() waits for the answer."""

    def __init__(self, client: "Client", stream: int, what: str):
        self.stream = stream
        self._client = client
        self._what = what
        self._frames: "queue.SimpleQueue" = queue.SimpleQueue()

    def result(self, timeout: Optional[float] = None) -> bytes:
        while True:
            frame = self._next(timeout)
            if frame.type == RESPONSE:
                self._client._forget(self.stream)
                return parse_response(frame.data)

    def done(self) -> bool:
        """Something has arrived that result() would not wait for."""
        return not self._frames.empty()

    def abandon(self) -> None:
        """Stops waiting. The server is told nothing."""
        self._client._forget(self.stream)

    def _next(self, timeout: Optional[float]) -> Frame:
        try:
            frame = self._frames.get(timeout=timeout)
        except queue.Empty:
            self.abandon()
            raise Timeout(f"{self._what}: no answer within {timeout} s") from None
        if isinstance(frame, BaseException):
            raise Closed(f"{self._what}: {frame}")
        return frame


class Stream(Call):
    """A streaming call: send and receive data frames; end with the response."""

    def send(self, message) -> None:
        data = _bytes(message)
        self._client.send(pack(self.stream, DATA, 0, data))

    def close_send(self) -> None:
        self._client.send(pack(self.stream, DATA, REMOTE_CLOSED | NO_DATA))

    def receive(self, timeout: Optional[float] = None) -> Optional[bytes]:
        """The next message; None once the server has sent its last. Status where it failed."""
        frame = self._next(timeout)
        if frame.type == RESPONSE:
            self._client._forget(self.stream)
            parse_response(frame.data)
            return None
        if frame.flags & NO_DATA:
            if frame.flags & REMOTE_CLOSED:
                self._client._forget(self.stream)
                return None
            return self.receive(timeout)
        return frame.data

    def __iter__(self):
        while (message := self.receive()) is not None:
            yield message


class Client:
    """A connection that calls."""

    def __init__(self, sock: socket.socket):
        self.sock = sock
        self._lock = threading.Lock()
        self._next_stream = 1
        self._calls: dict = {}
        self._end: Optional[BaseException] = None
        self._reader = threading.Thread(target=self._read, daemon=True, name="ttrpc-client")
        self._reader.start()

    @classmethod
    def connect(cls, path: str, netns: Optional[str] = None, wait: float = 0) -> "Client":
        """Connects to a Unix socket; `wait` seconds for somebody to listen."""
        if wait:
            return cls(wait_for_socket(path, wait))
        return cls(connect_unix(path, netns))

    def start(self, service: str, method: str, payload=b"", timeout: Optional[float] = None, metadata=()) -> Call:
        """Sends a unary request and returns at once. timeout only fills the request's field."""
        return self._start(Call, 0, service, method, payload, timeout, metadata)

    def call(self, service: str, method: str, payload=b"", timeout: Optional[float] = None, metadata=()) -> bytes:
        """A unary call: the payload of the answer."""
        return self.start(service, method, payload, timeout, metadata).result(timeout)

    def stream(self, service: str, method: str, payload=b"", sends: bool = True, timeout: Optional[float] = None):
        """A streaming call. sends: data frames will follow."""
        flags = REMOTE_OPEN if sends else REMOTE_CLOSED
        return self._start(Stream, flags, service, method, payload, timeout, ())

    def send(self, frame: bytes) -> None:
        """Raw bytes."""
        with self._lock:
            self.sock.sendall(frame)

    @property
    def closed(self) -> bool:
        return self._end is not None

    def wait_closed(self, timeout: Optional[float] = None) -> bool:
        self._reader.join(timeout)
        return not self._reader.is_alive()

    def close(self) -> None:
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        if threading.current_thread() is not self._reader:
            self._reader.join()
        self.sock.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _start(self, kind, flags, service, method, payload, timeout, metadata):
        data = request(service, method, _bytes(payload), int(timeout * 1e9) if timeout else 0, metadata)
        with self._lock:
            if self._end:
                raise Closed(f"{method}: {self._end}")
            call = kind(self, self._next_stream, method)
            self._next_stream += 2
            self._calls[call.stream] = call
            try:
                self.sock.sendall(pack(call.stream, REQUEST, flags, data))
            except OSError as error:
                del self._calls[call.stream]
                raise Closed(f"{method}: {error}") from error
        return call

    def _forget(self, stream: int) -> None:
        with self._lock:
            self._calls.pop(stream, None)

    def _read(self) -> None:
        end: BaseException = Closed("connection closed")
        try:
            while (frame := read_frame(self.sock)) is not None:
                with self._lock:
                    call = self._calls.get(frame.stream)
                if call is not None:  # else: the late answer of a call that was given up
                    call._frames.put(frame)
        except (OSError, ValueError) as error:
            end = error
        with self._lock:
            self._end = end
            calls = list(self._calls.values())
            self._calls.clear()
        for call in calls:
            call._frames.put(end)


# ---- server ------------------------------------------------------------------------------------------


class Context:
    """What a handler may know of its call, and for streaming calls how it talks."""

    def __init__(self, server, connection, stream: int, req: Request, open_for_data: bool):
        self.server = server
        self.connection = connection
        self.stream = stream
        self.request = req
        self._data: "queue.SimpleQueue" = queue.SimpleQueue()
        if not open_for_data:
            self._data.put(None)
        self.streaming = False

    def send(self, message) -> None:
        self.connection.send(pack(self.stream, DATA, 0, _bytes(message)))

    def receive(self, timeout: Optional[float] = None) -> Optional[bytes]:
        """The next data message; None when the client will send no more or is gone."""
        data = self._data.get(timeout=timeout)
        if data is None:
            self._data.put(None)
        return data


class _Connection:
    def __init__(self, sock):
        self.sock = sock
        self._lock = threading.Lock()

    def send(self, data: bytes) -> None:
        with self._lock:
            self.sock.sendall(data)


class Server:
    """Serves handlers: {"service": {"Method": handler(payload, context) -> bytes or message}}.

    Each request runs on a thread of its own. A handler raises Status to fail a call; a function in
    `unknown` gets (service, method, payload, context) for everything else.
    """

    def __init__(self, listener, services: dict, unknown: Optional[Callable] = None, rust_style: bool = False):
        if isinstance(listener, (str, os.PathLike)):
            path = os.fspath(listener)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            listener.bind(path)
            listener.listen(64)
        self.listener = listener
        self.services = services
        self.unknown = unknown
        self.rust_style = rust_style  # an empty status submessage in good answers
        self.requests: list = []  # (service, method) in the order of arrival
        self.connections: list = []
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept, daemon=True, name="ttrpc-server")
        self._thread.start()

    def close(self) -> None:
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        self.drop_connections()
        self._thread.join()

    def drop_connections(self) -> None:
        """Ends every connection, as a crash of the server would."""
        with self._lock:
            connections, self.connections = self.connections, []
        for connection in connections:
            try:
                connection.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            connection = _Connection(sock)
            with self._lock:
                self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True, name="ttrpc-conn").start()

    def _serve(self, connection: _Connection) -> None:
        streams: dict = {}
        try:
            while (frame := read_frame(connection.sock)) is not None:
                if frame.type == REQUEST:
                    req = parse_request(frame.data)
                    with self._lock:
                        self.requests.append((req.service, req.method))
                    context = Context(self, connection, frame.stream, req, bool(frame.flags & REMOTE_OPEN))
                    context.streaming = bool(frame.flags & (REMOTE_OPEN | REMOTE_CLOSED))
                    streams[frame.stream] = context
                    threading.Thread(
                        target=self._handle, args=(connection, frame.stream, req, context, streams), daemon=True
                    ).start()
                elif frame.type == DATA and frame.stream in streams:
                    if not frame.flags & NO_DATA:
                        streams[frame.stream]._data.put(frame.data)
                    if frame.flags & REMOTE_CLOSED:
                        streams[frame.stream]._data.put(None)
        except (OSError, ValueError):
            pass
        finally:
            for context in list(streams.values()):
                context._data.put(None)
            with self._lock:
                if connection in self.connections:
                    self.connections.remove(connection)
            connection.sock.close()

    def _handle(self, connection, stream, req, context, streams) -> None:
        try:
            handler = self.services.get(req.service, {}).get(req.method)
            if handler is not None:
                answer = handler(req.payload, context)
            elif self.unknown is not None:
                answer = self.unknown(req.service, req.method, req.payload, context)
            elif req.service in self.services:
                raise Status(UNIMPLEMENTED, f"method {req.method}")
            else:
                raise Status(UNIMPLEMENTED, f"service {req.service}")
            data = response(_bytes(answer if answer is not None else b""))
            if self.rust_style:
                data = b"\x0a\x00" + data
        except Status as status:
            data = response(b"", status.code, status.message)
        except Exception as error:  # a plain failure, as ttrpc servers report it
            data = response(b"", UNKNOWN, str(error))
        streams.pop(stream, None)
        try:
            connection.send(pack(stream, RESPONSE, 0, data))
        except OSError:
            pass
