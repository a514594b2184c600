# SPDX-License-Identifier: Apache-2.0
"""Google Compute Engine, Resource Manager, and how Google gives out tokens (gcp_identity.py), on one port.

    cloud = Gcp()                                            # Gcp(instances, zones=..., types=..., limits=...)
    cloud.full("n2d-standard-2", "us-central1-a")            # a stock-out, told by the operation
    cloud.fail_operation("instances.insert", "QUOTA_EXCEEDED", "...", status=403)
    cloud.script("instances.insert", refusal(403, "rateLimitExceeded"))
    cloud.bodies("instances.insert")

Every path, query, body, answer and field mask is held against the discovery documents (discovery.py): what they do not know
is refused. Operations go on when somebody looks at them, or after `operation_seconds`: `steps` says what an instance shows at
each look until then.
"""

import itertools
import json
import shutil
import tempfile
from typing import Optional

from fakes import discovery
from fakes.bucket import Bucket
from fakes.discovery import Wrong
from fakes.gcp_identity import Identity
from fakes.gcp_machines import Machines
from fakes.gcp_operations import Operations
from fakes.gcp_reads import Reads
from fakes.gcp_rules import BASE, PLATFORMS, PROJECT, TYPES, Image, Rules, gone, refusal
from fakes.gcp_things import Disk, Doom, Vm
from fakes.server import Fake, Reply

# What a method needs of the caller's role, besides what else is in the request.
PERMISSIONS = {
    "instances.insert": ["instances.create", "disks.create", "instances.setMetadata", "images.useReadOnly"],
    "instances.aggregatedList": ["instances.list"],
    "disks.aggregatedList": ["disks.list"],
    "zoneOperations.wait": ["zoneOperations.get"],
}


