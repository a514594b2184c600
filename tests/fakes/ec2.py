# SPDX-License-Identifier: Apache-2.0
"""Amazon EC2, STS, the instance metadata service and a container credential endpoint, on one port.

    cloud = Ec2()                                       # Ec2(instances, region=..., types=..., ...): settings below
    cloud.refuse("InsufficientInstanceCapacity", zone="us-east-2a", times=2)    # launches there, no matter of whom
    cloud.fail("DescribeInstances", "RequestLimitExceeded", times=3, headers={"Retry-After": "1"})
    cloud.sent("RunInstances")                          # the parameters of those calls, as they came over the wire

Requests are read by botocore's model of EC2 (ec2_wire.py) and signatures are checked with botocore's signer. Client tokens are
honoured as EC2 does, tags and states kept, and what exists is told by inventory(). New things can be hidden for some looks
(`hidden_looks`), instances pend for some (`pending_looks`): nothing here depends on a clock, but for the request limits.
"""

import base64
import dataclasses
import datetime
import email.utils
import fnmatch
import itertools
import json
import re
import shutil
import tempfile
import time
from typing import Optional

from fakes import ec2_wire as wire
from fakes import server
from fakes.ec2_wire import Refusal

KEY, SECRET = "AKIDTESTEXAMPLE00001", "testSecretKey/0123456789+abcdefghijklmnop"
ACCOUNT = "123456789012"
USER_DATA_MAX = 16384
FILTER_VALUES_MAX = 200


@dataclasses.dataclass
class Type:
    """An instance type: what DescribeInstanceTypes tells of it, and the zones that have it (None: all)."""

    name: str
    vcpus: int
    memory_mib: int
    gpus: int = 0
    snp: bool = False
    nics: int = 3
    volumes: int = 27
    architecture: str = "x86_64"
    spot: bool = True
    zones: Optional[tuple] = None


TYPES = (
    Type("m6a.large", 2, 8192, snp=True),
    Type("m6a.xlarge", 4, 16384, snp=True, nics=4),
    Type("m6a.2xlarge", 8, 32768, snp=True, nics=4),
    Type("c6a.large", 2, 4096, snp=True),
    Type("c6a.xlarge", 4, 8192, snp=True, nics=4),
    Type("r6a.large", 2, 16384, snp=True),
    Type("t3.micro", 2, 1024, nics=2),
    Type("t3.large", 2, 8192),
    Type("r5.large", 2, 16384),
    Type("m5.xlarge", 4, 16384, nics=4),
    Type("c5.2xlarge", 8, 16384, nics=4),
    Type("r5.xlarge", 4, 32768, nics=4),
    Type("g4dn.xlarge", 4, 16384, gpus=1),
    Type("m6g.large", 2, 8192, architecture="arm64"),
    Type("u-6tb1.metal", 448, 6291456, spot=False, zones=("us-east-2a",)),
)


@dataclasses.dataclass
class Image:
    id: str = "ami-0123456789abcdef0"
    root_device: str = "/dev/xvda"
    root_gib: int = 8
    boot_mode: str = "uefi"
    architecture: str = "x86_64"
    state: str = "available"
    keeps_root: bool = False  # DeleteOnTermination of its root mapping is false
    more_devices: tuple = ()  # ({"DeviceName":..., "VirtualName":...} or Ebs), before the root device


@dataclasses.dataclass
class Thing:
    """What all resources have."""

    id: str
    tags: dict
    made: datetime.datetime
    hidden: int = 0  # looks that do not see it yet


@dataclasses.dataclass
class Volume(Thing):
    zone: str = ""
    size: int = 1
    kind: str = "gp2"
    encrypted: bool = False
    kms_key: str = ""
    instance: str = ""
    device: str = ""
    attaching: int = 0  # looks until "attaching" becomes "attached"
    dies_with_instance: bool = False


@dataclasses.dataclass
class Nic(Thing):
    subnet: str = ""
    address: str = ""
    groups: tuple = ()
    instance: str = ""
    index: int = 0
    attachment: str = ""
    dies_with_instance: bool = False
    public: str = ""  # an address that comes with the NIC, not an elastic one


@dataclasses.dataclass
class Address(Thing):
    public: str = ""
    association: str = ""
    nic: str = ""


@dataclasses.dataclass
class Vm(Thing):
    asked: dict = dataclasses.field(default_factory=dict)  # the launch, with its template worked in
    type: str = ""
    image: str = ""
    subnet: str = ""
    state: str = "pending"
    pending: int = 0
    reason: tuple = ("", "")
    spot: bool = False
    snp: str = ""
    root_device: str = ""
    token: str = ""
    user_data: bytes = b""
    handle: object = None
    doomed: tuple = ()  # (code, text) that it dies of instead of running

    @property
    def alive(self) -> bool:
        return self.state not in ("shutting-down", "terminated")


@dataclasses.dataclass
class Rule:
    code: str
    type: Optional[str]
    zone: Optional[str]
    spot: Optional[bool]
    left: float


class _Bucket:
    """Amazon's token bucket, by the times at which requests arrived."""

    def __init__(self, per_second: float, burst: int):
        self.per_second, self.burst = per_second, burst
        self.tokens, self.last = float(burst), None

    def take(self, now: float) -> bool:
        if self.last is not None:
            self.tokens = min(self.burst, self.tokens + (now - self.last) * self.per_second)
        self.last = now if self.last is None else max(now, self.last)
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


