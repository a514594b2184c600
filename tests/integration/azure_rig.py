# SPDX-License-Identifier: Apache-2.0
"""The Azure driver, driven by provider-tool, against the fake Azure (fakes/azure.py)."""

import atexit
import functools
import pathlib
import shutil
import tempfile

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from fakes.azure import Azure
from fakes.azure_names import RG, SECRET
from peerpod import provider_tool

# Where things are in the body of a creation.
OS_DISK = "properties/storageProfile/osDisk"
NIC = "properties/networkProfile/networkInterfaceConfigurations/0"

DES = f"{RG}/providers/Microsoft.Compute/diskEncryptionSets/keys"
IDENTITY = f"{RG}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/pods"
SECURE = {"ENABLE_SECURE_BOOT": "true", "AZURE_DISK_ENCRYPTION": "DiskWithVMGuestState"}
NO_SECRET = {"AZURE_CLIENT_SECRET": None}
SIZES = {"AZURE_INSTANCE_SIZES": "standard_dc2as_v5,Standard_DC4as_v5,Standard_DC2es_v6,Standard_D2as_v5,Standard_D4as_v5"}


@functools.cache
def ssh_key_file() -> str:
    """A public key, without which the driver makes an RSA key that nobody has: a second of work in each process."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="ppkey")) / "key.pub"
    atexit.register(shutil.rmtree, path.parent, ignore_errors=True)
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    path.write_bytes(key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH) + b" me@here\n")
    path.chmod(0o600)
    return str(path)


class Driver(provider_tool.Driver):
    """ssh_key: None: the driver makes one. It keeps no list of sizes on disk."""

    def __init__(self, cloud, ssh_key=ssh_key_file):
        # An empty variable counts as unset: the folder of the list is given as a flag.
        options = ["-catalogue-folder=", *([f"-ssh-key-path={ssh_key()}"] if ssh_key else [])]
        super().__init__("azure", cloud, hidden=("AZURE_",), secrets=[SECRET, "fake-token-"], options=options)


class Storm(provider_tool.Storm):
    """A hundred creations at once against a limit of two a second."""

    SIZE = 100
    RATE, BURST = 2, 5

    def __init__(self):
        cloud = Azure(create_limit=(self.RATE, self.BURST))
        cloud.latency = 0.05
        super().__init__(Driver(cloud), self.SIZE, seconds=150)


@pytest.fixture
def make_cloud():
    clouds = []

    def make(**settings):
        clouds.append(Azure(**settings))
        return clouds[-1]

    yield make
    for cloud in clouds:
        cloud.close()


@pytest.fixture
def cloud(make_cloud):
    return make_cloud()


@pytest.fixture
def driver(cloud):
    return Driver(cloud)


def sent(cloud) -> dict:
    """The body of the last creation."""
    return cloud.made("create_vm")[-1].json()


def at(document, path):
    for key in path.split("/"):
        document = document[int(key) if key.isdecimal() else key]
    return document


def sizes_tried(cloud) -> list:
    return [at(call.json(), "properties/hardwareProfile/vmSize") for call in cloud.made("create_vm")]
