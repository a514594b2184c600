# SPDX-License-Identifier: Apache-2.0
"""What the Go driver of Azure does badly, one weakness after the other."""

import pytest
from cryptography.hazmat.primitives import serialization

from azure_rig import DES, IDENTITY, NIC, NO_SECRET, OS_DISK, SECURE, Driver, at, cloud, driver, make_cloud, sent  # noqa: F401 (fixtures)
from fakes.azure_names import RG
from fakes.azure_operations import error
from fakes.server import Reply
from peerpod.provider_tool import create, failed, new_token


def test_weakness_1_zones_sizes_and_subnets_have_effect_and_a_fallback(cloud, driver):
    for code in ("ZonalAllocationFailed", "OverconstrainedZonalAllocationRequest"):
        cloud.fail_creation(code)
    create(driver, {"AZURE_ZONES": "3,1", "AZURE_INSTANCE_SIZES": "Standard_DC2as_v5,Standard_DC4as_v5"}, vcpus=2, memory=8192)
    tried = [(c.json()["properties"]["hardwareProfile"]["vmSize"], c.json()["zones"][0]) for c in cloud.made("create_vm")]
    assert tried == [("Standard_DC2as_v5", "1"), ("Standard_DC2as_v5", "3"), ("Standard_DC4as_v5", "1")]


def test_weakness_2_the_address_is_used_before_the_operation_ends(make_cloud):
    cloud = make_cloud(ticks=10**6)
    assert create(Driver(cloud))["addresses"] == ["10.99.0.4"]
    (vm,) = cloud.vms.values()
    assert vm["document"]["properties"]["provisioningState"] == "Creating"


def test_weakness_3_a_failed_creation_leaves_nothing(cloud, driver):
    cloud.leave_behind = {"nic", "disk", "ip"}
    cloud.fail_creation("AllocationFailed", "no room")
    refused = failed(create, driver, {"USE_PUBLIC_IP": "true"})
    assert refused.kind == "capacity" and "AllocationFailed: no room" in refused.message
    assert cloud.inventory() == {}


def test_weakness_4_deleting_what_is_missing_or_never_was_succeeds(cloud, driver):
    driver.tool("delete", id=f"{RG}/providers/Microsoft.Compute/virtualMachines/never-was")
    driver.tool("delete", id="")
    refused = failed(driver.tool, "delete", id="i-0123")
    assert refused.kind == "invalid" and refused.message.startswith('instance id: "i-0123" is not of the form /subscriptions/ID/')


def test_weakness_5_delete_goes_by_the_ids_own_group_in_any_case(cloud, driver):
    made = create(driver, {"AZURE_RESOURCE_GROUP": "other"})
    driver.tool("delete", id=made["id"].upper())
    assert cloud.inventory() == {}
    assert all("/other/" in call.path.lower() for call in cloud.made("delete_vm"))


def test_weakness_6_one_throwaway_key_a_process_and_no_console(cloud):
    verbs = "".join(f"create token={new_token()} name=podvm-{n}\n" for n in range(2))
    Driver(cloud, ssh_key=None).tool("serve", stdin=verbs)
    bodies = [call.json()["properties"] for call in cloud.made("create_vm")]
    keys = {body["osProfile"]["linuxConfiguration"]["ssh"]["publicKeys"][0]["keyData"] for body in bodies}
    assert len(keys) == 1 and serialization.load_ssh_public_key(keys.pop().encode()).key_size == 2048
    assert not any("diagnosticsProfile" in body for body in bodies)


def test_weakness_7_sizes_come_from_resource_skus_once_with_gpus_and_unknown_ones_are_named(cloud, driver):
    verbs = "".join(f"create token={new_token()} name=podvm-{n}\n" for n in range(3))
    driver.tool("serve", {"AZURE_INSTANCE_SIZES": "Standard_DC2as_v5,Standard_Typo"}, stdin=verbs)
    assert cloud.count("list_skus") == 1 and not any("vmSizes" in call.path for call in cloud.calls)
    assert "there is no such size in this region" in driver.log
    assert any(one["gpus"] for one in driver.tool("offerings"))


