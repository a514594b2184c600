# SPDX-License-Identifier: Apache-2.0
"""VMs and disks of the fake of Google. gcp.py mixes this into its fake, which has `vms` and `disks`."""

import base64

from fakes import discovery
from fakes.gcp_rules import BASE, PROJECT, gone, refusal
from fakes.gcp_things import Disk, Vm, stamp


class Machines:
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

    def _shown(self, call, vms) -> list:
        test = discovery.parse_filter(call.one("filter")) if call.one("filter") else (lambda item: True)
        return [self._instance(vm) for vm in vms if test(self._instance(vm, look=False))]

    def _vm_at(self, where) -> Vm:
        vm = self.vms.get((where["zone"], where["instance"]))
        if not vm:
            raise gone(f"projects/{PROJECT}/zones/{where['zone']}/instances/{where['instance']}")
        return vm

    def on_instances_list(self, call, where):
        return self._page(call, "instanceList", self._shown(call, [vm for vm in self.vms.values() if vm.zone == where["zone"]]))

    def on_instances_aggregatedList(self, call, _where):
        return self._scopes(call, "instanceAggregatedList", "instances", self._shown(call, list(self.vms.values())))

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

    # ---- disks

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
