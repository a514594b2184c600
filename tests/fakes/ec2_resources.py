# SPDX-License-Identifier: Apache-2.0
"""Volumes, network interfaces and elastic addresses of the fake EC2, and what all its resources have: ids, tags, filters, pages."""

import datetime
import fnmatch
import re

from fakes.ec2_things import Address, Nic
from fakes.ec2_wire import Refusal

FILTER_VALUES_MAX = 200


class Resources:
    # ---- resources

    def _id(self, prefix) -> str:
        return f"{prefix}-{next(self._numbers):017x}"

    def _made(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(int(self.now()), datetime.timezone.utc)

    def _tags_of(self, asked, kind) -> dict:
        tags: dict = {}
        for one in asked.get("TagSpecifications", []):
            if "ResourceType" not in one:
                raise Refusal("MissingParameter", "TagSpecification needs ResourceType")
            for tag in one.get("Tags", []):
                key, value = tag.get("Key", ""), tag.get("Value", "")
                if (
                    not 0 < len(key) <= 128
                    or len(value) > 256
                    or key.lower().startswith("aws:")
                    or key in (tags if one["ResourceType"] == kind else ())
                ):
                    raise Refusal("InvalidParameterValue", f"Tag {key[:130]}={value[:260]}")
                if one["ResourceType"] == kind:
                    tags[key] = value
        if len(tags) > 50:
            raise Refusal("TagLimitExceeded", "more than 50 tags")
        return tags

    def _only_kinds(self, asked, *kinds):
        for one in asked.get("TagSpecifications", []):
            if one.get("ResourceType") not in kinds:
                raise Refusal(
                    "InvalidParameterValue", f"'{one.get('ResourceType')}' is not a valid taggable resource type for this operation."
                )

    def _new_nic(self, subnet, groups, tags, address=None) -> Nic:
        nic = Nic(self._id("eni"), tags, self._made(), self.hidden_looks, subnet, address or f"10.98.{next(self._numbers) % 250}.7", groups)
        self.nics[nic.id] = nic
        return nic

    def _new_address(self, tags) -> Address:
        number = next(self._numbers)
        address = Address(self._id("eipalloc"), tags, self._made(), self.hidden_looks, f"203.0.113.{number % 250 + 1}")
        self.addresses[address.id] = address
        return address

    @staticmethod
    def _seen(things) -> list:
        """Those that this look sees."""
        found = []
        for thing in things:
            if thing.hidden > 0:
                thing.hidden -= 1
            else:
                found.append(thing)
        return found

    def _select(self, all_things, ids, code, prefix, filters, readers) -> list:
        """Those of these ids (None: all) that the filters let through."""
        if ids is not None:
            for one in ids:
                if not re.fullmatch(prefix + r"-[0-9a-f]{8,17}", one):
                    raise Refusal(code.split(".")[0] + ".Malformed", f'Invalid id: "{one}"')
            seen = {thing.id: thing for thing in self._seen([all_things[one] for one in ids if one in all_things])}
            for one in ids:
                if one not in seen:
                    raise Refusal(code, f"The ID '{one}' does not exist")
            things = list(seen.values())
        else:
            things = list(all_things.values())
        matching = [thing for thing in things if self._matches(thing, filters, readers)]
        return matching if ids is not None else self._seen(matching)

    @staticmethod
    def _matches(thing, filters, readers) -> bool:
        for one in filters or []:
            name, values = one.get("Name", ""), one.get("Values", [])
            if len(values) > FILTER_VALUES_MAX:
                raise Refusal(
                    "FilterLimitExceeded", f"The maximum number of filter values specified on a single call is {FILTER_VALUES_MAX}"
                )
            if not values:
                raise Refusal("InvalidParameterValue", f"The filter {name} has no values")
            if name.startswith("tag:"):
                had = [thing.tags[name[4:]]] if name[4:] in thing.tags else []
            elif name == "tag-key":
                had = list(thing.tags)
            elif name in readers:
                had = readers[name](thing)
                had = had if isinstance(had, (list, tuple)) else [had]
            else:
                raise Refusal("InvalidParameterValue", f"The filter '{name}' is invalid")
            if not any(fnmatch.fnmatchcase(str(have), value) for have in had for value in values):
                return False
        return True

    def _page(self, asked, things, least=5, most=1000) -> tuple:
        """(the page, NextToken or None)."""
        size = asked.get("MaxResults", most)
        if not least <= size <= most:
            raise Refusal("InvalidParameterValue", f"Value ({size}) for parameter MaxResults is invalid. Expected {least} to {most}")
        start = 0
        if "NextToken" in asked:
            if not asked["NextToken"].startswith("page+") or not asked["NextToken"][5:-2].isdecimal():
                raise Refusal("InvalidNextToken", "The token is not one of ours")
            start = int(asked["NextToken"][5:-2])
        end = start + min(size, self.page_max)
        return things[start:end], f"page+{end}==" if end < len(things) else None

    @staticmethod
    def _tag_set(thing) -> list:
        return [{"Key": key, "Value": value} for key, value in thing.tags.items()]

    # ---- volumes

    def do_DescribeVolumes(self, asked) -> dict:
        readers = {"status": lambda volume: "in-use" if volume.instance else "available", "volume-id": lambda volume: volume.id}
        found = self._select(self.volumes, asked.get("VolumeIds"), "InvalidVolume.NotFound", "vol", asked.get("Filters"), readers)
        page, more = self._page(asked, found)
        shown = []
        for volume in page:
            one = {
                "VolumeId": volume.id,
                "AvailabilityZone": volume.zone,
                "CreateTime": volume.made,
                "Size": volume.size,
                "VolumeType": volume.kind,
                "Encrypted": volume.encrypted,
                "State": "in-use" if volume.instance else "available",
                "Tags": self._tag_set(volume),
                "Attachments": [],
            }
            if volume.instance:
                state = "attaching" if volume.attaching > 0 else "attached"
                volume.attaching -= 1
                one["Attachments"] = [
                    {
                        "VolumeId": volume.id,
                        "InstanceId": volume.instance,
                        "Device": volume.device,
                        "State": state,
                        "DeleteOnTermination": volume.dies_with_instance,
                    }
                ]
            shown.append(one)
        return {"Volumes": shown, "NextToken": more}

    def do_AttachVolume(self, asked) -> dict:
        (volume,) = self._select(self.volumes, [asked["VolumeId"]], "InvalidVolume.NotFound", "vol", None, {})
        (vm,) = self._select(self.vms, [asked["InstanceId"]], "InvalidInstanceID.NotFound", "i", None, {})
        if vm.state != "running":
            raise Refusal("IncorrectState", f"Instance '{vm.id}' is not 'running'.")
        if volume.instance:
            raise Refusal("VolumeInUse", f"{volume.id} is already attached to an instance")
        if volume.zone != self.subnets[vm.subnet]:
            raise Refusal(
                "InvalidVolume.ZoneMismatch", f"The volume '{volume.id}' is not in the same availability zone as instance '{vm.id}'"
            )
        if any(other.instance == vm.id and other.device == asked["Device"] for other in self.volumes.values()):
            raise Refusal("InvalidParameterValue", f"Attachment point {asked['Device']} is already in use")
        volume.instance, volume.device, volume.attaching, volume.dies_with_instance = vm.id, asked["Device"], self.attaching_looks, False
        return {"VolumeId": volume.id, "InstanceId": vm.id, "Device": volume.device, "State": "attaching"}

    def do_DeleteVolume(self, asked) -> dict:
        (volume,) = self._select(self.volumes, [asked["VolumeId"]], "InvalidVolume.NotFound", "vol", None, {})
        if volume.instance:
            raise Refusal("VolumeInUse", f"Volume {volume.id} is currently attached to {volume.instance}")
        del self.volumes[volume.id]
        return {}

    # ---- network interfaces

    def _describe_nic(self, nic) -> dict:
        shown = {
            "NetworkInterfaceId": nic.id,
            "SubnetId": nic.subnet,
            "AvailabilityZone": self.subnets[nic.subnet],
            "PrivateIpAddress": nic.address,
            "Status": "in-use" if nic.instance else "available",
            "Groups": [{"GroupId": group, "GroupName": group} for group in nic.groups],
            "TagSet": self._tag_set(nic),
        }
        if nic.instance:
            shown["Attachment"] = {
                "AttachmentId": nic.attachment,
                "InstanceId": nic.instance,
                "DeviceIndex": nic.index,
                "DeleteOnTermination": nic.dies_with_instance,
                "Status": "attached",
            }
        return shown

    def do_DescribeNetworkInterfaces(self, asked) -> dict:
        readers = {
            "status": lambda nic: "in-use" if nic.instance else "available",
            "network-interface-id": lambda nic: nic.id,
            "attachment.instance-id": lambda nic: nic.instance,
        }
        found = self._select(
            self.nics, asked.get("NetworkInterfaceIds"), "InvalidNetworkInterfaceID.NotFound", "eni", asked.get("Filters"), readers
        )
        page, more = self._page(asked, found)
        return {"NetworkInterfaces": [self._describe_nic(nic) for nic in page], "NextToken": more}

    def do_CreateNetworkInterface(self, asked) -> dict:
        token = asked.get("ClientToken")
        key = {name: value for name, value in asked.items() if name != "ClientToken"}
        if token and token in self.nic_tokens:
            known, made = self.nic_tokens[token]
            if known != key:
                raise Refusal("IdempotentParameterMismatch", "The client token you have provided is associated with a different request")
            if made in self.nics:
                return {"NetworkInterface": self._describe_nic(self.nics[made]), "ClientToken": token}
            raise Refusal("InvalidNetworkInterfaceID.NotFound", f"The networkInterface ID '{made}' does not exist")
        if asked["SubnetId"] not in self.subnets:
            raise Refusal("InvalidSubnetID.NotFound", f"The subnet ID '{asked['SubnetId']}' does not exist")
        if asked["SubnetId"] in self.full_subnets:
            raise Refusal("InsufficientFreeAddressesInSubnet", "There are not enough free addresses in subnet")
        for group in asked.get("Groups", []):
            if group not in self.groups:
                raise Refusal("InvalidGroup.NotFound", f"The security group '{group}' does not exist")
        self._only_kinds(asked, "network-interface")
        nic = self._new_nic(asked["SubnetId"], tuple(asked.get("Groups", self.groups[:1])), self._tags_of(asked, "network-interface"))
        if token:
            self.nic_tokens[token] = (key, nic.id)
        return {"NetworkInterface": self._describe_nic(nic), **({"ClientToken": token} if token else {})}

    def _nic(self, asked) -> Nic:
        return self._select(self.nics, [asked["NetworkInterfaceId"]], "InvalidNetworkInterfaceID.NotFound", "eni", None, {})[0]

    def do_AttachNetworkInterface(self, asked) -> dict:
        nic = self._nic(asked)
        (vm,) = self._select(self.vms, [asked["InstanceId"]], "InvalidInstanceID.NotFound", "i", None, {})
        if nic.instance:
            raise Refusal("InvalidNetworkInterface.InUse", f"Interface: [{nic.id}] in use.")
        if vm.state not in ("running", "stopped"):
            raise Refusal("IncorrectState", f"The instance '{vm.id}' is not in a valid state for this operation.")
        here = [other for other in self.nics.values() if other.instance == vm.id]
        if any(other.index == asked["DeviceIndex"] for other in here):
            raise Refusal(
                "InvalidParameterValue", f"Instance '{vm.id}' already has an interface attached at device index '{asked['DeviceIndex']}'."
            )
        if len(here) >= self.types[vm.type].nics:
            raise Refusal("AttachmentLimitExceeded", f"Interface count {len(here) + 1} exceeds the limit for {vm.type}")
        if self.subnets[nic.subnet] != self.subnets[vm.subnet]:
            raise Refusal(
                "InvalidParameterCombination", "You may not attach a network interface to an instance if they are not in the same zone"
            )
        self._join(nic, vm, asked["DeviceIndex"], False)
        return {"AttachmentId": nic.attachment}

    def do_ModifyNetworkInterfaceAttribute(self, asked) -> dict:
        nic = self._nic(asked)
        attachment = asked.get("Attachment")
        if not attachment or set(asked) - {"NetworkInterfaceId", "Attachment"}:
            raise Refusal("InvalidParameterCombination", "this fake changes attachments, one at a time")
        if attachment.get("AttachmentId") != nic.attachment or not nic.attachment:
            raise Refusal("InvalidAttachmentID.NotFound", f"The attachment ID '{attachment.get('AttachmentId')}' does not exist")
        nic.dies_with_instance = attachment["DeleteOnTermination"]
        return {}

    def do_DeleteNetworkInterface(self, asked) -> dict:
        nic = self._nic(asked)
        if nic.instance:
            raise Refusal("InvalidParameterValue", f"Network interface '{nic.id}' is currently in use.")
        del self.nics[nic.id]
        for address in self.addresses.values():
            if address.nic == nic.id:
                address.association, address.nic = "", ""
        return {}

    # ---- elastic addresses

    def do_AllocateAddress(self, asked) -> dict:
        if asked.get("Domain", "vpc") != "vpc":
            raise Refusal("InvalidParameterValue", "Domain")
        if len(self.addresses) >= self.address_limit:
            raise Refusal("AddressLimitExceeded", "The maximum number of addresses has been reached.")
        self._only_kinds(asked, "elastic-ip")
        address = self._new_address(self._tags_of(asked, "elastic-ip"))
        return {"AllocationId": address.id, "PublicIp": address.public, "Domain": "vpc"}

    def _address(self, asked) -> Address:
        if "AllocationId" not in asked:
            raise Refusal("MissingParameter", "The request must contain the parameter AllocationId")
        return self._select(self.addresses, [asked["AllocationId"]], "InvalidAllocationID.NotFound", "eipalloc", None, {})[0]

    def do_AssociateAddress(self, asked) -> dict:
        address, nic_id = self._address(asked), asked.get("NetworkInterfaceId")
        if "InstanceId" in asked:
            here = [nic for nic in self.nics.values() if nic.instance == asked["InstanceId"]]
            if len(here) > 1:
                raise Refusal("InvalidInstanceID", f"There are multiple interfaces attached to instance '{asked['InstanceId']}'.")
            nic_id = here[0].id if here else nic_id
        nic = self._nic({"NetworkInterfaceId": nic_id or ""})
        vm = self.vms.get(nic.instance)
        if vm is not None and vm.state != "running":
            raise Refusal("InvalidInstanceID", f"The {vm.state} instance '{vm.id}' is not in a valid state for this operation.")
        if address.nic and address.nic != nic.id and not asked.get("AllowReassociation", True):
            raise Refusal("Resource.AlreadyAssociated", f"resource {address.id} is already associated")
        for other in self.addresses.values():
            if other.nic == nic.id and other is not address:
                other.association, other.nic = "", ""
        if address.nic != nic.id:
            address.nic, address.association = nic.id, self._id("eipassoc")
        return {"AssociationId": address.association}

    def do_DisassociateAddress(self, asked) -> dict:
        for address in self.addresses.values():
            if address.association and address.association == asked.get("AssociationId"):
                address.association, address.nic = "", ""
                return {}
        raise Refusal("InvalidAssociationID.NotFound", f"The association ID '{asked.get('AssociationId')}' does not exist")

    def do_ReleaseAddress(self, asked) -> dict:
        address = self._address(asked)
        if address.association:
            raise Refusal("InvalidIPAddress.InUse", f"Address {address.public} is in use.")
        del self.addresses[address.id]
        return {}

    def do_DescribeAddresses(self, asked) -> dict:
        readers = {
            "instance-id": lambda address: self.nics[address.nic].instance if address.nic else "",
            "allocation-id": lambda address: address.id,
            "association-id": lambda address: address.association,
            "network-interface-id": lambda address: address.nic,
        }
        found = self._select(
            self.addresses, asked.get("AllocationIds"), "InvalidAllocationID.NotFound", "eipalloc", asked.get("Filters"), readers
        )
        shown = []
        for address in found:
            one = {"AllocationId": address.id, "PublicIp": address.public, "Domain": "vpc", "Tags": self._tag_set(address)}
            if address.association:
                nic = self.nics[address.nic]
                one.update(AssociationId=address.association, NetworkInterfaceId=nic.id, PrivateIpAddress=nic.address)
                if nic.instance:
                    one["InstanceId"] = nic.instance
            shown.append(one)
        return {"Addresses": shown}