@pytest.mark.parametrize(
    "authority, arm",
    [
        ("https://login.microsoftonline.us/", "management.usgovcloudapi.net"),
        ("https://login.chinacloudapi.cn", "management.chinacloudapi.cn"),
        ("https://login.partner.microsoftonline.cn/", "management.chinacloudapi.cn"),
        ("https://login.microsoftonline.com/", "management.azure.com"),
        (None, "management.azure.com"),
    ],
)
def test_weakness_8_managed_identity_and_all_clouds(cloud, driver, authority, arm):
    """The token comes from the metadata service; the proxy that is not there shows where the driver would go."""
    environment = {**NO_SECRET, "AZURE_CLIENT_ID": None, "AZURE_AUTHORITY_HOST": authority, "AZURE_RESOURCE_MANAGER_ENDPOINT": None}
    audience = {"usgov": "https://management.core.usgovcloudapi.net", "china": "https://management.core.chinacloudapi.cn"}
    wanted = audience.get(arm.removeprefix("management.").split("cloudapi")[0], "https://management.azure.com")
    cloud.script("imds_token", lambda call: Reply(200, {"access_token": cloud.give_token(), "expires_in": "3600"}), times=None)
    refused = failed(driver.tool, "list", {**environment, "https_proxy": "http://127.0.0.1:1", "no_proxy": ""}, seconds=1)
    assert cloud.made("imds_token")[0].query["resource"] == [wanted + "/"]
    assert refused.kind in ("retry", "timeout") and f"GET {arm}" in refused.message


def test_weakness_9_disks_encryption_identity_spot_network_and_tee_can_be_chosen(cloud, driver):
    everything = {**SECURE, "AZURE_DISK_ENCRYPTION_SET_ID": DES, "AZURE_OS_DISK_TYPE": "Premium_ZRS", "AZURE_VM_IDENTITY_IDS": IDENTITY}
    create(driver, {**everything, "AZURE_SPOT": "true", "AZURE_ACCELERATED_NETWORKING": "true", "DISABLECVM": "true"}, tee="snp")
    body = sent(cloud)
    assert at(body, f"{OS_DISK}/managedDisk/storageAccountType") == "Premium_ZRS" and body["identity"]["type"] == "UserAssigned"
    assert at(body, "properties/securityProfile/securityType") == "ConfidentialVM" and at(body, "properties/priority") == "Spot"


def test_weakness_10_public_addresses_have_a_sku_and_everything_has_tags(cloud, driver):
    token = new_token()
    create(driver, {"USE_PUBLIC_IP": "true", "TAGS": "team=a"}, token=token, second_nic=1)
    address = at(sent(cloud), f"{NIC}/properties/ipConfigurations/0/properties/publicIPAddressConfiguration")
    assert address["sku"] == {"name": "Standard", "tier": "Regional"} and address["properties"]["publicIPAllocationMethod"] == "Static"
    everything = [*cloud.nics.values(), *cloud.ips.values(), *cloud.disks.values(), *(vm["document"] for vm in cloud.vms.values())]
    assert len(everything) == 5
    assert all(one["tags"]["peerpod-token"] == token and one["tags"]["team"] == "a" for one in everything)


def test_weakness_11_connections_and_limits_are_shared(make_cloud):
    cloud = make_cloud()
    driver = Driver(cloud)
    driver.tool("serve", stdin="".join(f"create token={new_token()} name=podvm-{n}\n" for n in range(3)))
    assert cloud.count("token") == 1
    # One that is told to slow down slows the others.
    cloud.script("create_vm", error(429, "TooManyRequests", "slow down", {"Retry-After": "2"}))
    driver.tool("parallel 4 create", token=new_token()[:20] + "%d", name="podvm-b-%d")
    calls = [call for call in cloud.made("create_vm") if "podvm-b" in call.path]
    refused = next(call.time for call in calls if call.status == 429)
    assert sum(1 for call in calls if refused + 0.5 < call.time < refused + 1.9) == 0


def test_weakness_12_orphans_are_listed_by_cluster_and_node(cloud, driver):
    tokens = [new_token() for _ in range(3)]
    for n, (cluster, node) in enumerate((("c1", "n1"), ("c1", "n2"), ("c2", "n1"))):
        create(driver, token=tokens[n], name=f"podvm-{n}", cluster=cluster, node=node)
    cloud.leave_behind = {"nic", "disk"}
    cloud.remove("podvm-0")
    assert {one["token"] for one in driver.tool("list", cluster="c1", node="n1")} == {tokens[0]}
    assert {one["token"] for one in driver.tool("list", cluster="c1")} == set(tokens[:2])
    assert {one["token"] for one in driver.tool("list")} == set(tokens)
