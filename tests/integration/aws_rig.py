# SPDX-License-Identifier: Apache-2.0
"""The AWS driver, driven by provider-tool: against the fake EC2 (fakes/ec2.py), and against moto behind a front.

The front reads every request by botocore's model and checks its signature with botocore's signer, both as the fake does,
before moto sees it.
"""

import concurrent.futures
import http.client
import itertools
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse

from fakes import ec2, ec2_wire, server
from peerpod import paths
from peerpod.shim import wait_until

REGION = "us-east-2"


class ToolError(Exception):
    def __init__(self, kind: str, message: str):
        super().__init__(f"{kind}: {message}")
        self.kind, self.message = kind, message


class Driver:
    """provider-tool with aws.so. cloud: has environment()."""

    def __init__(self, cloud):
        self.cloud = cloud
        self.log = ""  # of the last call

    def environment(self, more=()) -> dict:
        keep = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PODVM_", "HOME"))}
        merged = {**keep, "HOME": "/nonexistent", **self.cloud.environment(), **dict(more)}
        return {name: value for name, value in merged.items() if value is not None}

    def start(self, verb, environment=(), **arguments) -> subprocess.Popen:
        words = [f"{key.replace('_', '-')}={value}" for key, value in arguments.items()]
        return subprocess.Popen(
            [paths.program("provider-tool"), str(paths.BUILD / "providers/aws.so"), "--", *verb.split(), *words],
            env=self.environment(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, process, stdin="", timeout=120):
        output, self.log = process.communicate(stdin, timeout=timeout)
        assert "Sanitizer" not in self.log and "runtime error" not in self.log, self.log
        assert ec2.SECRET not in self.log + output
        lines = [json.loads(line) for line in output.splitlines()]
        assert lines, f"exit status {process.returncode}: {self.log}"
        value = lines[0] if len(lines) == 1 else lines
        if process.returncode and isinstance(value, dict) and "error" in value:
            raise ToolError(value["error"], value["message"])
        return value

    def tool(self, verb, environment=(), stdin="", **arguments):
        return self.finish(self.start(verb, environment, **arguments), stdin)

    def killed_after(self, call, verb, environment=(), **arguments) -> bool:
        """Runs a verb and kills its process once the cloud has carried out that many calls, or one of that name. False: it
        ended before."""
        done = itertools.count(1)
        process = self.start(verb, environment, **arguments)

        def hook(made):
            if call in (made.operation, next(done)):
                process.kill()
                process.wait()

        self.cloud.after_call = hook
        try:
            process.communicate(timeout=120)
        finally:
            self.cloud.after_call = None
        return process.returncode == -signal.SIGKILL


def all_at_once(check, cases) -> None:
    """Calls check(case) for all of them, some at the same time; they mostly wait. Says which ones fail."""
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        running = {case: pool.submit(check, case) for case in cases}
    wrong = {case: future.exception() for case, future in running.items() if future.exception()}
    for case, error in wrong.items():
        raise AssertionError(f"{case}, of {sorted(wrong)} that fail: {error}") from error


class Storm:
    """A hundred creations at once, each waiting for its address, against EC2's limit of launches."""

    SIZE = 100
    RATE, BURST = 2, 5  # what EC2 gives an account

    def __init__(self):
        self.cloud = ec2.Ec2(limits={"RunInstances": (self.RATE, self.BURST)}, pending_looks=2)
        self.cloud.latency = 0.05
        self.driver = Driver(self.cloud)
        token = secrets.token_hex(10) + "%d"
        self.process = self.driver.start(f"parallel {self.SIZE} create", token=token, name="podvm-%d", wait=1, seconds=300)

    def finish(self):
        return self.driver.finish(self.process, timeout=300)

    def close(self):
        self.process.kill()
        self.process.wait()
        self.cloud.close()


class Front(server.Fake):
    """What the driver talks to instead of moto itself."""

    def __init__(self, moto):
        super().__init__()
        self.moto = moto

    def operation(self, method, path, query, body) -> str:
        if (method, path) != ("POST", "/"):
            raise server.Reply(404)
        if body.startswith(b"{"):
            raise server.Reply(400, {"__type": "AccessDeniedException", "Message": "EC2 is all that there is here"})
        return ec2_wire.flat(body)["Action"]

    def handle(self, call):
        keys = {ec2.KEY: (ec2.SECRET, None, None)}
        try:
            ec2_wire.check_signature(call.headers, call.body, keys, REGION, "ec2", time.time())
            ec2_wire.read("ec2", call.body)
        except ec2_wire.Refusal as no:
            return server.Reply(no.status, ec2_wire.write_error(no.code, no.message, "front"))
        return server.Reply(*self.moto.forward(call.body))

    def sent(self, action) -> list:
        return [ec2_wire.flat(call.body) for call in self.made(action)]


class Moto:
    """moto's own process, with the network and the images that it starts with."""

    def __init__(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.folder = tempfile.TemporaryDirectory(prefix="aws-catalogue-")
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from moto.server import main; main()", "-H", "127.0.0.1", "-p", str(self.port)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "MOTO_EC2_LOAD_DEFAULT_AMIS": "true"},
        )
        self.front = None

    def ready(self) -> bool:
        assert self.process.poll() is None, "moto ended"
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            return True
        except OSError:
            return False

    def start(self):
        wait_until(self.ready, 60, "moto answers", 0.1)
        shown = self.ask("DescribeSubnets")
        subnets, zones = re.findall(r"<subnetId>(.*?)</subnetId>", shown), re.findall(r"<availabilityZone>(.*?)</availabilityZone>", shown)
        self.zones = dict(zip(subnets, zones))
        self.subnets = sorted(subnets)
        self.group = re.search(r"<groupId>(.*?)</groupId>", self.ask("DescribeSecurityGroups")).group(1)
        self.image = re.search(r"<imageId>(.*?)</imageId>", self.ask("DescribeImages")).group(1)
        self.front = Front(self)
        return self

    def close(self):
        if self.front:
            self.front.close()
        self.process.terminate()
        self.process.wait(20)
        self.folder.cleanup()

    def forward(self, body: bytes) -> tuple:
        """Straight to moto, past the front: (status, answer)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        authorization = f"AWS4-HMAC-SHA256 Credential={ec2.KEY}/20260101/{REGION}/ec2/aws4_request, SignedHeaders=host, Signature=0"
        content = "application/x-www-form-urlencoded; charset=utf-8"
        connection.request("POST", "/", body, {"Content-Type": content, "Authorization": authorization})
        response = connection.getresponse()
        answer = response.read()
        connection.close()
        return response.status, answer

    def ask(self, action, **parameters) -> str:
        status, answer = self.forward(urllib.parse.urlencode({"Action": action, "Version": "2016-11-15", **parameters}).encode())
        assert status == 200, answer.decode()
        return answer.decode()

    def environment(self) -> dict:
        return {
            "AWS_ACCESS_KEY_ID": ec2.KEY,
            "AWS_SECRET_ACCESS_KEY": ec2.SECRET,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.front.url,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CATALOGUE_FOLDER": self.folder.name,
            "AWS_SUBNET_ID": self.subnets[0],
            "AWS_SG_IDS": self.group,
            "PODVM_AMI_ID": self.image,
            "DISABLECVM": "true",  # moto does not tell whether an instance is confidential
            "no_proxy": "127.0.0.1",
        }
