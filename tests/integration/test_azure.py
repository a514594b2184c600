# SPDX-License-Identifier: Apache-2.0
"""The Azure driver against the fake Azure: what it makes for a pod, its options, what is left over, the documents."""

import base64
import json
import re
import time

import pytest

from azure_rig import DES, IDENTITY, NIC, OS_DISK, SECURE, SIZES, Driver, at, cloud, driver, make_cloud, sent  # noqa: F401 (fixtures)
from fakes.azure_names import COMMUNITY_IMAGE, GALLERY_IMAGE, GROUP, IMAGE, NSG, RG, SECOND_SUBNET, SHARED_IMAGE, SUBNET
from fakes.azure_operations import ACTIONS
from fakes.server import Reply
from peerpod import paths
from peerpod.provider_tool import create, documented_options, failed, new_token, told_options


@pytest.fixture(scope="module", autouse=True)
def early(azure_storm):
    """The creations of test_azure_throughput.py take 48 seconds: they begin here."""


# ---- the life of an instance ----------------------------------------------------------------------------------


def test_life_of_an_instance(cloud, driver):
    token = new_token()
    made = create(driver, token=token)
    assert made["id"] == f"{RG}/providers/Microsoft.Compute/virtualMachines/podvm-web-01234567"
    assert (made["name"], made["token"], made["pod"], made["cluster"], made["node"]) == ("podvm-web-01234567", token, "web", "c1", "n1")
    assert made["addresses"] == ["10.99.0.4"]
    assert driver.tool("wait", id=made["id"])["addresses"] == made["addresses"]
    assert driver.tool("find", token=token)["addresses"] == made["addresses"]
    (listed,) = driver.tool("list", cluster="c1", node="n1")
    assert listed["id"].lower() == made["id"].lower() and listed["sandbox"] == token and listed["created"] == 1773569731
    assert driver.tool("list", cluster="other") == [] and driver.tool("list", node="other") == []
    driver.tool("delete", id=made["id"])
    assert cloud.inventory() == {} and cloud.instances.existing == []
    assert driver.tool("list") == []
    assert failed(driver.tool, "find", token=token).kind == "gone"
    driver.tool("delete", id=made["id"])


def test_the_request_is_complete_confidential_and_tagged(cloud, driver):
    token = new_token()
    create(driver, {"TAGS": "team=a b"}, token=token)
    (call,) = cloud.made("create_vm")
    assert call.headers["If-None-Match"] == "*"
    body = call.json()
    properties = body["properties"]
    assert body["location"] == "eastus" and properties["hardwareProfile"] == {"vmSize": "Standard_DC2as_v5"}
    assert properties["securityProfile"] == {
        "securityType": "ConfidentialVM",
        "uefiSettings": {"secureBootEnabled": False, "vTpmEnabled": True},
    }
    disk = properties["storageProfile"]["osDisk"]
    assert disk["managedDisk"] == {"storageAccountType": "Premium_LRS", "securityProfile": {"securityEncryptionType": "VMGuestStateOnly"}}
    assert (disk["caching"], disk["deleteOption"], "diskSizeGB" in disk) == ("ReadWrite", "Delete", False)
    assert properties["storageProfile"]["imageReference"] == {"id": IMAGE}
    (nic,) = properties["networkProfile"]["networkInterfaceConfigurations"]
    assert nic["properties"]["networkSecurityGroup"] == {"id": NSG} and nic["properties"]["deleteOption"] == "Delete"
    assert nic["properties"]["ipConfigurations"][0]["properties"] == {"primary": True, "subnet": {"id": SUBNET}}
    assert properties["osProfile"]["computerName"] == "podvm-web-01234567" and not properties["osProfile"]["allowExtensionOperations"]
    assert base64.b64decode(properties["userData"]) == b"#cloud-config\n"
    assert not {"diagnosticsProfile", "priority"} & set(properties) and not {"zones", "identity"} & set(body)
    tags = {"peerpod-token": token, "peerpod-cluster": "c1", "peerpod-node": "n1", "peerpod-pod": "web", "team": "a b"}
    tags.update({"peerpod-namespace": "default", "peerpod-sandbox": token, "peerpod-vm": "podvm-web-01234567"})
    (disk,) = cloud.disks.values()
    for found in (body["tags"], nic["tags"], disk["tags"]):
        assert int(found.pop("peerpod-created")) > time.time() - 60
        assert found == tags


