# SPDX-License-Identifier: Apache-2.0
"""Azure, strict: Resource Manager with virtual machines and what they are made of, Entra ID's tokens, the metadata service.

Bodies and answers are judged by the models of the official SDK packages (azure_models.py); paths, queries, headers and what
must go together are judged here. One server is all three services: the paths tell them apart.

A creation makes VM, NICs, addresses and OS disk at once, as the real one does within a second. Then time passes by being
looked at: a VM succeeds after `ticks` looks, one that is deleted is gone after `delete_ticks`. Ids of lists have their group
in capitals, as the real one's do at times.
"""

import base64
import functools
import json
import re
import secrets
import time
import urllib.parse
import uuid

from azure.mgmt.compute import models as compute_models
from azure.mgmt.network import models as network_models
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from fakes.azure_models import Refused, Schema, ssh_rsa_bits
from fakes.azure_skus import SKUS, capabilities
from fakes.server import Fake, Reply

TENANT, CLIENT = "11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-aaaaaaaaaaaa"
SECRET = "fake~Client.Secret_42"
SUBSCRIPTION, GROUP, REGION = "bbbbbbbb-cccc-dddd-eeee-ffffffffffff", "peer-pods", "eastus"
NETWORK_GROUP = "network-group"
ISSUER = "https://oidc.example.org/cluster"
SUBJECT = "system:serviceaccount:confidential-containers-system:cloud-api-adaptor"
AUDIENCE = "api://AzureADTokenExchange"

SUB = f"/subscriptions/{SUBSCRIPTION}"
RG = f"{SUB}/resourceGroups/{GROUP}"
NETWORK = f"{SUB}/resourceGroups/{NETWORK_GROUP}/providers/Microsoft.Network"
SUBNET = f"{NETWORK}/virtualNetworks/vnet/subnets/pods"
SECOND_SUBNET = f"{NETWORK}/virtualNetworks/vnet/subnets/second"
NSG = f"{NETWORK}/networkSecurityGroups/pods"
GALLERY_IMAGE = f"{SUB}/resourceGroups/images/providers/Microsoft.Compute/galleries/g/images/podvm"
IMAGE = f"{GALLERY_IMAGE}/versions/1.0.0"
COMMUNITY_IMAGE = "/CommunityGalleries/cocopodvm-d0e4f35f/Images/peerpod/Versions/0.1.0"
SHARED_IMAGE = "/SharedGalleries/shared-1/Images/peerpod/Versions/0.1.0"

VERSIONS = {"vm": "2025-04-01", "disk": "2025-01-02", "gallery": "2025-03-03", "skus": "2021-07-01", "usages": "2025-04-01"}
VERSIONS.update(network="2024-10-01", group="2021-04-01", permissions="2022-04-01")
NETWORK_OF_VM = "2022-11-01"

_COMPUTE = "/providers/Microsoft.Compute"
_NET = "/providers/Microsoft.Network"
_NAME = r"[A-Za-z0-9._()-]+"
_OF_SUB = rf"/subscriptions/(?P<sub>{_NAME})"
_OF_GROUP = rf"{_OF_SUB}/resourceGroups/(?P<group>{_NAME})"
_OF_LOCATION = rf"{_OF_SUB}{_COMPUTE}/locations/{_NAME}"

PATHS = {
    "vms": rf"{_OF_GROUP}{_COMPUTE}/virtualMachines",
    "vm": rf"{_OF_GROUP}{_COMPUTE}/virtualMachines/(?P<name>{_NAME})",
    "console": rf"{_OF_GROUP}{_COMPUTE}/virtualMachines/(?P<name>{_NAME})/retrieveBootDiagnosticsData",
    "disks": rf"{_OF_GROUP}{_COMPUTE}/disks",
    "disk": rf"{_OF_GROUP}{_COMPUTE}/disks/(?P<name>{_NAME})",
    "nics": rf"{_OF_GROUP}{_NET}/networkInterfaces",
    "nic": rf"{_OF_GROUP}{_NET}/networkInterfaces/(?P<name>{_NAME})",
    "ips": rf"{_OF_GROUP}{_NET}/publicIPAddresses",
    "ip": rf"{_OF_GROUP}{_NET}/publicIPAddresses/(?P<name>{_NAME})",
    "subnet": rf"{_OF_GROUP}{_NET}/virtualNetworks/{_NAME}/subnets/(?P<name>{_NAME})",
    "nsg": rf"{_OF_GROUP}{_NET}/networkSecurityGroups/(?P<name>{_NAME})",
    "definition": rf"{_OF_GROUP}{_COMPUTE}/galleries/{_NAME}/images/(?P<name>{_NAME})",
    "version": rf"{_OF_GROUP}{_COMPUTE}/galleries/{_NAME}/images/{_NAME}/versions/(?P<name>{_NAME})",
    "image": rf"{_OF_GROUP}{_COMPUTE}/images/(?P<name>{_NAME})",
    "community": rf"{_OF_LOCATION}/communityGalleries/{_NAME}/images/(?P<name>{_NAME})",
    "community_version": rf"{_OF_LOCATION}/communityGalleries/{_NAME}/images/{_NAME}/versions/(?P<name>{_NAME})",
    "shared": rf"{_OF_LOCATION}/sharedGalleries/{_NAME}/images/(?P<name>{_NAME})",
    "shared_version": rf"{_OF_LOCATION}/sharedGalleries/{_NAME}/images/{_NAME}/versions/(?P<name>{_NAME})",
    "skus": rf"{_OF_SUB}{_COMPUTE}/skus",
    "usages": rf"{_OF_LOCATION}/usages",
    "operation": rf"{_OF_LOCATION}/operations/(?P<name>{_NAME})",
    "group": _OF_GROUP,
    "permissions": r"(?P<scope>/subscriptions/.+)/providers/Microsoft\.Authorization/permissions",
}
PATHS = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in PATHS.items()}
PAGE = ("$skiptoken",)

