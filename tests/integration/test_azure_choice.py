# SPDX-License-Identifier: Apache-2.0
"""Which size the Azure driver takes, in which zone and subnet, and where it goes when there is no room."""

import collections
import re

import pytest
from azure_rig import NIC, SIZES, Driver, at, cloud, driver, make_cloud, sizes_tried  # noqa: F401 (fixtures)
from fakes.azure_names import SUBNET
from fakes.azure_operations import error
from fakes.azure_skus import withdraw
from peerpod.provider_tool import create, failed, new_token


def test_no_room_leads_to_the_next_size_and_is_remembered_for_an_hour(cloud, driver):
    cloud.fail_creation("AllocationFailed", times=9, when=lambda b: b["properties"]["hardwareProfile"]["vmSize"] == "Standard_DC4as_v5")
    sizes = {"AZURE_INSTANCE_SIZES": "Standard_DC2as_v5,Standard_DC4as_v5,Standard_DC8as_v5"}
    verbs = "".join(f"create token={new_token()} name=podvm-{n} vcpus=4 memory=16384\n" for n in range(2))
    driver.tool("serve", sizes, stdin=verbs)
    assert sizes_tried(cloud) == ["Standard_DC4as_v5", "Standard_DC8as_v5", "Standard_DC8as_v5"]
    left = re.search(r"refused a short while ago \(capacity\); tried again in (\d+) s", driver.log)
    assert 3500 < int(left.group(1)) <= 3600
    assert len(cloud.inventory()["vm"]) == len(cloud.inventory()["disk"]) == 2


def test_no_quota_leads_to_another_family(cloud, driver):
    text = "Operation could not be completed as it results in exceeding approved standardDCASv5Family Cores quota."
    refuse = error(409, "OperationNotAllowed", text)
    cloud.script("create_vm", refuse, times=None, when=lambda c: "_DC" in c.json()["properties"]["hardwareProfile"]["vmSize"])
    sizes = {"AZURE_INSTANCE_SIZES": "Standard_DC2as_v5,Standard_DC4as_v5,Standard_DC8as_v5,Standard_EC4as_v5"}
    create(driver, sizes, vcpus=4, memory=8192)
    tried = sizes_tried(cloud)
    assert tried[0] == "Standard_DC4as_v5" and tried[-1] == "Standard_EC4as_v5" and len(tried) == 2


def test_a_full_subnet_leads_to_the_next_one(cloud, driver):
    cloud.subnets.add((SUBNET + "-2").lower())
    cloud.fail_creation(
        "SubnetIsFull", "Subnet is full", when=lambda b: at(b, f"{NIC}/properties/ipConfigurations/0/properties/subnet/id") == SUBNET
    )
    create(driver, {"AZURE_SUBNET_ID": f"{SUBNET},{SUBNET}-2"})
    assert len(cloud.inventory()["vm"]) == 1
    cloud.fail_creation("SubnetIsFull", "Subnet is full", times=9)
    refused = failed(create, driver, SIZES, name="podvm-b-1", vcpus=1, memory=1)
    assert refused.kind == "capacity" and "name more subnets in AZURE_SUBNET_ID" in refused.message
    assert cloud.count("create_vm") == 3 and len(cloud.inventory()["vm"]) == 1


def test_what_image_and_size_cannot_do_together_is_refused_before_the_call(cloud, driver):
    cloud.features["DiskControllerTypes"] = "SCSI"
    refused = failed(create, driver, {"AZURE_INSTANCE_SIZE": "Standard_DC2es_v6"})
    assert refused.kind == "invalid" and "the size has NVMe disks only" in refused.message
    arm = {"DISABLECVM": "true", "AZURE_INSTANCE_SIZE": "Standard_D2ps_v5"}
    assert "the image is for another architecture" in failed(create, driver, arm).message
    refused = failed(create, driver, {"AZURE_INSTANCE_SIZE": "Standard_DC2ads_v5"})
    assert "NotAvailableForSubscription" in refused.message
    cloud.features["SecurityType"] = "TrustedLaunch"
    refused = failed(create, driver)
    assert refused.kind == "invalid" and "its definition has no confidential security feature" in refused.message
    cloud.definition["hyperVGeneration"] = "V1"
    assert "it is of generation 1" in failed(create, driver).message
    assert cloud.count("create_vm") == 0


def test_sizes_that_cannot_are_left_out_with_the_reason(cloud, driver):
    refused = failed(create, driver, {"AZURE_INSTANCE_SIZE": "Standard_D2as_v5"})
    assert refused.kind == "invalid" and "cannot make a confidential VM of the kind asked for" in refused.message
    assert "only the default type is allowed" in failed(create, driver, type="Standard_DC8as_v5").message
    refused = failed(create, driver, {"AZURE_INSTANCE_SIZE": "Standard_EC2as_v5", "AZURE_ZONES": "2,3"})
    assert "not offered in this zone" in refused.message
    assert cloud.count("create_vm") == 0


