# SPDX-License-Identifier: Apache-2.0
"""What the Azure driver finds wrong at the start, and what its check tells."""

import re

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from azure_rig import cloud, driver, make_cloud  # noqa: F401 (fixtures)
from fakes.azure_names import IMAGE, NSG, SUBNET
from fakes.azure_operations import error
from peerpod.provider_tool import create, failed


def test_start_asks_nobody(cloud, driver):
    down = {"AZURE_AUTHORITY_HOST": "http://127.0.0.1:1", "AZURE_RESOURCE_MANAGER_ENDPOINT": "http://127.0.0.1:1"}
    assert driver.tool("open", down) == {}
    assert failed(driver.tool, "list", down, seconds=2).kind == "retry"


@pytest.mark.parametrize(
    "environment, text",
    [
        ({"AZURE_SUBSCRIPTION_ID": None}, "AZURE_SUBSCRIPTION_ID"),
        ({"AZURE_REGION": None}, "AZURE_REGION"),
        ({"AZURE_RESOURCE_GROUP": "a/b"}, 'AZURE_RESOURCE_GROUP: "a/b" is no such name'),
        ({"AZURE_SUBNET_ID": "subnet"}, 'AZURE_SUBNET_ID: "subnet" is not of the form'),
        ({"AZURE_SUBNET_ID": None}, "AZURE_SUBNET_ID"),
        ({"AZURE_IMAGE_ID": None}, "AZURE_IMAGE_ID"),
        ({"AZURE_IMAGE_ID": "/CommunityGalleries/x"}, "AZURE_IMAGE_ID"),
        ({"AZURE_NSG_ID": SUBNET}, "AZURE_NSG_ID"),
        ({"AZURE_ZONES": "eastus-1"}, '-zone: "eastus-1" is no availability zone'),
        ({"SSH_USERNAME": "root"}, "SSH_USERNAME"),
        ({"TAGS": "novalue"}, "TAGS"),
        ({"TAGS": "peerpod-token=x"}, "is set by the driver itself"),
        ({"AZURE_CLIENT_ID": None}, "AZURE_CLIENT_SECRET needs AZURE_CLIENT_ID"),
        ({"AZURE_TENANT_ID": None}, "AZURE_CLIENT_SECRET needs AZURE_TENANT_ID"),
        ({"AZURE_CREDENTIAL": "workload"}, "azure.workload.identity/use=true"),
        ({"AZURE_DISK_ENCRYPTION": "DiskWithVMGuestState"}, "needs ENABLE_SECURE_BOOT=true"),
        ({"AZURE_OS_DISK_TYPE": "fast"}, "AZURE_OS_DISK_TYPE"),
        ({"AZURE_RESOURCE_MANAGER_ENDPOINT": "http://example.com"}, "plain http is for this machine alone"),
        ({"AZURE_RESOURCE_MANAGER_ENDPOINT": None}, "is none of the clouds that are known"),
        ({"AZURE_PRICES": "/nonexistent"}, "/nonexistent"),
    ],
    ids=lambda value: "",
)
def test_a_wrong_or_missing_value_is_named_at_the_start(cloud, driver, environment, text):
    refused = failed(driver.tool, "list", environment)
    assert text in refused.message and not cloud.calls


def test_check_finds_everything_that_is_right_and_makes_nothing(cloud, driver):
    driver.tool("check", {"AZURE_ZONES": "1"})
    log = driver.log
    for row in (
        "credentials",
        "AZURE_RESOURCE_GROUP",
        "AZURE_SUBNET_ID",
        "AZURE_NSG_ID",
        "AZURE_IMAGE_ID",
        "sizes",
        "quota",
        "permissions",
    ):
        assert re.search(rf"^  right +{row} ", log, re.MULTILINE), row
    assert re.search(r"^  right +-ssh-key-path ", log, re.MULTILINE)
    assert {call.method for call in cloud.calls if call.operation != "token"} == {"GET"}


