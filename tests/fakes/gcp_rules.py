# SPDX-License-Identifier: Apache-2.0
"""What Compute Engine takes of instances.insert beyond the form of its body: names that exist, sizes, combinations.

gcp.py mixes this into its fake, which has `types`, `images`, `disks`, `disk_types`, `networks`, `subnetworks`, `platforms`
and `tag_keys`.
"""

import dataclasses
import re
from typing import Optional

from fakes.discovery import Wrong
from fakes.server import Reply

BASE = "https://www.googleapis.com/compute/v1/"
PROJECT, NUMBER = "demo-proj", 1234567890
LABEL_KEY, LABEL_VALUE = r"[a-z][a-z0-9_-]{0,62}", r"[a-z0-9_-]{0,63}"
VALUE_MAX, METADATA_MAX = 256 << 10, 512 << 10
PLATFORMS = ("Intel Broadwell", "AMD Rome", "AMD Milan", "Intel Sapphire Rapids", "AMD Genoa")
CONFIDENTIAL = {
    "SEV": ("n2d-", "c2d-", "c3d-", "c4d-"),
    "SEV_SNP": ("n2d-",),
    "TDX": ("c3-standard-", "a3-highgpu-1g"),
}
NO_PD_STANDARD = ("c3", "c3d", "a3", "g2", "c4", "c4d", "n4")


@dataclasses.dataclass
class Type:
    name: str
    vcpus: int
    memory_mib: int
    gpus: int = 0
    disks: int = 128
    architecture: str = "X86_64"
    zones: Optional[tuple] = None


TYPES = (
    Type("e2-medium", 2, 4096),
    Type("n1-standard-4", 4, 15360),
    Type("n2d-standard-2", 2, 8192),
    Type("n2d-standard-4", 4, 16384),
    Type("n2d-standard-8", 8, 32768),
    Type("n2d-highcpu-2", 2, 2048, disks=3),
    Type("c2d-standard-2", 2, 8192),
    Type("c3-standard-4", 4, 16384),
    Type("a2-highgpu-1g", 12, 87040, gpus=1),
    Type("c4a-standard-4", 4, 16384, architecture="ARM64"),
)


@dataclasses.dataclass
class Image:
    name: str = "podvm-1"
    gib: int = 8
    features: tuple = ("UEFI_COMPATIBLE", "SEV_CAPABLE", "SEV_SNP_CAPABLE", "TDX_CAPABLE", "GVNIC")
    family: str = "podvm"
    project: str = PROJECT
    status: str = "READY"
    architecture: str = "X86_64"


def refusal(http: int, reason: str, message: str = "scripted", headers=(), **more) -> Reply:
    """An error as Compute Engine answers it at once."""
    error = {"code": http, "message": message, "errors": [{"message": message, "domain": "global", "reason": reason}], **more}
    return Reply(http, {"error": error}, headers)


def gone(what: str) -> Reply:
    return refusal(404, "notFound", f"The resource '{what}' was not found", status="NOT_FOUND")


