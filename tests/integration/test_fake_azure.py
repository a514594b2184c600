# SPDX-License-Identifier: Apache-2.0
"""The fake Azure refuses what the real one would: a driver that passes it has written what Azure takes."""

import copy
import json
import urllib.error
import urllib.request
import uuid

import pytest

from fakes.azure import Azure
from fakes.azure_identity import issuer_key
from fakes.azure_models import Refused, ssh_rsa_bits
from fakes.azure_names import CLIENT, GROUP, IMAGE, NSG, REGION, RG, SECRET, SUBNET, TENANT
from fakes.azure_operations import VERSIONS

VM = f"{RG}/providers/Microsoft.Compute/virtualMachines/vm-1"
CREATE = f"{VM}?api-version={VERSIONS['vm']}"
PUBLIC = issuer_key().public_key()


def ssh_key(key=PUBLIC) -> str:
    from cryptography.hazmat.primitives import serialization

    return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


GOOD = {
    "location": REGION,
    "tags": {"a": "b"},
    "properties": {
        "hardwareProfile": {"vmSize": "Standard_DC2as_v5"},
        "storageProfile": {
            "imageReference": {"id": IMAGE},
            "osDisk": {
                "name": "vm-1-disk",
                "createOption": "FromImage",
                "caching": "ReadWrite",
                "deleteOption": "Delete",
                "managedDisk": {
                    "storageAccountType": "Premium_LRS",
                    "securityProfile": {"securityEncryptionType": "VMGuestStateOnly"},
                },
            },
        },
        "osProfile": {
            "adminUsername": "peerpod",
            "computerName": "vm-1",
            "linuxConfiguration": {
                "disablePasswordAuthentication": True,
                "ssh": {"publicKeys": [{"path": "/home/peerpod/.ssh/authorized_keys", "keyData": ssh_key()}]},
            },
        },
        "networkProfile": {
            "networkApiVersion": "2022-11-01",
            "networkInterfaceConfigurations": [
                {
                    "name": "vm-1-net",
                    "properties": {
                        "deleteOption": "Delete",
                        "networkSecurityGroup": {"id": NSG},
                        "ipConfigurations": [{"name": "ip", "properties": {"subnet": {"id": SUBNET}}}],
                    },
                }
            ],
        },
        "securityProfile": {"securityType": "ConfidentialVM", "uefiSettings": {"secureBootEnabled": False, "vTpmEnabled": True}},
        "userData": "eA==",
    },
}


@pytest.fixture
def cloud():
    with Azure() as fake:
        yield fake


def ask(cloud, method, path, body=None, token=None, **headers):
    full = {"Accept": "application/json", "x-ms-client-request-id": str(uuid.uuid4()), "User-Agent": "test"}
    full["Authorization"] = "Bearer " + (cloud.give_token() if token is None else token)
    if body is not None:
        full["Content-Type"] = "application/json"
    full.update({name.replace("_", "-"): value for name, value in headers.items()})
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(cloud.url + path.replace(" ", "%20"), data, full, method=method), timeout=20) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text else None
    except urllib.error.HTTPError as refused:
        text = refused.read()
        return refused.code, json.loads(text) if text else None


def put(document, path, value):
    """Sets (or, with ..., removes) what is at the path."""
    document = copy.deepcopy(document)
    *keys, last = [int(key) if key.isdecimal() else key for key in path.split("/")]
    at = document
    for key in keys:
        at = at[key]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return document


def test_a_good_body_makes_a_vm_once(cloud):
    status, document = ask(cloud, "PUT", CREATE, GOOD, If_None_Match="*")
    assert status == 201 and document["properties"]["provisioningState"] == "Creating" and "userData" not in document["properties"]
    assert {kind: len(names) for kind, names in cloud.inventory().items()} == {"vm": 1, "nic": 1, "disk": 1}
    assert ask(cloud, "PUT", CREATE, GOOD, If_None_Match="*")[0] == 412
    assert ask(cloud, "GET", CREATE)[0] == 200
    assert ask(cloud, "DELETE", CREATE)[0] == 202
    assert ask(cloud, "GET", CREATE)[0] == 404 and cloud.inventory() == {}
    assert ask(cloud, "DELETE", CREATE)[0] == 204


OS, NIC = "properties/storageProfile/osDisk", "properties/networkProfile/networkInterfaceConfigurations/0"


