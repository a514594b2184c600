# SPDX-License-Identifier: Apache-2.0
"""What every fake cloud is: an HTTP server on 127.0.0.1 that remembers what it was asked and breaks when told to.

    class Cloud(Fake):
        def operation(self, method, path, query, body) -> str: ...   # the name of what is asked for
        def handle(self, call) -> Reply: ...                         # carries it out; default: self.do_<operation>(call)
        def inventory(self) -> dict: ...
        def environment(self) -> dict: ...

    cloud.script("CreateInstance", Reply(503, b"busy"), times=2)     # the next two are answered so, and not carried out
    cloud.script("CreateInstance", Drop("after"))                    # the next is carried out and never answered
    cloud.after_call = lambda call: ...                              # runs between what was done and its answer

Each connection has a thread; handle() runs with `self.lock` held, so what a fake knows needs no locks of its own. The
hook and all waiting happen without it. An exception in a fake's own code is answered with status 500, kept, and raised
again by close(): a broken fake never passes for a cloud that refuses.
"""

import dataclasses
import email.utils
import http.server
import json
import socket
import struct
import threading
import time
import traceback
import urllib.parse
from typing import Callable, Optional, Union

# No cloud of ours takes more in one request of those that we make.
REQUEST_MAX = 4 << 20
# As many connections may wait to be accepted as a node's adaptor can open at once.
BACKLOG = 256

ANY = "*"  # a script for every operation


@dataclasses.dataclass
class Call:
    """One request. query: name -> list of values; headers: as http.client has them, names in any case."""

    time: float  # monotonic, at arrival
    operation: str
    method: str
    path: str
    query: dict
    headers: object
    body: bytes
    status: int = 0  # of the answer; 0: none was sent

    def json(self):
        return json.loads(self.body)

    def one(self, name: str, default: str = "") -> str:
        """A parameter of the query that comes once."""
        values = self.query.get(name, [default])
        if len(values) != 1:
            raise Reply(400, f"query parameter {name} came {len(values)} times".encode())
        return values[0]


class Reply(Exception):
    """An answer; a handler returns it or raises it. A body that is a dict or a list goes out as JSON."""

    def __init__(self, status: int, body: Union[bytes, str, dict, list] = b"", headers=()):
        super().__init__(f"status {status}")
        self.status = status
        self.headers = dict(headers)
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
            self.headers.setdefault("Content-Type", "application/json")
        self.body = body.encode() if isinstance(body, str) else body


@dataclasses.dataclass
class Drop:
    """The connection is reset: "before" the request is carried out, or "after"."""

    when: str

    def __post_init__(self):
        if self.when not in ("before", "after"):
            raise ValueError(f"Drop({self.when!r}): before or after")


@dataclasses.dataclass
class Delay:
    """The request is carried out this much later."""

    seconds: float


@dataclasses.dataclass
class _Script:
    operation: str
    outcome: Union[Reply, Drop, Delay, Callable]
    left: float
    when: Optional[Callable]