class Gcp(Identity, Machines, Operations, Reads, Rules, Fake):
    def __init__(
        self,
        instances=None,
        zones=("us-central1-a", "us-central1-b", "us-central1-c", "europe-west1-b"),
        types=TYPES,
        images=(Image(),),
        limits=None,  # {"instances.insert": (per second, burst)}
        steps=(("RUNNING", True),),
        operation_seconds=0.5,
        page_max=500,
    ):
        self.project, self.zones, self.types = PROJECT, list(zones), {one.name: one for one in types}
        super().__init__(instances)
        self._folder = tempfile.mkdtemp(prefix="fake-gcp-")
        self.compute, self.manager = discovery.document("compute.v1"), discovery.document("cloudresourcemanager.v3")
        self.start_identity()
        self.images = list(images)
        self.networks = {"default": True, "second": True, "custom": False}  # name -> of auto mode
        self.subnetworks = {(self.region(zone), name): net for zone in zones for name, net in (("podvm", "custom"), ("second", "second"))}
        self.disk_types = {"pd-standard", "pd-balanced", "pd-ssd", "hyperdisk-balanced"}
        self.tag_keys = {
            "env": ("tagKeys/333", {"prod": "tagValues/444", "test": "tagValues/445"}),
            "team": ("tagKeys/334", {"a": "tagValues/446"}),
        }
        self.quotas = {"CPUS": (500, 10), "N2D_CPUS": (100, 4), "INSTANCES": (100, 1), "IN_USE_ADDRESSES": (8, 0)}
        self.platforms = list(PLATFORMS)
        self.steps, self.operation_seconds, self.page_max = tuple(steps), operation_seconds, page_max
        self.vms: dict = {}  # (zone, name)
        self.disks: dict = {}
        self.operations: dict = {}
        self.requests: dict = {}  # requestId -> operation
        self.dooms: list = []
        self.denied: set = set()
        self.permissions_used: set = set()
        self.tee_shown: Optional[str] = None  # instead of what was asked for
        self.nat_looks = 0  # looks until a public address is shown
        self.unreachable: set = set()  # zones that lists over all zones leave out
        self.early_waits = 0  # waits that answer before the operation is done
        self.console = "kernel: started\n"
        self._numbers = itertools.count(88120)
        self._limits = {method: Bucket(*limit) for method, limit in (limits or {}).items()}

    # ---- what tests say and ask

    @staticmethod
    def region(zone: str) -> str:
        return zone.rsplit("-", 1)[0]

    def full(self, machine_type=None, zone=None, spot=None, code="ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", times=None) -> Doom:
        def matches(body, where):
            return (
                (machine_type is None or body["machineType"].endswith("/" + machine_type))
                and (zone is None or where == zone)
                and (spot is None or spot == (body["scheduling"].get("provisioningModel") == "SPOT"))
            )

        details = [
            {"errorInfo": {"reason": "resource_availability", "domain": "compute.googleapis.com", "metadatas": {"zone": zone or "any"}}}
        ]
        text = "The zone does not have enough resources available to fulfill the request."
        return self.fail_operation("instances.insert", code, text, 503, times, matches, details)

    def fail_operation(self, method, code, message="scripted", status=None, times=1, when=None, details=None, leaves_disk=False) -> Doom:
        """The operations of the next such calls end so. when(body, zone)."""
        error = {"errors": [{"code": code, "message": message, **({"errorDetails": details} if details else {})}]}
        http = (status, {503: "SERVICE UNAVAILABLE", 403: "FORBIDDEN"}.get(status, "BAD")) if status else None
        doom = Doom(method, error, http, float("inf") if times is None else times, when, leaves_disk)
        with self.lock:
            self.dooms.append(doom)
        return doom

    def bodies(self, method: str) -> list:
        return [call.json() for call in self.made(method)]

    def live(self) -> list:
        with self.lock:
            return [vm for vm in self.vms.values() if not vm.deleting]

    def make_disk(self, name, zone=None, **more) -> Disk:
        disk = Disk(name, zone or self.zones[0], **more)
        with self.lock:
            self.disks[disk.zone, disk.name] = disk
        return disk

    def make_vm(self, name, zone=None, labels=None) -> Vm:
        """One that somebody else made."""
        zone = zone or self.zones[0]
        body = {
            "labels": labels or {},
            "machineType": f"zones/{zone}/machineTypes/e2-medium",
            "networkInterfaces": [{}],
            "scheduling": {},
            "metadata": {"items": []},
        }
        with self.lock:
            vm = Vm(name, zone, body, next(self._numbers), self.now(), self.instances.create(name, b""), steps=self.steps, looks=99)
            self.vms[zone, name] = vm
            return vm

    def lose_vm(self, name: str, status: str = "") -> None:
        """It is stopped by itself; with no status, somebody deletes it."""
        with self.lock:
            for vm in [one for one in self.vms.values() if one.name == name]:
                vm.status = status
                if not status:
                    self._remove(vm)

    def age_operations(self, seconds: float) -> None:
        with self.lock:
            for operation in self.operations.values():
                operation.inserted -= seconds

    def inventory(self) -> dict:
        with self.lock:
            dying = {vm.name for vm in self.vms.values() if vm.deleting}
            found = {
                "instances": [vm.name for vm in self.vms.values() if not vm.deleting],
                "disks": [disk.name for disk in self.disks.values() if "peerpod-token" in disk.labels and disk.name not in dying],
                "addresses": [vm.nat for vm in self.vms.values() if vm.nat and not vm.deleting],
            }
            return {kind: sorted(names) for kind, names in found.items() if names}

    def environment(self) -> dict:
        return {
            "GCP_CREDENTIALS": json.dumps(self.service_account(), indent=1),
            "GCP_PROJECT_ID": PROJECT,
            "GCP_ZONE": self.zones[0],
            "PODVM_IMAGE_NAME": self.images[0].name,
            "GCP_MACHINE_TYPE": "n2d-standard-2",
            "GCP_NETWORK": "global/networks/default",
            "GCP_CONFIDENTIAL_TYPE": "SEV_SNP",
            "GCP_COMPUTE_ENDPOINT": self.url,
            "GCP_RESOURCE_MANAGER_ENDPOINT": self.url,
            "GCE_METADATA_HOST": f"127.0.0.1:{self.port}",
            "GCP_CATALOGUE_FOLDER": self._folder,
            "no_proxy": "127.0.0.1",
        }

    def close(self) -> None:
        try:
            super().close()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    # ---- one request

    def operation(self, method, path, query, body) -> str:
        found = self._find(method, path)
        if found:
            return found[1].id
        if path.startswith("/computeMetadata/v1/"):
            return "metadata"
        if path.endswith(":generateAccessToken"):
            return "generateAccessToken"
        return {"/token": "token", "/v1/token": "sts", "/subject": "subject"}.get(path, "unknown")

    def _find(self, method, path):
        for document in (self.compute, self.manager):
            if found := document.find(method, path):
                return document, *found
        return None

    def handle(self, call) -> Reply:
        found = self._find(call.method, call.path)
        if not found:
            return super().handle(call)
        document, method, where = found
        try:
            return self._serve(document, method, where, call)
        except Wrong as wrong:
            return refusal(400, "invalid", str(wrong))

    def _serve(self, document, method, where, call) -> Reply:
        if not self.bearer(call):
            return refusal(401, "authError", "Request had invalid authentication credentials.", status="UNAUTHENTICATED")
        limit = self._limits.get(method.id)
        if limit and not limit.take(call.time):
            return refusal(403, "rateLimitExceeded", f"Quota exceeded for quota metric of {method.id}")
        method.check_path(where)
        method.check_query(call.query)
        body = None
        if method.request and method.request != "Empty":
            if call.headers.get("Content-Type") != "application/json":
                return refusal(400, "parseError", "Content-Type")
            body = call.json()
            document.check(method.request, body, "compute." + method.id)
        elif call.body:
            return refusal(400, "badRequest", f"{method.id} takes no body")
        if where.get("project", PROJECT) not in {PROJECT, *(image.project for image in self.images)}:
            return gone(f"projects/{where['project']}")
        if "zone" in where and where["zone"] not in self.zones:
            return gone(f"projects/{PROJECT}/zones/{where['zone']}")
        if document is self.compute:
            self._allow(call, *PERMISSIONS.get(method.id, [method.id]))
        self._settle()
        handler = getattr(self, "on_" + method.id.replace(".", "_"), None)
        if not handler:
            raise AssertionError(f"this fake has no {method.id}")
        answer = handler(call, where, body) if method.request and body is not None else handler(call, where)
        document.check(method.response, answer, answer=True)
        if call.one("fields"):
            answer = document.mask(method.response, call.one("fields"), answer) or {}
        return Reply(200, answer)

    def _allow(self, call, *permissions) -> None:
        for permission in permissions:
            whole = permission if "resourcemanager" in permission else "compute." + permission
            self.permissions_used.add(whole)
            if whole in self.denied:
                raise refusal(403, "forbidden", f"Required '{whole}' permission for '{call.path}'")

    def _page(self, call, kind: str, items: list, **more) -> dict:
        """A list, in pages of what was asked for and what the cloud gives at most."""
        test = discovery.parse_filter(call.one("filter")) if call.one("filter") else (lambda item: True)
        chosen = [item for item in items if test(item)]
        start = int(call.one("pageToken") or 0)
        size = min(int(call.one("maxResults") or 500), self.page_max)
        page = {"kind": "compute#" + kind, "id": kind, **more}
        if start + size < len(chosen):
            page["nextPageToken"] = str(start + size)
        if chosen[start : start + size]:
            page["items"] = chosen[start : start + size]
        return page

    def _scopes(self, call, kind: str, member: str, items: list) -> dict:
        """An aggregated list."""
        away = {f"{BASE}projects/{PROJECT}/zones/{zone}" for zone in self.unreachable}
        page = self._page(call, kind, [item for item in items if item["zone"] not in away])
        empty = {"code": "NO_RESULTS_ON_PAGE", "message": "There are no results on this page."}
        scopes: dict = {f"zones/{zone}": {"warning": empty} for zone in self.zones if zone not in self.unreachable}
        for item in page.pop("items", []):
            scope = scopes["zones/" + item["zone"].rsplit("/", 1)[1]]
            scope.pop("warning", None)
            scope.setdefault(member, []).append(item)
        return {**page, "items": scopes, **({"unreachables": sorted(away)} if away else {})}
