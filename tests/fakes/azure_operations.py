# SPDX-License-Identifier: Apache-2.0
"""What may be asked of the fake's Resource Manager: paths, versions, the action of a role that allows it; how it refuses."""

import re

from fakes.server import Reply

VERSIONS = {"vm": "2025-04-01", "disk": "2025-01-02", "gallery": "2025-03-03", "skus": "2021-07-01", "usages": "2025-04-01"}
VERSIONS.update(network="2024-10-01", group="2021-04-01", permissions="2022-04-01")
NETWORK_OF_VM = "2022-11-01"

COMPUTE = "/providers/Microsoft.Compute"
NET = "/providers/Microsoft.Network"
NAME = r"[A-Za-z0-9._()-]+"
OF_SUB = rf"/subscriptions/(?P<sub>{NAME})"
OF_GROUP = rf"{OF_SUB}/resourceGroups/(?P<group>{NAME})"
OF_LOCATION = rf"{OF_SUB}{COMPUTE}/locations/{NAME}"

PATHS = {
    "vms": rf"{OF_GROUP}{COMPUTE}/virtualMachines",
    "vm": rf"{OF_GROUP}{COMPUTE}/virtualMachines/(?P<name>{NAME})",
    "console": rf"{OF_GROUP}{COMPUTE}/virtualMachines/(?P<name>{NAME})/retrieveBootDiagnosticsData",
    "disks": rf"{OF_GROUP}{COMPUTE}/disks",
    "disk": rf"{OF_GROUP}{COMPUTE}/disks/(?P<name>{NAME})",
    "nics": rf"{OF_GROUP}{NET}/networkInterfaces",
    "nic": rf"{OF_GROUP}{NET}/networkInterfaces/(?P<name>{NAME})",
    "ips": rf"{OF_GROUP}{NET}/publicIPAddresses",
    "ip": rf"{OF_GROUP}{NET}/publicIPAddresses/(?P<name>{NAME})",
    "subnet": rf"{OF_GROUP}{NET}/virtualNetworks/{NAME}/subnets/(?P<name>{NAME})",
    "nsg": rf"{OF_GROUP}{NET}/networkSecurityGroups/(?P<name>{NAME})",
    "definition": rf"{OF_GROUP}{COMPUTE}/galleries/{NAME}/images/(?P<name>{NAME})",
    "version": rf"{OF_GROUP}{COMPUTE}/galleries/{NAME}/images/{NAME}/versions/(?P<name>{NAME})",
    "image": rf"{OF_GROUP}{COMPUTE}/images/(?P<name>{NAME})",
    "community": rf"{OF_LOCATION}/communityGalleries/{NAME}/images/(?P<name>{NAME})",
    "community_version": rf"{OF_LOCATION}/communityGalleries/{NAME}/images/{NAME}/versions/(?P<name>{NAME})",
    "shared": rf"{OF_LOCATION}/sharedGalleries/{NAME}/images/(?P<name>{NAME})",
    "shared_version": rf"{OF_LOCATION}/sharedGalleries/{NAME}/images/{NAME}/versions/(?P<name>{NAME})",
    "skus": rf"{OF_SUB}{COMPUTE}/skus",
    "usages": rf"{OF_LOCATION}/usages",
    "operation": rf"{OF_LOCATION}/operations/(?P<name>{NAME})",
    "group": OF_GROUP,
    "permissions": r"(?P<scope>/subscriptions/.+)/providers/Microsoft\.Authorization/permissions",
}
PATHS = {name: re.compile(pattern, re.IGNORECASE) for name, pattern in PATHS.items()}
PAGE = ("$skiptoken",)

# operation, method, path, whose api-version, other query parameters, the action of a role that allows it
OPERATIONS = [
    ("create_vm", "PUT", "vm", "vm", (), "Compute/virtualMachines/write"),
    ("get_vm", "GET", "vm", "vm", ("$expand",), "Compute/virtualMachines/read"),
    ("delete_vm", "DELETE", "vm", "vm", ("forceDeletion",), "Compute/virtualMachines/delete"),
    ("console", "POST", "console", "vm", (), "Compute/virtualMachines/retrieveBootDiagnosticsData/action"),
    ("list_vms", "GET", "vms", "vm", PAGE, "Compute/virtualMachines/read"),
    ("list_disks", "GET", "disks", "disk", PAGE, "Compute/disks/read"),
    ("get_disk", "GET", "disk", "disk", (), "Compute/disks/read"),
    ("patch_disk", "PATCH", "disk", "disk", (), "Compute/disks/write"),
    ("delete_disk", "DELETE", "disk", "disk", (), "Compute/disks/delete"),
    ("list_nics", "GET", "nics", "network", PAGE, "Network/networkInterfaces/read"),
    ("get_nic", "GET", "nic", "network", (), "Network/networkInterfaces/read"),
    ("delete_nic", "DELETE", "nic", "network", (), "Network/networkInterfaces/delete"),
    ("list_ips", "GET", "ips", "network", PAGE, "Network/publicIPAddresses/read"),
    ("get_ip", "GET", "ip", "network", (), "Network/publicIPAddresses/read"),
    ("delete_ip", "DELETE", "ip", "network", (), "Network/publicIPAddresses/delete"),
    ("get_subnet", "GET", "subnet", "network", (), "Network/virtualNetworks/subnets/read"),
    ("get_nsg", "GET", "nsg", "network", (), "Network/networkSecurityGroups/read"),
    ("get_image_definition", "GET", "definition", "gallery", (), "Compute/galleries/images/read"),
    ("get_image_version", "GET", "version", "gallery", (), "Compute/galleries/images/versions/read"),
    ("get_image", "GET", "image", "vm", (), "Compute/images/read"),
    ("get_public_image", "GET", "community", "gallery", (), "Compute/locations/communityGalleries/images/read"),
    ("get_public_image_version", "GET", "community_version", "gallery", (), "Compute/locations/communityGalleries/images/versions/read"),
    ("get_shared_image", "GET", "shared", "gallery", (), "Compute/locations/sharedGalleries/images/read"),
    ("get_shared_image_version", "GET", "shared_version", "gallery", (), "Compute/locations/sharedGalleries/images/versions/read"),
    ("list_skus", "GET", "skus", "skus", ("$filter", "$skiptoken"), "Compute/skus/read"),
    ("list_usages", "GET", "usages", "usages", (), "Compute/locations/usages/read"),
    ("get_operation", "GET", "operation", "vm", ("p", "monitor"), "Compute/locations/operations/read"),
    ("get_group", "GET", "group", "group", (), "Resources/subscriptions/resourceGroups/read"),
    ("permissions", "GET", "permissions", "permissions", (), "Authorization/permissions/read"),
]
ACTIONS = {operation[0]: "Microsoft." + operation[5] for operation in OPERATIONS}


def error(status: int, code: str, message: str, headers=(), **more) -> Reply:
    """An error of Resource Manager. more: details=[...], target=..."""
    body = {"error": {"code": code, "message": message, **more}}
    return Reply(status, body, {"x-ms-request-id": f"request-{code}", **dict(headers)})
