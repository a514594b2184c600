# SPDX-License-Identifier: Apache-2.0
"""Amazon EC2, STS, Service Quotas, the instance metadata service and a container credential endpoint, on one port.

    cloud = Ec2()                                       # Ec2(instances, region=..., types=..., ...): settings below
    cloud.refuse("InsufficientInstanceCapacity", zone="us-east-2a", times=2)    # launches there, no matter of whom
    cloud.fail("DescribeInstances", "RequestLimitExceeded", times=3, headers={"Retry-After": "1"})
    cloud.sent("RunInstances")                          # the parameters of those calls, as they came over the wire

Requests are read by botocore's model of EC2 (ec2_wire.py) and signatures are checked with botocore's signer. Client tokens are
honoured as EC2 does, tags and states kept, and what exists is told by inventory(). New things can be hidden for some looks
(`hidden_looks`), instances pend for some (`pending_looks`): nothing here depends on a clock, but for the request limits.
"""

import dataclasses
import itertools
import json
import re
import shutil
import tempfile
import time
from typing import Optional

from fakes import ec2_wire as wire
from fakes import server
from fakes.bucket import Bucket
from fakes.ec2_machines import Machines
from fakes.ec2_resources import Resources
from fakes.ec2_things import TYPES, Image, Rule, Type, Volume
from fakes.ec2_wire import Refusal

__all__ = ["KEY", "SECRET", "Ec2", "Image", "Type"]

KEY, SECRET = "AKIDTESTEXAMPLE00001", "testSecretKey/0123456789+abcdefghijklmnop"