@pytest.mark.parametrize(
    "environment, path, value",
    [
        ({"ROOT_VOLUME_SIZE": "64"}, f"{OS_DISK}/diskSizeGB", 64),
        ({"AZURE_OS_DISK_TYPE": "StandardSSD_ZRS"}, f"{OS_DISK}/managedDisk/storageAccountType", "StandardSSD_ZRS"),
        (SECURE, f"{OS_DISK}/managedDisk/securityProfile", {"securityEncryptionType": "DiskWithVMGuestState"}),
        (SECURE, "properties/securityProfile/uefiSettings", {"secureBootEnabled": True, "vTpmEnabled": True}),
        ({**SECURE, "AZURE_DISK_ENCRYPTION_SET_ID": DES}, f"{OS_DISK}/managedDisk/securityProfile/diskEncryptionSet/id", DES),
        ({"AZURE_DISK_ENCRYPTION_SET_ID": DES}, f"{OS_DISK}/managedDisk/diskEncryptionSet/id", DES),
        (
            {"AZURE_DISK_ENCRYPTION": "NonPersistedTPM", "AZURE_OS_DISK_EPHEMERAL": "NvmeDisk"},
            f"{OS_DISK}/diffDiskSettings",
            {"option": "Local", "placement": "NvmeDisk"},
        ),
        ({"AZURE_OS_DISK_EPHEMERAL": "CacheDisk"}, f"{OS_DISK}/caching", "ReadOnly"),
        ({"AZURE_ENCRYPTION_AT_HOST": "true"}, "properties/securityProfile/encryptionAtHost", True),
        ({"AZURE_SPOT": "true"}, "properties/priority", "Spot"),
        ({"AZURE_SPOT": "true"}, "properties/billingProfile/maxPrice", -1),
        ({"AZURE_SPOT": "true"}, "properties/evictionPolicy", "Delete"),
        ({"AZURE_VM_IDENTITY_IDS": IDENTITY}, "identity", {"type": "UserAssigned", "userAssignedIdentities": {IDENTITY: {}}}),
        ({"AZURE_ACCELERATED_NETWORKING": "true"}, f"{NIC}/properties/enableAcceleratedNetworking", True),
        ({"AZURE_BOOT_DIAGNOSTICS": "true"}, "properties/diagnosticsProfile", {"bootDiagnostics": {"enabled": True}}),
        ({"SSH_USERNAME": "core"}, "properties/osProfile/adminUsername", "core"),
        ({"AZURE_ZONES": "2"}, "zones", ["2"]),
        (
            {"AZURE_IMAGE_ID": COMMUNITY_IMAGE.lower()},
            "properties/storageProfile/imageReference/communityGalleryImageId",
            COMMUNITY_IMAGE.lower(),
        ),
        (
            {"AZURE_IMAGE_ID": SHARED_IMAGE.upper()},
            "properties/storageProfile/imageReference/sharedGalleryImageId",
            SHARED_IMAGE.upper(),
        ),
        ({"AZURE_IMAGE_ID": GALLERY_IMAGE}, "properties/storageProfile/imageReference/id", GALLERY_IMAGE),
        (
            {"AZURE_IMAGE_ID": f"{RG}/providers/Microsoft.Compute/images/podvm"},
            "properties/storageProfile/imageReference/id",
            f"{RG}/providers/Microsoft.Compute/images/podvm",
        ),
    ],
    ids=lambda value: re.sub(r"[^a-zA-Z=]+", "-", str(value))[-40:] if isinstance(value, dict) else "",
)
def test_every_option_has_its_effect(cloud, driver, environment, path, value):
    create(driver, environment)
    assert at(sent(cloud), path) == value


def test_an_ordinary_vm_has_no_security_profiles(cloud, driver):
    create(driver, {"DISABLECVM": "true", "AZURE_INSTANCE_SIZE": "Standard_D2as_v5", "AZURE_NSG_ID": None})
    properties = sent(cloud)["properties"]
    assert "securityProfile" not in properties and "securityProfile" not in properties["storageProfile"]["osDisk"]["managedDisk"]
    assert "networkSecurityGroup" not in at(sent(cloud), f"{NIC}/properties")


