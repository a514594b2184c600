# SPDX-License-Identifier: Apache-2.0
"""VMs of the fake Azure and their operations: a creation, what happens to it while it is looked at, its end.

azure.py mixes this into its fake, which has `vms`, `operations`, `failures` and the parts of VMs (azure_parts.py).
"""

import base64
import json
import uuid

from fakes.azure_models import Refused
from fakes.azure_names import REGION, RG, SUB
from fakes.azure_operations import COMPUTE, VERSIONS, error
from fakes.server import Reply


class Machines:
    # ---- creation

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
        if self.bucket and not self.bucket.take(call.time):
            details = [{"code": "TooManyRequests", "target": "PutVM3Min", "message": "too many"}]
            headers = {"Retry-After": str(max(1, round(self.bucket.wait() + 0.5)))}
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

    def make_vm(self, call, key, body):
        p = body["properties"]
        configurations = p["networkProfile"]["networkInterfaceConfigurations"]
        failure = self.next_failure(body)
        data = base64.b64decode(p.get("userData", ""))
        handle = None if failure else self.instances.create(call.parts["name"], data, nics=len(configurations))
        path = f"{SUB}/resourceGroups/{call.parts['group']}{COMPUTE}"
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

    def add_foreign_vm(self, name, tags=()):
        """Somebody else's VM; its id."""
        with self.lock:
            vm_id = f"{RG}{COMPUTE}/virtualMachines/{name}"
            document = {"id": vm_id, "name": name, "location": REGION, "tags": dict(tags), "properties": {"provisioningState": "Succeeded"}}
            self.vms[name.lower()] = {"document": document, "looks": 0, "operation": "", "delete_operation": "", "failure": None}
            self.vms[name.lower()].update(handle=None, nics=[], disk=None, foreign=True)
            return vm_id

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

    # ---- what is asked of one

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
        return Reply(200, body, {"Retry-After": "1"} if operation["status"] == "InProgress" else {})

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