# operation, method, path, whose api-version, other query parameters, the action of a role that allows it
OPERATIONS = [
    ("create_vm", "PUT", "vm", "vm", (), "Compute/virtualMachines/write"),
    ("get_vm", "GET", "vm", "vm", ("$expand",), "Compute/virtualMachines/read"),
    ("delete_vm", "DELETE", "vm", "vm", ("forceDeletion",), "Compute/virtualMachines/delete"),
    ("console", "POST", "console", "vm", (), "Compute/virtualMachines/retrieveBootDiagnosticsData/action"),
    ("list_vms", "GET", "vms", "vm", PAGE, "Compute/virtualMachines/read"),
    ("list_disks", "GET", "disks", "disk", PAGE, "Compute/disks/read"),
    ("get_disk", "GET", "disk", "disk", (), "Compute/disks/read"),
    ("patch_disk", "PATCH", "disk", "disk", (), "Compute/disks/write"),
    ("delete_disk", "DELETE", "disk", "disk", (), "Compute/disks/delete"),
    ("list_nics", "GET", "nics", "network", PAGE, "Network/networkInterfaces/read"),
    ("get_nic", "GET", "nic", "network", (), "Network/networkInterfaces/read"),
    ("delete_nic", "DELETE", "nic", "network", (), "Network/networkInterfaces/delete"),
    ("list_ips", "GET", "ips", "network", PAGE, "Network/publicIPAddresses/read"),
    ("get_ip", "GET", "ip", "network", (), "Network/publicIPAddresses/read"),
    ("delete_ip", "DELETE", "ip", "network", (), "Network/publicIPAddresses/delete"),
    ("get_subnet", "GET", "subnet", "network", (), "Network/virtualNetworks/subnets/read"),
    ("get_nsg", "GET", "nsg", "network", (), "Network/networkSecurityGroups/read"),
    ("get_image_definition", "GET", "definition", "gallery", (), "Compute/galleries/images/read"),
    ("get_image_version", "GET", "version", "gallery", (), "Compute/galleries/images/versions/read"),
    ("get_image", "GET", "image", "vm", (), "Compute/images/read"),
    ("get_public_image", "GET", "community", "gallery", (), "Compute/locations/communityGalleries/images/read"),
    ("get_public_image_version", "GET", "community_version", "gallery", (), "Compute/locations/communityGalleries/images/versions/read"),
    ("get_shared_image", "GET", "shared", "gallery", (), "Compute/locations/sharedGalleries/images/read"),
    ("get_shared_image_version", "GET", "shared_version", "gallery", (), "Compute/locations/sharedGalleries/images/versions/read"),
    ("list_skus", "GET", "skus", "skus", ("$filter", "$skiptoken"), "Compute/skus/read"),
    ("list_usages", "GET", "usages", "usages", (), "Compute/locations/usages/read"),
    ("get_operation", "GET", "operation", "vm", ("p", "monitor"), "Compute/locations/operations/read"),
    ("get_group", "GET", "group", "group", (), "Resources/subscriptions/resourceGroups/read"),
    ("permissions", "GET", "permissions", "permissions", (), "Authorization/permissions/read"),
]
ACTIONS = {operation[0]: "Microsoft." + operation[5] for operation in OPERATIONS}


def error(status: int, code: str, message: str, headers=(), **more) -> Reply:
    """An error of Resource Manager. more: details=[...], target=..."""
    body = {"error": {"code": code, "message": message, **more}}
    return Reply(status, body, {"x-ms-request-id": f"request-{code}", **dict(headers)})


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@functools.cache
def issuer_key():
    """The cluster's, which signs the tokens of service accounts."""
    return rsa.generate_private_key(65537, 2048)


class Bucket:
    """rate a second, burst at once; take() says how long to wait, 0: it is taken."""

    def __init__(self, rate: float, burst: int):
        self.rate, self.burst, self.level, self.last = rate, burst, float(burst), time.monotonic()

    def take(self) -> float:
        now = time.monotonic()
        self.level = min(self.burst, self.level + (now - self.last) * self.rate)
        self.last = now
        if self.level < 1:
            return (1 - self.level) / self.rate
        self.level -= 1
        return 0