class Fake:
    """instances: what its instances are (instances.py). They also know from where the cloud is reached: with a worker
    that is a network namespace, the server's 127.0.0.1 is that of the namespace."""

    def __init__(self, instances=None):
        if instances is None:
            from fakes.instances import Imaginary

            instances = Imaginary()
        self.instances = instances
        self.lock = threading.RLock()
        self.calls: list = []
        self.after_call: Optional[Callable] = None
        self.latency = 0.0  # seconds by which every answer is late
        self.clock_offset = 0.0  # seconds by which the cloud's clock is ahead
        self.errors: list = []  # tracebacks of the fake's own code
        self._scripts: list = []
        self._closed = threading.Event()
        self._server = instances.run(lambda: _Server(self))
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True, name="fake")
        self._thread.start()

    def now(self) -> float:
        """By the cloud's clock."""
        return time.time() + self.clock_offset

    # ---- what a cloud is

    def operation(self, method: str, path: str, query: dict, body: bytes) -> str:
        raise NotImplementedError

    def handle(self, call: Call) -> Reply:
        handler = getattr(self, f"do_{call.operation}", None)
        if handler is None:
            return Reply(404, {"error": f"this fake has no {call.operation}"})
        return handler(call)

    def inventory(self) -> dict:
        """{kind: [names]} of all that exists and costs money or was tagged ours; kinds of which there is none are absent."""
        raise NotImplementedError

    def environment(self) -> dict:
        """The variables that point a driver at this fake."""
        raise NotImplementedError

    # ---- what a test tells it, and asks it

    def script(self, operation: str, outcome, times: Optional[int] = 1, when: Optional[Callable] = None) -> None:
        """The next `times` calls of an operation (None: all; ANY: of every one) for which when(call) holds go so. An
        outcome may also be a function of the call that returns one, or None for business as usual."""
        with self.lock:
            self._scripts.append(_Script(operation, outcome, float("inf") if times is None else times, when))

    def unscript(self) -> None:
        """Forgets what scripts are left."""
        with self.lock:
            self._scripts.clear()

    def count(self, operation: str) -> int:
        return len(self.made(operation))

    def made(self, operation: str) -> list:
        """The calls of one operation."""
        with self.lock:
            return [call for call in self.calls if call.operation == operation]

    def close(self) -> None:
        """Ends every connection and every instance; raises what went wrong in the fake's own code."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server.drop_connections()
        self.instances.close()
        if self.errors:
            raise AssertionError(f"{type(self).__name__}: {len(self.errors)} failures of its own code, the first:\n{self.errors[0]}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- one request

    def _next_script(self, call: Call):
        with self.lock:
            for script in self._scripts:
                if script.operation in (ANY, call.operation) and script.left > 0 and (script.when is None or script.when(call)):
                    script.left -= 1
                    outcome = script.outcome
                    return outcome if isinstance(outcome, (Reply, Drop, Delay)) else outcome(call)
        return None

    def _carry_out(self, call: Call) -> Reply:
        with self.lock:
            try:
                return self.handle(call)
            except Reply as reply:
                return reply

    def _answer(self, method: str, target: str, headers, body: bytes) -> Optional[Reply]:
        """The answer to a request; None: the connection is to be reset."""
        parts = urllib.parse.urlsplit(target)
        query = urllib.parse.parse_qs(parts.query, keep_blank_values=True)
        path = urllib.parse.unquote(parts.path)
        call = Call(time.monotonic(), "", method, path, query, headers, body)
        outcome = None
        try:
            call.operation = self.operation(method, path, query, body)
            with self.lock:
                self.calls.append(call)
            outcome = self._next_script(call)
            delay = self.latency + (outcome.seconds if isinstance(outcome, Delay) else 0)
            if delay:
                self._closed.wait(delay)
            reply = outcome if isinstance(outcome, Reply) else None
            if isinstance(outcome, Drop) and outcome.when == "before":
                return None
            if reply is None:
                reply = self._carry_out(call)
                if (hook := self.after_call) is not None:
                    hook(call)
        except Reply as refusal:  # operation() may refuse too
            reply = refusal
        except Exception:
            with self.lock:
                self.errors.append(traceback.format_exc())
            reply, outcome = Reply(500, "the fake's own code failed"), None
        if isinstance(outcome, Drop):
            return None
        call.status = reply.status
        return reply


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = BACKLOG

    def __init__(self, fake: Fake):
        self.fake = fake
        self._connections: set = set()
        self._resets: set = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    def server_bind(self):
        """Without the look-up of a name that http.server makes."""
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request, client_address):
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def reset(self, request) -> None:
        """The end of this connection will be a reset, as if the cloud's front had died."""
        with self._lock:
            self._resets.add(request)

    def shutdown_request(self, request):
        with self._lock:
            self._connections.discard(request)
            reset = request in self._resets
            self._resets.discard(request)
        if not reset:
            return super().shutdown_request(request)
        request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return request.close()

    def drop_connections(self) -> None:
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def handle_error(self, request, client_address):
        """A client that was killed or has gone: no news."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16  # head and body in one segment

    def log_message(self, *_):
        pass

    def date_time_string(self, timestamp=None):
        return email.utils.formatdate(self.server.fake.now(), usegmt=True)

    def _refuse(self, status: int, text: str) -> None:
        self.close_connection = True
        self._send(Reply(status, text))

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, str(value))
        if reply.status != 204:
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if self.command != "HEAD" and reply.status != 204:
            self.wfile.write(reply.body)
        self.wfile.flush()

    def _serve(self) -> None:
        if self.headers.get("Transfer-Encoding"):
            return self._refuse(411, "a request must say its length")
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal():
            return self._refuse(400, "Content-Length is no number")
        if int(length) > REQUEST_MAX:
            return self._refuse(413, f"more than {REQUEST_MAX} bytes")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self.close_connection = True
            return None
        reply = self.server.fake._answer(self.command, self.path, self.headers, body)
        if reply is None:
            self.server.reset(self.connection)
            self.close_connection = True
            return None
        return self._send(reply)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _serve
