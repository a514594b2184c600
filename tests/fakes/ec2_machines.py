# SPDX-License-Identifier: Apache-2.0
"""Instances of the fake EC2, and what they are launched from: types, images, subnets, groups, templates."""

import base64
import fnmatch
import re

from fakes import ec2_wire as wire
from fakes.ec2_things import ACCOUNT, STATE_CODES, Image, Vm, Volume
from fakes.ec2_wire import Refusal

USER_DATA_MAX = 16384


class Machines:
    # ---- launching

    def do_RunInstances(self, asked) -> dict:
        token = asked.get("ClientToken", "")
        if len(token) > 64:
            raise Refusal("InvalidParameterValue", "ClientToken has more than 64 characters")
        key = {name: value for name, value in asked.items() if name != "ClientToken"}
        if token in self.launches:
            known, made = self.launches[token]
            if known != key:
                raise Refusal("IdempotentParameterMismatch", "The client token you have provided is associated with a different request")
            if made in self.vms:
                return self._reservation(self.vms[made])
            raise Refusal("InvalidInstanceID.NotFound", f"The instance ID '{made}' does not exist")
        whole = self._with_template(asked)
        subnet, nics = self._check_network(whole)
        image = self._check_machine(whole, len(nics))
        if asked.get("DryRun"):
            raise Refusal("DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
        self._check_room(whole, subnet)
        vm = self._launch(whole, subnet, nics, image)
        vm.token = token
        if token:
            self.launches[token] = (key, vm.id)
        return self._reservation(vm)

    def _with_template(self, asked) -> dict:
        named = asked.get("LaunchTemplate")
        if not named:
            return asked
        name = named.get("LaunchTemplateName", "")
        if name not in self.templates:
            raise Refusal(
                "InvalidLaunchTemplateName.NotFoundException", f"The specified launch template, with template name {name}, does not exist."
            )
        return {**self.templates[name], **{key: value for key, value in asked.items() if key != "LaunchTemplate"}}

    def _check_network(self, asked) -> tuple:
        """(subnet, interfaces): what the instance's interfaces are to be."""
        listed = asked.get("NetworkInterfaces")
        if listed and any(name in asked for name in ("SubnetId", "SecurityGroupIds", "PrivateIpAddress")):
            raise Refusal(
                "InvalidParameterCombination",
                "Network interfaces and an instance-level subnet ID may not be specified on the same request",
            )
        if not listed:
            listed = [
                {
                    "DeviceIndex": 0,
                    "SubnetId": asked.get("SubnetId", next(iter(self.subnets))),
                    "Groups": asked.get("SecurityGroupIds", self.groups[:1]),
                    "DeleteOnTermination": True,
                }
            ]
        indices = [one.get("DeviceIndex") for one in listed]
        if None in indices or sorted(indices) != list(range(len(indices))):
            raise Refusal("InvalidParameterValue", f"device indices {indices}")
        if len(listed) > 1 and any(one.get("AssociatePublicIpAddress") for one in listed):
            raise Refusal(
                "InvalidParameterCombination",
                "The associatePublicIPAddress parameter cannot be specified when launching with multiple network interfaces.",
            )
        zones = set()
        for one in listed:
            subnet = one.get("SubnetId", next(iter(self.subnets)))
            if subnet not in self.subnets:
                raise Refusal("InvalidSubnetID.NotFound", f"The subnet ID '{subnet}' does not exist")
            zones.add(self.subnets[subnet])
            for group in one.get("Groups", []):
                if group not in self.groups:
                    raise Refusal("InvalidGroup.NotFound", f"The security group '{group}' does not exist")
        if len(zones) > 1:
            raise Refusal("InvalidParameterCombination", "interfaces in several zones")
        return listed[0].get("SubnetId", next(iter(self.subnets))), listed

    def _check_machine(self, asked, nics) -> Image:
        if (asked["MinCount"], asked["MaxCount"]) != (1, 1):
            raise Refusal("InvalidParameterValue", "this fake launches one at a time")
        for name in ("ImageId", "InstanceType"):
            if name not in asked:
                raise Refusal("MissingParameter", f"The request must contain the parameter {name}")
        if not re.fullmatch(r"ami-[0-9a-f]{8,17}", asked["ImageId"]):
            raise Refusal("InvalidAMIID.Malformed", f'Invalid id: "{asked["ImageId"]}"')
        image, kind = self.images.get(asked["ImageId"]), self.types.get(asked["InstanceType"])
        if image is None:
            raise Refusal("InvalidAMIID.NotFound", f"The image id '[{asked['ImageId']}]' does not exist")
        if image.state != "available":
            raise Refusal("InvalidAMIID.Unavailable", f"The image id '[{image.id}]' is not available")
        if kind is None:
            raise Refusal("InvalidParameterValue", f"Invalid value '{asked['InstanceType']}' for InstanceType.")
        if image.architecture != kind.architecture:
            raise Refusal(
                "InvalidParameterValue",
                f"The architecture '{kind.architecture}' of the type does not match '{image.architecture}' of the AMI.",
            )
        if nics > kind.nics:
            raise Refusal("AttachmentLimitExceeded", f"Interface count {nics} exceeds the limit for {kind.name}")
        if asked.get("CpuOptions", {}).get("AmdSevSnp") == "enabled":
            if not kind.snp:
                raise Refusal("InvalidParameterCombination", f"AMD SEV-SNP is not supported by {kind.name}")
            if image.boot_mode not in ("uefi", "uefi-preferred"):
                raise Refusal("InvalidParameterCombination", "AMD SEV-SNP needs an AMI that boots by UEFI")
        if len(wire.decode64(asked.get("UserData", ""), "UserData")) > USER_DATA_MAX:
            raise Refusal("InvalidParameterValue", "User data is limited to 16384 bytes")
        if "KeyName" in asked and asked["KeyName"] not in self.key_pairs:
            raise Refusal("InvalidKeyPair.NotFound", f"The key pair '{asked['KeyName']}' does not exist")
        profile = asked.get("IamInstanceProfile", {})
        name = profile.get("Name") or profile.get("Arn", "").rpartition("/")[2]
        if profile and name not in self.instance_profiles:
            raise Refusal(
                "InvalidParameterValue",
                f"Value ({name}) for parameter iamInstanceProfile.name is invalid. Invalid IAM Instance Profile name",
            )
        spot = asked.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
        if spot and not kind.spot:
            raise Refusal("Unsupported", f"The instance type {kind.name} is not available as a spot instance")
        if spot and "InstanceInitiatedShutdownBehavior" in asked:
            raise Refusal("InvalidParameterCombination", "InstanceInitiatedShutdownBehavior is not for spot instances")
        for mapping in asked.get("BlockDeviceMappings", []):
            ebs = mapping.get("Ebs", {})
            if mapping.get("DeviceName") == image.root_device and ebs.get("VolumeSize", image.root_gib) < image.root_gib:
                raise Refusal(
                    "InvalidBlockDeviceMapping",
                    f"Volume of size {ebs['VolumeSize']}GB is smaller than snapshot, expect size >= {image.root_gib}GB",
                )
            if "KmsKeyId" in ebs and not ebs.get("Encrypted"):
                raise Refusal("InvalidParameterDependency", "KmsKeyId needs Encrypted")
        self._only_kinds(asked, "instance", "volume", "network-interface", "spot-instances-request")
        return image

    def _check_room(self, asked, subnet) -> None:
        kind, zone = self.types[asked["InstanceType"]], self.subnets[subnet]
        spot = asked.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
        if kind.zones is not None and zone not in kind.zones:
            raise Refusal(
                "Unsupported", f"Your requested instance type ({kind.name}) is not supported in your requested Availability Zone ({zone})."
            )
        if subnet in self.full_subnets:
            raise Refusal(
                "InsufficientFreeAddressesInSubnet", f"There are not enough free addresses in subnet '{subnet}' to satisfy the request."
            )
        for rule in self.rules:
            if rule.left <= 0 or rule.zone not in (None, zone) or rule.spot not in (None, spot):
                continue
            if rule.type is None or fnmatch.fnmatchcase(kind.name, rule.type):
                rule.left -= 1
                raise Refusal(rule.code, f"{kind.name} in {zone}: scripted")

    def _launch(self, asked, subnet, nics, image) -> Vm:
        vm = Vm(
            self._id("i"), self._tags_of(asked, "instance"), self._made(), self.hidden_looks, asked, asked["InstanceType"], image.id, subnet
        )
        vm.pending = self.pending_looks
        vm.user_data = wire.decode64(asked.get("UserData", ""), "UserData")
        vm.spot = asked.get("InstanceMarketOptions", {}).get("MarketType") == "spot"
        vm.snp = (self.snp_echo or "") if asked.get("CpuOptions", {}).get("AmdSevSnp") == "enabled" else ""
        vm.root_device = image.root_device
        if self.doom:
            vm.doomed, self.doom = self.doom, None
        vm.handle = self.instances.create(vm.id, vm.user_data, nics=len(nics))
        for wanted in sorted(nics, key=lambda one: one["DeviceIndex"]):
            index = wanted["DeviceIndex"]
            nic = self._new_nic(
                wanted.get("SubnetId", subnet),
                tuple(wanted.get("Groups", self.groups[:1])),
                self._tags_of(asked, "network-interface"),
                vm.handle.addresses[index] if index < len(vm.handle.addresses) else None,
            )
            nic.hidden = 0
            self._join(nic, vm, index, wanted.get("DeleteOnTermination", index == 0))
            if wanted.get("AssociatePublicIpAddress"):
                nic.public = f"198.51.100.{next(self._numbers) % 250 + 1}"
        root = {"VolumeSize": image.root_gib, "VolumeType": "gp2", "DeleteOnTermination": not image.keeps_root}
        for mapping in asked.get("BlockDeviceMappings", []):
            if mapping.get("DeviceName") == image.root_device:
                root.update(mapping.get("Ebs", {}))
        self.vms[vm.id] = vm
        volume = Volume(self._id("vol"), self._tags_of(asked, "volume"), self._made(), zone=self.subnets[subnet], size=root["VolumeSize"])
        volume.kind, volume.encrypted, volume.kms_key = root["VolumeType"], root.get("Encrypted", False), root.get("KmsKeyId", "")
        volume.instance, volume.device, volume.dies_with_instance = vm.id, image.root_device, root["DeleteOnTermination"]
        self.volumes[volume.id] = volume
        return vm

    def _join(self, nic, vm, index, dies):
        nic.instance, nic.index, nic.attachment, nic.dies_with_instance = vm.id, index, self._id("eni-attach"), dies

    def _end(self, vm, code, text) -> None:
        """An instance ends, and what goes with it."""
        if not vm.alive:
            return
        vm.state, vm.reason = "terminated", (code, text)
        self.instances.delete(vm.handle)
        for nic in [nic for nic in self.nics.values() if nic.instance == vm.id]:
            for address in self.addresses.values():
                if address.nic == nic.id:
                    address.association, address.nic = "", ""
            nic.instance = nic.attachment = nic.public = ""
            if nic.dies_with_instance:
                del self.nics[nic.id]
        for volume in [volume for volume in self.volumes.values() if volume.instance == vm.id]:
            volume.instance = volume.device = ""
            if volume.dies_with_instance:
                del self.volumes[volume.id]

    def _look(self, vm) -> Vm:
        """One look at an instance brings it nearer to running."""
        if vm.state == "pending":
            if vm.doomed and vm.pending <= 0:
                self._end(vm, *vm.doomed)
            elif vm.pending <= 0:
                vm.state = "running"
            vm.pending -= 1
        return vm

    def _describe_nic_of_vm(self, nic, running) -> dict:
        shown = {
            "NetworkInterfaceId": nic.id,
            "Status": "in-use",
            "SubnetId": nic.subnet,
            "PrivateIpAddress": nic.address,
            "Groups": [{"GroupId": group, "GroupName": group} for group in nic.groups],
            "Attachment": {
                "AttachmentId": nic.attachment,
                "DeviceIndex": nic.index,
                "Status": "attached" if running else "attaching",
                "DeleteOnTermination": nic.dies_with_instance,
            },
        }
        public = self._public_of(nic)
        if public and running:
            shown["Association"] = {"PublicIp": public, "IpOwnerId": "amazon"}
        return shown

    def _public_of(self, nic) -> str:
        for address in self.addresses.values():
            if address.nic == nic.id:
                return address.public
        return nic.public

    def _describe_vm(self, vm) -> dict:
        nics = sorted((nic for nic in self.nics.values() if nic.instance == vm.id), key=lambda nic: -nic.index)
        shown = {
            "InstanceId": vm.id,
            "ImageId": vm.image,
            "State": {"Code": STATE_CODES[vm.state], "Name": vm.state},
            "InstanceType": vm.type,
            "LaunchTime": vm.made,
            "Placement": {"AvailabilityZone": self.subnets[vm.subnet], "Tenancy": "default"},
            "RootDeviceName": vm.root_device,
            "Tags": self._tag_set(vm),
            "CpuOptions": {"CoreCount": max(1, self.types[vm.type].vcpus // 2), "ThreadsPerCore": 2},
            "NetworkInterfaces": [self._describe_nic_of_vm(nic, vm.state == "running") for nic in nics],
            "BlockDeviceMappings": [
                {
                    "DeviceName": volume.device,
                    "Ebs": {"VolumeId": volume.id, "DeleteOnTermination": volume.dies_with_instance, "Status": "attached"},
                }
                for volume in self.volumes.values()
                if volume.instance == vm.id
            ],
        }
        if vm.token:
            shown["ClientToken"] = vm.token
        if vm.snp:
            shown["CpuOptions"]["AmdSevSnp"] = vm.snp
        if vm.spot:
            shown["InstanceLifecycle"] = "spot"
        if vm.reason[0]:
            shown["StateReason"] = {"Code": vm.reason[0], "Message": vm.reason[1]}
        if nics:
            first = nics[-1]
            shown.update(PrivateIpAddress=first.address, SubnetId=first.subnet)
            if vm.state == "running" and self._public_of(first):
                shown["PublicIpAddress"] = self._public_of(first)
        return shown

    def _reservation(self, vm) -> dict:
        return {"ReservationId": "r-" + vm.id[2:], "OwnerId": ACCOUNT, "Instances": [self._describe_vm(vm)]}

    def do_DescribeInstances(self, asked) -> dict:
        ids = asked.get("InstanceIds")
        if ids and "MaxResults" in asked:
            raise Refusal("InvalidParameterCombination", "The parameter instancesSet cannot be used with the parameter maxResults")
        readers = {
            "instance-id": lambda vm: vm.id,
            "instance-state-name": lambda vm: vm.state,
            "client-token": lambda vm: vm.token,
            "instance-type": lambda vm: vm.type,
        }
        found = self._select(self.vms, ids, "InvalidInstanceID.NotFound", "i", asked.get("Filters"), readers)
        page, more = self._page(asked, found)
        for vm in page:
            self._look(vm)
        return {"Reservations": [self._reservation(vm) for vm in page], "NextToken": more}

    def do_TerminateInstances(self, asked) -> dict:
        changes = []
        for vm in self._select(self.vms, asked["InstanceIds"], "InvalidInstanceID.NotFound", "i", None, {}):
            before = {"Code": STATE_CODES[vm.state], "Name": vm.state}
            self._end(vm, "Client.UserInitiatedShutdown", "User initiated shutdown")
            changes.append(
                {"InstanceId": vm.id, "PreviousState": before, "CurrentState": {"Code": STATE_CODES[vm.state], "Name": vm.state}}
            )
        return {"TerminatingInstances": changes}

    def do_GetConsoleOutput(self, asked) -> dict:
        (vm,) = self._select(self.vms, [asked["InstanceId"]], "InvalidInstanceID.NotFound", "i", None, {})
        return {"InstanceId": vm.id, "Timestamp": self._made(), "Output": base64.b64encode(self.console.encode()).decode()}

    # ---- types, images, network

    def _describe_type(self, kind) -> dict:
        shown = {
            "InstanceType": kind.name,
            "CurrentGeneration": True,
            "SupportedUsageClasses": ["on-demand"] + (["spot"] if kind.spot else []),
            "ProcessorInfo": {"SupportedArchitectures": [kind.architecture], "SupportedFeatures": ["amd-sev-snp"] if kind.snp else []},
            "VCpuInfo": {"DefaultVCpus": kind.vcpus, "DefaultCores": max(1, kind.vcpus // 2)},
            "MemoryInfo": {"SizeInMiB": kind.memory_mib},
            "EbsInfo": {"MaximumEbsAttachments": kind.volumes},
            "NetworkInfo": {"MaximumNetworkInterfaces": kind.nics},
        }
        if kind.gpus:
            shown["GpuInfo"] = {"Gpus": [{"Name": "T4", "Count": kind.gpus}], "TotalGpuMemoryInMiB": 16384}
        return shown

    def do_DescribeInstanceTypes(self, asked) -> dict:
        readers = {
            "instance-type": lambda kind: kind.name,
            "processor-info.supported-architecture": lambda kind: kind.architecture,
            "processor-info.supported-features": lambda kind: ["amd-sev-snp"] if kind.snp else [],
            "current-generation": lambda kind: "true",
        }
        named = asked.get("InstanceTypes")
        if named and "MaxResults" in asked:
            raise Refusal("InvalidParameterCombination", "MaxResults with InstanceTypes")
        unknown = [name for name in named or [] if name not in self.types]
        if unknown:
            raise Refusal("InvalidInstanceType", f"The following supplied instance types do not exist: [{', '.join(unknown)}]")
        kinds = [self.types[name] for name in named] if named else list(self.types.values())
        page, more = self._page(asked, [kind for kind in kinds if self._matches(kind, asked.get("Filters"), readers)], most=100)
        return {"InstanceTypes": [self._describe_type(kind) for kind in page], "NextToken": more}

    def do_DescribeInstanceTypeOfferings(self, asked) -> dict:
        if asked.get("LocationType") != "availability-zone":
            raise Refusal("InvalidParameterValue", "this fake knows zones only")
        readers = {"instance-type": lambda one: one[0].name, "location": lambda one: one[1]}
        every = [(kind, zone) for kind in self.types.values() for zone in self.zones if kind.zones is None or zone in kind.zones]
        page, more = self._page(asked, [one for one in every if self._matches(one, asked.get("Filters"), readers)])
        return {
            "InstanceTypeOfferings": [
                {"InstanceType": kind.name, "LocationType": "availability-zone", "Location": zone} for kind, zone in page
            ],
            "NextToken": more,
        }

    def do_DescribeImages(self, asked) -> dict:
        shown = []
        for one in asked.get("ImageIds", []):
            if one not in self.images:
                raise Refusal("InvalidAMIID.NotFound", f"The image id '[{one}]' does not exist")
            image = self.images[one]
            root = {"DeviceName": image.root_device, "Ebs": {"VolumeSize": image.root_gib, "DeleteOnTermination": not image.keeps_root}}
            shown.append(
                {
                    "ImageId": image.id,
                    "Architecture": image.architecture,
                    "BootMode": image.boot_mode,
                    "State": image.state,
                    "RootDeviceName": image.root_device,
                    "RootDeviceType": "ebs",
                    "BlockDeviceMappings": [*image.more_devices, root],
                }
            )
        return {"Images": shown}

    def do_DescribeSubnets(self, asked) -> dict:
        named = asked.get("SubnetIds", list(self.subnets))
        for one in named:
            if one not in self.subnets:
                raise Refusal("InvalidSubnetID.NotFound", f"The subnet ID '{one}' does not exist")
        return {
            "Subnets": [
                {
                    "SubnetId": one,
                    "AvailabilityZone": self.subnets[one],
                    "State": "available",
                    "AvailableIpAddressCount": 0 if one in self.full_subnets else 250,
                }
                for one in named
            ]
        }

    def do_DescribeSecurityGroups(self, asked) -> dict:
        named = asked.get("GroupIds", self.groups)
        for one in named:
            if one not in self.groups:
                raise Refusal("InvalidGroup.NotFound", f"The security group '{one}' does not exist")
        return {"SecurityGroups": [{"GroupId": one, "GroupName": one, "Description": "", "OwnerId": ACCOUNT} for one in named]}
