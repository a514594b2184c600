# SPDX-License-Identifier: Apache-2.0
"""The tests' own ttrpc against the known bytes and against itself."""

import socket
import threading

import pytest

from peerpod import ttrpc
from peerpod.shim import wait_until


def test_frames_are_the_known_bytes():
    check = ttrpc.pack(1, ttrpc.REQUEST, 0, ttrpc.request("grpc.Health", "Check", b"", 30_000_000_000))
    assert check.hex(" ") == (
        "00 00 00 1a 00 00 00 01 01 00 0a 0b 67 72 70 63 2e 48 65 61 6c 74 68 12 05 43 68 65 63 6b 20 80 d8 8e e1 6f"
    )
    error = ttrpc.pack(3, ttrpc.RESPONSE, 0, ttrpc.response(b"", 12, "method Foo"))
    assert error.hex(" ") == "00 00 00 10 00 00 00 03 02 00 0a 0e 08 0c 12 0a 6d 65 74 68 6f 64 20 46 6f 6f"
    assert ttrpc.parse_response(bytes.fromhex("0a0012020801")) == b"\x08\x01"


def test_a_negative_timeout_survives():
    assert ttrpc.parse_request(ttrpc.request("s", "m", b"", -5)).timeout_ns == -5


@pytest.fixture
def pair(tmp_path):
    gate = threading.Event()

    def slow(payload, context):
        gate.wait(10)
        return payload

    def echo_stream(payload, context):
        while (message := context.receive(10)) is not None:
            context.send(message)
        return b""

    def fail(payload, context):
        raise ttrpc.Status(ttrpc.NOT_FOUND, "no such thing")

    services = {"s": {"Echo": lambda p, c: p, "Slow": slow, "Fail": fail, "Stream": echo_stream}}
    with ttrpc.Server(tmp_path / "s.sock", services) as server:
        with ttrpc.Client.connect(str(tmp_path / "s.sock")) as client:
            yield client, server, gate


def test_calls_overtake_each_other(pair):
    client, _, gate = pair
    slow = client.start("s", "Slow", b"late")
    assert client.call("s", "Echo", b"soon", timeout=5) == b"soon"
    gate.set()
    assert slow.result(5) == b"late"


def test_statuses_and_unknown_methods(pair):
    client, _, _ = pair
    for method, code, message in [("Fail", 5, "no such thing"), ("None", 12, "method None")]:
        with pytest.raises(ttrpc.Status) as caught:
            client.call("s", method, timeout=5)
        assert (caught.value.code, caught.value.message) == (code, message)


def test_a_stream_goes_both_ways(pair):
    client, _, _ = pair
    stream = client.stream("s", "Stream")
    for text in (b"one", b"", b"three"):
        stream.send(text)
        assert stream.receive(5) == text
    stream.close_send()
    assert stream.receive(5) is None


def test_a_lost_connection_fails_what_is_under_way(pair):
    client, server, _ = pair
    slow = client.start("s", "Slow", b"never")
    wait_until(lambda: ("s", "Slow") in server.requests, 5, "the call has arrived")
    server.drop_connections()
    with pytest.raises(ttrpc.Closed):
        slow.result(5)
    with pytest.raises(ttrpc.Closed):
        client.call("s", "Echo", timeout=5)


def test_a_frame_cut_short_is_seen():
    a, b = socket.socketpair()
    with a, b:
        a.sendall(ttrpc.pack(1, ttrpc.REQUEST, 0, b"abc", length=9))
        a.shutdown(socket.SHUT_WR)
        with pytest.raises(ttrpc.Closed):
            ttrpc.read_frame(b)
