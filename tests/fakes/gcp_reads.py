# SPDX-License-Identifier: Apache-2.0
"""What Google tells without anything being made: images, machine types, projects, zones, regions, networks, and Resource
Manager's tags and permissions. gcp.py mixes this into its fake.
"""

from fakes.discovery import Wrong
from fakes.gcp_rules import BASE, NUMBER, PROJECT, Image, Type, gone


class Reads:
    def _image(self, image: Image) -> dict:
        return {
            "kind": "compute#image",
            "name": image.name,
            "family": image.family,
            "diskSizeGb": str(image.gib),
            "status": image.status,
            "architecture": image.architecture,
            "guestOsFeatures": [{"type": feature} for feature in image.features],
            "selfLink": f"{BASE}projects/{image.project}/global/images/{image.name}",
        }

    def on_images_get(self, _call, where):
        return self._image(self._find_image(f"projects/{where['project']}/global/images/{where['image']}"))

    def on_images_getFromFamily(self, _call, where):
        return self._image(self._find_image(f"projects/{where['project']}/global/images/family/{where['family']}"))

    def _machine(self, kind: Type, zone: str) -> dict:
        answer = {
            "kind": "compute#machineType",
            "name": kind.name,
            "guestCpus": kind.vcpus,
            "memoryMb": kind.memory_mib,
            "maximumPersistentDisks": kind.disks,
            "maximumPersistentDisksSizeGb": "263168",
            "architecture": kind.architecture,
            "zone": zone,
            "isSharedCpu": kind.name.startswith("e2-m"),
        }
        if kind.gpus:
            answer["accelerators"] = [{"guestAcceleratorType": "nvidia-tesla-a100", "guestAcceleratorCount": kind.gpus}]
        return answer

    def on_machineTypes_list(self, call, where):
        types = [one for one in self.types.values() if one.zones is None or where["zone"] in one.zones]
        return self._page(call, "machineTypeList", [self._machine(one, where["zone"]) for one in types])

    def on_machineTypes_get(self, _call, where):
        return self._machine(self._type_at(where["zone"], where["machineType"]), where["zone"])

    def on_projects_get(self, _call, where):
        if where["project"] != PROJECT:
            raise gone(f"projects/{where['project']}")
        return {"kind": "compute#project", "id": str(NUMBER), "name": PROJECT}

    def on_zones_get(self, _call, where):
        return {"kind": "compute#zone", "name": where["zone"], "status": "UP", "availableCpuPlatforms": self.platforms}

    def on_regions_get(self, _call, where):
        quotas = [{"metric": metric, "limit": float(limit), "usage": float(usage)} for metric, (limit, usage) in self.quotas.items()]
        return {"kind": "compute#region", "name": where["region"], "status": "UP", "quotas": quotas}

    def on_diskTypes_get(self, _call, where):
        if where["diskType"] not in self.disk_types:
            raise gone(f"diskTypes/{where['diskType']}")
        return {"kind": "compute#diskType", "name": where["diskType"], "zone": where["zone"]}

    def on_networks_get(self, _call, where):
        if where["network"] not in self.networks:
            raise gone(f"projects/{PROJECT}/global/networks/{where['network']}")
        return {"kind": "compute#network", "name": where["network"], "autoCreateSubnetworks": self.networks[where["network"]]}

    def on_subnetworks_get(self, _call, where):
        network = self.subnetworks.get((where["region"], where["subnetwork"]))
        if not network:
            raise gone(f"projects/{PROJECT}/regions/{where['region']}/subnetworks/{where['subnetwork']}")
        link = f"{BASE}projects/{PROJECT}/global/networks/{network}"
        return {"kind": "compute#subnetwork", "name": where["subnetwork"], "network": link, "stackType": "IPV4_ONLY"}

    # ---- Resource Manager

    def _manager_page(self, call, member: str, items: list) -> dict:
        start, size = int(call.one("pageToken") or 0), min(int(call.one("pageSize") or 100), self.page_max)
        more = {"nextPageToken": str(start + size)} if start + size < len(items) else {}
        return {**({member: items[start : start + size]} if items else {}), **more}

    def on_tagKeys_list(self, call, _where):
        self._allow(call, "resourcemanager.tagKeys.list")
        if call.one("parent") != f"projects/{PROJECT}":
            raise Wrong(call.one("parent"))
        return self._manager_page(call, "tagKeys", [{"name": key, "shortName": short} for short, (key, _) in self.tag_keys.items()])

    def on_tagValues_list(self, call, _where):
        self._allow(call, "resourcemanager.tagValues.list")
        values = next((values for key, values in self.tag_keys.values() if key == call.one("parent")), None)
        if values is None:
            raise gone(call.one("parent"))
        return self._manager_page(call, "tagValues", [{"name": value, "shortName": short} for short, value in values.items()])

    def on_projects_testIamPermissions(self, _call, _where, body):
        return {"permissions": [one for one in body["permissions"] if one not in self.denied]}