def test_a_pod_may_choose_tee_market_image_and_size(cloud, driver):
    wish = {"type": "Standard_DC4as_v5", "tee": "snp", "market": "spot", "image": COMMUNITY_IMAGE}
    create(driver, {**SIZES, "DISABLECVM": "true"}, **wish)
    body = sent(cloud)
    assert at(body, "properties/hardwareProfile/vmSize") == "Standard_DC4as_v5" and at(body, "properties/priority") == "Spot"
    assert at(body, "properties/securityProfile/securityType") == "ConfidentialVM"
    assert at(body, "properties/storageProfile/imageReference") == {"communityGalleryImageId": COMMUNITY_IMAGE}
    create(driver, SIZES, name="podvm-b-1", tee="tdx", vcpus=1, memory=1)
    assert at(sent(cloud), "properties/hardwareProfile/vmSize") == "Standard_DC2es_v6"
    create(driver, {**SIZES, "AZURE_SPOT": "true"}, name="podvm-b-2", tee="none", market="on-demand", vcpus=3, memory=1)
    assert at(sent(cloud), "properties/hardwareProfile/vmSize") == "Standard_D4as_v5" and "priority" not in sent(cloud)["properties"]
    refused = failed(create, driver, name="podvm-b-3", tee="sev")
    assert refused.kind == "unsupported" and "Azure has no AMD SEV without SNP" in refused.message


def test_second_nic_has_its_own_subnet_address_and_goes_with_the_vm(cloud, driver):
    made = create(driver, {"AZURE_SECOND_SUBNET_ID": SECOND_SUBNET}, second_nic=1)
    assert made["addresses"] == ["10.99.0.4", "10.99.0.5"]
    assert driver.tool("wait", id=made["id"], needed=2)["addresses"] == made["addresses"]
    first, second = at(sent(cloud), "properties/networkProfile/networkInterfaceConfigurations")
    assert (first["properties"]["primary"], second["properties"]["primary"]) == (True, False)
    assert at(second, "properties/ipConfigurations/0/properties/subnet/id") == SECOND_SUBNET
    driver.tool("delete", id=made["id"])
    assert cloud.inventory() == {}


def test_public_address_comes_first(cloud, driver):
    public = {"USE_PUBLIC_IP": "true"}
    made = create(driver, public, second_nic=1)
    assert made["addresses"] == ["203.0.113.1", "10.99.0.5"]
    assert driver.tool("wait", public, id=made["id"])["addresses"] == made["addresses"]
    driver.tool("delete", public, id=made["id"])
    assert cloud.inventory() == {}


def test_volumes_are_attached_in_order_in_their_zone_and_survive(cloud, driver):
    volumes = [cloud.add_disk(f"data-{n}", zone="2") for n in range(2)]
    made = create(driver, volumes=",".join(volumes), more={"AZURE_ZONES": "1,2"})
    assert sent(cloud)["zones"] == ["2"]
    disks = at(sent(cloud), "properties/storageProfile/dataDisks")
    assert [(one["lun"], one["managedDisk"]["id"], one["deleteOption"]) for one in disks] == [(n, volumes[n], "Detach") for n in range(2)]
    again = create(driver, volumes=",".join(volumes), token=made["token"])
    assert again["id"] == made["id"]
    busy = failed(create, driver, name="podvm-b-1", volumes=volumes[1])
    assert busy.kind == "retry" and f"volume {volumes[1]} is Attached, held by {made['id']}" in busy.message
    driver.tool("delete", id=made["id"])
    assert {disk["properties"]["diskState"] for disk in cloud.disks.values()} == {"Unattached"} and len(cloud.disks) == 2


