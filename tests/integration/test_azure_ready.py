# SPDX-License-Identifier: Apache-2.0
"""azure-ready against a wireserver that takes nothing but what it documents, and against ones that break or attack."""

import contextlib
import os
import re
import socket
import subprocess
import threading
import time

import pytest

from peerpod import paths
from tunnel_rig import free_port
from wireserver_rig import GOAL_STATE, IDS, STEPS, VERSIONS, Wireserver

BODY_MAX = 1 << 20


def azure_ready(*options, environment=()):
    return subprocess.run(
        [paths.program("azure-ready"), *options], capture_output=True, text=True, timeout=60, env={**os.environ, **dict(environment)}
    )


def assert_failed(done, message):
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].split("azure-ready: ", 1)[1] == message, done.stderr


def assert_reported(server, done, *ids):
    server.assert_reported(*ids)
    assert done.returncode == 0, done.stderr


# ---- what goes well


def test_three_requests_and_the_report_has_the_ids_of_the_goal_state():
    with Wireserver() as server:
        done = azure_ready("-endpoint", server.url)
    assert_reported(server, done, *IDS)
    assert done.stderr.splitlines()[-1].endswith("azure-ready: reported ready to Azure")
    assert len(done.stderr.splitlines()) == 1


def test_without_the_wanted_version_the_first_is_spoken():
    versions = b"<Versions><Supported><Version> 2012-11-30\n</Version><Version>2010-12-15</Version></Supported></Versions>"
    with Wireserver(version="2012-11-30", versions=(200, versions, {})) as server:
        done = azure_ready("-endpoint", server.url)
    assert_reported(server, done, *IDS)


def test_any_status_of_2xx_is_a_success():
    answers = {"versions": (203, VERSIONS, {}), "goal_state": (299, GOAL_STATE, {}), "health_report": (202, b"<html>", {})}
    with Wireserver(**answers) as server:
        done = azure_ready("-endpoint", server.url)
    assert_reported(server, done, *IDS)


def test_ids_arrive_as_they_came_whatever_xml_makes_of_their_characters():
    state = GOAL_STATE.replace(b"4d1c_podvm-web-01234567", b"&lt;/InstanceId&gt;&amp;amp;\"'<![CDATA[<State>]]>")
    with Wireserver(goal_state=(200, state, {})) as server:
        done = azure_ready("-endpoint", server.url)
    assert_reported(server, done, IDS[0], IDS[1], "</InstanceId>&amp;\"'<State>")


def test_an_answer_may_be_as_large_as_the_limit():
    state = GOAL_STATE + b" " * (BODY_MAX - len(GOAL_STATE))
    with Wireserver(goal_state=(200, state, {})) as server:
        done = azure_ready("-endpoint", server.url)
    assert_reported(server, done, *IDS)


def test_no_proxy_of_the_environment_is_asked():
    with Wireserver() as server:
        proxy = f"http://127.0.0.1:{free_port()}"
        done = azure_ready("-endpoint", server.url, environment={"http_proxy": proxy, "ALL_PROXY": proxy, "no_proxy": ""})
    assert_reported(server, done, *IDS)


def test_v_tells_the_requests_and_what_was_learnt():
    with Wireserver() as server:
        done = azure_ready("-endpoint", server.url, "-v")
    assert_reported(server, done, *IDS)
    told = [line.split("azure-ready: ", 1)[1] for line in done.stderr.splitlines()]
    assert told == [
        f"GET {server.url}/?comp=versions",
        "speaking version 2015-04-05",
        f"GET {server.url}/machine/?comp=goalstate",
        f"incarnation {IDS[0]}, container {IDS[1]}, instance {IDS[2]}",
        f"POST {server.url}/machine?comp=health",
        "reported ready to Azure",
    ]


def test_help_and_version():
    done = azure_ready("-help")
    assert done.returncode == 0
    assert re.findall(r"^  -([a-z]+)", done.stdout, re.M) == ["endpoint", "timeout", "v", "version"]
    assert "(default http://168.63.129.16)" in done.stdout and "(default 30s)" in done.stdout
    assert re.fullmatch(r"azure-ready \d+\.\d+\.\d+\n", azure_ready("-version").stdout)
    wrong = azure_ready("-timeout", "soon")
    assert wrong.returncode == 2 and "timeout" in wrong.stderr


# ---- what fails: one line, status 1, nothing tried twice


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("status", [302, 400, 404, 410, 500, 503])
def test_a_status_that_is_no_2xx_fails_and_names_the_request(step, status):
    # Where a redirect would lead, all would be well.
    headers = {"Location": STEPS[step][1]} if status == 302 else {}
    body = {"versions": VERSIONS, "goal state": GOAL_STATE}.get(step, b"")
    with Wireserver(**{step.replace(" ", "_"): (status, body, headers)}) as server:
        done = azure_ready("-endpoint", server.url)
    method, path = STEPS[step]
    assert_failed(done, f"{step}: {method} {server.url}{path}: answered with status {status}")
    assert server.wrong == [] and server.steps == list(STEPS)[: list(STEPS).index(step) + 1]


def test_a_redirect_is_not_followed_to_another_server():
    with Wireserver() as other:
        with Wireserver(versions=(307, b"", {"Location": f"{other.url}/?comp=versions"})) as server:
            done = azure_ready("-endpoint", server.url)
    assert_failed(done, f"versions: GET {server.url}/?comp=versions: answered with status 307")
    assert other.steps == []