def test_check_finds_everything_that_is_wrong_with_a_remedy(cloud, driver):
    cloud.usages["standardDCASv5Family"] = [49, 50]
    cloud.allowed = [{"actions": ["Microsoft.Compute/*", "Microsoft.Network/*/read"], "notActions": ["*/virtualMachines/delete"]}]
    cloud.features["SecurityType"] = "TrustedLaunch"
    wrong = {"AZURE_SUBNET_ID": SUBNET + "x", "AZURE_NSG_ID": NSG + "x", "AZURE_ZONES": "2", "TAGS": "a=b"}
    wrong["AZURE_INSTANCE_SIZES"] = "Standard_DC2as_v5,Standard_DC9,Standard_DC2ads_v5,Standard_EC4as_v5,Standard_D2as_v5"
    message = failed(driver.tool, "check", wrong).message
    for part in (
        "AZURE_SUBNET_ID: look at the subnet: NotFound",
        "AZURE_NSG_ID: look at the security group: ResourceNotFound",
        "its definition has no confidential security feature (make a definition with",
        "there is no size Standard_DC9 in region eastus (correct AZURE_INSTANCE_SIZE",
        "Standard_DC2ads_v5: this subscription may not have it in eastus: NotAvailableForSubscription (ask Microsoft",
        "Standard_EC4as_v5 is not offered in zone 2 (leave the zone out",
        "Standard_D2as_v5 makes no confidential VM (use a DCas",
        "Standard_DC2as_v5: 1 of the cores of quota standardDCASv5Family are left, it needs 2 (ask Microsoft",
        "on the resource group these are missing: Microsoft.Compute/virtualMachines/delete, Microsoft.Network/networkInterfaces/write",
        "on the subnet these are missing: Microsoft.Network/virtualNetworks/subnets/join/action",
    ):
        assert part in message, part
    assert failed(driver.tool, "check", {"AZURE_IMAGE_ID": IMAGE + ".1"}).message.startswith(
        "AZURE_IMAGE_ID: look at the image: ResourceNotFound"
    )
    cloud.script("get_group", error(404, "ResourceGroupNotFound", "no group"))
    assert "AZURE_RESOURCE_GROUP: look at the resource group: ResourceGroupNotFound" in failed(driver.tool, "check").message


def test_check_without_credentials_stops_there(cloud, driver):
    message = failed(driver.tool, "check", {"AZURE_CLIENT_SECRET": "wrong"}).message
    assert message.startswith("credentials: ") and "AADSTS7000215" in message
    assert {call.operation for call in cloud.calls} == {"token"}


def test_a_key_file_that_cannot_be_used_is_named(driver, tmp_path):
    bad = tmp_path / "bad.pub"
    bad.write_text("ssh-dss AAAA\n")

    def refused(path, verb="list", **more) -> str:
        return failed(driver.tool, verb, more, [f"-ssh-key-path={path}"]).message

    assert "it is no public key that Azure takes" in refused(bad)
    assert "-ssh-key-path" in refused(tmp_path / "missing")
    good = tmp_path / "good.pub"
    key = rsa.generate_private_key(65537, 2048).public_key()
    good.write_bytes(b"# mine\n" + key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH))
    assert driver.tool("list", {"KEYS": str(tmp_path), "NAME": "good"}, ["-ssh-key-path=$KEYS/${NAME}.pub"]) == []
    good.chmod(0o666)
    assert "others may write to" in refused(good, "check")


def test_the_console_is_told_only_where_it_is_kept(cloud, driver):
    made = create(driver)
    assert driver.tool("console", id=made["id"])["tail"] == "" and cloud.count("console") == 0
    kept = {"AZURE_BOOT_DIAGNOSTICS": "true"}
    cloud.console_text = b"x" * 5000 + b"kernel panic"
    made = create(driver, kept, name="podvm-b-1")
    assert driver.tool("console", kept, id=made["id"], max=20)["tail"] == "x" * 8 + "kernel panic"
    assert driver.tool("console", kept, id="nonsense")["tail"] == ""
