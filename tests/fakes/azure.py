# SPDX-License-Identifier: Apache-2.0
"""Azure, strict: Resource Manager with virtual machines and what they are made of, Entra ID's tokens, the metadata service.

Bodies and answers are judged by the models of the official SDK packages (azure_models.py), what must go together in
azure_rules.py; paths, queries and headers are judged here. One server is all three services: the paths tell them apart.

A creation makes VM, NICs, addresses and OS disk at once, as the real one does within a second. Then time passes by being
looked at: a VM succeeds after `ticks` looks, one that is deleted is gone after `delete_ticks`. Ids of lists have their group
in capitals, as the real one's do at times.
"""

import json
import re
import time
import urllib.parse
import uuid

from azure.mgmt.compute import models as compute_models
from azure.mgmt.network import models as network_models

from fakes.azure_identity import Identity
from fakes.azure_machines import Machines
from fakes.azure_models import Refused, Schema
from fakes.azure_names import CLIENT, GROUP, IMAGE, NETWORK_GROUP, NSG, REGION, SECOND_SUBNET, SECRET, SUBNET, SUBSCRIPTION, TENANT
from fakes.azure_operations import OPERATIONS, PATHS, VERSIONS, error
from fakes.azure_parts import Parts
from fakes.azure_reads import Reads
from fakes.azure_rules import Rules
from fakes.azure_skus import SKUS
from fakes.bucket import Bucket
from fakes.server import Fake, Reply


class Azure(Identity, Machines, Parts, Reads, Rules, Fake):
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
        self.console_text = b""
        self.start_identity()
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
