# SPDX-License-Identifier: Apache-2.0
"""What all fake clouds share does what the tests of drivers rely on."""

import http.client
import os
import secrets
import socket
import threading
import time

import pytest

import conftest
from fakes.instances import Imaginary, Netns
from fakes.server import ANY, REQUEST_MAX, Delay, Drop, Fake, Reply
from peerpod import cni


class Shelf(Fake):
    """A cloud that keeps names: PUT and DELETE /<name>, GET /."""

    def __init__(self, instances=None):
        self.names: set = set()
        super().__init__(instances)

    def operation(self, method, path, query, body):
        return {"PUT": "keep", "DELETE": "drop", "GET": "list"}.get(method) or method.lower()

    def do_keep(self, call):
        if call.path == "/broken":
            raise KeyError("no such thing")
        self.names.add(call.path[1:])
        return Reply(201, {"name": call.path[1:]})

    def do_drop(self, call):
        if call.path[1:] not in self.names:
            raise Reply(404, b"gone")
        self.names.discard(call.path[1:])
        return Reply(204)

    def do_list(self, call):
        return Reply(200, sorted(self.names))

    def inventory(self):
        return {"name": sorted(self.names)}

    def environment(self):
        return {"SHELF_URL": self.url}


@pytest.fixture
def shelf():
    with Shelf() as fake:
        yield fake


def connect(fake):
    return http.client.HTTPConnection("127.0.0.1", fake.port, timeout=20)


def ask(connection, method, path, body=None):
    connection.request(method, path, body)
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_a_connection_serves_many_requests_and_all_are_remembered(shelf):
    connection = connect(shelf)
    assert ask(connection, "PUT", "/a%20b?x=1&x=2&y=", b"body") == (201, b'{"name": "a b"}')
    first = connection.sock
    assert ask(connection, "GET", "/") == (200, b'["a b"]')
    assert ask(connection, "DELETE", "/a%20b") == (204, b"")
    assert ask(connection, "DELETE", "/a%20b") == (404, b"gone")
    assert connection.sock is first
    assert [(c.operation, c.status) for c in shelf.calls] == [("keep", 201), ("list", 200), ("drop", 204), ("drop", 404)]
    call = shelf.made("keep")[0]
    assert (call.path, call.query, call.body) == ("/a b", {"x": ["1", "2"], "y": [""]}, b"body")


def test_a_scripted_answer_is_given_so_often_and_nothing_is_carried_out(shelf):
    shelf.script("keep", Reply(503, b"busy", {"Retry-After": "1"}), times=2)
    connection = connect(shelf)
    assert [ask(connection, "PUT", f"/{n}")[0] for n in range(3)] == [503, 503, 201]
    assert shelf.inventory() == {"name": ["2"]}


def test_scripts_may_choose_their_calls(shelf):
    shelf.script(ANY, lambda call: Reply(418) if call.path == "/tea" else None, times=None)
    shelf.script("keep", Reply(409), times=None, when=lambda call: call.path == "/taken")
    connection = connect(shelf)
    assert [ask(connection, "PUT", path)[0] for path in ("/tea", "/milk")] == [418, 201]
    shelf.unscript()
    assert [ask(connection, "PUT", path)[0] for path in ("/tea", "/taken")] == [201, 201]


@pytest.mark.parametrize("when, kept", [("before", []), ("after", ["a"])])
def test_a_dropped_connection_is_reset_before_or_after_the_deed(shelf, when, kept):
    shelf.script("keep", Drop(when))
    with pytest.raises(ConnectionResetError):
        ask(connect(shelf), "PUT", "/a")
    assert shelf.inventory() == {"name": kept}
    assert shelf.calls[0].status == 0


def test_the_hook_runs_between_deed_and_answer(shelf):
    seen = []
    answered = threading.Event()
    shelf.after_call = lambda call: seen.append((call.operation, shelf.inventory(), answered.is_set()))
    ask(connect(shelf), "PUT", "/a")
    answered.set()
    assert seen == [("keep", {"name": ["a"]}, False)]


def test_a_delay_delays_and_close_ends_it():
    fake = Shelf()
    fake.script("list", Delay(3600))
    connection = connect(fake)
    connection.request("GET", "/")
    deadline = time.monotonic() + 10
    while not fake.calls:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    fake.close()
    with pytest.raises((ConnectionError, http.client.HTTPException, OSError)):
        ask(connect(fake), "GET", "/")


@pytest.mark.parametrize(
    "head, status",
    [
        (f"Content-Length: {REQUEST_MAX + 1}", 413),
        ("Content-Length: many", 400),
        ("Transfer-Encoding: chunked", 411),
    ],
)
def test_a_request_without_bounds_is_refused(shelf, head, status):
    with socket.create_connection(("127.0.0.1", shelf.port), timeout=20) as sock:
        sock.sendall(f"PUT /a HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n".encode())
        assert sock.makefile("rb").readline().split()[1] == str(status).encode()
    assert shelf.calls == []


def test_a_hundred_connections_at_once(shelf):
    shelf.latency = 0.05
    ready = threading.Barrier(100)
    wrong = []

    def one(n):
        try:
            connection = connect(shelf)
            ready.wait(20)
            if ask(connection, "PUT", f"/{n}")[0] != 201 or ask(connection, "GET", "/")[0] != 200:
                wrong.append(n)
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=one, args=(n,)) for n in range(100)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(shelf.inventory()["name"]) == 100 and len(shelf.calls) == 200


def test_a_fake_that_fails_itself_is_told_at_its_end():
    fake = Shelf()
    assert ask(connect(fake), "PUT", "/broken")[0] == 500
    with pytest.raises(AssertionError, match="no such thing"):
        fake.close()


def test_a_cloud_can_be_inside_the_workers_network():
    conftest.need(os.geteuid() == 0, "needs root: network namespaces")
    with cni.Worker("tfk") as worker, Shelf(Imaginary(worker=worker)) as fake:
        assert worker.run(lambda: ask(connect(fake), "PUT", "/a"))[0] == 201
        with pytest.raises(ConnectionRefusedError):
            ask(connect(fake), "PUT", "/b")


def test_imaginary_instances_have_addresses_of_their_own():
    instances = Imaginary("10.1.0.0/24")
    first, second = instances.create("a", b"x", nics=2), instances.create("b", b"y")
    assert first.addresses == ["10.1.0.4", "10.1.0.5"] and second.address == "10.1.0.6"
    instances.delete(first)
    instances.delete(first)
    assert instances.existing == [second] and second.user_data == b"y"


def test_netns_instances_get_the_user_data_byte_for_byte_and_leave_nothing():
    conftest.need(os.geteuid() == 0, "needs root: network namespaces")
    data = b"#cloud-config\n" + bytes(range(256))
    with cni.Worker("t" + secrets.token_hex(2)) as worker:
        instances = Netns(worker=worker)
        made = []
        threads = [threading.Thread(target=lambda n=n: made.append(instances.create(f"i-{n}", data))) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({i.address for i in made}) == 4 and len(instances.tokens()) == 4
        links = {f"ni0{one.token[:11]}" for one in made}
        assert links | {"pp-netns0"} <= cni.links(worker.name)
        for one in made:
            assert (instances.state / one.token / "user-data").read_bytes() == data
        instances.delete(made[0])
        instances.delete(made[0])
        assert len(instances.tokens()) == 3 and len(instances.existing) == 3
        instances.close()
        assert not instances.state.exists()
        assert cni.links(worker.name) == {"lo"}
    assert not links & cni.links()  # of this machine, where other tests' links come and go