STATE_CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}


class _Handler(server._Handler):
    def date_time_string(self, timestamp=None):
        return email.utils.formatdate(self.server.fake.now(), usegmt=True)


class Ec2(server.Fake):
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
        self._server.RequestHandlerClass = _Handler
        self._folder = tempfile.mkdtemp(prefix="fake-ec2-")
        self.region = region
        self.types = {one.name: one for one in types}
        self.images = {one.id: one for one in images}
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
        self.snp_echo: Optional[str] = "enabled"
        self.address_limit = 50
        self.denied: set = set()  # actions that the policy does not allow
        self.keys = {KEY: (SECRET, None, None)}
        self.clock_offset = 0.0
        self.roles = {"arn:aws:iam::123456789012:role/peerpods": {"a.b.c"}}  # role -> web identity tokens taken
        self.metadata: dict = {}  # path below /latest/meta-data/ -> text, or a function that makes it
        self.metadata_tokens: set = set()
        self.container_token = "pod-identity-token"
        self.session_seconds = 3600
        self.console = "kernel: started\n"
        self.log: list = []  # (action, key id) of every EC2 call whose signature was good
        self._numbers = itertools.count(1)
        self._limits = {action: _Bucket(*limit) for action, limit in (limits or {}).items()}

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

    def now(self) -> float:
        return time.time() + self.clock_offset

    def operation(self, method, path, query, body) -> str:
        if method == "POST" and path == "/" and not query:
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

    # ---- resources

    def _id(self, prefix) -> str:
        return f"{prefix}-{next(self._numbers):017x}"

    def _made(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(int(self.now()), datetime.timezone.utc)

    def _tags_of(self, asked, kind) -> dict:
        tags: dict = {}
        for one in asked.get("TagSpecifications", []):
            if "ResourceType" not in one:
                raise Refusal("MissingParameter", "TagSpecification needs ResourceType")
            for tag in one.get("Tags", []):
                key, value = tag.get("Key", ""), tag.get("Value", "")
                if (
                    not 0 < len(key) <= 128
                    or len(value) > 256
                    or key.lower().startswith("aws:")
                    or key in (tags if one["ResourceType"] == kind else ())
                ):
                    raise Refusal("InvalidParameterValue", f"Tag {key[:130]}={value[:260]}")
                if one["ResourceType"] == kind:
                    tags[key] = value
        if len(tags) > 50:
            raise Refusal("TagLimitExceeded", "more than 50 tags")
        return tags

    def _only_kinds(self, asked, *kinds):
        for one in asked.get("TagSpecifications", []):
            if one.get("ResourceType") not in kinds:
                raise Refusal(
                    "InvalidParameterValue", f"'{one.get('ResourceType')}' is not a valid taggable resource type for this operation."
                )

    def _new_nic(self, subnet, groups, tags, address=None) -> Nic:
        nic = Nic(self._id("eni"), tags, self._made(), self.hidden_looks, subnet, address or f"10.98.{next(self._numbers) % 250}.7", groups)
        self.nics[nic.id] = nic
        return nic

    def _new_address(self, tags) -> Address:
        number = next(self._numbers)
        address = Address(self._id("eipalloc"), tags, self._made(), self.hidden_looks, f"203.0.113.{number % 250 + 1}")
        self.addresses[address.id] = address
        return address

    @staticmethod
    def _seen(things) -> list:
        """Those that this look sees."""
        found = []
        for thing in things:
            if thing.hidden > 0:
                thing.hidden -= 1
            else:
                found.append(thing)
        return found

    def _select(self, all_things, ids, code, prefix, filters, readers) -> list:
        """Those of these ids (None: all) that the filters let through."""
        if ids is not None:
            for one in ids:
                if not re.fullmatch(prefix + r"-[0-9a-f]{8,17}", one):
                    raise Refusal(code.split(".")[0] + ".Malformed", f'Invalid id: "{one}"')
            seen = {thing.id: thing for thing in self._seen([all_things[one] for one in ids if one in all_things])}
            for one in ids:
                if one not in seen:
                    raise Refusal(code, f"The ID '{one}' does not exist")
            things = list(seen.values())
        else:
            things = list(all_things.values())
        matching = [thing for thing in things if self._matches(thing, filters, readers)]
        return matching if ids is not None else self._seen(matching)

    @staticmethod
    def _matches(thing, filters, readers) -> bool:
        for one in filters or []:
            name, values = one.get("Name", ""), one.get("Values", [])
            if len(values) > FILTER_VALUES_MAX:
                raise Refusal(
                    "FilterLimitExceeded", f"The maximum number of filter values specified on a single call is {FILTER_VALUES_MAX}"
                )
            if not values:
                raise Refusal("InvalidParameterValue", f"The filter {name} has no values")
            if name.startswith("tag:"):
                had = [thing.tags[name[4:]]] if name[4:] in thing.tags else []
            elif name == "tag-key":
                had = list(thing.tags)
            elif name in readers:
                had = readers[name](thing)
                had = had if isinstance(had, (list, tuple)) else [had]
            else:
                raise Refusal("InvalidParameterValue", f"The filter '{name}' is invalid")
            if not any(fnmatch.fnmatchcase(str(have), value) for have in had for value in values):
                return False
        return True

    def _page(self, asked, things, least=5, most=1000) -> tuple:
        """(the page, NextToken or None)."""
        size = asked.get("MaxResults", most)
        if not least <= size <= most:
            raise Refusal("InvalidParameterValue", f"Value ({size}) for parameter MaxResults is invalid. Expected {least} to {most}")
        start = 0
        if "NextToken" in asked:
            if not asked["NextToken"].startswith("page+") or not asked["NextToken"][5:-2].isdecimal():
                raise Refusal("InvalidNextToken", "The token is not one of ours")
            start = int(asked["NextToken"][5:-2])
        end = start + min(size, self.page_max)
        return things[start:end], f"page+{end}==" if end < len(things) else None

    @staticmethod
    def _tag_set(thing) -> list:
        return [{"Key": key, "Value": value} for key, value in thing.tags.items()]

    # ---- launching

    def do_RunInstances(self, asked) -> dict:
        token = asked.get("ClientToken", "")
        if len(token) > 64:
            raise Refusal("InvalidParameterValue", "ClientToken has more than 64 characters")
        key = {name: value for name, value in asked.items() if name != "ClientToken"}
        if token in self.launches:
            known, made = self.launches[token]
            if known != key:
                raise Refusal("IdempotentParameterMismatch", "The client token you have provided is associated with a different request")
            if made in self.vms:
                return self._reservation(self.vms[made])
            raise Refusal("InvalidInstanceID.NotFound", f"The instance ID '{made}' does not exist")
        whole = self._with_template(asked)
        subnet, nics = self._check_network(whole)
        image = self._check_machine(whole, len(nics))
        if asked.get("DryRun"):
            raise Refusal("DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
        self._check_room(whole, subnet)
        vm = self._launch(whole, subnet, nics, image)
        vm.token = token
        if token:
            self.launches[token] = (key, vm.id)
        return self._reservation(vm)

    def _with_template(self, asked) -> dict:
        named = asked.get("LaunchTemplate")
        if not named:
            return asked
        name = named.get("LaunchTemplateName", "")
        if name not in self.templates:
            raise Refusal(
                "InvalidLaunchTemplateName.NotFoundException", f"The specified launch template, with template name {name}, does not exist."
            )
        return {**self.templates[name], **{key: value for key, value in asked.items() if key != "LaunchTemplate"}}

    def _check_network(self, asked) -> tuple:
        """(subnet, interfaces): what the instance's interfaces are to be."""
        listed = asked.get("NetworkInterfaces")
        if listed and any(name in asked for name in ("SubnetId", "SecurityGroupIds", "PrivateIpAddress")):
            raise Refusal(
                "InvalidParameterCombination",
                "Network interfaces and an instance-level subnet ID may not be specified on the same request",
            )
        if not listed:
            listed = [
                {
                    "DeviceIndex": 0,
                    "SubnetId": asked.get("SubnetId", next(iter(self.subnets))),
                    "Groups": asked.get("SecurityGroupIds", self.groups[:1]),
                    "DeleteOnTermination": True,
                }
            ]
        indices = [one.get("DeviceIndex") for one in listed]
        if None in indices or sorted(indices) != list(range(len(indices))):
            raise Refusal("InvalidParameterValue", f"device indices {indices}")
        if len(listed) > 1 and any(one.get("AssociatePublicIpAddress") for one in listed):
            raise Refusal(
                "InvalidParameterCombination",
                "The associatePublicIPAddress parameter cannot be specified when launching with multiple network interfaces.",
            )
        zones = set()
        for one in listed:
            subnet = one.get("SubnetId", next(iter(self.subnets)))
            if subnet not in self.subnets:
                raise Refusal("InvalidSubnetID.NotFound", f"The subnet ID '{subnet}' does not exist")
            zones.add(self.subnets[subnet])
            for group in one.get("Groups", []):
                if group not in self.groups:
                    raise Refusal("InvalidGroup.NotFound", f"The security group '{group}' does not exist")
        if len(zones) > 1:
            raise Refusal("InvalidParameterCombination", "interfaces in several zones")
        return listed[0].get("SubnetId", next(iter(self.subnets))), listed

    def _check_machine(self, asked, nics) -> Image:
        if (asked["MinCount"], asked["MaxCount"]) != (1, 1):
            raise Refusal("InvalidParameterValue", "this fake launches one at a time")
        for name in ("ImageId", "InstanceType"):
            if name not in asked:
                raise Refusal("MissingParameter", f"The request must contain the parameter {name}")
        if not re.fullmatch(r"ami-[0-9a-f]{8,17}", asked["ImageId"]):
            raise Refusal("InvalidAMIID.Malformed", f'Invalid id: "{asked["ImageId"]}"')
        image, kind = self.images.get(asked["ImageId"]), self.types.get(asked["InstanceType"])
        if image is None:
            raise Refusal("InvalidAMIID.NotFound", f"The image id '[{asked['ImageId']}]' does not exist")
        if image.state != "available":
            raise Refusal("InvalidAMIID.Unavailable", f"The image id '[{image.id}]' is not available")
        if kind is None:
            raise Refusal("InvalidParameterValue", f"Invalid value '{asked['InstanceType']}' for InstanceType.")
        if image.architecture != kind.architecture:
            raise Refusal(
                "InvalidParameterValue",
                f"The architecture '{kind.architecture}' of the type does not match '{image.architecture}' of the AMI.",
            )
        if nics > kind.nics:
            raise Refusal("AttachmentLimitExceeded", f"Interface count {nics} exceeds the limit for {kind.name}")
        if asked.get("CpuOptions", {}).get("AmdSevSnp") == "enabled":
            if not kind.snp:
                raise Refusal("InvalidParameterCombination", f"AMD SEV-SNP is not supported by {kind.name}")
            if image.boot_mode not in ("uefi", "uefi-preferred"):
                raise Refusal("InvalidParameterCombination", "AMD SEV-SNP needs an AMI that boots by UEFI")
        if len(wire.decode64(asked.get("UserData", ""), "UserData")) > USER_DATA_MAX:
            raise Refusal("InvalidParameterValue", "User data is limited to 16384 bytes")
        if "KeyName" in asked and asked["KeyName"] not in self.key_pairs:
            raise Refusal("InvalidKeyPair.NotFound", f"The key pair '{asked['KeyName']}' does not exist")
        profile = asked.get("IamInstanceProfile", {})
        name = profile.get("Name") or profile.get("Arn", "").rpartition("/")[2]
        if profile and name not in self.instance_profiles:
            raise Refusal(
                "InvalidParameterValue",
                f"Value ({name}) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name",
            )
        spot = asked.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
        if spot and not kind.spot:
            raise Refusal("Unsupported", f"The instance type {kind.name} is not available as a spot instance")
        if spot and "InstanceInitiatedShutdownBehavior" in asked:
            raise Refusal("InvalidParameterCombination", "InstanceInitiatedShutdownBehavior is not for spot instances")
        for mapping in asked.get("BlockDeviceMappings", []):
            ebs = mapping.get("Ebs", {})
            if mapping.get("DeviceName") == image.root_device and ebs.get("VolumeSize", image.root_gib) < image.root_gib:
                raise Refusal(
                    "InvalidBlockDeviceMapping",
                    f"Volume of size {ebs['VolumeSize']}GB is smaller than snapshot, expect size >= {image.root_gib}GB",
                )
            if "KmsKeyId" in ebs and not ebs.get("Encrypted"):
                raise Refusal("InvalidParameterDependency", "KmsKeyId needs Encrypted")
        self._only_kinds(asked, "instance", "volume", "network-interface", "spot-instances-request")
        return image

    def _check_room(self, asked, subnet) -> None:
        kind, zone = self.types[asked["InstanceType"]], self.subnets[subnet]
        spot = asked.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
        if kind.zones is not None and zone not in kind.zones:
            raise Refusal(
                "Unsupported", f"Your requested instance type ({kind.name}) is not supported in your requested Availability Zone ({zone})."
            )
        if subnet in self.full_subnets:
            raise Refusal(
                "InsufficientFreeAddressesInSubnet", f"There are not enough free addresses in subnet '{subnet}' to satisfy the request."
            )
        for rule in self.rules:
            if rule.left <= 0 or rule.zone not in (None, zone) or rule.spot not in (None, spot):
                continue
            if rule.type is None or fnmatch.fnmatchcase(kind.name, rule.type):
                rule.left -= 1
                raise Refusal(rule.code, f"{kind.name} in {zone}: scripted")

    def _launch(self, asked, subnet, nics, image) -> Vm:
        vm = Vm(
            self._id("i"), self._tags_of(asked, "instance"), self._made(), self.hidden_looks, asked, asked["InstanceType"], image.id, subnet
        )
        vm.pending = self.pending_looks
        vm.user_data = wire.decode64(asked.get("UserData", ""), "UserData")
        vm.spot = asked.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
        vm.snp = (self.snp_echo or "") if asked.get("CpuOptions", {}).get("AmdSevSnp") == "enabled" else ""
        vm.root_device = image.root_device
        if self.doom:
            vm.doomed, self.doom = self.doom, None
        vm.handle = self.instances.create(vm.id, vm.user_data, nics=len(nics))
        for wanted in sorted(nics, key=lambda one: one["DeviceIndex"]):
            index = wanted["DeviceIndex"]
            nic = self._new_nic(
                wanted.get("SubnetId", subnet),
                tuple(wanted.get("Groups", self.groups[:1])),
                self._tags_of(asked, "network-interface"),
                vm.handle.addresses[index] if index < len(vm.handle.addresses) else None,
            )
            nic.hidden = 0
            self._join(nic, vm, index, wanted.get("DeleteOnTermination", index == 0))
            if wanted.get("AssociatePublicIpAddress"):
                nic.public = f"198.51.100.{next(self._numbers) % 250 + 1}"
        root = {"VolumeSize": image.root_gib, "VolumeType": "gp2", "DeleteOnTermination": not image.keeps_root}
        for mapping in asked.get("BlockDeviceMappings", []):
            if mapping.get("DeviceName") == image.root_device:
                root.update(mapping.get("Ebs", {}))
        self.vms[vm.id] = vm
        volume = Volume(self._id("vol"), self._tags_of(asked, "volume"), self._made(), zone=self.subnets[subnet], size=root["VolumeSize"])
        volume.kind, volume.encrypted, volume.kms_key = root["VolumeType"], root.get("Encrypted", False), root.get("KmsKeyId", "")
        volume.instance, volume.device, volume.dies_with_instance = vm.id, image.root_device, root["DeleteOnTermination"]
        self.volumes[volume.id] = volume
        return vm

    def _join(self, nic, vm, index, dies):
        nic.instance, nic.index, nic.attachment, nic.dies_with_instance = vm.id, index, self._id("eni-attach"), dies

    def _end(self, vm, code, text) -> None:
        """An instance ends, and what goes with it."""
        if not vm.alive:
            return
        vm.state, vm.reason = "terminated", (code, text)
        self.instances.delete(vm.handle)
        for nic in [nic for nic in self.nics.values() if nic.instance == vm.id]:
            for address in self.addresses.values():
                if address.nic == nic.id:
                    address.association, address.nic = "", ""
            nic.instance = nic.attachment = nic.public = ""
            if nic.dies_with_instance:
                del self.nics[nic.id]
        for volume in [volume for volume in self.volumes.values() if volume.instance == vm.id]:
            volume.instance = volume.device = ""
            if volume.dies_with_instance:
                del self.volumes[volume.id]

    def _look(self, vm) -> Vm:
        """One look at an instance brings it nearer to running."""
        if vm.state == "pending":
            if vm.doomed and vm.pending <= 0:
                self._end(vm, *vm.doomed)
            elif vm.pending <= 0:
                vm.state = "running"
            vm.pending -= 1
        return vm

    def _describe_nic_of_vm(self, nic, running) -> dict:
        shown = {
            "NetworkInterfaceId": nic.id,
            "Status": "in-use",
            "SubnetId": nic.subnet,
            "PrivateIpAddress": nic.address,
            "Groups": [{"GroupId": group, "GroupName": group} for group in nic.groups],
            "Attachment": {
                "AttachmentId": nic.attachment,
                "DeviceIndex": nic.index,
                "Status": "attached" if running else "attaching",
                "DeleteOnTermination": nic.dies_with_instance,
            },
        }
        public = self._public_of(nic)
        if public and running:
            shown["Association"] = {"PublicIp": public, "IpOwnerId": "amazon"}
        return shown

    def _public_of(self, nic) -> str:
        for address in self.addresses.values():
            if address.nic == nic.id:
                return address.public
        return nic.public

    def _describe_vm(self, vm) -> dict:
        nics = sorted((nic for nic in self.nics.values() if nic.instance == vm.id), key=lambda nic: -nic.index)
        shown = {
            "InstanceId": vm.id,
            "ImageId": vm.image,
            "State": {"Code": STATE_CODES[vm.state], "Name": vm.state},
            "InstanceType": vm.type,
            "LaunchTime": vm.made,
            "Placement": {"AvailabilityZone": self.subnets[vm.subnet], "Tenancy": "default"},
            "RootDeviceName": vm.root_device,
            "Tags": self._tag_set(vm),
            "CpuOptions": {"CoreCount": 1, "ThreadsPerCore": 2},
            "NetworkInterfaces": [self._describe_nic_of_vm(nic, vm.state == "running") for nic in nics],
            "BlockDeviceMappings": [
                {
                    "DeviceName": volume.device,
                    "Ebs": {"VolumeId": volume.id, "DeleteOnTermination": volume.dies_with_instance, "Status": "attached"},
                }
                for volume in self.volumes.values()
                if volume.instance == vm.id
            ],
        }
        if vm.token:
            shown["ClientToken"] = vm.token
        if vm.snp:
            shown["CpuOptions"]["AmdSevSnp"] = vm.snp
        if vm.spot:
            shown["InstanceLifecycle"] = "spot"
        if vm.reason[0]:
            shown["StateReason"] = {"Code": vm.reason[0], "Message": vm.reason[1]}
        if nics:
            first = nics[-1]
            shown.update(PrivateIpAddress=first.address, SubnetId=first.subnet)
            if vm.state == "running" and self._public_of(first):
                shown["PublicIpAddress"] = self._public_of(first)
        return shown

    def _reservation(self, vm) -> dict:
        return {"ReservationId": "r-" + vm.id[2:], "OwnerId": ACCOUNT, "Instances": [self._describe_vm(vm)]}

    def do_DescribeInstances(self, asked) -> dict:
        ids = asked.get("InstanceIds")
        if ids and "MaxResults" in asked:
            raise Refusal("InvalidParameterCombination", "The parameter instancesSet cannot be used with the parameter maxResults")
        readers = {
            "instance-id": lambda vm: vm.id,
            "instance-state-name": lambda vm: vm.state,
            "client-token": lambda vm: vm.token,
            "instance-type": lambda vm: vm.type,
        }
        found = self._select(self.vms, ids, "InvalidInstanceID.NotFound", "i", asked.get("Filters"), readers)
        page, more = self._page(asked, found)
        for vm in page:
            self._look(vm)
        return {"Reservations": [self._reservation(vm) for vm in page], "NextToken": more}

    def do_TerminateInstances(self, asked) -> dict:
        changes = []
        for vm in self._select(self.vms, asked["InstanceIds"], "InvalidInstanceID.NotFound", "i", None, {}):
            before = {"Code": STATE_CODES[vm.state], "Name": vm.state}
            self._end(vm, "Client.UserInitiatedShutdown", "User initiated shutdown")
            changes.append(
                {"InstanceId": vm.id, "PreviousState": before, "CurrentState": {"Code": STATE_CODES[vm.state], "Name": vm.state}}
            )
        return {"TerminatingInstances": changes}

    def do_GetConsoleOutput(self, asked) -> dict:
        (vm,) = self._select(self.vms, [asked["InstanceId"]], "InvalidInstanceID.NotFound", "i", None, {})
        return {"InstanceId": vm.id, "Timestamp": self._made(), "Output": base64.b64encode(self.console.encode()).decode()}

    # ---- types, images, network

    def _describe_type(self, kind) -> dict:
        shown = {
            "InstanceType": kind.name,
            "CurrentGeneration": True,
            "SupportedUsageClasses": ["on-demand"] + (["spot"] if kind.spot else []),
            "ProcessorInfo": {"SupportedArchitectures": [kind.architecture], "SupportedFeatures": ["amd-sev-snp"] if kind.snp else []},
            "VCpuInfo": {"DefaultVCpus": kind.vcpus, "DefaultCores": max(1, kind.vcpus // 2)},
            "MemoryInfo": {"SizeInMiB": kind.memory_mib},
            "EbsInfo": {"MaximumEbsAttachments": kind.volumes},
            "NetworkInfo": {"MaximumNetworkInterfaces": kind.nics},
        }
        if kind.gpus:
            shown["GpuInfo"] = {"Gpus": [{"Name": "T4", "Count": kind.gpus}], "TotalGpuMemoryInMiB": 16384}
        return shown

    def do_DescribeInstanceTypes(self, asked) -> dict:
        readers = {
            "instance-type": lambda kind: kind.name,
            "processor-info.supported-architecture": lambda kind: kind.architecture,
            "processor-info.supported-features": lambda kind: ["amd-sev-snp"] if kind.snp else [],
            "current-generation": lambda kind: "true",
        }
        named = asked.get("InstanceTypes")
        if named and "MaxResults" in asked:
            raise Refusal("InvalidParameterCombination", "MaxResults with InstanceTypes")
        unknown = [name for name in named or [] if name not in self.types]
        if unknown:
            raise Refusal("InvalidInstanceType", f"The following supplied instance types do not exist: [{', '.join(unknown)}]")
        kinds = [self.types[name] for name in named] if named else list(self.types.values())
        page, more = self._page(asked, [kind for kind in kinds if self._matches(kind, asked.get("Filters"), readers)], most=100)
        return {"InstanceTypes": [self._describe_type(kind) for kind in page], "NextToken": more}

    def do_DescribeInstanceTypeOfferings(self, asked) -> dict:
        if asked.get("LocationType") != "availability-zone":
            raise Refusal("InvalidParameterValue", "this fake knows zones only")
        readers = {"instance-type": lambda one: one[0].name, "location": lambda one: one[1]}
        every = [(kind, zone) for kind in self.types.values() for zone in self.zones if kind.zones is None or zone in kind.zones]
        page, more = self._page(asked, [one for one in every if self._matches(one, asked.get("Filters"), readers)])
        return {
            "InstanceTypeOfferings": [
                {"InstanceType": kind.name, "LocationType": "availability-zone", "Location": zone} for kind, zone in page
            ],
            "NextToken": more,
        }

    def do_DescribeImages(self, asked) -> dict:
        shown = []
        for one in asked.get("ImageIds", []):
            if one not in self.images:
                raise Refusal("InvalidAMIID.NotFound", f"The image id '[{one}]' does not exist")
            image = self.images[one]
            root = {"DeviceName": image.root_device, "Ebs": {"VolumeSize": image.root_gib, "DeleteOnTermination": not image.keeps_root}}
            shown.append(
                {
                    "ImageId": image.id,
                    "Architecture": image.architecture,
                    "BootMode": image.boot_mode,
                    "State": image.state,
                    "RootDeviceName": image.root_device,
                    "RootDeviceType": "ebs",
                    "BlockDeviceMappings": [*image.more_devices, root],
                }
            )
        return {"Images": shown}

    def do_DescribeSubnets(self, asked) -> dict:
        named = asked.get("SubnetIds", list(self.subnets))
        for one in named:
            if one not in self.subnets:
                raise Refusal("InvalidSubnetID.NotFound", f"The subnet ID '{one}' does not exist")
        return {
            "Subnets": [
                {
                    "SubnetId": one,
                    "AvailabilityZone": self.subnets[one],
                    "State": "available",
                    "AvailableIpAddressCount": 0 if one in self.full_subnets else 250,
                }
                for one in named
            ]
        }

    def do_DescribeSecurityGroups(self, asked) -> dict:
        named = asked.get("GroupIds", self.groups)
        for one in named:
            if one not in self.groups:
                raise Refusal("InvalidGroup.NotFound", f"The security group '{one}' does not exist")
        return {"SecurityGroups": [{"GroupId": one, "GroupName": one, "Description": "", "OwnerId": ACCOUNT} for one in named]}

    # ---- volumes

    def do_DescribeVolumes(self, asked) -> dict:
        readers = {"status": lambda volume: "in-use" if volume.instance else "available", "volume-id": lambda volume: volume.id}
        found = self._select(self.volumes, asked.get("VolumeIds"), "InvalidVolume.NotFound", "vol", asked.get("Filters"), readers)
        page, more = self._page(asked, found)
        shown = []
        for volume in page:
            one = {
                "VolumeId": volume.id,
                "AvailabilityZone": volume.zone,
                "CreateTime": volume.made,
                "Size": volume.size,
                "VolumeType": volume.kind,
                "Encrypted": volume.encrypted,
                "State": "in-use" if volume.instance else "available",
                "Tags": self._tag_set(volume),
                "Attachments": [],
            }
            if volume.instance:
                state = "attaching" if volume.attaching > 0 else "attached"
                volume.attaching -= 1
                one["Attachments"] = [
                    {
                        "VolumeId": volume.id,
                        "InstanceId": volume.instance,
                        "Device": volume.device,
                        "State": state,
                        "DeleteOnTermination": volume.dies_with_instance,
                    }
                ]
            shown.append(one)
        return {"Volumes": shown, "NextToken": more}

    def do_AttachVolume(self, asked) -> dict:
        (volume,) = self._select(self.volumes, [asked["VolumeId"]], "InvalidVolume.NotFound", "vol", None, {})
        (vm,) = self._select(self.vms, [asked["InstanceId"]], "InvalidInstanceID.NotFound", "i", None, {})
        if vm.state != "running":
            raise Refusal("IncorrectState", f"Instance '{vm.id}' is not 'running'.")
        if volume.instance:
            raise Refusal("VolumeInUse", f"{volume.id} is already attached to an instance")
        if volume.zone != self.subnets[vm.subnet]:
            raise Refusal(
                "InvalidVolume.ZoneMismatch", f"The volume '{volume.id}' is not in the same availability zone as instance '{vm.id}'"
            )
        if any(other.instance == vm.id and other.device == asked["Device"] for other in self.volumes.values()):
            raise Refusal("InvalidParameterValue", f"Attachment point {asked['Device']} is already in use")
        volume.instance, volume.device, volume.attaching, volume.dies_with_instance = vm.id, asked["Device"], 1, False
        return {"VolumeId": volume.id, "InstanceId": vm.id, "Device": volume.device, "State": "attaching"}

    def do_DeleteVolume(self, asked) -> dict:
        (volume,) = self._select(self.volumes, [asked["VolumeId"]], "InvalidVolume.NotFound", "vol", None, {})
        if volume.instance:
            raise Refusal("VolumeInUse", f"Volume {volume.id} is currently attached to {volume.instance}")
        del self.volumes[volume.id]
        return {}

    # ---- network interfaces

    def _describe_nic(self, nic) -> dict:
        shown = {
            "NetworkInterfaceId": nic.id,
            "SubnetId": nic.subnet,
            "AvailabilityZone": self.subnets[nic.subnet],
            "PrivateIpAddress": nic.address,
            "Status": "in-use" if nic.instance else "available",
            "Groups": [{"GroupId": group, "GroupName": group} for group in nic.groups],
            "TagSet": self._tag_set(nic),
        }
        if nic.instance:
            shown["Attachment"] = {
                "AttachmentId": nic.attachment,
                "InstanceId": nic.instance,
                "DeviceIndex": nic.index,
                "DeleteOnTermination": nic.dies_with_instance,
                "Status": "attached",
            }
        return shown

    def do_DescribeNetworkInterfaces(self, asked) -> dict:
        readers = {
            "status": lambda nic: "in-use" if nic.instance else "available",
            "network-interface-id": lambda nic: nic.id,
            "attachment.instance-id": lambda nic: nic.instance,
        }
        found = self._select(
            self.nics, asked.get("NetworkInterfaceIds"), "InvalidNetworkInterfaceID.NotFound", "eni", asked.get("Filters"), readers
        )
        page, more = self._page(asked, found)
        return {"NetworkInterfaces": [self._describe_nic(nic) for nic in page], "NextToken": more}

    def do_CreateNetworkInterface(self, asked) -> dict:
        token = asked.get("ClientToken")
        key = {name: value for name, value in asked.items() if name != "ClientToken"}
        if token and token in self.nic_tokens:
            known, made = self.nic_tokens[token]
            if known != key:
                raise Refusal("IdempotentParameterMismatch", "The client token you have provided is associated with a different request")
            if made in self.nics:
                return {"NetworkInterface": self._describe_nic(self.nics[made]), "ClientToken": token}
            raise Refusal("InvalidNetworkInterfaceID.NotFound", f"The networkInterface ID '{made}' does not exist")
        if asked["SubnetId"] not in self.subnets:
            raise Refusal("InvalidSubnetID.NotFound", f"The subnet ID '{asked['SubnetId']}' does not exist")
        if asked["SubnetId"] in self.full_subnets:
            raise Refusal("InsufficientFreeAddressesInSubnet", "There are not enough free addresses in subnet")
        for group in asked.get("Groups", []):
            if group not in self.groups:
                raise Refusal("InvalidGroup.NotFound", f"The security group '{group}' does not exist")
        self._only_kinds(asked, "network-interface")
        nic = self._new_nic(asked["SubnetId"], tuple(asked.get("Groups", self.groups[:1])), self._tags_of(asked, "network-interface"))
        if token:
            self.nic_tokens[token] = (key, nic.id)
        return {"NetworkInterface": self._describe_nic(nic), **({"ClientToken": token} if token else {})}

    def _nic(self, asked) -> Nic:
        return self._select(self.nics, [asked["NetworkInterfaceId"]], "InvalidNetworkInterfaceID.NotFound", "eni", None, {})[0]

    def do_AttachNetworkInterface(self, asked) -> dict:
        nic = self._nic(asked)
        (vm,) = self._select(self.vms, [asked["InstanceId"]], "InvalidInstanceID.NotFound", "i", None, {})
        if nic.instance:
            raise Refusal("InvalidNetworkInterface.InUse", f"Interface: [{nic.id}] in use.")
        if vm.state not in ("running", "stopped"):
            raise Refusal("IncorrectState", f"The instance '{vm.id}' is not in a valid state for this operation.")
        here = [other for other in self.nics.values() if other.instance == vm.id]
        if any(other.index == asked["DeviceIndex"] for other in here):
            raise Refusal(
                "InvalidParameterValue", f"Instance '{vm.id}' already has an interface attached at device index '{asked['DeviceIndex']}'."
            )
        if len(here) >= self.types[vm.type].nics:
            raise Refusal("AttachmentLimitExceeded", f"Interface count {len(here) + 1} exceeds the limit for {vm.type}")
        if self.subnets[nic.subnet] != self.subnets[vm.subnet]:
            raise Refusal(
                "InvalidParameterCombination", "You may not attach a network interface to an instance if they are not in the same zone"
            )
        self._join(nic, vm, asked["DeviceIndex"], False)
        return {"AttachmentId": nic.attachment}

    def do_ModifyNetworkInterfaceAttribute(self, asked) -> dict:
        nic = self._nic(asked)
        attachment = asked.get("Attachment")
        if not attachment or set(asked) - {"NetworkInterfaceId", "Attachment"}:
            raise Refusal("InvalidParameterCombination", "this fake changes attachments, one at a time")
        if attachment.get("AttachmentId") != nic.attachment or not nic.attachment:
            raise Refusal("InvalidAttachmentID.NotFound", f"The attachment ID '{attachment.get('AttachmentId')}' does not exist")
        nic.dies_with_instance = attachment["DeleteOnTermination"]
        return {}

    def do_DeleteNetworkInterface(self, asked) -> dict:
        nic = self._nic(asked)
        if nic.instance:
            raise Refusal("InvalidParameterValue", f"Network interface '{nic.id}' is currently in use.")
        del self.nics[nic.id]
        for address in self.addresses.values():
            if address.nic == nic.id:
                address.association, address.nic = "", ""
        return {}

    # ---- elastic addresses

    def do_AllocateAddress(self, asked) -> dict:
        if asked.get("Domain", "vpc") != "vpc":
            raise Refusal("InvalidParameterValue", "Domain")
        if len(self.addresses) >= self.address_limit:
            raise Refusal("AddressLimitExceeded", "The maximum number of addresses has been reached.")
        self._only_kinds(asked, "elastic-ip")
        address = self._new_address(self._tags_of(asked, "elastic-ip"))
        return {"AllocationId": address.id, "PublicIp": address.public, "Domain": "vpc"}

    def _address(self, asked) -> Address:
        if "AllocationId" not in asked:
            raise Refusal("MissingParameter", "The request must contain the parameter AllocationId")
        return self._select(self.addresses, [asked["AllocationId"]], "InvalidAllocationID.NotFound", "eipalloc", None, {})[0]

    def do_AssociateAddress(self, asked) -> dict:
        address, nic_id = self._address(asked), asked.get("NetworkInterfaceId")
        if "InstanceId" in asked:
            here = [nic for nic in self.nics.values() if nic.instance == asked["InstanceId"]]
            if len(here) > 1:
                raise Refusal("InvalidInstanceID", f"There are multiple interfaces attached to instance '{asked['InstanceId']}'.")
            nic_id = here[0].id if here else nic_id
        nic = self._nic({"NetworkInterfaceId": nic_id or ""})
        vm = self.vms.get(nic.instance)
        if vm is not None and vm.state != "running":
            raise Refusal("InvalidInstanceID", f"The {vm.state} instance '{vm.id}' is not in a valid state for this operation.")
        if address.nic and address.nic != nic.id and not asked.get("AllowReassociation", True):
            raise Refusal("Resource.AlreadyAssociated", f"resource {address.id} is already associated")
        for other in self.addresses.values():
            if other.nic == nic.id and other is not address:
                other.association, other.nic = "", ""
        if address.nic != nic.id:
            address.nic, address.association = nic.id, self._id("eipassoc")
        return {"AssociationId": address.association}

    def do_DisassociateAddress(self, asked) -> dict:
        for address in self.addresses.values():
            if address.association and address.association == asked.get("AssociationId"):
                address.association, address.nic = "", ""
                return {}
        raise Refusal("InvalidAssociationID.NotFound", f"The association ID '{asked.get('AssociationId')}' does not exist")

    def do_ReleaseAddress(self, asked) -> dict:
        address = self._address(asked)
        if address.association:
            raise Refusal("InvalidIPAddress.InUse", f"Address {address.public} is in use.")
        del self.addresses[address.id]
        return {}

    def do_DescribeAddresses(self, asked) -> dict:
        readers = {
            "instance-id": lambda address: self.nics[address.nic].instance if address.nic else "",
            "allocation-id": lambda address: address.id,
            "association-id": lambda address: address.association,
            "network-interface-id": lambda address: address.nic,
        }
        found = self._select(
            self.addresses, asked.get("AllocationIds"), "InvalidAllocationID.NotFound", "eipalloc", asked.get("Filters"), readers
        )
        shown = []
        for address in found:
            one = {"AllocationId": address.id, "PublicIp": address.public, "Domain": "vpc", "Tags": self._tag_set(address)}
            if address.association:
                nic = self.nics[address.nic]
                one.update(AssociationId=address.association, NetworkInterfaceId=nic.id, PrivateIpAddress=nic.address)
                if nic.instance:
                    one["InstanceId"] = nic.instance
            shown.append(one)
        return {"Addresses": shown}
