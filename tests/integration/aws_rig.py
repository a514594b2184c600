# SPDX-License-Identifier: Apache-2.0
"""EC2 for the tests of the AWS driver: moto, with a front of our own before it.

The front checks every signature with botocore's signer, remembers every request, and does what moto does not: client
tokens that are honoured, SEV-SNP that is echoed, throttling, capacity errors, connections that break after the
request was carried out, STS and the instance metadata service.
"""

import http.client
import http.server
import json
import os
import re
import socket
import subprocess
import sys
import threading
import urllib.parse

import botocore.auth
import botocore.awsrequest
import botocore.credentials

from peerpod import paths
from peerpod.shim import wait_until

REGION = "us-east-2"
KEY, SECRET = "AKIDTESTEXAMPLE00001", "testSecretKey/0123456789+abcdefghijklmnop"
ERROR = (
    "<Response><Errors><Error><Code>{code}</Code><Message>scripted</Message></Error></Errors>"
    "<RequestID>request-{code}</RequestID></Response>"
)


class ToolError(Exception):
    def __init__(self, kind: str, message: str):
        super().__init__(f"{kind}: {message}")
        self.kind, self.message = kind, message


class Front:
    """The server that the driver talks to. `script(action, ...)` changes the next answers."""

    def __init__(self, moto_port: int):
        self.moto_port = moto_port
        self.lock = threading.Lock()
        self.calls: list = []  # (action, parameters, headers)
        self.scripts: list = []
        self.tokens: dict = {}  # ClientToken -> (what was asked, answer)
        self.secrets = {KEY: SECRET}
        self.imds: dict = {}  # path -> text
        self.sts: list = []  # answers
        self.date = None
        self.page_size = None
        front = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                front.post(self, body)

            def do_PUT(self):
                front.answer(self, 200, b"imds-token" if self.path == "/latest/api/token" else b"")

            def do_GET(self):
                front.get(self)

            def date_time_string(self, timestamp=None):
                return front.date or super().date_time_string(timestamp)

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    @staticmethod
    def answer(handler, status, body, headers=()):
        handler.send_response(status)
        for name, value in headers:
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def get(self, handler):
        if handler.headers.get("X-aws-ec2-metadata-token") != "imds-token" and handler.path.startswith("/latest"):
            return self.answer(handler, 401, b"")
        text = self.imds.get(handler.path.removeprefix("/latest/meta-data/"))
        if callable(text):
            text = text(handler)
        self.answer(handler, 404 if text is None else 200, (text or "").encode())

    def script(self, action, code=None, status=500, times=1, drop=False, headers=(), match=None):
        """The next `times` calls of the action get this error; drop: they are carried out and never answered."""
        with self.lock:
            self.scripts.append(
                {"action": action, "code": code, "status": status, "times": times, "drop": drop, "headers": headers, "match": match}
            )

    def next_script(self, action, parameters):
        with self.lock:
            for entry in self.scripts:
                if entry["action"] == action and entry["times"] and (not entry["match"] or entry["match"](parameters)):
                    entry["times"] -= 1
                    return entry
        return None

    def signature(self, handler, body) -> str:
        found = re.fullmatch(
            r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, SignedHeaders=([a-z0-9;-]+), "
            r"Signature=([0-9a-f]{64})",
            handler.headers["Authorization"] or "",
        )
        assert found, "no Authorization header"
        key, _, region, service, signed, signature = found.groups()
        if key not in self.secrets:
            return "InvalidClientTokenId"
        request = botocore.awsrequest.AWSRequest(
            method="POST",
            url=f"http://{handler.headers['Host']}/",
            data=body,
            headers={name: handler.headers[name] for name in signed.split(";")},
        )
        request.context["timestamp"] = handler.headers["X-Amz-Date"]
        signer = botocore.auth.SigV4Auth(botocore.credentials.Credentials(key, self.secrets[key]), service, region)
        text = signer.string_to_sign(request, signer.canonical_request(request))
        return "" if signer.signature(text, request) == signature else "SignatureDoesNotMatch"

    def post(self, handler, body):
        parameters = dict(urllib.parse.parse_qsl(body.decode(), strict_parsing=True, keep_blank_values=True))
        action = parameters["Action"]
        with self.lock:
            self.calls.append((action, parameters, dict(handler.headers)))
        if action == "AssumeRoleWithWebIdentity":
            status, text = self.sts.pop(0)
            return self.answer(handler, status, text.encode())
        wrong = self.signature(handler, body)
        if wrong:
            return self.answer(handler, 401 if wrong.startswith("Invalid") else 403, ERROR.format(code=wrong).encode())
        entry = self.next_script(action, parameters)
        if entry and not entry["drop"]:
            return self.answer(handler, entry["status"], ERROR.format(code=entry["code"]).encode(), entry["headers"])
        status, answer = self.carry_out(action, parameters, handler)
        if entry:
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
            return None
        return self.answer(handler, status, answer)

    def carry_out(self, action, parameters, handler):
        token = parameters.get("ClientToken")
        asked = {name: value for name, value in parameters.items() if name != "ClientToken"}
        with self.lock:
            if token in self.tokens:
                known, answer = self.tokens[token]
                if known != asked:
                    return 400, ERROR.format(code="IdempotentParameterMismatch").encode()
                return 200, self.as_it_is_now(answer)
            if self.page_size and "MaxResults" in asked:
                asked["MaxResults"] = str(self.page_size)
            status, answer = self.moto(asked, handler)
            if action == "RunInstances" and status == 200:
                if parameters.get("CpuOptions.AmdSevSnp") and b"amdSevSnp" not in answer:
                    answer = answer.replace(
                        b"<instanceType>", b"<cpuOptions><amdSevSnp>enabled</amdSevSnp></cpuOptions><instanceType>"
                    )
                if token:
                    asked = {name: value for name, value in parameters.items() if name != "ClientToken"}
                    self.tokens[token] = (asked, answer)
            return status, answer

    def as_it_is_now(self, answer):
        """The answer to a launch with the state that the instance has meanwhile."""
        made = re.search(rb"<instanceId>(.*?)</instanceId>", answer).group(1).decode()
        _, shown = self.moto({"Action": "DescribeInstances", "Version": "2016-11-15", "InstanceId.1": made})
        state = re.search(rb"<instanceState>.*?</instanceState>", shown, re.DOTALL).group(0)
        return re.sub(rb"<instanceState>.*?</instanceState>", state, answer, flags=re.DOTALL)

    def moto(self, parameters, handler=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.moto_port, timeout=30)
        authorization = f"AWS4-HMAC-SHA256 Credential={KEY}/20260101/{REGION}/ec2/aws4_request, SignedHeaders=host, Signature=0"
        connection.request(
            "POST",
            "/",
            urllib.parse.urlencode(parameters),
            {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8", "Authorization": authorization},
        )
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        return response.status, answer

    def count(self, action) -> int:
        with self.lock:
            return sum(1 for call in self.calls if call[0] == action)

    def sent(self, action) -> list:
        """The parameters of all calls of this action."""
        with self.lock:
            return [parameters for name, parameters, _ in self.calls if name == action]


class Cloud:
    """moto with a network, an image and volumes, the front, and provider-tool to drive the driver."""

    def __init__(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from moto.server import main; main()", "-H", "127.0.0.1", "-p", str(self.port)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "MOTO_EC2_LOAD_DEFAULT_AMIS": "true"},
        )
        self.front = None
        self.actions: set = set()  # all that any test has called

    def ready(self) -> bool:
        assert self.process.poll() is None, "moto ended"
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            return True
        except OSError:
            return False

    def start(self):
        wait_until(self.ready, 60, "moto answers", 0.1)
        self.front = Front(self.port)
        subnets = re.findall(r"<subnetId>(.*?)</subnetId>", self.ask("DescribeSubnets"))
        zones = re.findall(r"<availabilityZone>(.*?)</availabilityZone>", self.ask("DescribeSubnets"))
        self.zones = dict(zip(subnets, zones))
        self.subnets = sorted(subnets)
        self.group = re.search(r"<groupId>(.*?)</groupId>", self.ask("DescribeSecurityGroups")).group(1)
        self.image = re.search(r"<imageId>(.*?)</imageId>", self.ask("DescribeImages")).group(1)
        return self

    def reset_front(self):
        self.actions |= {action for action, _, _ in self.front.calls}
        self.front.close()
        self.front = Front(self.port)

    def close(self):
        if self.front:
            self.front.close()
        self.process.terminate()
        self.process.wait(20)

    def ask(self, action, **parameters) -> str:
        """Straight to moto, past the front."""
        status, answer = Front.moto(self.front, {"Action": action, "Version": "2016-11-15", **parameters})
        assert status == 200, answer.decode()
        return answer.decode()

    def environment(self) -> dict:
        keep = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PODVM_"))}
        return {
            **keep,
            "HOME": "/nonexistent",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.front.url,
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.front.url,
            "AWS_SUBNET_ID": self.subnets[0],
            "AWS_SG_IDS": self.group,
            "PODVM_AMI_ID": self.image,
            "no_proxy": "127.0.0.1",
        }

    def tool(self, verb, environment=(), stdin="", **arguments):
        words = [f"{key.replace('_', '-')}={value}" for key, value in arguments.items()]
        driver = str(paths.BUILD / "providers/aws.so")
        merged = {name: value for name, value in {**self.environment(), **dict(environment)}.items() if value is not None}
        done = subprocess.run(
            [paths.program("provider-tool"), driver, "--", *verb.split(), *words],
            env=merged,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert "Sanitizer" not in done.stderr, done.stderr
        assert SECRET not in done.stderr + done.stdout
        self.log = done.stderr
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert lines, f"exit status {done.returncode}: {done.stderr}"
        value = lines[0] if len(lines) == 1 else lines
        if done.returncode and isinstance(value, dict) and "error" in value:
            raise ToolError(value["error"], value["message"])
        return value
