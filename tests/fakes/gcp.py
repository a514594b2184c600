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

import base64
import dataclasses
import email.utils
import itertools
import json
import re
import shutil
import tempfile
import time
import uuid
from typing import Optional

from fakes import discovery, server
from fakes.discovery import Wrong
from fakes.gcp_identity import Identity
from fakes.gcp_reads import Reads
from fakes.gcp_rules import BASE, PLATFORMS, PROJECT, TYPES, Image, Rules, gone, refusal
from fakes.server import Reply

# What a method needs of the caller's role, besides what else is in the request.
PERMISSIONS = {
    "instances.insert": ["instances.create", "disks.create", "instances.setMetadata", "images.useReadOnly"],
    "instances.aggregatedList": ["instances.list"],
    "disks.aggregatedList": ["disks.list"],
    "zoneOperations.wait": ["zoneOperations.get"],
}


@dataclasses.dataclass
class Disk:
    name: str
    zone: str
    gib: int = 10
    labels: dict = dataclasses.field(default_factory=dict)
    users: list = dataclasses.field(default_factory=list)
    description: str = ""


@dataclasses.dataclass
class Vm:
    name: str
    zone: str
    body: dict
    number: int
    made: float
    handle: object
    looks: int = 0
    steps: tuple = ()
    status: str = ""  # "": as the steps say
    nat: str = ""
    deleting: bool = False
    operation: object = None

    @property
    def user_data(self) -> bytes:
        items = {item["key"]: item["value"] for item in self.body["metadata"]["items"]}
        return base64.b64decode(items["user-data"], validate=True)


@dataclasses.dataclass
class Operation:
    name: str
    kind: str
    zone: str
    target: str
    number: int
    inserted: float
    began: float
    request_id: str = ""
    looks: int = 1  # until it is done
    done: bool = False
    error: Optional[dict] = None  # what it will end with
    http: Optional[tuple] = None
    finish: object = None


@dataclasses.dataclass
class Doom:
    method: str
    error: dict
    http: Optional[tuple]
    left: float
    when: object
    leaves_disk: bool


class Bucket:
    def __init__(self, per_second: float, burst: int):
        self.per_second, self.burst, self.tokens, self.last = per_second, burst, float(burst), None

    def take(self, now: float) -> bool:
        if self.last is not None:
            self.tokens = min(self.burst, self.tokens + max(0.0, now - self.last) * self.per_second)
        self.last = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


def stamp(when: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(when - 7 * 3600)) + f".{int(when * 1000) % 1000:03d}-07:00"


class _Handler(server._Handler):
    def date_time_string(self, timestamp=None):
        return email.utils.formatdate(self.server.fake.now(), usegmt=True)


