# SPDX-License-Identifier: Apache-2.0
"""What there is in the fake of Google: disks, VMs, operations and what they are doomed to end with."""

import base64
import dataclasses
import time
from typing import Optional


@dataclasses.dataclass
class Disk:
    name: str
    zone: str
    gib: int = 10
    labels: dict = dataclasses.field(default_factory=dict)
    users: list = dataclasses.field(default_factory=list)
    description: str = ""


@dataclasses.dataclass
class Vm:
    name: str
    zone: str
    body: dict
    number: int
    made: float
    handle: object
    looks: int = 0
    steps: tuple = ()
    status: str = ""  # "": as the steps say
    nat: str = ""
    deleting: bool = False
    operation: object = None

    @property
    def user_data(self) -> bytes:
        items = {item["key"]: item["value"] for item in self.body["metadata"]["items"]}
        return base64.b64decode(items["user-data"], validate=True)


@dataclasses.dataclass
class Operation:
    name: str
    kind: str
    zone: str
    target: str
    number: int
    inserted: float
    began: float
    request_id: str = ""
    looks: int = 1  # until it is done
    done: bool = False
    error: Optional[dict] = None  # what it will end with
    http: Optional[tuple] = None
    finish: object = None


@dataclasses.dataclass
class Doom:
    method: str
    error: dict
    http: Optional[tuple]
    left: float
    when: object
    leaves_disk: bool


def stamp(when: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(when - 7 * 3600)) + f".{int(when * 1000) % 1000:03d}-07:00"
