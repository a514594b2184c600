# SPDX-License-Identifier: Apache-2.0
"""What there is in the fake EC2: types and images, volumes, interfaces, addresses, instances; rules and limits."""

import dataclasses
import datetime
from typing import Optional

ACCOUNT = "123456789012"
STATE_CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}


@dataclasses.dataclass
class Type:
    """An instance type: what DescribeInstanceTypes tells of it, and the zones that have it (None: all)."""

    name: str
    vcpus: int
    memory_mib: int
    gpus: int = 0
    snp: bool = False
    nics: int = 3
    volumes: int = 27
    architecture: str = "x86_64"
    spot: bool = True
    zones: Optional[tuple] = None


TYPES = (
    Type("m6a.large", 2, 8192, snp=True),
    Type("m6a.xlarge", 4, 16384, snp=True, nics=4),
    Type("m6a.2xlarge", 8, 32768, snp=True, nics=4),
    Type("c6a.large", 2, 4096, snp=True),
    Type("c6a.xlarge", 4, 8192, snp=True, nics=4),
    Type("r6a.large", 2, 16384, snp=True),
    Type("t3.micro", 2, 1024, nics=2),
    Type("t3.large", 2, 8192),
    Type("r5.large", 2, 16384),
    Type("m5.xlarge", 4, 16384, nics=4),
    Type("c5.2xlarge", 8, 16384, nics=4),
    Type("r5.xlarge", 4, 32768, nics=4),
    Type("g4dn.xlarge", 4, 16384, gpus=1),
    Type("m6g.large", 2, 8192, architecture="arm64"),
    Type("u-6tb1.metal", 448, 6291456, spot=False, zones=("us-east-2a",)),
)


@dataclasses.dataclass
class Image:
    id: str = "ami-0123456789abcdef0"
    root_device: str = "/dev/xvda"
    root_gib: int = 8
    boot_mode: Optional[str] = "uefi"  # None: it was registered without one
    architecture: str = "x86_64"
    state: str = "available"
    keeps_root: bool = False  # DeleteOnTermination of its root mapping is false
    more_devices: tuple = ()  # ({"DeviceName":..., "VirtualName":...} or Ebs), before the root device


@dataclasses.dataclass
class Thing:
    """What all resources have."""

    id: str
    tags: dict
    made: datetime.datetime
    hidden: int = 0  # looks that do not see it yet


@dataclasses.dataclass
class Volume(Thing):
    zone: str = ""
    size: int = 1
    kind: str = "gp2"
    encrypted: bool = False
    kms_key: str = ""
    instance: str = ""
    device: str = ""
    attaching: int = 0  # looks until "attaching" becomes "attached"
    dies_with_instance: bool = False


@dataclasses.dataclass
class Nic(Thing):
    subnet: str = ""
    address: str = ""
    groups: tuple = ()
    instance: str = ""
    index: int = 0
    attachment: str = ""
    dies_with_instance: bool = False
    public: str = ""  # an address that comes with the NIC, not an elastic one


@dataclasses.dataclass
class Address(Thing):
    public: str = ""
    association: str = ""
    nic: str = ""


@dataclasses.dataclass
class Vm(Thing):
    asked: dict = dataclasses.field(default_factory=dict)  # the launch, with its template worked in
    type: str = ""
    image: str = ""
    subnet: str = ""
    state: str = "pending"
    pending: int = 0
    reason: tuple = ("", "")
    spot: bool = False
    snp: str = ""
    root_device: str = ""
    token: str = ""
    user_data: bytes = b""
    handle: object = None
    doomed: tuple = ()  # (code, text) that it dies of instead of running

    @property
    def alive(self) -> bool:
        return self.state not in ("shutting-down", "terminated")


@dataclasses.dataclass
class Rule:
    code: str
    type: Optional[str]
    zone: Optional[str]
    spot: Optional[bool]
    left: float