def test_nobody_listens():
    port = free_port()
    done = azure_ready("-endpoint", f"http://127.0.0.1:{port}")
    text = done.stderr.split("azure-ready: ", 1)[1].strip()
    assert done.returncode == 1
    assert re.fullmatch(
        rf"versions: GET 127\.0\.0\.1:{port}: Failed to connect to 127\.0\.0\.1 port {port} after \d+ ms: Couldn't connect to server", text
    ), text


@pytest.mark.parametrize("step", STEPS)
def test_no_answer_in_time(step):
    """The server has the request and says nothing: the limit counts for each request."""

    def hang(handler):
        handler.close_connection = True
        server.released.wait(60)

    with Wireserver(**{step.replace(" ", "_"): hang}) as server:
        began = time.monotonic()
        done = azure_ready("-endpoint", server.url, "-timeout", "700ms")
        assert 0.7 <= time.monotonic() - began < 20
    assert_failed(done, f"{step}: {STEPS[step][0]} {server.host}: timed out")


def test_an_answer_that_trickles_ends_at_the_limit():
    def trickle(handler):
        handler.close_connection = True
        handler.send_response(200)
        handler.end_headers()
        with contextlib.suppress(ConnectionError):
            while not server.released.wait(0.05):
                handler.wfile.write(b" ")
                handler.wfile.flush()

    with Wireserver(versions=trickle) as server:
        done = azure_ready("-endpoint", server.url, "-timeout", "700ms")
    assert_failed(done, f"versions: GET {server.host}: timed out")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("told", [True, False], ids=["with its length", "without"])
def test_an_answer_that_is_too_large(step, told):
    body = {"versions": VERSIONS, "goal state": GOAL_STATE}.get(step, b"")
    body += b" " * (BODY_MAX + 1 - len(body))

    def endless(handler):
        handler.close_connection = True
        handler.send_response(200)
        handler.end_headers()
        with contextlib.suppress(ConnectionError):
            handler.wfile.write(body)

    with Wireserver(**{step.replace(" ", "_"): (200, body, {}) if told else endless}) as server:
        done = azure_ready("-endpoint", server.url)
    assert_failed(done, f"{step}: {STEPS[step][0]} {server.host}: the body of the answer has more than 1048576 bytes")


def test_a_server_that_speaks_no_http():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            with listener.accept()[0] as connection:
                connection.recv(4096)
                connection.sendall(VERSIONS)

        thread = threading.Thread(target=serve)
        thread.start()
        host = f"127.0.0.1:{listener.getsockname()[1]}"
        done = azure_ready("-endpoint", f"http://{host}")
        thread.join()
    assert_failed(done, f"versions: GET {host}: Received HTTP/0.9 when not allowed")


@pytest.mark.parametrize(
    "versions, message",
    [
        (b"<Versions><Supported/></Versions>", "the answer has no Versions/Supported/Version"),
        (b"", "the answer is no XML: no element found in line 1"),
        (b'{"versions": []}', "the answer is no XML: not well-formed (invalid token) in line 1"),
        (VERSIONS.replace(b"<Versions>", b"<!DOCTYPE Versions><Versions>"), "the answer has a DTD"),
        (
            b'<!DOCTYPE v [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">]>'
            b"<Versions><Supported><Version>&b;</Version></Supported></Versions>",
            "the answer has a DTD",
        ),
        (
            VERSIONS.replace(b"2015-04-05", b"2015&#13;&#10;x-ms-agent-name: other"),
            "Versions/Supported/Version has characters that are not printable ASCII",
        ),
        (b"<a>" * 100000, "the answer has elements deeper than 16 or names longer than 64"),
    ],
    ids=["none", "empty", "json", "dtd", "entities", "header", "deep"],
)
def test_versions_that_are_refused(versions, message):
    with Wireserver(versions=(200, versions, {})) as server:
        done = azure_ready("-endpoint", server.url)
    assert_failed(done, f"versions: {message}")
    assert server.steps == ["versions"]


@pytest.mark.parametrize(
    "old, new, message",
    [
        (b"<Incarnation>3</Incarnation>", b"", "the answer has no GoalState/Incarnation"),
        (IDS[1].encode(), b"", "the answer has no GoalState/Container/ContainerId"),
        (b"InstanceId>", b"Id>", "the answer has no GoalState/Container/RoleInstanceList/RoleInstance/InstanceId"),
        (b"<GoalState ", b"<!DOCTYPE GoalState SYSTEM 'http://127.0.0.1/'><GoalState ", "the answer has a DTD"),
        (IDS[1].encode(), b"i" * 257, "GoalState/Container/ContainerId is longer than 256 bytes"),
        (IDS[1].encode(), "ä".encode(), "GoalState/Container/ContainerId has characters that are not printable ASCII"),
        (b"</GoalState>", b"", "the answer is no XML: no element found in line 17"),
    ],
    ids=["incarnation", "container", "instance", "dtd", "long", "unprintable", "cut"],
)
def test_goal_states_that_are_refused(old, new, message):
    state = GOAL_STATE.replace(old, new)
    assert state != GOAL_STATE
    with Wireserver(goal_state=(200, state, {})) as server:
        done = azure_ready("-endpoint", server.url)
    assert_failed(done, f"goal state: {message}")
    assert server.steps == ["versions", "goal state"]