class Gcp(Identity, Reads, Rules, server.Fake):
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
        self.clock_offset = 0.0
        super().__init__(instances)
        self._server.RequestHandlerClass = _Handler
        self._folder = tempfile.mkdtemp(prefix="fake-gcp-")
        self.compute, self.manager = discovery.document("compute.v1"), discovery.document("cloudresourcemanager.v3")
        self.start_identity()
        self.images = list(images)
        self.networks = {"default": True, "second": True, "custom": False}  # name -> of auto mode
        self.subnetworks = {(self.region(zone), name): net for zone in zones for name, net in (("podvm", "custom"), ("second", "second"))}
        self.disk_types = {"pd-standard", "pd-balanced", "pd-ssd", "hyperdisk-balanced"}
        self.tag_keys = {"env": ("tagKeys/333", {"prod": "tagValues/444", "test": "tagValues/445"}), "team": ("tagKeys/334", {"a": "tagValues/446"})}
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
        self.early_waits = 0  # waits that answer before the operation is done
        self.console = "kernel: started\n"
        self._numbers = itertools.count(88120)
        self._limits = {method: Bucket(*limit) for method, limit in (limits or {}).items()}

    # ---- what tests say and ask

    def now(self) -> float:
        return time.time() + self.clock_offset

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

        details = [{"errorInfo": {"reason": "resource_availability", "domain": "compute.googleapis.com", "metadatas": {"zone": zone or "any"}}}]
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
        page = self._page(call, kind, items)
        scopes: dict = {f"zones/{zone}": {"warning": {"code": "NO_RESULTS_ON_PAGE", "message": "none"}} for zone in self.zones}
        for item in page.pop("items", []):
            scopes[f"zones/{item['zone'].rsplit('/', 1)[1]}"] = scope = scopes[f"zones/{item['zone'].rsplit('/', 1)[1]}"]
            scope.pop("warning", None)
            scope.setdefault(member, []).append(item)
        return {**page, "items": scopes}

    # ---- operations

    def _start(self, call, kind: str, where: dict, target: str, doom=None, finish=None) -> dict:
        request_id = call.one("requestId")
        number = next(self._numbers)
        operation = Operation(
            f"operation-{int(self.now() * 1000)}-{number:x}", kind, where["zone"], target, number, self.now(), time.monotonic(), request_id
        )
        operation.finish = finish
        if doom:
            operation.error, operation.http = doom.error, doom.http
        self.operations[operation.name] = operation
        if request_id:
            self.requests[request_id] = operation
        return self._operation(operation)

    def _replay(self, call) -> Optional[dict]:
        request_id = call.one("requestId")
        if not request_id:
            return None
        if str(uuid.UUID(request_id)) != request_id or uuid.UUID(request_id).int == 0:
            raise Wrong(f"Invalid value for field 'requestId': '{request_id}'. Must be a valid UUID")
        known = self.requests.get(request_id)
        if known and known.inserted > self.now() - 3600:
            return self._operation(known)
        return None

    def _doom(self, method: str, body, zone: str) -> Optional[Doom]:
        for doom in self.dooms:
            if doom.method == method and doom.left > 0 and (doom.when is None or doom.when(body, zone)):
                doom.left -= 1
                return doom
        return None

    def _finish(self, operation: Operation) -> None:
        if not operation.done:
            operation.done = True
            if operation.finish:
                operation.finish(operation)

    def _settle(self) -> None:
        """What nobody looks at goes on by itself."""
        for operation in self.operations.values():
            if time.monotonic() - operation.began > self.operation_seconds:
                self._finish(operation)

    def _look_at(self, operation: Operation) -> None:
        operation.looks -= 1
        if operation.looks < 0:
            self._finish(operation)

    def _operation(self, operation: Operation) -> dict:
        zone = f"{BASE}projects/{PROJECT}/zones/{operation.zone}"
        answer = {
            "kind": "compute#operation",
            "id": str(operation.number),
            "name": operation.name,
            "operationType": operation.kind,
            "status": "DONE" if operation.done else "RUNNING",
            "progress": 100 if operation.done else 0,
            "targetLink": BASE + operation.target,
            "targetId": str(operation.number + 1),
            "zone": zone,
            "selfLink": f"{zone}/operations/{operation.name}",
            "insertTime": stamp(operation.inserted),
        }
        if operation.request_id:
            answer["clientOperationId"] = operation.request_id
        if operation.done and operation.error:
            answer["error"] = operation.error
            if operation.http:
                answer["httpErrorStatusCode"], answer["httpErrorMessage"] = operation.http
        return answer

    def on_zoneOperations_list(self, call, where):
        shown = [one for one in self.operations.values() if one.zone == where["zone"]]
        test = discovery.parse_filter(call.one("filter")) if call.one("filter") else (lambda item: True)
        for one in shown:
            if test(self._operation(one)):
                self._look_at(one)
        return self._page(call, "operationList", [self._operation(one) for one in shown])

    def _operation_at(self, where) -> Operation:
        operation = self.operations.get(where["operation"])
        if not operation or operation.zone != where["zone"]:
            raise gone(f"operations/{where['operation']}")
        return operation

    def on_zoneOperations_get(self, _call, where):
        self._look_at(self._operation_at(where))
        return self._operation(self._operation_at(where))

    def on_zoneOperations_wait(self, _call, where):
        operation = self._operation_at(where)
        if self.early_waits > 0:
            self.early_waits -= 1
        else:
            self._finish(operation)
        return self._operation(operation)

    # ---- instances

    def _steps_of(self, vm: Vm):
        return vm.steps[min(vm.looks, len(vm.steps) - 1)]

    def _instance(self, vm: Vm, look: bool = True) -> dict:
        status, addressed = self._steps_of(vm)
        if look:
            vm.looks += 1
            if vm.operation and vm.looks >= len(vm.steps) and not vm.operation.error:
                self._look_at(vm.operation)
        nics = []
        for n, nic in enumerate(vm.body["networkInterfaces"]):
            shown = {"name": f"nic{n}", **{key: nic[key] for key in ("network", "subnetwork", "stackType") if key in nic}}
            if addressed:
                shown["networkIP"] = vm.handle.addresses[n]
            if "accessConfigs" in nic:
                config = {"name": "External NAT", "type": "ONE_TO_ONE_NAT", "networkTier": nic["accessConfigs"][0]["networkTier"]}
                if addressed and vm.looks > self.nat_looks:
                    config["natIP"] = vm.nat
                shown["accessConfigs"] = [config]
            nics.append(shown)
        answer = {
            "kind": "compute#instance",
            "id": str(vm.number),
            "name": vm.name,
            "zone": f"{BASE}projects/{PROJECT}/zones/{vm.zone}",
            "status": "STOPPING" if vm.deleting else vm.status or status,
            "creationTimestamp": stamp(vm.made),
            "machineType": vm.body["machineType"],
            "networkInterfaces": nics,
            "labels": vm.body.get("labels", {}),
            "metadata": {"kind": "compute#metadata", **vm.body["metadata"]},
            "description": vm.body.get("description", ""),
        }
        config = vm.body.get("confidentialInstanceConfig")
        if config:
            answer["confidentialInstanceConfig"] = dict(config, **({"confidentialInstanceType": self.tee_shown} if self.tee_shown else {}))
        return answer

    def on_instances_list(self, call, where):
        return self._page(call, "instanceList", self._shown(call, [vm for vm in self.vms.values() if vm.zone == where["zone"]]))

    def on_instances_aggregatedList(self, call, _where):
        return self._scopes(call, "instanceAggregatedList", "instances", self._shown(call, list(self.vms.values())))

    def _shown(self, call, vms) -> list:
        test = discovery.parse_filter(call.one("filter")) if call.one("filter") else (lambda item: True)
        return [self._instance(vm) for vm in vms if test(self._instance(vm, look=False))]

    def _vm_at(self, where) -> Vm:
        vm = self.vms.get((where["zone"], where["instance"]))
        if not vm:
            raise gone(f"projects/{PROJECT}/zones/{where['zone']}/instances/{where['instance']}")
        return vm

    def on_instances_get(self, _call, where):
        return self._instance(self._vm_at(where))

    def on_instances_getSerialPortOutput(self, _call, where):
        self._vm_at(where)
        return {"kind": "compute#serialPortOutput", "contents": self.console, "start": "0", "next": str(len(self.console))}

    def on_instances_delete(self, call, where):
        replayed = self._replay(call)
        if replayed:
            return replayed
        vm = self._vm_at(where)
        doom = self._doom("instances.delete", None, where["zone"])

        def finish(operation):
            if not operation.error and (vm.zone, vm.name) in self.vms:
                self._remove(vm, doom)

        if not doom and not vm.deleting:
            vm.deleting = True
            if vm.handle:
                self.instances.delete(vm.handle)
        target = f"projects/{PROJECT}/zones/{vm.zone}/instances/{vm.name}"
        return self._start(call, "delete", where, target, doom, finish)

    def _remove(self, vm: Vm, doom=None) -> None:
        if not vm.deleting and vm.handle:
            self.instances.delete(vm.handle)
        self.vms.pop((vm.zone, vm.name), None)
        for at, disk in list(self.disks.items()):
            if vm.name not in disk.users or at[0] != vm.zone:
                continue
            disk.users.remove(vm.name)
            boot = disk.name == (vm.body["disks"][0]["initializeParams"].get("diskName", vm.name) if "disks" in vm.body else "")
            if boot and not (doom and doom.leaves_disk):
                del self.disks[at]

    # ---- what makes one

    def on_instances_insert(self, call, where, body):
        replayed = self._replay(call)
        if replayed:
            return replayed
        zone, name = where["zone"], body["name"]
        self._check_body(call, zone, body)
        if (zone, name) in self.vms:
            raise refusal(409, "alreadyExists", f"The resource 'projects/{PROJECT}/zones/{zone}/instances/{name}' already exists")
        boot = body["disks"][0]["initializeParams"]
        disk_name = boot.get("diskName", name)
        if (zone, disk_name) in self.disks:
            raise refusal(409, "alreadyExists", f"The resource 'projects/{PROJECT}/zones/{zone}/disks/{disk_name}' already exists")
        doom = self._doom("instances.insert", body, zone)
        items = {item["key"]: item["value"] for item in body["metadata"]["items"]}
        user_data = base64.b64decode(items["user-data"], validate=True)
        handle = self.instances.create(name, b"" if doom else user_data, len(body["networkInterfaces"])) if not doom else None
        vm = Vm(name, zone, body, next(self._numbers), self.now(), handle, steps=self.steps)
        if "accessConfigs" in body["networkInterfaces"][0]:
            vm.nat = f"203.0.113.{vm.number % 250 + 1}"
        disk = Disk(disk_name, zone, int(boot.get("diskSizeGb", 10)), boot.get("labels", {}), [name])

        def finish(operation):
            if not operation.error:
                vm.looks = max(vm.looks, len(vm.steps))
                return
            self.vms.pop((zone, name), None)
            for used in self.disks.values():
                used.users = [user for user in used.users if used.zone != zone or user != name]
            if not doom.leaves_disk:
                self.disks.pop((zone, disk_name), None)

        answer = self._start(call, "insert", where, f"projects/{PROJECT}/zones/{zone}/instances/{name}", doom, finish)
        vm.operation = self.operations[answer["name"]]
        vm.operation.looks = len(vm.steps)
        if doom:
            vm.operation.looks = 0
            vm.steps = (("PROVISIONING", False),)
        self.vms[zone, name] = vm
        self.disks[zone, disk_name] = disk
        for extra in body["disks"][1:]:
            self.disks[zone, extra["source"].rsplit("/", 1)[1]].users.append(name)
        return answer

    # ---- the rest

    def _disk(self, disk: Disk) -> dict:
        zone = f"{BASE}projects/{PROJECT}/zones/{disk.zone}"
        answer = {
            "kind": "compute#disk",
            "id": "1",
            "name": disk.name,
            "zone": zone,
            "sizeGb": str(disk.gib),
            "status": "READY",
            "labels": disk.labels,
            "creationTimestamp": stamp(self.now()),
        }
        if disk.users:
            answer["users"] = [f"{zone}/instances/{user}" for user in disk.users]
        return answer

    def _disk_at(self, where) -> Disk:
        disk = self.disks.get((where["zone"], where["disk"]))
        if not disk:
            raise gone(f"projects/{PROJECT}/zones/{where['zone']}/disks/{where['disk']}")
        return disk

    def on_disks_get(self, _call, where):
        return self._disk(self._disk_at(where))

    def on_disks_aggregatedList(self, call, _where):
        return self._scopes(call, "diskAggregatedList", "disks", [self._disk(disk) for disk in self.disks.values()])

    def on_disks_delete(self, call, where):
        disk = self._disk_at(where)
        if disk.users:
            raise refusal(400, "resourceInUseByAnotherResource", f"The disk resource '{disk.name}' is already being used")
        del self.disks[disk.zone, disk.name]
        return self._start(call, "delete", where, f"projects/{PROJECT}/zones/{disk.zone}/disks/{disk.name}")
