# SPDX-License-Identifier: Apache-2.0
"""A wireserver that takes nothing but what Azure documents of it, and knows what it was told."""

import contextlib
import http.server
import threading
import xml.etree.ElementTree as ElementTree

VERSIONS = b"""\xef\xbb\xbf<?xml version="1.0" encoding="utf-8"?>
<Versions>
  <Preferred><Version>2015-04-05</Version></Preferred>
  <Supported><Version>2012-11-30</Version><Version>2015-04-05</Version><Version>2010-12-15</Version></Supported>
</Versions>
"""
GOAL_STATE = b"""<?xml version="1.0" encoding="utf-8"?>
<GoalState xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:noNamespaceSchemaLocation="goalstate10.xsd">
  <Version>2015-04-05</Version>
  <Incarnation>3</Incarnation>
  <Machine><ExpectedState>Started</ExpectedState><StopRolesDeadlineHint>300000</StopRolesDeadlineHint></Machine>
  <Container>
    <ContainerId>7f3a2c5e-0000-4000-8000-000000000001</ContainerId>
    <RoleInstanceList>
      <RoleInstance>
        <InstanceId>4d1c_podvm-web-01234567</InstanceId>
        <State>Started</State>
        <Configuration><ConfigName>4d1c.0.config.xml</ConfigName></Configuration>
      </RoleInstance>
    </RoleInstanceList>
  </Container>
</GoalState>
"""
# In the order in which they come.
STEPS = {
    "versions": ("GET", "/?comp=versions"),
    "goal state": ("GET", "/machine/?comp=goalstate"),
    "health report": ("POST", "/machine?comp=health"),
}
IDS = ("3", "7f3a2c5e-0000-4000-8000-000000000001", "4d1c_podvm-web-01234567")


def tree(element):
    """Names, attributes, text and children; white space between elements is nothing."""
    return element.tag, element.attrib, (element.text or "").strip(), [tree(child) for child in element]


def report(incarnation, container, instance):
    def node(name, text="", *children):
        return name, {}, text, list(children)

    role = node("Role", "", node("InstanceId", instance), node("Health", "", node("State", "Ready")))
    inner = node("Container", "", node("ContainerId", container), node("RoleInstanceList", "", role))
    return node("Health", "", node("GoalStateIncarnation", incarnation), inner)


class Wireserver:
    """host: by what name it is asked, where that is not its own. answers: what to say instead, by step: (status, body,
    headers), or a function of the handler that does it all. What Azure does not document is answered with status 400
    and kept in `wrong`."""

    def __init__(self, version="2015-04-05", host=None, **answers):
        self.version = version
        self.answers = {
            "versions": (200, VERSIONS, {}),
            "goal state": (200, GOAL_STATE, {}),
            "health report": (200, b"", {}),
            **{name.replace("_", " "): answer for name, answer in answers.items()},
        }
        self.steps, self.reports, self.wrong = [], [], []
        self.released = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def serve(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                step = next((s for s, line in STEPS.items() if line == (self.command, self.path)), None)
                outer.steps.append(step)
                if complaint := outer.complaint(step, self.headers, body):
                    outer.wrong.append(complaint)
                    return self.reply(400, complaint.encode(), {})
                answer = outer.answers[step]
                return answer(self) if callable(answer) else self.reply(*answer)

            do_GET = do_POST = do_PUT = do_HEAD = serve

            def reply(self, status, content, headers):
                self.send_response(status)
                for name, value in {"Content-Length": len(content), **headers}.items():
                    self.send_header(name, str(value))
                self.end_headers()
                with contextlib.suppress(ConnectionError):
                    self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        self.host = host or f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))

    def complaint(self, step, headers, body):
        if step is None:
            return "no such request"
        if step != list(STEPS)[len(self.steps) - 1]:
            return f"{step} came as request {len(self.steps)}"
        expected = {"Host": [self.host], "x-ms-agent-name": ["azure-ready"]}
        if step != "versions":
            expected["x-ms-version"] = [self.version]
        if step == "health report":
            expected["Content-Type"] = ["text/xml; charset=utf-8"]
        for name in ("Host", "x-ms-agent-name", "x-ms-version", "Content-Type", "Transfer-Encoding", "Expect"):
            if headers.get_all(name, []) != expected.get(name, []):
                return f"{step}: {name} is {headers.get_all(name, [])}"
        if step == "health report":
            self.reports.append(body)
        elif body:
            return f"{step} has a body"
        return None

    def assert_reported(self, *ids):
        """All three requests came, each once, and nothing else; the report is of this incarnation, container, instance."""
        assert (self.wrong, self.steps) == ([], list(STEPS))
        assert [tree(ElementTree.fromstring(body)) for body in self.reports] == [report(*ids)]

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.released.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