def test_volumes_that_cannot_be_attached_are_refused_before_anything_is_made(cloud, driver):
    first, second = cloud.add_disk("a", zone="1"), cloud.add_disk("b", zone="2")
    far = cloud.add_disk("c", location="West Europe")
    same = cloud.add_disk("d", location="East US")
    for volumes, kind, text in [
        (f"{first},{second}", "invalid", "is in zone 2 and others are in zone 1"),
        (far, "invalid", "is in region West Europe, the pod VMs are in eastus"),
        (f"{first},{first}", "invalid", "is named twice"),
        (first + "x", "invalid", "ResourceNotFound"),
        ("nonsense", "invalid", 'volume: "nonsense" is not of the form /subscriptions/ID/resourceGroups/'),
    ]:
        refused = failed(create, driver, volumes=volumes)
        assert refused.kind == kind and text in refused.message
    many = ",".join([same, *(cloud.add_disk(f"more-{n}") for n in range(4))])
    refused = failed(create, driver, volumes=many)
    assert refused.kind == "invalid" and "takes 4 volumes, 5 needed" in refused.message
    assert failed(create, driver, {"AZURE_ZONES": "3"}, volumes=first).message == "the volumes are in zone 1, which is not in -zone 3"
    assert cloud.count("create_vm") == 0


def test_user_data_over_the_limit_is_refused_before_any_call(cloud, driver, tmp_path):
    (tmp_path / "user-data").write_bytes(b"x" * 49153)
    refused = failed(create, driver, user_data=tmp_path / "user-data")
    assert refused.kind == "invalid" and refused.message.startswith("the user data has 49153 bytes, 1 more than the 49152 that Azure takes")
    assert not cloud.calls
    (tmp_path / "user-data").write_bytes(b"x" * 49152)
    create(driver, user_data=tmp_path / "user-data")
    assert cloud.instances.existing[0].user_data == b"x" * 49152


# ---- nothing is left ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", [{"nic"}, {"disk"}, {"nic", "ip"}, {"ip"}, {"nic", "ip", "disk"}], ids="-".join)
def test_what_azure_leaves_of_a_vm_is_removed_with_it(cloud, driver, left):
    cloud.leave_behind = left
    public = {"USE_PUBLIC_IP": "true"}
    made = create(driver, public)
    driver.tool("delete", public, id=made["id"])
    assert cloud.inventory() == {}


def test_a_nic_that_is_reserved_is_waited_for(cloud, driver):
    cloud.leave_behind = {"nic"}
    cloud.nic_reserved = 1
    made = create(driver)
    driver.tool("delete", id=made["id"])
    assert cloud.inventory() == {} and cloud.count("delete_nic") == 2


def test_what_is_left_when_the_time_is_over_is_named(cloud, driver):
    cloud.leave_behind = {"nic"}
    cloud.nic_reserved = 10**6
    made = create(driver)
    refused = failed(driver.tool, "delete", id=made["id"], seconds=2)
    assert "there is still NIC podvm-web-01234567-net-" in refused.message and "NicReservedForAnotherVm" in refused.message


def test_leftovers_without_a_vm_are_listed_found_and_removed(cloud, driver):
    token = new_token()
    create(driver, {"USE_PUBLIC_IP": "true"}, token=token)
    cloud.leave_behind = {"nic", "disk", "ip"}
    cloud.remove("podvm-web-01234567")
    (one,) = driver.tool("list", cluster="c1", node="n1")
    assert (one["token"], one["pod"], one["name"]) == (token, "web", "podvm-web-01234567") and one["created"] > time.time() - 60
    assert driver.tool("find", token=token)["id"] == one["id"]
    assert driver.tool("list", cluster="c2") == []
    driver.tool("delete", id=one["id"])
    assert cloud.inventory() == {} and driver.tool("list") == []


def test_a_nic_that_an_earlier_vm_of_the_name_left_is_not_taken_for_the_new_ones(cloud, driver):
    create(driver)
    cloud.leave_behind = {"nic"}
    cloud.remove("podvm-web-01234567")
    token = new_token()
    made = create(driver, token=token)
    assert len(cloud.inventory()["nic"]) == 2 and made["addresses"] == ["10.99.0.5"]
    assert driver.tool("find", token=token)["addresses"] == ["10.99.0.5"]
    driver.tool("delete", id=made["id"])
    assert cloud.inventory() == {}