class Ec2(Machines, Resources, server.Fake):
    def __init__(
        self,
        instances=None,
        region="us-east-2",
        zones=("a", "b", "c"),
        types=TYPES,
        images=(Image(),),
        limits=None,  # {"RunInstances": (per second, burst)}
        pending_looks=1,
        hidden_looks=0,
        page_max=1000,
    ):
        super().__init__(instances)
        self._folder = tempfile.mkdtemp(prefix="fake-ec2-")
        self.region = region
        self.types = {one.name: dataclasses.replace(one) for one in types}
        self.images = {one.id: dataclasses.replace(one) for one in images}
        self.pending_looks, self.hidden_looks, self.page_max = pending_looks, hidden_looks, page_max
        self.zones = [region + letter for letter in zones]
        self.subnets = {f"subnet-0000000000000000{n}": zone for n, zone in enumerate(self.zones)}
        self.full_subnets: set = set()  # without a free address
        self.groups = ["sg-0123456789abcdef0", "sg-0123456789abcdef1"]
        self.key_pairs = {"operator"}
        self.instance_profiles = {"podvm"}
        self.templates: dict = {}  # name -> parameters of RunInstances, in the model's names
        self.vms: dict = {}
        self.volumes: dict = {}
        self.nics: dict = {}
        self.addresses: dict = {}
        self.launches: dict = {}  # client token -> (what was asked, instance id)
        self.nic_tokens: dict = {}
        self.rules: list = []
        self.doom: Optional[tuple] = None  # what the next instance dies of
        self.attaching_looks = 1
        self.snp_echo: Optional[str] = "enabled"
        self.address_limit = 50
        self.quotas = {
            "L-1216C47A": ("Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", 64),
            "L-34B43A08": ("All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests", 32),
            "L-DB2E81BA": ("Running On-Demand G and VT instances", 0),
        }
        self.denied: set = set()  # actions that the policy does not allow
        self.keys = {KEY: (SECRET, None, None)}
        self.roles = {"arn:aws:iam::123456789012:role/peerpods": {"a.b.c"}}  # role -> web identity tokens taken
        self.metadata: dict = {}  # path below /latest/meta-data/ -> text, or a function that makes it
        self.metadata_tokens: set = set()
        self.container_token = "pod-identity-token"
        self.session_seconds = 3600
        self.console = "kernel: started\n"
        self.log: list = []  # (action, key id) of every EC2 call whose signature was good
        self._numbers = itertools.count(1)
        self._limits = {action: Bucket(*limit) for action, limit in (limits or {}).items()}

    # ---- what tests say and ask

    def refuse(self, code, type=None, zone=None, spot=None, times=None) -> Rule:
        """Launches of this kind are refused. Gives the rule, whose .left a test may set to 0."""
        rule = Rule(code, type, zone, spot, float("inf") if times is None else times)
        with self.lock:
            self.rules.append(rule)
        return rule

    def fail(self, action, code, times=1, headers=(), when=None, status=0) -> None:
        """The next calls of the action are answered by this error and not carried out."""
        reply = server.Reply(
            status or wire.STATUS.get(code, 400),
            wire.write_error(code, "scripted", f"request-{code}"),
            {"Content-Type": "text/xml;charset=UTF-8", **dict(headers)},
        )
        self.script(action, reply, times, when)

    def sent(self, action) -> list:
        return [wire.flat(call.body) for call in self.made(action)]

    def parameters(self, call) -> dict:
        return wire.flat(call.body)

    def actions(self) -> set:
        with self.lock:
            return {call.operation for call in self.calls if call.path == "/" and call.method == "POST"}

    def live(self) -> list:
        with self.lock:
            return [vm for vm in self.vms.values() if vm.alive]

    def inventory(self) -> dict:
        with self.lock:
            found = {
                "instances": [vm.id for vm in self.vms.values() if vm.alive],
                "volumes": list(self.volumes),
                "nics": list(self.nics),
                "addresses": list(self.addresses),
            }
            return {kind: sorted(names) for kind, names in found.items() if names}

    def environment(self) -> dict:
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": self.region,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.url,
            "AWS_SUBNET_ID": next(iter(self.subnets)),
            "AWS_SG_IDS": self.groups[0],
            "PODVM_AMI_ID": next(iter(self.images)),
            "AWS_CATALOGUE_FOLDER": self._folder,
            "no_proxy": "127.0.0.1",
        }

    def close(self) -> None:
        super().close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def make_volume(self, zone=None, size=1, tags=None) -> str:
        with self.lock:
            volume = Volume(self._id("vol"), dict(tags or {}), self._made(), zone=zone or self.zones[0], size=size)
            self.volumes[volume.id] = volume
            return volume.id

    def make_nic(self, tags=None) -> str:
        with self.lock:
            return self._new_nic(next(iter(self.subnets)), (self.groups[0],), dict(tags or {})).id

    def make_address(self, tags=None) -> str:
        with self.lock:
            return self._new_address(dict(tags or {})).id

    def forget_the_dead(self) -> None:
        """As EC2 does an hour after an instance ended."""
        with self.lock:
            self.vms = {vm.id: vm for vm in self.vms.values() if vm.alive}

    def issue_key(self, seconds=None, key=None) -> dict:
        """A temporary key pair, as JSON endpoints give it."""
        key = key or f"ASIATEST{next(self._numbers):012d}"
        token, secret = f"session+{key}//==", f"secret/of+{key}"
        ends = int(self.now() + (self.session_seconds if seconds is None else seconds))
        with self.lock:
            self.keys[key] = (secret, token, ends)
        return {
            "Code": "Success",
            "AccessKeyId": key,
            "SecretAccessKey": secret,
            "Token": token,
            "Expiration": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ends)),
        }

    def give_role(self, role="worker") -> None:
        """This machine is an instance with an instance profile."""
        self.metadata["iam/security-credentials/"] = role + "\n"
        self.metadata[f"iam/security-credentials/{role}"] = lambda: json.dumps(self.issue_key())

    def give_place(self, subnet=None, groups=None, key_pair="") -> None:
        """This machine is an instance in a subnet."""
        nic = "network/interfaces/macs/0a:00:00:00:00:01/"
        self.metadata.update({"mac": "0a:00:00:00:00:01", "placement/region": self.region})
        self.metadata[nic + "subnet-id"] = subnet or next(iter(self.subnets))
        self.metadata[nic + "security-group-ids"] = "\n".join(groups or self.groups[:1])
        if key_pair:
            self.metadata["public-keys"] = f"0={key_pair}\n"

    # ---- from HTTP to an action

    def operation(self, method, path, query, body) -> str:
        if method == "POST" and path == "/" and not query:
            if body.startswith(b"{"):
                return "GetServiceQuota"
            try:
                return wire.flat(body).get("Action", "none")
            except Refusal:
                return "none"
        if path == "/latest/api/token" and method == "PUT":
            return "metadata-token"
        if path.startswith("/latest/meta-data/") and method == "GET":
            return "metadata"
        if path == "/container-credentials" and method == "GET":
            return "container-credentials"
        raise server.Reply(404, "there is nothing here")

    def handle(self, call):
        if call.operation.startswith(("metadata", "container")):
            return getattr(self, "do_" + call.operation.replace("-", "_"))(call)
        request = f"{next(self._numbers):08x}-0000-4000-8000-000000000000"
        xml = {"Content-Type": "text/xml;charset=UTF-8"}
        if call.operation == "GetServiceQuota":
            return self._service_quota(call)
        if call.operation == "AssumeRoleWithWebIdentity":
            try:
                return server.Reply(200, wire.write_sts(call.operation, self._assume_role(call), request), xml)
            except Refusal as no:
                return server.Reply(no.status, wire.write_sts_error(no.code, no.message, request), xml)
        try:
            return server.Reply(200, wire.write("ec2", call.operation, self._ec2(call), request), xml)
        except Refusal as no:
            return server.Reply(no.status, wire.write_error(no.code, no.message, request), xml)

    def _ec2(self, call) -> dict:
        content = call.headers["Content-Type"] or ""
        if content.split(";")[0].strip() != "application/x-www-form-urlencoded":
            raise Refusal("InvalidParameterValue", f"Content-Type {content}")
        wire.check_signature(call.headers, call.body, self.keys, self.region, "ec2", self.now())
        action, asked = wire.read("ec2", call.body)
        self.log.append((action, re.search(r"Credential=([^/]+)", call.headers["Authorization"]).group(1)))
        handler = getattr(self, f"do_{action}", None)
        if handler is None:
            raise Refusal("InvalidAction", f"this fake has no {action}")
        if action in self.denied:
            raise Refusal(
                "UnauthorizedOperation", "You are not authorized to perform this operation. Encoded authorization failure message: 4WnQ"
            )
        if asked.get("DryRun") and action != "RunInstances":
            raise Refusal("DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
        if action in self._limits and not asked.get("DryRun") and not self._limits[action].take(call.time):
            raise Refusal("RequestLimitExceeded", "Request limit exceeded.")
        return handler(asked)

    # ---- Service Quotas

    def _service_quota(self, call):
        """The one call of it that there is, JSON both ways."""
        try:
            wire.check_signature(call.headers, call.body, self.keys, self.region, "servicequotas", self.now())
            action, asked = wire.read_json("service-quotas", call.headers, call.body)
            if action in self.denied:
                raise Refusal("AccessDeniedException", "User is not authorized to perform: servicequotas:GetServiceQuota")
            if asked["ServiceCode"] != "ec2" or asked["QuotaCode"] not in self.quotas:
                raise Refusal("NoSuchResourceException", "The request failed because the specified service does not exist.")
        except Refusal as no:
            return server.Reply(400, {"__type": no.code, "Message": no.message})
        name, value = self.quotas[asked["QuotaCode"]]
        return server.Reply(
            200, {"Quota": {"ServiceCode": "ec2", "QuotaCode": asked["QuotaCode"], "QuotaName": name, "Value": float(value)}}
        )

    # ---- credentials

    def _assume_role(self, call) -> str:
        if call.headers["Authorization"]:
            raise Refusal("InvalidAction", "this request is not to be signed")
        _, asked = wire.read("sts", call.body)
        role, token = asked["RoleArn"], asked["WebIdentityToken"]
        if not 900 <= asked.get("DurationSeconds", 3600) <= 43200 or not re.fullmatch(r"[\w+=,.@-]{2,64}", asked["RoleSessionName"]):
            raise Refusal("ValidationError", "DurationSeconds or RoleSessionName")
        if role not in self.roles:
            raise Refusal("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
        if token not in self.roles[role]:
            raise Refusal("ExpiredTokenException", "Token expired")
        key = self.issue_key()
        values = {name: key[name] for name in ("AccessKeyId", "SecretAccessKey", "Expiration")}
        values["SessionToken"] = key["Token"]
        return "<Credentials>" + "".join(f"<{name}>{value}</{name}>" for name, value in values.items()) + "</Credentials>"

    def do_metadata_token(self, call):
        ttl = call.headers["X-aws-ec2-metadata-token-ttl-seconds"] or ""
        if not ttl.isdecimal() or not 1 <= int(ttl) <= 21600:
            return server.Reply(400)
        token = f"imds-token-{next(self._numbers)}=="
        self.metadata_tokens.add(token)
        return server.Reply(200, token)

    def do_metadata(self, call):
        if call.headers["X-aws-ec2-metadata-token"] not in self.metadata_tokens:
            return server.Reply(401)
        text = self.metadata.get(call.path.removeprefix("/latest/meta-data/"))
        text = text() if callable(text) else text
        return text if isinstance(text, server.Reply) else server.Reply(404 if text is None else 200, text or "")

    def do_container_credentials(self, call):
        if call.headers["Authorization"] != self.container_token:
            return server.Reply(401, "no")
        return server.Reply(200, self.issue_key())