LACKS = [
    ("PremiumIO", {}, "no premium disk: see AZURE_OS_DISK_TYPE"),
    ("PremiumIO", {"AZURE_OS_DISK_TYPE": "Premium_ZRS"}, "no premium disk: see AZURE_OS_DISK_TYPE"),
    ("EphemeralOSDiskSupported", {"AZURE_OS_DISK_EPHEMERAL": "CacheDisk"}, "no ephemeral OS disk: see AZURE_OS_DISK_EPHEMERAL"),
    ("EncryptionAtHostSupported", {"AZURE_ENCRYPTION_AT_HOST": "true"}, "no encryption at host: see AZURE_ENCRYPTION_AT_HOST"),
]


@pytest.mark.parametrize("capability, settings, reason", LACKS)
def test_a_size_that_lacks_what_is_set_is_left_out_for_the_next_one(cloud, driver, capability, settings, reason):
    withdraw(cloud.skus, "Standard_DC4as_v5", capability)
    sizes = {"AZURE_INSTANCE_SIZES": "Standard_DC4as_v5,Standard_DC8as_v5", **settings}
    create(driver, sizes, vcpus=4, memory=16384)
    assert sizes_tried(cloud) == ["Standard_DC8as_v5"] and reason in driver.log
    refused = failed(create, driver, {"AZURE_INSTANCE_SIZE": "Standard_DC4as_v5", **settings}, name="podvm-b-1")
    assert refused.kind == "invalid" and reason in refused.message
    assert re.search(f"Standard_DC4as_v5: the size (takes|has) {reason}", failed(driver.tool, "check", sizes).message)
    offered = driver.tool("offerings", settings)
    assert all(reason in one["unfit"] for one in offered if one["type"] == "Standard_DC4as_v5")


def test_a_size_of_which_it_is_not_known_is_tried(cloud, driver):
    for sku in cloud.skus:
        sku["capabilities"] = [one for one in sku["capabilities"] if one["name"] not in [lacks[0] for lacks in LACKS]]
    create(driver, {"AZURE_OS_DISK_EPHEMERAL": "CacheDisk", "AZURE_ENCRYPTION_AT_HOST": "true"})
    assert sizes_tried(cloud) == ["Standard_DC2as_v5"]


def test_gpus_are_counted(cloud, driver):
    gpu = {"AZURE_INSTANCE_SIZES": "Standard_D2as_v5,Standard_NC24ads_A100_v4", "DISABLECVM": "true"}
    create(driver, gpu, gpus=1, vcpus=2, memory=1024)
    assert sizes_tried(cloud) == ["Standard_NC24ads_A100_v4"]


def test_offerings_are_sizes_times_zones_times_markets(make_cloud):
    cloud = make_cloud(page_size=4)
    offerings = Driver(cloud).tool("offerings")
    assert cloud.count("list_skus") == 4
    of = collections.defaultdict(list)
    for one in offerings:
        of[one["type"]].append(one)
    assert len(of["Standard_DC2as_v5"]) == 8 and {one["zone"] for one in of["Standard_DC2as_v5"]} == {"", "1", "2", "3"}
    assert {one["zone"] for one in of["Standard_EC2as_v5"]} == {"", "1"}
    assert {one["unfit"] for one in of["Standard_DC2ads_v5"]} == {"NotAvailableForSubscription"}
    assert of["Standard_B1ls"][0]["memory_mib"] == 512 and {one["tees"] for one in of["Standard_DC2es_v6"]} == {2}
    assert "Premium_LRS" not in of and of["Standard_NC24ads_A100_v4"][0]["gpus"] == 1
    one = of["Standard_DC8as_v5"][0]
    assert (one["vcpus"], one["memory_mib"], one["max_nics"], one["max_volumes"], one["tees"]) == (8, 32768, 4, 16, 1)
    assert one["family"] == "standardDCASv5Family"


def test_the_list_of_sizes_is_kept_for_when_azure_cannot_be_asked(cloud, driver, tmp_path):
    kept = [f"-catalogue-folder={tmp_path}"]
    assert len(driver.tool("offerings", options=kept)) > 50
    cloud.script("list_skus", error(403, "AuthorizationFailed", "no"), times=None)
    offered = driver.tool("offerings", options=kept)
    assert {one["type"] for one in offered} > {"Standard_DC2as_v5", "Standard_NC24ads_A100_v4"}
    assert driver.tool("create", options=kept, token=new_token(), name="podvm-a-1", second_nic=0)["id"]
    for path in tmp_path.iterdir():
        path.unlink()
    assert "AuthorizationFailed" in failed(driver.tool, "offerings", options=kept).message
    # Nothing is known of the default size, and it is used nevertheless.
    assert driver.tool("create", options=kept, token=new_token(), name="podvm-a-2")["id"]