def test_a_disk_without_tags_is_known_by_its_name(cloud, driver):
    made = create(driver)
    (disk,) = cloud.disks.values()
    del disk["tags"]
    cloud.leave_behind = {"disk"}
    cloud.remove("podvm-web-01234567")
    (one,) = driver.tool("list", cluster="c1", node="n1")
    assert (one["cluster"], one["node"]) == ("c1", "n1") and one["id"] == made["id"]
    assert driver.tool("list", cluster="c1", node="n2") == [] and driver.tool("list", cluster="c2", node="n1") == []
    driver.tool("delete", id=one["id"])
    assert cloud.inventory() == {}


def test_what_is_not_ours_is_never_touched(cloud, driver):
    foreign = cloud.add_foreign_vm("podvm-web-01234567", {"team": "other"})
    disk = cloud.add_disk("podvm-web-01234567-disk", group=GROUP)
    refused = failed(driver.tool, "delete", id=foreign)
    assert refused.kind == "denied" and "carries no tag peerpod-token" in refused.message
    del cloud.vms["podvm-web-01234567"]
    driver.tool("delete", id=foreign)
    assert disk.split("/")[-1] in cloud.disks and cloud.count("delete_disk") == 0 and cloud.count("delete_vm") == 0
    assert driver.tool("list") == []


def test_list_goes_through_all_pages(make_cloud):
    cloud = make_cloud(page_size=2)
    driver = Driver(cloud)
    made = driver.tool("parallel 7 create", token=new_token()[:20] + "%d", name="podvm-%d", cluster="c1", node="n1")
    assert sorted(one["name"] for one in driver.tool("list")) == sorted(one["name"] for one in made)
    driver.tool("delete", id=made[0]["id"])
    assert len(driver.tool("list")) == 6


def test_a_next_link_to_somebody_else_gets_no_token(cloud, driver):
    cloud.script("list_nics", Reply(200, {"value": [], "nextLink": "http://127.0.0.1:1/steal"}))
    refused = failed(driver.tool, "list")
    assert "is not on http://127.0.0.1" in refused.message and "nothing is sent there" in refused.message


# ---- documentation --------------------------------------------------------------------------------------------


def test_documentation_has_the_options_of_the_driver():
    assert documented_options("azure") == told_options("azure")


# What Azure itself asks for when a VM is made of other resources.
IMPLIED = {
    "Microsoft.Network/virtualNetworks/subnets/join/action",
    "Microsoft.Network/networkSecurityGroups/join/action",
    "Microsoft.Network/networkInterfaces/write",
    "Microsoft.Network/networkInterfaces/join/action",
    "Microsoft.Network/publicIPAddresses/write",
    "Microsoft.Network/publicIPAddresses/join/action",
    "Microsoft.Compute/disks/write",
    "Microsoft.Compute/virtualMachines/instanceView/read",
    "Microsoft.Compute/diskEncryptionSets/read",
    "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action",
}


def test_the_role_allows_what_is_called_and_nothing_else(make_cloud):
    cloud = make_cloud(host_ticks=3)
    cloud.leave_behind = {"nic", "ip", "disk"}
    driver = Driver(cloud)
    for image in (IMAGE, COMMUNITY_IMAGE, SHARED_IMAGE, f"{RG}/providers/Microsoft.Compute/images/podvm"):
        driver.tool("check", {"AZURE_IMAGE_ID": image})
    everything = {"USE_PUBLIC_IP": "true", "AZURE_BOOT_DIAGNOSTICS": "true"}
    cloud.fail_creation("OSProvisioningInternalError")
    failed(create, driver)
    made = create(driver, everything, volumes=cloud.add_disk("data"))
    for verb in ("wait", "console", "delete"):
        driver.tool(verb, everything, id=made["id"])
    role = json.loads((paths.ROOT / "docs/providers/azure-role.json").read_text())
    assert role["NotActions"] == [] and len(set(role["Actions"])) == len(role["Actions"])
    # Anybody may read their own permissions.
    called = {ACTIONS[call.operation] for call in cloud.calls if call.operation in ACTIONS} - {ACTIONS["permissions"]}
    assert called | IMPLIED == set(role["Actions"])
    source = (paths.ROOT / "providers/azure/permissions.c").read_text()
    assert set(re.findall(r'\{"(Microsoft\.[^"]+)"', source)) <= set(role["Actions"])