@pytest.mark.parametrize(
    "path, value, text",
    [
        ("properties/hardwareProfile/vmsize", "x", "Could not find member 'vmsize'"),
        ("unknown", 1, "Could not find member 'unknown'"),
        (f"{NIC}/properties/ipConfigurations/0/properties/primry", True, "Could not find member 'primry'"),
        ("location", ..., "'location' is missing"),
        (f"{OS}/createOption", ..., "'createOption' is missing"),
        (f"{OS}/diskSizeGB", "64", "is not of type int"),
        ("properties/securityProfile/uefiSettings/vTpmEnabled", "true", "is not of type bool"),
        ("tags/a", 1, "is not of type str"),
        ("zones", "1", "must be an array"),
        ("properties/osProfile", [], "must be an object"),
        (f"{OS}/managedDisk/storageAccountType", "Fast", "is none of Standard_LRS, "),
        ("properties/securityProfile/securityType", "Confidential", "is none of TrustedLaunch, ConfidentialVM"),
        (f"{OS}/deleteOption", "Remove", "is none of Delete, Detach"),
        ("properties/provisioningState", "Succeeded", "is read-only"),
        ("properties/vmId", "x", "is read-only"),
        ("id", VM, "is read-only"),
        ("properties/userData", None, "is null"),
        ("properties/userData", "A" * 65540, "longer than 65536"),
        ("location", "westus", "westus"),
        ("properties/hardwareProfile/vmSize", "Standard_None", "not valid"),
        ("properties/hardwareProfile/vmSize", "Standard_D2as_v5", "does not support security type"),
        ("properties/hardwareProfile/vmSize", "Standard_DC2ads_v5", "not available"),
        ("zones", ["4"], "zones"),
        (f"{OS}/managedDisk/securityProfile", ..., "needs vTPM and the disk's securityEncryptionType"),
        (f"{OS}/managedDisk/securityProfile/securityEncryptionType", "DiskWithVMGuestState", "needs secure boot"),
        ("properties/securityProfile", ..., "need securityType ConfidentialVM"),
        ("properties/storageProfile/imageReference/id", IMAGE + "9", "is not available"),
        ("properties/networkProfile/networkApiVersion", ..., "need networkApiVersion"),
        (f"{NIC}/properties/networkSecurityGroup/id", NSG + "x", "was not found"),
        (f"{NIC}/properties/ipConfigurations/0/properties/subnet/id", SUBNET + "x", "not found"),
        (
            f"{NIC}/properties/ipConfigurations/0/properties/publicIPAddressConfiguration",
            {"name": "ip", "properties": {"deleteOption": "Delete"}},
            "Basic SKU",
        ),
        ("properties/osProfile/adminPassword", "secret", "password"),
        ("properties/osProfile/linuxConfiguration/ssh/publicKeys/0/keyData", "ssh-rsa AAAA", "SSH key"),
        ("properties/osProfile/linuxConfiguration/ssh/publicKeys/0/path", "/root/.ssh/authorized_keys", "Destination path"),
        ("properties/evictionPolicy", "Delete", "need priority Spot"),
        ("tags", {str(n): "" for n in range(51)}, "tags are not valid"),
        (f"{NIC}/tags", {"a/b": ""}, "tags are not valid"),
        (
            "properties/storageProfile/dataDisks",
            [
                {
                    "lun": 0,
                    "createOption": "Attach",
                    "deleteOption": "Detach",
                    "managedDisk": {"id": RG + "/providers/Microsoft.Compute/disks/x"},
                }
            ],
            "is not found",
        ),
    ],
    ids=lambda value: "",
)
def test_a_body_that_azure_would_not_take_is_refused(cloud, path, value, text):
    status, document = ask(cloud, "PUT", CREATE, put(GOOD, path, value), If_None_Match="*")
    assert 400 <= status < 500 and text in document["error"]["message"], document
    assert cloud.inventory() == {}


def test_requests_that_azure_would_not_take_are_refused(cloud):
    get = f"{VM}?api-version="
    for status, code, arguments in [
        (401, "InvalidAuthenticationToken", {"path": get + VERSIONS["vm"], "token": "x"}),
        (400, "InvalidApiVersionParameter", {"path": get + "2022-11-01"}),
        (400, "InvalidQueryParameter", {"path": get + VERSIONS["vm"] + "&force=1"}),
        (404, "ResourceGroupNotFound", {"path": (get + VERSIONS["vm"]).replace(GROUP, "none")}),
        (404, "InvalidSubscriptionId", {"path": "/subscriptions/x" + (get + VERSIONS["vm"])[51:]}),
        (404, "InvalidResourceType", {"path": "/nothing"}),
        (406, "NotAcceptable", {"path": get + VERSIONS["vm"], "Accept": "text/html"}),
        (404, "ResourceNotFound", {"path": get + VERSIONS["vm"]}),
    ]:
        answer, document = ask(cloud, "GET", **arguments)
        assert (answer, document["error"]["code"]) == (status, code)
    assert ask(cloud, "PUT", CREATE, b"{", If_None_Match="*")[0] == 400
    assert ask(cloud, "PUT", CREATE, GOOD, Content_Type="text/plain")[0] == 415
    cloud.tokens["old"] = 1
    assert ask(cloud, "GET", get + VERSIONS["vm"], token="old")[1]["error"]["code"] == "ExpiredAuthenticationToken"


def test_tokens_are_given_for_a_whole_and_right_form_only(cloud):
    form = {"client_id": CLIENT, "scope": cloud.url + "/.default", "grant_type": "client_credentials", "client_secret": SECRET}

    def token(change=(), extra=""):
        fields = {**form, **dict(change)}
        body = urllib.parse.urlencode({name: value for name, value in fields.items() if value is not None}) + extra
        headers = {"Content_Type": "application/x-www-form-urlencoded"}
        return ask(cloud, "POST", f"/{TENANT}/oauth2/v2.0/token", body.encode(), **headers)

    assert token()[0] == 200
    for change, number in [
        ({"client_id": "x"}, 700016),
        ({"client_secret": "x"}, 7000215),
        ({"client_secret": None}, 900144),
        ({"scope": "https://management.azure.com/.default"}, 70011),
        ({"grant_type": "password"}, 70003),
        ({"resource": "x"}, 900144),
    ]:
        status, document = token(change)
        assert status in (400, 401) and document["error_codes"] == [number]
    assert token(extra="&client_id=x")[0] == 400
    assertion = {"client_secret": None, "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}
    assert token({**assertion, "client_assertion": cloud.federated_token()})[0] == 200
    for wrong in (cloud.federated_token() + "x", "a.b.c", cloud.federated_token(exp=1), cloud.federated_token(sub="x")):
        assert token({**assertion, "client_assertion": wrong})[0] == 401


def test_ssh_keys_are_read_to_their_bits():
    assert ssh_rsa_bits(ssh_key()) == 2048
    for wrong in ("", "ssh-rsa", "ssh-rsa !", "ssh-rsa AAAAB3NzaC1yc2E=", "ssh-ed25519 AAAA"):
        with pytest.raises(Refused):
            ssh_rsa_bits(wrong)
