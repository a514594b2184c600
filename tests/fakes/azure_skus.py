# SPDX-License-Identifier: Apache-2.0
"""Sizes of the fake Azure: what each can do, in which zones, and what the subscription may not have."""

REGION = "eastus"


def _sku(name, family, vcpus, memory, zones=("1", "2", "3"), restrictions=(), **more):
    able = {
        "vCPUs": vcpus,
        "MemoryGB": memory,
        "MaxDataDiskCount": 4,
        "MaxNetworkInterfaces": 2,
        "HyperVGenerations": "V2",
        "CpuArchitectureType": "x64",
        "PremiumIO": "True",
        "DiskControllerTypes": "SCSI",
        "EphemeralOSDiskSupported": "True",
        "EncryptionAtHostSupported": "True",
        **more,
    }
    return {
        "resourceType": "virtualMachines",
        "name": name,
        "tier": "Standard",
        "size": name.removeprefix("Standard_"),
        "family": family,
        "locations": [REGION],
        "locationInfo": [{"location": REGION, "zones": list(zones), "zoneDetails": []}],
        "capabilities": [{"name": key, "value": str(value)} for key, value in able.items()],
        "restrictions": list(restrictions),
    }


def _refused(kind, zones=()):
    info = {"locations": [REGION], **({"zones": list(zones)} if zones else {})}
    return {"type": kind, "values": [REGION], "restrictionInfo": info, "reasonCode": "NotAvailableForSubscription"}


SKUS = [
    {"resourceType": "disks", "name": "Premium_LRS", "tier": "Premium", "size": "P4", "locations": [REGION], "capabilities": []},
    _sku("Standard_DC2as_v5", "standardDCASv5Family", 2, 8, ConfidentialComputingType="SNP"),
    _sku("Standard_DC4as_v5", "standardDCASv5Family", 4, 16, ConfidentialComputingType="SNP"),
    _sku("Standard_DC8as_v5", "standardDCASv5Family", 8, 32, ConfidentialComputingType="SNP", MaxNetworkInterfaces=4, MaxDataDiskCount=16),
    _sku("Standard_EC4as_v5", "standardECASv5Family", 4, 32, ConfidentialComputingType="SNP", zones=("1",)),
    _sku("Standard_EC2as_v5", "standardECASv5Family", 2, 16, ConfidentialComputingType="SNP", restrictions=[_refused("Zone", ["2", "3"])]),
    _sku("Standard_DC2ads_v5", "standardDCADSv5Family", 2, 8, ConfidentialComputingType="SNP", restrictions=[_refused("Location")]),
    _sku("Standard_DC2es_v6", "standardDCESv6Family", 2, 8, ConfidentialComputingType="TDX", DiskControllerTypes="NVMe"),
    _sku("Standard_D2as_v5", "standardDASv5Family", 2, 8, HyperVGenerations="V1,V2", EphemeralOSDiskSupported="False"),
    _sku("Standard_D4as_v5", "standardDASv5Family", 4, 16, HyperVGenerations="V1,V2", EphemeralOSDiskSupported="False"),
    _sku("Standard_D2ps_v5", "standardDPSv5Family", 2, 8, CpuArchitectureType="Arm64"),
    _sku("Standard_B1ls", "standardBSFamily", 1, 0.5, zones=()),
    _sku("Standard_NC24ads_A100_v4", "standardNCADSA100v4Family", 24, 220, GPUs=1),
]


def withdraw(skus, name, capability):
    """Makes the size one that cannot do it."""
    for sku in skus:
        for one in sku["capabilities"]:
            if (sku["name"], one["name"]) == (name, capability):
                one["value"] = "False"


def capabilities(sku) -> dict:
    return {one["name"]: one["value"] for one in sku["capabilities"]}
