# SPDX-License-Identifier: Apache-2.0
"""What the real Azure refuses of a creation although the schema allows it. azure.py mixes this into its fake, which has
`skus`, `disks` and `subnets`.
"""

import base64
import re

from fakes.azure_models import Refused, ssh_rsa_bits
from fakes.azure_names import COMMUNITY_IMAGE, GALLERY_IMAGE, IMAGE, NSG, REGION, RG, SHARED_IMAGE
from fakes.azure_operations import COMPUTE, NAME, NETWORK_OF_VM, OF_GROUP, error
from fakes.azure_skus import capabilities


class Rules:
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
            if not re.fullmatch(rf"{OF_GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{NAME}", identity):
                raise Refused(f"{identity} is no identity")

    def sku_of(self, name):
        for sku in self.skus:
            if sku["resourceType"] == "virtualMachines" and sku["name"].lower() == name.lower():
                return sku
        raise error(400, "InvalidParameter", f"The value {name} provided for the VM size is not valid.", target="vmSize")

    @staticmethod
    def judge_tags(tags):
        if len(tags) > 50 or any(len(k) > 512 or len(v) > 256 or set(k) & set("<>%&\\?/") for k, v in tags.items()):
            raise error(400, "InvalidTags", "The tags are not valid.")

    @staticmethod
    def judge_security(p, able):
        security = p.get("securityProfile", {})
        disk = p["storageProfile"]["osDisk"].get("managedDisk", {}).get("securityProfile")
        if security.get("encryptionAtHost") and able.get("EncryptionAtHostSupported") == "False":
            raise Refused("the VM size does not support encryption at host")
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
        known = {"id": [IMAGE, GALLERY_IMAGE, f"{RG}{COMPUTE}/images/podvm"]}
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
        if "diffDiskSettings" in disk and able.get("EphemeralOSDiskSupported") == "False":
            raise Refused("the VM size does not support ephemeral OS disks")
        kind = disk.get("managedDisk", {}).get("storageAccountType", "")
        if kind.startswith("Premium") and able.get("PremiumIO") == "False":
            raise Refused(f"the VM size does not support the storage account type {kind}")
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
