# SPDX-License-Identifier: Apache-2.0
"""What VMs of the fake Azure are made of: NICs, public addresses, disks. azure.py mixes this into its fake."""

import json
import secrets

from fakes.azure_names import REGION, SUB
from fakes.azure_operations import COMPUTE, NET, error
from fakes.server import Reply

# What the fake itself knows of a part, and no answer shows.
INTERNAL = ("looks", "handle", "index", "deleteOption", "volume")


class Parts:
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
        path = vm_id.split("/providers/")[0] + NET
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
            disk = {"id": f"{SUB}/resourceGroups/{group}{COMPUTE}/disks/{name}", "name": name, "location": location, "volume": True}
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

    def remove_nic(self, name, keep_ip=True):
        nic = self.nics.pop(name.lower())
        for configuration in nic["properties"]["ipConfigurations"]:
            address = configuration["properties"].get("publicIPAddress")
            ip = self.ips.get(address["id"].split("/")[-1].lower()) if address else None
            if ip:
                ip["properties"].pop("ipConfiguration", None)
                if not keep_ip and ip["deleteOption"] == "Delete":
                    del self.ips[ip["name"].lower()]

    def bare(self, document):
        return {name: value for name, value in document.items() if name not in INTERNAL}

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