class Azure(Fake):
    """
    ticks, delete_ticks: see above; nic_ticks, host_ticks: looks until a NIC has its address, and its MAC; page_size: of
    lists; create_limit: (rate, burst) of PUTs; location_only: no Azure-AsyncOperation header.
    """

    def __init__(
        self,
        instances=None,
        ticks=2,
        delete_ticks=1,
        nic_ticks=0,
        host_ticks=0,
        page_size=100,
        create_limit=None,
        location_only=False,
    ):
        self.ticks, self.delete_ticks, self.nic_ticks, self.host_ticks = ticks, delete_ticks, nic_ticks, host_ticks
        self.page_size, self.location_only = page_size, location_only
        self.bucket = Bucket(*create_limit) if create_limit else None
        self.compute, self.network = Schema(compute_models), Schema(network_models)
        self.vms: dict = {}
        self.nics: dict = {}
        self.ips: dict = {}
        self.disks: dict = {}
        self.operations: dict = {}
        self.failures: list = []  # [times, when, error, ticks] of creations to come
        self.hidden: set = set()  # lower-case names of VMs that lists and reads do not show
        self.leave_behind: set = set()  # "nic", "ip", "disk": what does not go with its VM
        self.nic_reserved = 0  # so many deletions of NICs are refused
        self.remaining: dict = {}  # headers of every answer of Resource Manager
        self.skus = json.loads(json.dumps(SKUS))
        self.usages = {"cores": [4, 100], "lowPriorityCores": [0, 50], "standardDCASv5Family": [2, 50], "standardDCESv6Family": [0, 8]}
        self.definition = {"hyperVGeneration": "V2", "architecture": "x64", "osType": "Linux", "osState": "Generalized"}
        self.features = {"SecurityType": "ConfidentialVmSupported", "DiskControllerTypes": "SCSI, NVMe"}
        self.allowed = [{"actions": ["*"], "notActions": []}]
        self.tokens: dict = {}  # token -> end
        self.token_life = 3599
        self.imds_identities = {"": True}
        self.console_text = b""
        self.key = issuer_key()
        self.subnets = {SUBNET.lower(), SECOND_SUBNET.lower()}
        super().__init__(instances)

    # ---- which operation

    def operation(self, method, path, query, body):
        if method == "POST" and path.endswith("/oauth2/v2.0/token"):
            return "token"
        if path == "/metadata/identity/oauth2/token":
            return "imds_token"
        if path.startswith("/blob/"):
            return "blob"
        for name, verb, place, *_ in OPERATIONS:
            if verb == method and PATHS[place].fullmatch(path):
                return name
        raise error(404, "InvalidResourceType", f"The resource type could not be found for {method} {path}")

    def handle(self, call):
        if call.operation in ("token", "imds_token", "blob"):
            return super().handle(call)
        entry = next(entry for entry in OPERATIONS if entry[0] == call.operation)
        call.parts = PATHS[entry[2]].fullmatch(call.path).groupdict()
        try:
            self.judge(call, entry)
            reply = super().handle(call)
        except Reply as refusal:
            reply = refusal
        except Refused as wrong:
            reply = error(400, "InvalidRequestContent", str(wrong))
        reply.headers.setdefault("x-ms-request-id", str(uuid.uuid4()))
        reply.headers.update(self.remaining)
        return reply

    def judge(self, call, entry):
        """What Resource Manager itself looks at."""
        authorization = call.headers.get("Authorization", "")
        end = self.tokens.get(authorization.removeprefix("Bearer "))
        if not authorization.startswith("Bearer ") or end is None:
            raise error(401, "InvalidAuthenticationToken", "The access token is invalid.")
        if end < time.time():
            raise error(401, "ExpiredAuthenticationToken", "The access token expiry UTC time is earlier than current UTC time.")
        if call.one("api-version") != VERSIONS[entry[3]]:
            raise error(400, "InvalidApiVersionParameter", f"The api-version '{call.one('api-version')}' is invalid for {call.operation}.")
        unknown = set(call.query) - {"api-version", *entry[4]}
        if unknown:
            raise error(400, "InvalidQueryParameter", f"unknown query parameters {sorted(unknown)}")
        uuid.UUID(call.headers.get("x-ms-client-request-id", "none"))
        if call.headers.get("Accept") != "application/json" or not call.headers.get("User-Agent"):
            raise error(406, "NotAcceptable", "Accept and User-Agent are expected")
        if call.method in ("PUT", "PATCH") and call.headers.get("Content-Type") != "application/json":
            raise error(415, "UnsupportedMediaType", "The content media type is not supported.")
        if call.method in ("GET", "DELETE", "POST") and call.body:
            raise error(400, "InvalidRequestContent", f"a {call.method} with a body")
        if call.parts.get("sub", SUBSCRIPTION).lower() != SUBSCRIPTION:
            raise error(404, "InvalidSubscriptionId", "The provided subscription identifier is malformed or invalid.")
        groups = {GROUP, NETWORK_GROUP, "images", "volumes", "other"}
        if call.parts.get("group") and call.parts["group"].lower() not in groups:
            raise error(404, "ResourceGroupNotFound", f"Resource group '{call.parts['group']}' could not be found.")

    # ---- tokens

    def federated_token(self, key=None, **claims) -> str:
        """What the kubelet would write for the adaptor's service account; claims replace those that are right."""
        now = int(time.time())
        full = {"iss": ISSUER, "sub": SUBJECT, "aud": [AUDIENCE], "iat": now, "nbf": now, "exp": now + 3600, **claims}
        head = _b64(json.dumps({"alg": "RS256", "typ": "JWT", "kid": "1"}).encode()) + "." + _b64(json.dumps(full).encode())
        return head + "." + _b64((key or self.key).sign(head.encode(), padding.PKCS1v15(), hashes.SHA256()))

    def give_token(self) -> str:
        token = "fake-token-" + secrets.token_hex(16)
        self.tokens[token] = time.time() + self.token_life
        return token

    def revoke_tokens(self) -> None:
        with self.lock:
            self.tokens.clear()

    @staticmethod
    def entra(status, code, number, text):
        body = {"error": code, "error_description": f"AADSTS{number}: {text}\r\nTrace ID: t-1", "error_codes": [number]}
        return Reply(status, {**body, "trace_id": "t-1", "correlation_id": "c-1"})

    def do_token(self, call):
        if call.path != f"/{TENANT}/oauth2/v2.0/token":
            return self.entra(400, "invalid_request", 90002, "Tenant not found.")
        if call.headers.get("Content-Type") != "application/x-www-form-urlencoded":
            return self.entra(400, "invalid_request", 900144, "The request body must be a form.")
        form = urllib.parse.parse_qs(call.body.decode(), strict_parsing=True)
        if any(len(values) != 1 for values in form.values()):
            return self.entra(400, "invalid_request", 9000411, "A parameter is duplicated.")
        form = {name: values[0] for name, values in form.items()}
        common = {"client_id", "scope", "grant_type"}
        if form.get("grant_type") != "client_credentials":
            return self.entra(400, "unsupported_grant_type", 70003, "The grant type is not supported.")
        if form.get("scope") != self.audience + "/.default":
            return self.entra(400, "invalid_scope", 70011, f"The scope {form.get('scope')} is not valid.")
        if form.get("client_id") != CLIENT:
            return self.entra(400, "unauthorized_client", 700016, "Application was not found in the directory.")
        if set(form) == common | {"client_secret"}:
            if form["client_secret"] != SECRET:
                return self.entra(401, "invalid_client", 7000215, "Invalid client secret provided.")
        elif set(form) == common | {"client_assertion", "client_assertion_type"}:
            if form["client_assertion_type"] != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer":
                return self.entra(400, "invalid_request", 700021, "Client assertion type is not supported.")
            wrong = self.wrong_assertion(form["client_assertion"])
            if wrong:
                return self.entra(401, "invalid_client", *wrong)
        else:
            return self.entra(400, "invalid_request", 900144, f"The request has the parameters {sorted(form)}.")
        life = self.token_life
        return Reply(200, {"token_type": "Bearer", "expires_in": life, "ext_expires_in": life, "access_token": self.give_token()})

    @property
    def audience(self) -> str:
        return self.url

    def wrong_assertion(self, text):
        try:
            head, claims, signature = text.split(".")
            self.key.public_key().verify(_unb64(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())
            head, claims = json.loads(_unb64(head)), json.loads(_unb64(claims))
        except (ValueError, InvalidSignature):
            return 700027, "The certificate used to sign the assertion is not registered."
        if head.get("alg") != "RS256" or claims["iss"] != ISSUER:
            return 700211, "No matching federated identity record found for presented assertion issuer."
        if claims["sub"] != SUBJECT:
            return 700213, "No matching federated identity record found for presented assertion subject."
        if claims["aud"] not in (AUDIENCE, [AUDIENCE]):
            return 700212, "No matching federated identity record found for presented assertion audience."
        if not claims["nbf"] - 5 <= time.time() < claims["exp"]:
            return 700024, "Client assertion is not within its valid time range."
        return None

    def do_imds_token(self, call):
        if call.method != "GET" or call.headers.get("Metadata") != "true" or call.headers.get("X-Forwarded-For"):
            return Reply(400, {"error": "invalid_request", "error_description": "Required metadata header not specified"})
        known = {"api-version": "2018-02-01", "resource": self.audience + "/"}
        given = {name: call.one(name) for name in call.query}
        client = given.pop("client_id", "")
        if given != known:
            return Reply(400, {"error": "invalid_request", "error_description": f"{given} is not {known}"})
        if client not in self.imds_identities:
            return Reply(400, {"error": "invalid_request", "error_description": "Identity not found"})
        now = int(time.time())
        body = {"access_token": self.give_token(), "client_id": client or CLIENT, "expires_in": str(self.token_life)}
        body.update(expires_on=str(now + self.token_life), not_before=str(now - 5), resource=self.audience + "/", token_type="Bearer")
        return Reply(200, body)

    # ---- pages and answers

    def pages(self, call, items):
        start = int(call.one("$skiptoken", "0"))
        body = {"value": items[start : start + self.page_size]}
        if start + self.page_size < len(items):
            query = {name: values[0] for name, values in call.query.items()}
            query["$skiptoken"] = str(start + self.page_size)
            body["nextLink"] = f"{self.url}{urllib.parse.quote(call.path)}?{urllib.parse.urlencode(query)}"
        return Reply(200, body)

    @staticmethod
    def shout(document):
        """A copy whose id has the group in capitals."""
        return {**document, "id": re.sub(r"(?i)/resourceGroups/([^/]+)", lambda m: f"/resourceGroups/{m.group(1).upper()}", document["id"])}

    def of_group(self, call, things):
        return [one for one in things.values() if one["id"].split("/")[4].lower() == call.parts["group"].lower()]

    def find(self, call, things, kind):
        thing = things.get(call.parts["name"].lower())
        if thing is None or thing["id"].split("/")[4].lower() != call.parts["group"].lower():
            raise error(
                404,
                "ResourceNotFound",
                f"The Resource '{kind}/{call.parts['name']}' under resource group '{call.parts['group']}' was not found.",
            )
        return thing

    # ---- time that passes

    def look(self, key):
        vm = self.vms.get(key)
        if vm is None:
            return
        vm["looks"] += 1
        state = vm["document"]["properties"]["provisioningState"]
        if state == "Creating" and vm["failure"] and vm["looks"] >= vm["failure"][3]:
            self.end_creation(vm, "Failed")
        elif state == "Creating" and not vm["failure"] and vm["looks"] >= self.ticks:
            self.end_creation(vm, "Succeeded")
        elif state == "Deleting" and vm["looks"] >= self.delete_ticks:
            self.remove(key)

    def end_creation(self, vm, state):
        vm["document"]["properties"]["provisioningState"] = state
        operation = self.operations.get(vm["operation"])
        if operation:
            operation["status"] = state
            if state == "Failed":
                operation["error"] = vm["failure"][2]

    def remove(self, key):
        """The VM is gone, and what has deleteOption Delete with it; data disks are free."""
        vm = self.vms.pop(key)
        document = vm["document"]
        if operation := self.operations.get(vm["delete_operation"]):
            operation["status"] = "Succeeded"
        if vm["handle"]:
            self.instances.delete(vm["handle"])
        for disk in self.disks.values():
            if disk.get("managedBy", "").lower() == document["id"].lower():
                del disk["managedBy"]
                disk["properties"]["diskState"] = "Unattached"
        for name in vm["nics"]:
            nic = self.nics.get(name.lower())
            if nic:
                nic["properties"].pop("virtualMachine", None)
                if "nic" not in self.leave_behind and nic["deleteOption"] == "Delete":
                    self.remove_nic(name, "ip" in self.leave_behind)
        if vm["disk"] and "disk" not in self.leave_behind:
            self.disks.pop(vm["disk"].lower(), None)

    def remove_nic(self, name, keep_ip=True):
        nic = self.nics.pop(name.lower())
        for configuration in nic["properties"]["ipConfigurations"]:
            address = configuration["properties"].get("publicIPAddress")
            ip = self.ips.get(address["id"].split("/")[-1].lower()) if address else None
            if ip:
                ip["properties"].pop("ipConfiguration", None)
                if not keep_ip and ip["deleteOption"] == "Delete":
                    del self.ips[ip["name"].lower()]

    # ---- virtual machines

    def fail_creation(self, code, message="scripted", times=1, when=None, ticks=1, details=()):
        """The next creations (for which when(body) holds) are accepted and fail after `ticks` looks."""
        with self.lock:
            self.failures.append([times, when, {"code": code, "message": message, "details": list(details)}, ticks])

    def next_failure(self, body):
        for failure in self.failures:
            if failure[0] > 0 and (failure[1] is None or failure[1](body)):
                failure[0] -= 1
                return failure
        return None

    def new_operation(self, key):
        name = str(uuid.uuid4())
        self.operations[name] = {"status": "InProgress", "vm": key, "startTime": "2026-03-15T10:15:30Z"}
        url = f"{self.url}{SUB}/providers/Microsoft.Compute/locations/{REGION}/operations/{name}?p=1&api-version={VERSIONS['vm']}"
        headers = (
            {"Location": url + "&monitor=true"} if self.location_only else {"Azure-AsyncOperation": url, "Location": url + "&monitor=true"}
        )
        return name, headers

    def do_create_vm(self, call):
        key = call.parts["name"].lower()
        if self.bucket and (wait := self.bucket.take()):
            details = [{"code": "TooManyRequests", "target": "PutVM3Min", "message": "too many"}]
            headers = {"Retry-After": str(max(1, round(wait + 0.5)))}
            raise error(
                429,
                "OperationNotAllowed",
                "The server rejected the request because too many requests have been received.",
                headers,
                details=details,
            )
        if call.headers.get("If-None-Match") not in (None, "*"):
            raise error(400, "InvalidHeader", "If-None-Match")
        if key in self.vms:
            if call.headers.get("If-None-Match") == "*":
                raise error(412, "PreconditionFailed", f"The VM '{call.parts['name']}' exists.")
            raise error(409, "PropertyChangeNotAllowed", "this fake updates no VM")
        try:
            body = json.loads(call.body)
        except ValueError as wrong:
            raise Refused(f"the body is no JSON: {wrong}") from None
        self.compute.check("VirtualMachine", body, True)
        self.judge_vm(call.parts["name"], body)
        document = self.make_vm(call, key, body)
        headers = {"Retry-After": "1"}
        self.vms[key]["operation"], more = self.new_operation(key)
        return Reply(201, document, {**headers, **more})

    def sku_of(self, name):
        for sku in self.skus:
            if sku["resourceType"] == "virtualMachines" and sku["name"].lower() == name.lower():
                return sku
        raise error(400, "InvalidParameter", f"The value {name} provided for the VM size is not valid.", target="vmSize")

    def judge_vm(self, name, body):
        """What the real one refuses although the schema allows it."""
        p = body["properties"]
        if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9_])?", name):
            raise Refused(f"the VM name {name} is not valid")
        if body["location"].replace(" ", "").lower() != REGION:
            raise error(400, "LocationNotAvailableForResourceType", f"The location '{body['location']}' is not available.")
        self.judge_tags(body.get("tags", {}))
        sku = self.sku_of(p["hardwareProfile"]["vmSize"])
        info = sku["locationInfo"][0]
        zones = body.get("zones", [])
        if len(zones) > 1 or not set(zones) <= set(info["zones"]):
            raise error(400, "InvalidAvailabilityZone", f"The zones {zones} are not supported by {sku['name']}.")
        for restriction in sku["restrictions"]:
            if restriction["type"] == "Location" or set(zones) & set(restriction["restrictionInfo"].get("zones", [])):
                raise error(
                    409, "SkuNotAvailable", f"The requested VM size {sku['name']} is currently not available in location '{REGION}'."
                )
        self.judge_security(p, capabilities(sku))
        self.judge_storage(p["storageProfile"], zones, capabilities(sku))
        self.judge_os(p["osProfile"])
        self.judge_network(p["networkProfile"], capabilities(sku))
        if len(p.get("userData", "")) > 65536:
            raise Refused("userData is longer than 65536 characters")
        base64.b64decode(p.get("userData", ""), validate=True)
        if ("evictionPolicy" in p or "billingProfile" in p) and p.get("priority") != "Spot":
            raise Refused("evictionPolicy and billingProfile need priority Spot")
        for identity in body.get("identity", {}).get("userAssignedIdentities", {}):
            if not re.fullmatch(rf"{_OF_GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{_NAME}", identity):
                raise Refused(f"{identity} is no identity")

    @staticmethod
    def judge_tags(tags):
        if len(tags) > 50 or any(len(k) > 512 or len(v) > 256 or set(k) & set("<>%&\\?/") for k, v in tags.items()):
            raise error(400, "InvalidTags", "The tags are not valid.")

    @staticmethod
    def judge_security(p, able):
        security = p.get("securityProfile", {})
        disk = p["storageProfile"]["osDisk"].get("managedDisk", {}).get("securityProfile")
        if security.get("securityType") != "ConfidentialVM":
            if disk or security.get("uefiSettings"):
                raise Refused("the disk's securityProfile and uefiSettings need securityType ConfidentialVM")
            return
        if "ConfidentialComputingType" not in able:
            raise error(400, "BadRequest", "The VM size does not support security type 'ConfidentialVM'.")
        if not disk or not security.get("uefiSettings", {}).get("vTpmEnabled"):
            raise Refused("a ConfidentialVM needs vTPM and the disk's securityEncryptionType")
        kind = disk["securityEncryptionType"]
        if kind == "DiskWithVMGuestState" and not security["uefiSettings"]["secureBootEnabled"]:
            raise Refused("DiskWithVMGuestState needs secure boot")
        if "diskEncryptionSet" in disk and kind != "DiskWithVMGuestState":
            raise Refused("diskEncryptionSet in the security profile needs DiskWithVMGuestState")

    def judge_storage(self, storage, zones, able):
        reference = storage["imageReference"]
        if len(reference) != 1:
            raise Refused("imageReference must have one id")
        ((form, image),) = reference.items()
        known = {"id": [IMAGE, GALLERY_IMAGE, f"{RG}{_COMPUTE}/images/podvm"]}
        known.update(communityGalleryImageId=[COMMUNITY_IMAGE], sharedGalleryImageId=[SHARED_IMAGE])
        if image.lower() not in [one.lower() for one in known.get(form, [])]:
            raise error(
                404, "GalleryImageNotFound", f"The gallery image {image} is not available in {REGION} region.", target="imageReference"
            )
        disk = storage["osDisk"]
        if disk["createOption"] != "FromImage" or len(disk["name"]) > 80 or disk["name"].lower() in self.disks:
            raise Refused("the OS disk's createOption or name")
        if "diffDiskSettings" in disk and disk["caching"] != "ReadOnly":
            raise Refused("an ephemeral disk needs caching ReadOnly")
        luns = [one["lun"] for one in storage.get("dataDisks", [])]
        if len(set(luns)) != len(luns) or len(luns) > int(able["MaxDataDiskCount"]):
            raise error(
                409, "OperationNotAllowed", "The maximum number of data disks allowed to be attached to a VM of this size is exceeded."
            )
        for one in storage.get("dataDisks", []):
            wanted = self.disks.get(one["managedDisk"]["id"].split("/")[-1].lower())
            if wanted is None or wanted["id"].lower() != one["managedDisk"]["id"].lower():
                raise error(404, "NotFound", f"Disk {one['managedDisk']['id']} is not found.")
            if wanted.get("managedBy"):
                raise error(409, "ConflictingUserInput", f"Disk {wanted['name']} is attached to {wanted['managedBy']}.")
            if wanted.get("zones") and wanted["zones"] != zones:
                raise error(400, "BadRequest", f"Disk {wanted['name']} and the VM are not in the same zone.")
            if one["createOption"] != "Attach" or one.get("deleteOption") != "Detach":
                raise Refused("an existing disk is attached, and detached with its VM")

    @staticmethod
    def judge_os(profile):
        linux = profile["linuxConfiguration"]
        if not 1 <= len(profile["computerName"]) <= 64 or "adminPassword" in profile or not linux["disablePasswordAuthentication"]:
            raise Refused("computerName, or a password")
        if not linux.get("provisionVMAgent", True) and profile.get("allowExtensionOperations", True):
            raise Refused("allowExtensionOperations must be false without an agent")
        for key in linux["ssh"]["publicKeys"]:
            if key["path"] != f"/home/{profile['adminUsername']}/.ssh/authorized_keys":
                raise error(400, "InvalidParameter", "Destination path for SSH public keys is limited to its default value.")
            if not key["keyData"].startswith("ssh-ed25519 ") and ssh_rsa_bits(key["keyData"]) < 2048:
                raise Refused("the SSH key is too short")

    def judge_network(self, profile, able):
        nics = profile.get("networkInterfaceConfigurations", [])
        if not nics or profile.get("networkApiVersion") != NETWORK_OF_VM:
            raise Refused("networkInterfaceConfigurations need networkApiVersion")
        if len(nics) > int(able["MaxNetworkInterfaces"]):
            raise error(400, "NetworkInterfaceCountExceeded", "The number of network interfaces exceeds the maximum of the size.")
        if len(nics) > 1 and sum(nic["properties"].get("primary", False) for nic in nics) != 1:
            raise Refused("one NIC must be primary")
        for nic in nics:
            self.judge_tags(nic.get("tags", {}))
            p = nic["properties"]
            if p.get("networkSecurityGroup", {}).get("id", NSG).lower() != NSG.lower():
                raise error(404, "NotFound", "The security group was not found.")
            for configuration in p["ipConfigurations"]:
                subnet = configuration["properties"]["subnet"]["id"]
                if subnet.lower() not in self.subnets:
                    raise error(404, "NotFound", f"Resource {subnet} not found.")
                address = configuration["properties"].get("publicIPAddressConfiguration")
                if address:
                    self.judge_tags(address.get("tags", {}))
                    if (
                        address.get("sku", {}).get("name") != "Standard"
                        or address["properties"].get("publicIPAllocationMethod") != "Static"
                    ):
                        raise error(400, "PublicIPAddressBasicSkuRetired", "Basic SKU public IP addresses cannot be created.")

    def make_vm(self, call, key, body):
        p = body["properties"]
        configurations = p["networkProfile"]["networkInterfaceConfigurations"]
        failure = self.next_failure(body)
        data = base64.b64decode(p.get("userData", ""))
        handle = None if failure else self.instances.create(call.parts["name"], data, nics=len(configurations))
        path = f"{SUB}/resourceGroups/{call.parts['group']}{_COMPUTE}"
        vm_id = f"{path}/virtualMachines/{call.parts['name']}"
        disk = None
        if "diffDiskSettings" not in p["storageProfile"]["osDisk"]:
            disk = self.make_disk(p["storageProfile"]["osDisk"]["name"], vm_id, body.get("zones"), path)
        nics = [self.make_nic(nic, vm_id, index, handle) for index, nic in enumerate(configurations)]
        for one in p["storageProfile"].get("dataDisks", []):
            attached = self.disks[one["managedDisk"]["id"].split("/")[-1].lower()]
            attached.update(managedBy=vm_id)
            attached["properties"]["diskState"] = "Attached"
        shown = {name: value for name, value in p.items() if name not in ("userData", "networkProfile")}
        shown["networkProfile"] = {
            "networkInterfaces": [
                {"id": nic["id"], "properties": {"primary": nic["properties"]["primary"], "deleteOption": "Delete"}} for nic in nics
            ]
        }
        shown.update(vmId=str(uuid.uuid4()), provisioningState="Creating", timeCreated="2026-03-15T10:15:31.1234567+00:00")
        document = {"id": vm_id, "name": call.parts["name"], "type": "Microsoft.Compute/virtualMachines", "location": body["location"]}
        document.update({name: body[name] for name in ("tags", "zones", "identity") if name in body}, properties=shown)
        self.vms[key] = {"document": document, "looks": 0, "operation": "", "delete_operation": "", "failure": failure}
        self.vms[key].update(handle=handle, nics=[nic["name"] for nic in nics], disk=disk, user_data=data, sent=body)
        return document

    def make_disk(self, name, vm_id, zones, path):
        disk = {"id": f"{path}/disks/{name}", "name": name, "type": "Microsoft.Compute/disks", "location": REGION, "managedBy": vm_id}
        disk["properties"] = {"provisioningState": "Succeeded", "diskState": "Attached", "timeCreated": "2026-03-15T10:15:32+00:00"}
        disk["properties"]["creationData"] = {"createOption": "FromImage"}
        if zones:
            disk["zones"] = zones
        self.disks[name.lower()] = disk
        return name

    def make_nic(self, configuration, vm_id, index, handle):
        name = f"{configuration['name']}-{secrets.token_hex(4)}"
        path = vm_id.split("/providers/")[0] + _NET
        nic = {"id": f"{path}/networkInterfaces/{name}", "name": name, "type": "Microsoft.Network/networkInterfaces", "location": REGION}
        nic["tags"] = configuration.get("tags", {})
        ip = {"primary": True, "privateIPAllocationMethod": "Dynamic"}
        ip["subnet"] = {"id": configuration["properties"]["ipConfigurations"][0]["properties"]["subnet"]["id"]}
        nic["properties"] = {"provisioningState": "Succeeded", "primary": configuration["properties"].get("primary", index == 0)}
        nic["properties"].update(virtualMachine={"id": vm_id}, ipConfigurations=[{"name": "ip-config", "properties": ip}])
        nic.update(looks=0, handle=handle, index=index, deleteOption=configuration["properties"].get("deleteOption", "Detach"))
        public = configuration["properties"]["ipConfigurations"][0]["properties"].get("publicIPAddressConfiguration")
        if public:
            ip_name = f"{public['name']}-{secrets.token_hex(4)}"
            address = {"id": f"{path}/publicIPAddresses/{ip_name}", "name": ip_name, "location": REGION, "tags": public.get("tags", {})}
            address["properties"] = {
                "provisioningState": "Succeeded",
                "publicIPAllocationMethod": "Static",
                "ipAddress": f"203.0.113.{len(self.ips) + 1}",
            }
            address["properties"]["ipConfiguration"] = {"id": nic["id"] + "/ipConfigurations/ip-config"}
            address["deleteOption"] = public["properties"].get("deleteOption", "Detach")
            self.ips[ip_name.lower()] = address
            ip["publicIPAddress"] = {"id": address["id"]}
        self.nics[name.lower()] = nic
        return nic

    def add_disk(self, name, group="volumes", zone=None, location=REGION, **properties):
        """A disk of the user's; its id."""
        with self.lock:
            disk = {"id": f"{SUB}/resourceGroups/{group}{_COMPUTE}/disks/{name}", "name": name, "location": location, "volume": True}
            disk["properties"] = {
                "provisioningState": "Succeeded",
                "diskState": "Unattached",
                "creationData": {"createOption": "Empty"},
                **properties,
            }
            if zone:
                disk["zones"] = [zone]
            self.disks[name.lower()] = disk
            return disk["id"]

    def add_foreign_vm(self, name, tags=()):
        """Somebody else's VM; its id."""
        with self.lock:
            vm_id = f"{RG}{_COMPUTE}/virtualMachines/{name}"
            document = {"id": vm_id, "name": name, "location": REGION, "tags": dict(tags), "properties": {"provisioningState": "Succeeded"}}
            self.vms[name.lower()] = {"document": document, "looks": 0, "operation": "", "delete_operation": "", "failure": None}
            self.vms[name.lower()].update(handle=None, nics=[], disk=None, foreign=True)
            return vm_id

    def shown_vm(self, call):
        key = call.parts["name"].lower()
        self.look(key)
        if key in self.hidden:
            raise error(404, "ResourceNotFound", "hidden")
        return self.find(call, {name: vm["document"] for name, vm in self.vms.items()}, "Microsoft.Compute/virtualMachines")

    def do_get_vm(self, call):
        document = self.shown_vm(call)
        if call.one("$expand"):
            if call.one("$expand") != "instanceView":
                raise error(400, "InvalidParameter", "$expand")
            failure = self.vms[call.parts["name"].lower()]["failure"]
            statuses = [{"code": "ProvisioningState/succeeded", "level": "Info", "displayStatus": "Provisioning succeeded"}]
            if failure and document["properties"]["provisioningState"] == "Failed":
                statuses = [{"code": f"ProvisioningState/failed/{failure[2]['code']}", "level": "Error", "message": failure[2]["message"]}]
            document = {**document, "properties": {**document["properties"], "instanceView": {"statuses": statuses}}}
        self.compute.check("VirtualMachine", document, False)
        return Reply(200, document)

    def do_list_vms(self, call):
        for key in list(self.vms):
            self.look(key)
        shown = [vm["document"] for name, vm in self.vms.items() if name not in self.hidden]
        documents = [self.shout(one) for one in self.of_group(call, {one["name"]: one for one in shown})]
        for document in documents:
            self.compute.check("VirtualMachine", document, False)
        return self.pages(call, documents)

    def do_delete_vm(self, call):
        if call.one("forceDeletion", "true") not in ("true", "false"):
            raise error(400, "InvalidParameter", "forceDeletion")
        key = call.parts["name"].lower()
        vm = self.vms.get(key)
        if vm is None or key in self.hidden:
            return Reply(204)
        if vm["document"]["properties"]["provisioningState"] == "Deleting":
            return Reply(202, b"", {"Location": self.new_operation(key)[1]["Location"]})
        if vm["document"]["properties"]["provisioningState"] == "Creating":
            self.end_creation(vm, "Canceled")
        vm["document"]["properties"]["provisioningState"] = "Deleting"
        vm["looks"] = 0
        vm["delete_operation"], headers = self.new_operation(key)
        return Reply(202, b"", headers)

    def do_get_operation(self, call):
        operation = self.operations.get(call.parts["name"])
        if operation is None:
            raise error(404, "NotFound", "The operation is not known.")
        self.look(operation["vm"])
        if call.one("monitor"):
            return Reply(202 if operation["status"] == "InProgress" else 200, b"")
        body = {"startTime": operation["startTime"], "status": operation["status"], "name": call.parts["name"]}
        if "error" in operation:
            body.update(endTime="2026-03-15T10:16:30Z", error=operation["error"])
        return Reply(200, body)

    def do_console(self, call):
        document = self.shown_vm(call)
        if not document["properties"].get("diagnosticsProfile", {}).get("bootDiagnostics", {}).get("enabled"):
            raise error(409, "BadRequest", "Boot diagnostics is not enabled on the VM.")
        body = {"consoleScreenshotBlobUri": f"{self.url}/blob/screenshot", "serialConsoleLogBlobUri": f"{self.url}/blob/log?sig=secret"}
        self.compute.check("RetrieveBootDiagnosticsDataResult", body, False)
        return Reply(200, body)

    def do_blob(self, call):
        if call.headers.get("Authorization"):
            return Reply(400, "a blob with a signed URL takes no token")
        return Reply(200, self.console_text) if call.one("sig") == "secret" else Reply(403)

    # ---- NICs, addresses, disks

    INTERNAL = ("looks", "handle", "index", "deleteOption", "volume")

    def bare(self, document):
        return {name: value for name, value in document.items() if name not in self.INTERNAL}

    def shown_nic(self, nic):
        nic["looks"] += 1
        ip = nic["properties"]["ipConfigurations"][0]["properties"]
        if nic["looks"] > self.nic_ticks:
            ip.setdefault("privateIPAddress", nic["handle"].addresses[nic["index"]] if nic["handle"] else "10.98.0.4")
        if nic["handle"] and nic["looks"] > max(self.nic_ticks, self.host_ticks):
            nic["properties"]["macAddress"] = "00-0D-3A-00-00-0" + str(nic["index"])
        document = self.bare(nic)
        self.network.check("NetworkInterface", document, False)
        return document

    def do_list_nics(self, call):
        return self.pages(call, [self.shout(self.shown_nic(nic)) for nic in self.of_group(call, self.nics)])

    def do_get_nic(self, call):
        return Reply(200, self.shown_nic(self.find(call, self.nics, "Microsoft.Network/networkInterfaces")))

    def do_delete_nic(self, call):
        nic = self.nics.get(call.parts["name"].lower())
        if nic is None:
            return Reply(204)
        if nic["properties"].get("virtualMachine"):
            raise error(400, "NicInUse", f"Network Interface {nic['name']} is used by existing resource.")
        if self.nic_reserved > 0:
            self.nic_reserved -= 1
            raise error(400, "NicReservedForAnotherVm", f"Nic {nic['name']} is reserved for another Virtual Machine for 180 seconds.")
        self.remove_nic(call.parts["name"])
        return Reply(202, b"", {"Location": self.new_operation("")[1]["Location"]})

    def do_list_ips(self, call):
        documents = [self.shout(self.bare(ip)) for ip in self.of_group(call, self.ips)]
        for document in documents:
            self.network.check("PublicIPAddress", document, False)
        return self.pages(call, documents)

    def do_get_ip(self, call):
        return Reply(200, self.bare(self.find(call, self.ips, "Microsoft.Network/publicIPAddresses")))

    def do_delete_ip(self, call):
        ip = self.ips.get(call.parts["name"].lower())
        if ip is None:
            return Reply(204)
        if ip["properties"].get("ipConfiguration"):
            raise error(
                400, "PublicIPAddressCannotBeDeleted", f"Public IP address {ip['name']} can not be deleted since it is still allocated."
            )
        del self.ips[call.parts["name"].lower()]
        return Reply(202)

    def do_list_disks(self, call):
        documents = [self.shout(self.bare(disk)) for disk in self.of_group(call, self.disks)]
        for document in documents:
            self.compute.check("Disk", document, False)
        return self.pages(call, documents)

    def do_get_disk(self, call):
        return Reply(200, self.bare(self.find(call, self.disks, "Microsoft.Compute/disks")))

    def do_patch_disk(self, call):
        disk = self.find(call, self.disks, "Microsoft.Compute/disks")
        body = json.loads(call.body)
        self.compute.check("DiskUpdate", body, True)
        self.judge_tags(body.get("tags", {}))
        disk["tags"] = body["tags"]
        return Reply(202, self.bare(disk))

    def do_delete_disk(self, call):
        disk = self.disks.get(call.parts["name"].lower())
        if disk is None:
            return Reply(204)
        if disk.get("managedBy"):
            raise error(409, "OperationNotAllowed", f"Disk {disk['name']} is attached to VM {disk['managedBy']}.")
        del self.disks[call.parts["name"].lower()]
        return Reply(202)

    # ---- what is only looked at

    def do_get_group(self, call):
        return Reply(
            200, {"id": call.path, "name": call.parts["group"], "location": REGION, "properties": {"provisioningState": "Succeeded"}}
        )

    def do_get_subnet(self, call):
        if call.path.lower() not in self.subnets:
            raise error(404, "NotFound", f"Resource {call.path} not found.")
        document = {
            "id": call.path,
            "name": call.parts["name"],
            "properties": {"addressPrefix": "10.99.0.0/16", "provisioningState": "Succeeded"},
        }
        self.network.check("Subnet", document, False)
        return Reply(200, document)

    def do_get_nsg(self, call):
        if call.path.lower() != NSG.lower():
            raise error(404, "ResourceNotFound", f"The Resource {call.path} was not found.")
        return Reply(200, {"id": NSG, "name": "pods", "location": REGION, "properties": {"provisioningState": "Succeeded"}})

    def definition_document(self):
        features = [{"name": name, "value": value} for name, value in self.features.items()]
        return {**self.definition, "features": features, "identifier": {"publisher": "p", "offer": "o", "sku": "s"}}

    def do_get_image_definition(self, call):
        if call.path.lower() != GALLERY_IMAGE.lower():
            raise error(404, "ResourceNotFound", f"The Resource {call.path} was not found.")
        document = {"id": call.path, "name": call.parts["name"], "location": REGION, "properties": self.definition_document()}
        self.compute.check("GalleryImage", document, False)
        return Reply(200, document)

    def do_get_image_version(self, call):
        if call.path.lower() != IMAGE.lower():
            raise error(404, "ResourceNotFound", f"The Resource {call.path} was not found.")
        return Reply(
            200, {"id": call.path, "name": call.parts["name"], "location": REGION, "properties": {"provisioningState": "Succeeded"}}
        )

    def do_get_image(self, call):
        if call.path.lower() != f"{RG}{_COMPUTE}/images/podvm".lower():
            raise error(404, "ResourceNotFound", f"The Resource {call.path} was not found.")
        return Reply(200, {"id": call.path, "name": call.parts["name"], "location": REGION, "properties": {"hyperVGeneration": "V2"}})

    def do_get_public_image(self, call):
        return Reply(200, {"name": call.parts["name"], "location": REGION, "properties": self.definition_document()})

    do_get_public_image_version = do_get_shared_image = do_get_shared_image_version = do_get_public_image

    def do_list_skus(self, call):
        if call.one("$filter") != f"location eq '{REGION}'":
            raise error(400, "InvalidFilter", f"only the filter by location is supported, not {call.one('$filter')}")
        for sku in self.skus:
            self.compute.check("ResourceSku", sku, False)
        return self.pages(call, self.skus)

    def do_list_usages(self, call):
        usages = [
            {"unit": "Count", "currentValue": used, "limit": limit, "name": {"value": name, "localizedValue": name}}
            for name, (used, limit) in self.usages.items()
        ]
        for usage in usages:
            self.compute.check("Usage", usage, False)
        return Reply(200, {"value": usages})

    def do_permissions(self, call):
        return Reply(200, {"value": self.allowed})

    # ---- what tests ask

    def inventory(self) -> dict:
        kinds = {
            "vm": [vm["document"]["name"] for vm in self.vms.values() if not vm.get("foreign")],
            "nic": [nic["name"] for nic in self.nics.values()],
            "ip": [ip["name"] for ip in self.ips.values()],
            "disk": [disk["name"] for disk in self.disks.values() if not disk.get("volume")],
        }
        return {kind: sorted(names) for kind, names in kinds.items() if names}

    def environment(self) -> dict:
        return {
            "AZURE_AUTHORITY_HOST": self.url + "/",
            "AZURE_RESOURCE_MANAGER_ENDPOINT": self.url,
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": self.url,
            "AZURE_CLIENT_ID": CLIENT,
            "AZURE_CLIENT_SECRET": SECRET,
            "AZURE_TENANT_ID": TENANT,
            "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION,
            "AZURE_REGION": REGION,
            "AZURE_RESOURCE_GROUP": GROUP,
            "AZURE_SUBNET_ID": SUBNET,
            "AZURE_NSG_ID": NSG,
            "AZURE_IMAGE_ID": IMAGE,
            "no_proxy": "127.0.0.1",
        }
