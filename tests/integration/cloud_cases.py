# SPDX-License-Identifier: Apache-2.0
"""What differs between the clouds in the tests of the whole path: a row for each."""

import dataclasses
from typing import Callable

from fakes import ec2


TWO_NICS = ("-ext-network-via-podvm", "-pod-subnet-cidrs=10.244.0.0/16")


@dataclasses.dataclass
class Detour:
    """A configuration in which more is made than an instance. (Such an instance is not reached here: the start fails.)"""

    environment: dict
    options: tuple = ()
    prepare: Callable = lambda cloud: None
    lose: bool = False  # answers are lost there, too


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


def made_in_ec2(cloud) -> list:
    return [
        {"type": vm.type, "image": vm.image, "tee": vm.snp, "spot": vm.spot, "user_data": vm.user_data} for vm in cloud.live()
    ]


def add_template(cloud) -> None:
    cloud.templates["kata"] = {"ImageId": next(iter(cloud.images)), "InstanceType": "m6a.large", "SubnetId": next(iter(cloud.subnets))}


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
            "elastic-address-beside-two-nics": Detour({"USE_PUBLIC_IP": "true"}, TWO_NICS, lose=True),
            "second-nic-beside-a-template": Detour({"USE_PODVM_LAUNCHTEMPLATE": "true"}, TWO_NICS, add_template),
        },
        limit={"limits": {"RunInstances": (4, 4)}},
        create="RunInstances",
    ),
}

DETOURS = [(driver, name) for driver, case in CASES.items() for name in case.detours]
