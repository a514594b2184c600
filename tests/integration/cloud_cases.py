# SPDX-License-Identifier: Apache-2.0
"""What differs between the clouds in the tests of the whole path: a row for each."""

import base64
import dataclasses
from typing import Callable

from azure_rig import ssh_key_file
from fakes import azure_names, ec2, gcp

# Who asks for a size may get another type.
SIZE = {"io.katacontainers.config.hypervisor." + key: value for key, value in (("default_vcpus", "2"), ("default_memory", "4096"))}
TWO_NICS = ("-ext-network-via-podvm", "-pod-subnet-cidrs=10.244.0.0/16")


@dataclasses.dataclass
class Detour:
    """A configuration in which more is made than an instance, or a cloud that makes more work of it."""

    environment: dict
    options: tuple = ()
    prepare: Callable = lambda cloud: None
    reached: bool = False  # else the start fails: public addresses lead nowhere here
    annotations: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Case:
    # A pod's wish, and what the cloud must see of it: type, image, confidential, spot.
    machine_type: str
    image: str
    wished: dict
    default: dict  # the same of a pod that wishes nothing
    environment: dict  # the operator allows it
    settings: dict  # the fake has it
    made: Callable  # fake -> what was made, as a list of such dicts with user_data besides
    # Configuration that is wrong, and what -check must say of it.
    wrong: dict
    named: tuple
    detours: dict  # name -> Detour
    # Settings of a fake that takes few creations a second, and what counts them.
    limit: dict
    create: str
    # Options that spare the driver what costs time and is not looked at here.
    quick: Callable = lambda: []


def made_in_ec2(cloud) -> list:
    return [{"type": vm.type, "image": vm.image, "tee": vm.snp, "spot": vm.spot, "user_data": vm.user_data} for vm in cloud.live()]


def add_template(cloud) -> None:
    cloud.templates["kata"] = {"ImageId": next(iter(cloud.images)), "InstanceType": "m6a.large", "SubnetId": next(iter(cloud.subnets))}


def made_in_azure(cloud) -> list:
    bodies = {call.path.rpartition("/")[2]: call.json() for call in cloud.made("create_vm")}
    made = []
    for vm in cloud.vms.values():
        properties = bodies[vm["document"]["name"]]["properties"]
        made.append(
            {
                "type": properties["hardwareProfile"]["vmSize"],
                "image": "".join(properties["storageProfile"]["imageReference"].values()),
                "tee": properties.get("securityProfile", {}).get("securityType", ""),
                "spot": properties.get("priority") == "Spot",
                "user_data": base64.b64decode(properties["userData"]),
            }
        )
    return made


def leave_all_behind(cloud) -> None:
    cloud.leave_behind = {"nic", "ip", "disk"}


def fill_azure(cloud) -> None:
    """Creations of the smaller size are accepted, and fail then; what was made for them stays."""
    leave_all_behind(cloud)
    smaller = "Standard_DC2as_v5"
    cloud.fail_creation("AllocationFailed", "no room", 10**6, lambda body: body["properties"]["hardwareProfile"]["vmSize"] == smaller)


def fill_gcp(cloud) -> None:
    cloud.full("n2d-standard-2").leaves_disk = True


def made_in_gcp(cloud) -> list:
    return [
        {
            "type": vm.body["machineType"].rpartition("/")[2],
            "image": vm.body["disks"][0]["initializeParams"]["sourceImage"].rpartition("/")[2],
            "tee": vm.body.get("confidentialInstanceConfig", {}).get("confidentialInstanceType", ""),
            "spot": vm.body["scheduling"].get("provisioningModel") == "SPOT",
            "user_data": vm.user_data,
        }
        for vm in cloud.live()
    ]