class Rules:
    def _check_body(self, call, zone: str, body: dict) -> None:
        self._check_machine(call, zone, body)
        self._check_labels(body.get("labels", {}))
        self._allow(call, *(["instances.setLabels"] if body.get("labels") else []))
        self._check_disks(call, zone, body)
        self._check_nics(call, zone, body)
        items = body.get("metadata", {}).get("items", [])
        if len({item["key"] for item in items}) != len(items):
            raise Wrong("Metadata has duplicate keys")
        for item in items:
            if not re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", item["key"]):
                raise Wrong(f"Invalid metadata key {item['key']}")
            if len(item["value"]) > VALUE_MAX:
                raise Wrong(f"Value for field 'resource.metadata.items' is too large: maximum size {VALUE_MAX}")
        if sum(len(item["key"]) + len(item["value"]) for item in items) > METADATA_MAX:
            raise Wrong("metadata is too large")
        tags = body.get("tags", {}).get("items", [])
        if any(not re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", tag) for tag in tags):
            raise Wrong(f"Invalid network tag in {tags}")
        self._allow(call, *(["instances.setTags"] if tags else []))
        bound = body.get("params", {}).get("resourceManagerTags", {})
        known = {key: set(values.values()) for key, values in self.tag_keys.values()}
        for key, value in bound.items():
            if value not in known.get(key, ()):
                raise Wrong(f"Invalid resource manager tag {key}={value}")
        if bound:
            self._allow(call, "instances.createTagBinding", "resourcemanager.tagValueBindings.create")

    def _type_at(self, zone: str, name: str) -> Type:
        kind = self.types.get(name)
        if kind and (kind.zones is None or zone in kind.zones):
            return kind
        if found := re.fullmatch(r"n2d-custom-(\d+)-(\d+)", name):
            return Type(name, int(found.group(1)), int(found.group(2)))
        raise gone(f"projects/{PROJECT}/zones/{zone}/machineTypes/{name}")

    def _check_machine(self, call, zone: str, body: dict) -> None:
        found = re.fullmatch(rf"(projects/{PROJECT}/)?zones/([^/]+)/machineTypes/([^/]+)", body.get("machineType", ""))
        if not found or found.group(2) != zone:
            raise Wrong(f"Invalid value for field 'resource.machineType': '{body.get('machineType')}'")
        kind = self._type_at(zone, found.group(3))
        scheduling = body.get("scheduling", {})
        terminates = scheduling.get("onHostMaintenance") == "TERMINATE"
        config = body.get("confidentialInstanceConfig")
        image = self._image_of(body)
        if config:
            tee = config.get("confidentialInstanceType", "SEV")
            if not config.get("enableConfidentialCompute") or not kind.name.startswith(CONFIDENTIAL.get(tee, ())):
                raise Wrong(f"Invalid value for field 'resource.confidentialInstanceConfig': {tee} is not supported by {kind.name}")
            if not terminates:
                raise Wrong("Confidential VMs must have onHostMaintenance TERMINATE")
            if f"{tee}_CAPABLE" not in image.features or "UEFI_COMPATIBLE" not in image.features:
                raise Wrong(f"The image does not support {tee}")
        if body.get("minCpuPlatform") and body["minCpuPlatform"] not in self.platforms:
            raise Wrong(f"Invalid value for field 'resource.minCpuPlatform': '{body['minCpuPlatform']}'")
        if scheduling.get("provisioningModel") == "SPOT":
            if scheduling.get("automaticRestart", True) or not terminates:
                raise Wrong("Scheduling must have no automatic restart, and TERMINATE, for spot instances")
        elif "instanceTerminationAction" in scheduling and "maxRunDuration" not in scheduling:
            raise Wrong("instanceTerminationAction needs SPOT or maxRunDuration")
        gpus = body.get("guestAccelerators", [])
        if gpus and (not kind.name.startswith("n1-") or not terminates):
            raise Wrong("guestAccelerators")
        if image.architecture != kind.architecture:
            raise Wrong(f"image of architecture {image.architecture} on {kind.name}")

    def _check_labels(self, labels: dict) -> None:
        if len(labels) > 64:
            raise Wrong("more than 64 labels")
        for key, value in labels.items():
            if not re.fullmatch(LABEL_KEY, key) or not re.fullmatch(LABEL_VALUE, value):
                raise Wrong(f"Invalid value for field 'resource.labels': '{key}={value}'")

    def _find_image(self, path: str) -> Image:
        found = re.fullmatch(r"projects/([^/]+)/global/images/(family/)?([^/]+)", path)
        for image in self.images if found else ():
            if found.group(1) == image.project and found.group(3) == (image.family if found.group(2) else image.name):
                return image
        raise gone(path)

    def _image_of(self, body: dict) -> Image:
        if not body.get("disks") or "sourceImage" not in body["disks"][0].get("initializeParams", {}):
            raise Wrong("Invalid value for field 'resource.disks': the first one must boot from an image")
        return self._find_image(body["disks"][0]["initializeParams"]["sourceImage"])

    def _check_disks(self, call, zone: str, body: dict) -> None:
        boot, *extra = body["disks"]
        kind = body["machineType"].rsplit("/", 1)[1]
        if not boot.get("boot") or not boot.get("autoDelete") or boot.get("type") != "PERSISTENT":
            raise Wrong("Invalid value for field 'resource.disks[0]'")
        params = boot["initializeParams"]
        if int(params.get("diskSizeGb", "10")) < self._image_of(body).gib:
            raise Wrong(f"Requested disk size cannot be smaller than the image size ({self._image_of(body).gib} GB)")
        found = re.fullmatch(rf"(projects/{PROJECT}/)?zones/{zone}/diskTypes/([^/]+)", params.get("diskType", ""))
        if not found or found.group(2) not in self.disk_types:
            raise gone(params.get("diskType", "diskType"))
        if found.group(2) == "pd-standard" and kind.split("-")[0] in NO_PD_STANDARD:
            raise Wrong(f"[pd-standard] features are not compatible with machine type {kind}")
        self._check_labels(params.get("labels", {}))
        self._allow(call, *(["disks.setLabels"] if params.get("labels") else []))
        if len(extra) > self._type_at(zone, kind).disks - 1:
            raise Wrong("too many disks")
        if len({one.get("deviceName") for one in extra}) != len(extra):
            raise Wrong("deviceName used twice")
        for one in extra:
            disk = self.disks.get((zone, one["source"].rsplit("/", 1)[1]))
            if not disk or one["source"] != f"projects/{PROJECT}/zones/{zone}/disks/{disk.name}":
                raise gone(one["source"])
            if disk.users:
                raise refusal(400, "resourceInUseByAnotherResource", f"The disk resource '{disk.name}' is already being used")
            if one.get("autoDelete", True) or one.get("boot"):
                raise Wrong("an existing disk would go with the instance")
            self._allow(call, "disks.use")

    def _check_nics(self, call, zone: str, body: dict) -> None:
        used = []
        for nic in body.get("networkInterfaces", []):
            subnetwork, network = nic.get("subnetwork", ""), nic.get("network", "")
            if subnetwork:
                found = re.fullmatch(rf"projects/{PROJECT}/regions/([^/]+)/subnetworks/([^/]+)", subnetwork)
                if not found or found.group(1) != self.region(zone) or found.groups() not in self.subnetworks:
                    raise gone(subnetwork)
                name = self.subnetworks[found.groups()]
                if network and network.rsplit("/", 1)[1] != name:
                    raise Wrong(f"subnetwork {subnetwork} is not of network {network}")
            else:
                found = re.fullmatch(rf"(projects/{PROJECT}/|projects/{NUMBER}/)?global/networks/([^/]+)", network)
                if not found or found.group(2) not in self.networks:
                    raise gone(network or "network")
                name = found.group(2)
                if not self.networks[name]:
                    raise Wrong("Network interface must specify a subnet if the network resource is in custom subnet mode.")
            used.append(name)
            self._allow(call, "subnetworks.use", "networks.use")
            if "accessConfigs" in nic:
                if len(nic["accessConfigs"]) != 1 or nic["accessConfigs"][0].get("networkTier") is None:
                    raise Wrong("accessConfigs")
                self._allow(call, "subnetworks.useExternalIp", "networks.useExternalIp")
        vcpus = self._type_at(zone, body["machineType"].rsplit("/", 1)[1]).vcpus
        if not used or len(set(used)) != len(used) or len(used) > max(2, min(8, vcpus)):
            raise Wrong(f"Invalid value for field 'resource.networkInterfaces': networks {used}")
