# SPDX-License-Identifier: Apache-2.0
"""The AWS driver, driven by provider-tool: against the fake EC2 (fakes/ec2.py), and against moto behind a front.

The front reads every request by botocore's model and checks its signature with botocore's signer, both as the fake does,
before moto sees it.
"""

import concurrent.futures
import http.client
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse

import pytest

from fakes import ec2, ec2_wire, server
from peerpod import provider_tool
from peerpod.shim import wait_until

REGION = "us-east-2"


class Driver(provider_tool.Driver):
    """cloud: the fake, or Moto."""

    def __init__(self, cloud):
        super().__init__("aws", cloud, hidden=("AWS_", "PODVM_"), secrets=[ec2.SECRET])


@pytest.fixture
def cloud():
    with ec2.Ec2() as running:
        yield running


@pytest.fixture
def driver(cloud):
    return Driver(cloud)


def launched(cloud) -> list:
    """(type, spot) of every launch that was tried."""
    return [(sent.get("InstanceType"), sent.get("InstanceMarketOptions.MarketType") == "spot") for sent in cloud.sent("RunInstances")]


def all_at_once(check, cases) -> None:
    """Calls check(case) for all of them, some at the same time; they mostly wait. Says which ones fail."""
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        running = {case: pool.submit(check, case) for case in cases}
    wrong = {case: future.exception() for case, future in running.items() if future.exception()}
    for case, error in wrong.items():
        raise AssertionError(f"{case}, of {sorted(wrong)} that fail: {error}") from error


class Storm(provider_tool.Storm):
    """A hundred creations at once, each waiting for its address, against EC2's limit of launches."""

    SIZE = 100
    RATE, BURST = 2, 5  # what EC2 gives an account

    def __init__(self):
        cloud = ec2.Ec2(limits={"RunInstances": (self.RATE, self.BURST)}, pending_looks=2)
        cloud.latency = 0.05
        super().__init__(Driver(cloud), self.SIZE, wait=1, seconds=300)


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