CASES = {
    "aws": Case(
        machine_type="c6a.xlarge,tee=snp,market=spot",
        image="ami-0fedcba9876543210",
        wished={"type": "c6a.xlarge", "image": "ami-0fedcba9876543210", "tee": "enabled", "spot": True},
        default={"type": "m6a.large", "image": "ami-0123456789abcdef0", "tee": "", "spot": False},
        environment={"PODVM_INSTANCE_TYPES": "m6a.large,c6a.xlarge", "DISABLECVM": "true"},
        settings={"images": (ec2.Image(), ec2.Image("ami-0fedcba9876543210"))},
        made=made_in_ec2,
        wrong={
            "PODVM_AMI_ID": "ami-0eeeeeeeeeeeeeee0",
            "AWS_SG_IDS": "sg-0eeeeeeeeeeeeeee0",
            "PODVM_INSTANCE_TYPE": "t3.large",
        },
        named=("ami-0eeeeeeeeeeeeeee0", "sg-0eeeeeeeeeeeeeee0", "t3.large has no SEV-SNP"),
        detours={
            "public-address": Detour({"USE_PUBLIC_IP": "true"}),
            "elastic-address-beside-two-nics": Detour({"USE_PUBLIC_IP": "true"}, TWO_NICS),
            "second-nic-beside-a-template": Detour({"USE_PODVM_LAUNCHTEMPLATE": "true"}, TWO_NICS, add_template),
            "no-room-for-the-first-type": Detour(
                {"PODVM_INSTANCE_TYPES": "m6a.large,m6a.xlarge"},
                prepare=lambda cloud: cloud.refuse("InsufficientInstanceCapacity", type="m6a.large"),
                reached=True,
                annotations=SIZE,
            ),
        },
        limit={"limits": {"RunInstances": (4, 4)}},
        create="RunInstances",
    ),
    "azure": Case(
        machine_type="Standard_DC4as_v5,tee=snp,market=spot",
        image=azure_names.COMMUNITY_IMAGE,
        wished={"type": "Standard_DC4as_v5", "image": azure_names.COMMUNITY_IMAGE, "tee": "ConfidentialVM", "spot": True},
        default={"type": "Standard_D2as_v5", "image": azure_names.IMAGE, "tee": "", "spot": False},
        environment={
            "AZURE_INSTANCE_SIZE": "Standard_D2as_v5",
            "AZURE_INSTANCE_SIZES": "Standard_D2as_v5,Standard_DC4as_v5",
            "DISABLECVM": "true",
        },
        settings={},
        made=made_in_azure,
        wrong={
            "AZURE_IMAGE_ID": f"{azure_names.GALLERY_IMAGE}/versions/9.9.9",
            "AZURE_NSG_ID": f"{azure_names.NETWORK}/networkSecurityGroups/no-such-group",
            "AZURE_INSTANCE_SIZE": "Standard_D2as_v5",
        },
        named=("9.9.9", "no-such-group", "Standard_D2as_v5"),
        detours={
            "public-address": Detour({"USE_PUBLIC_IP": "true"}),
            "public-address-beside-two-nics": Detour({"USE_PUBLIC_IP": "true"}, TWO_NICS),
            "nothing-goes-with-its-vm": Detour({"USE_PUBLIC_IP": "true"}, prepare=leave_all_behind),
            "no-room-for-the-first-size": Detour(
                {"AZURE_INSTANCE_SIZES": "Standard_DC2as_v5,Standard_DC4as_v5"}, prepare=fill_azure, reached=True, annotations=SIZE
            ),
        },
        limit={"create_limit": (4, 4)},
        create="create_vm",
        quick=lambda: [f"-ssh-key-path={ssh_key_file()}"],
    ),
    "gcp": Case(
        machine_type="n2d-standard-4,tee=snp,market=spot",
        image="podvm-2",
        wished={"type": "n2d-standard-4", "image": "podvm-2", "tee": "SEV_SNP", "spot": True},
        default={"type": "n2d-standard-2", "image": "podvm-1", "tee": "", "spot": False},
        environment={"GCP_INSTANCE_TYPES": "n2d-standard-2,n2d-standard-4", "DISABLECVM": "true"},
        settings={"images": (gcp.Image(), gcp.Image("podvm-2"))},
        made=made_in_gcp,
        wrong={"PODVM_IMAGE_NAME": "no-such-image", "GCP_NETWORK": "global/networks/no-such-network", "GCP_ZONE": "us-central1-z"},
        named=("no-such-image", "no-such-network", "us-central1-z"),
        detours={
            "public-address": Detour({"USE_PUBLIC_IP": "true"}),
            "public-address-beside-two-nics": Detour({"USE_PUBLIC_IP": "true", "GCP_SECOND_NETWORK": "global/networks/second"}, TWO_NICS),
            "no-room-for-the-first-type": Detour(
                {"GCP_INSTANCE_TYPES": "n2d-standard-2,n2d-standard-4"}, prepare=fill_gcp, reached=True, annotations=SIZE
            ),
        },
        limit={"limits": {"instances.insert": (4, 4)}},
        create="instances.insert",
    ),
}

DETOURS = [(driver, name) for driver, case in CASES.items() for name in case.detours]
