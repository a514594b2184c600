# SPDX-License-Identifier: Apache-2.0
"""The GCP driver against the fake of Google: what it makes for a pod, deletion and lists, the guide."""

import base64
import json
import re

import pytest

from fakes.gcp_rules import Image, refusal
from fakes.server import Delay
from gcp_rig import ORDINARY, ZONES, cloud, driver, inserts, sent, tried  # noqa: F401 (fixtures)
from peerpod import paths
from peerpod.provider_tool import create, documented_options, failed, new_token, told_options


@pytest.fixture(scope="module", autouse=True)
def early(gcp_storm):
    """The creations of test_gcp_throughput.py take 40 seconds: they begin here."""


# ---- the life of an instance -------------------------------------------------------------------------------


def test_an_instance_from_create_to_nothing(cloud, driver):
    token = new_token()
    made = create(driver, token=token, sandbox="s1")
    assert made["id"] == made["name"] == "podvm-web-01234567" and len(made["addresses"]) == 1
    assert (made["token"], made["pod"], made["cluster"], made["node"], made["sandbox"]) == (token, "web", "c1", "n1", "s1")
    assert driver.tool("wait", id=made["id"])["addresses"] == made["addresses"]
    assert driver.tool("find", token=token)["id"] == made["id"]
    assert [one["id"] for one in driver.tool("list", cluster="c1", node="n1")] == [made["id"]]
    assert driver.tool("list", cluster="other") == driver.tool("list", cluster="c1", node="n2") == []
    driver.tool("delete", id=made["id"])
    assert driver.tool("list") == [] and cloud.inventory() == {}
    assert failed(driver.tool, "find", token=token).kind == "gone"


def test_the_insert_says_all_there_is_to_say(cloud, driver, tmp_path):
    (tmp_path / "data").write_bytes(bytes(range(256)) * 8)
    more = {
        "GCP_NETWORK": "custom",
        "GCP_SUBNETWORK": "podvm",
        "GCP_NETWORK_TAGS": "podvm, workers",
        "GCP_LABELS": "team=a,cost=1",
        "GCP_DISK_TYPE": "pd-balanced",
        "GCP_DISK_INTERFACE": "NVME",
        "GCP_DISK_KMS_KEY": "projects/p/locations/global/keyRings/r/cryptoKeys/k",
        "GCP_NIC_TYPE": "GVNIC",
        "GCP_SECURE_BOOT": "true",
        "GCP_MAX_RUN": "2h",
        "ROOT_VOLUME_SIZE": "20",
        "USE_PUBLIC_IP": "true",
        "GCP_NETWORK_TIER": "PREMIUM",
        "TAGS": "env=prod, team=a",
    }
    token = new_token()
    create(driver, more, token=token, user_data=tmp_path / "data", sandbox="s1", node="Ip-10.1.internal")
    labels = {
        "peerpod-token": token,
        "peerpod-cluster": "c1",
        "peerpod-node": "ip-10-1-internal-" + sent(cloud)["labels"]["peerpod-node"][-8:],
        "peerpod-namespace": "default",
        "peerpod-pod": "web",
        "peerpod-sandbox": "s1",
        "team": "a",
        "cost": "1",
    }
    owner = {"cluster": "c1", "node": "Ip-10.1.internal", "namespace": "default", "pod": "web", "sandbox": "s1"}
    items = {"user-data": base64.b64encode(bytes(range(256)) * 8).decode(), "user-data-encoding": "base64"}
    items |= {f"peerpod-{name}": value for name, value in owner.items()}
    body = sent(cloud)
    assert json.loads(body.pop("description")) == owner
    assert {item["key"]: item["value"] for item in body.pop("metadata")["items"]} == items
    zone = "projects/demo-proj/zones/us-central1-a"
    assert body == {
        "name": "podvm-web-01234567",
        "machineType": f"{zone}/machineTypes/n2d-standard-2",
        "minCpuPlatform": "AMD Milan",
        "confidentialInstanceConfig": {"enableConfidentialCompute": True, "confidentialInstanceType": "SEV_SNP"},
        "shieldedInstanceConfig": {"enableSecureBoot": True, "enableVtpm": True, "enableIntegrityMonitoring": True},
        "labels": labels,
        "deletionProtection": False,
        "disks": [
            {
                "boot": True,
                "autoDelete": True,
                "type": "PERSISTENT",
                "mode": "READ_WRITE",
                "interface": "NVME",
                "diskEncryptionKey": {"kmsKeyName": "projects/p/locations/global/keyRings/r/cryptoKeys/k"},
                "initializeParams": {
                    "diskName": "podvm-web-01234567",
                    "sourceImage": "projects/demo-proj/global/images/podvm-1",
                    "diskType": f"{zone}/diskTypes/pd-balanced",
                    "diskSizeGb": "20",
                    "labels": labels,
                },
            }
        ],
        "networkInterfaces": [
            {
                "network": "global/networks/custom",
                "subnetwork": "projects/demo-proj/regions/us-central1/subnetworks/podvm",
                "stackType": "IPV4_ONLY",
                "nicType": "GVNIC",
                "accessConfigs": [{"name": "External NAT", "type": "ONE_TO_ONE_NAT", "networkTier": "PREMIUM"}],
            }
        ],
        "params": {"resourceManagerTags": {"tagKeys/333": "tagValues/444", "tagKeys/334": "tagValues/446"}},
        "tags": {"items": ["podvm", "workers"]},
        "scheduling": {
            "automaticRestart": False,
            "onHostMaintenance": "TERMINATE",
            "instanceTerminationAction": "DELETE",
            "maxRunDuration": {"seconds": "7200"},
        },
    }


@pytest.mark.parametrize(
    "asked, machine_type, disk, platform",
    [
        ("SEV", "n2d-standard-2", "pd-standard", None),
        ("SEV_SNP", "n2d-standard-2", "pd-standard", "AMD Milan"),
        ("TDX", "c3-standard-4", "pd-balanced", None),
    ],
)
def test_each_kind_of_confidential_vm(cloud, driver, asked, machine_type, disk, platform):
    create(driver, {"GCP_CONFIDENTIAL_TYPE": asked, "GCP_MACHINE_TYPE": None})
    body = sent(cloud)
    assert body["confidentialInstanceConfig"]["confidentialInstanceType"] == asked
    assert body["scheduling"]["onHostMaintenance"] == "TERMINATE" and body.get("minCpuPlatform") == platform
    assert body["machineType"].endswith("/" + machine_type)
    assert body["disks"][0]["initializeParams"]["diskType"].endswith("/" + disk)


def test_an_ordinary_vm_has_nothing_of_it(cloud, driver):
    create(driver, {**ORDINARY, "GCP_MACHINE_TYPE": None})
    body = sent(cloud)
    assert body["machineType"].endswith("/e2-medium") and body["scheduling"] == {"automaticRestart": False}
    assert not {"confidentialInstanceConfig", "minCpuPlatform", "shieldedInstanceConfig", "params", "tags"} & set(body)


def test_volumes_are_attached_in_order_and_survive(cloud, driver):
    cloud.make_disk("data-1")
    cloud.make_disk("data-2")
    made = create(driver, volumes="data-1:first,projects/demo-proj/zones/us-central1-a/disks/data-2")
    disks = [(disk["source"].rsplit("/", 1)[1], disk["deviceName"], disk["autoDelete"]) for disk in sent(cloud)["disks"][1:]]
    assert disks == [("data-1", "first", False), ("data-2", "vol-1", False)]
    refused = failed(create, driver, volumes="data-1")
    assert refused.kind == "invalid" and "volume data-1 is attached to instance podvm-web-01234567 already" in refused.message
    driver.tool("delete", id=made["id"])
    assert {disk.name: disk.users for disk in cloud.disks.values()} == {"data-1": [], "data-2": []}


def test_a_volume_decides_the_zone(cloud, driver):
    cloud.make_disk("data-1", "us-central1-b")
    create(driver, {"GCP_ZONE": ZONES}, volumes="projects/demo-proj/zones/us-central1-b/disks/data-1")
    assert tried(cloud) == [("n2d-standard-2", "us-central1-b")]
    refused = failed(create, driver, volumes="projects/demo-proj/zones/us-central1-b/disks/data-1")
    assert "the volumes are in zone us-central1-b, which is not among those of GCP_ZONE" in refused.message
    assert "was not found" in failed(create, driver, volumes="missing").message
    assert len(inserts(cloud)) == 1


def test_gpus_come_with_the_type_or_are_attached_to_n1(cloud, driver):
    types = {**ORDINARY, "GCP_INSTANCE_TYPES": "n1-standard-4,a2-highgpu-1g"}
    create(driver, types, gpus=1)
    assert tried(cloud)[0][0] == "a2-highgpu-1g" and sent(cloud)["scheduling"]["onHostMaintenance"] == "TERMINATE"
    create(driver, {**types, "GCP_ACCELERATOR_TYPE": "nvidia-tesla-t4"}, gpus=2, name="podvm-other-1")
    body = cloud.bodies("instances.insert")[1]
    assert body["machineType"].endswith("/n1-standard-4")
    kind = "projects/demo-proj/zones/us-central1-a/acceleratorTypes/nvidia-tesla-t4"
    assert body["guestAccelerators"] == [{"acceleratorType": kind, "acceleratorCount": 2}]


def test_addresses_are_given_as_soon_as_they_are_shown(cloud, driver):
    """The instance is on a host before it has an address; the id is out by then."""
    cloud.steps = (("PROVISIONING", False), ("STAGING", False), ("STAGING", True), ("RUNNING", True))
    cloud.operation_seconds = 600  # looks alone bring it on
    made = create(driver)
    assert made["addresses"] == []
    assert len(driver.tool("wait", id=made["id"])["addresses"]) == 1
    assert [vm.looks for vm in cloud.live()] == [3]


def test_public_address_is_waited_for(cloud, driver):
    cloud.nat_looks = 2
    made = create(driver, {"USE_PUBLIC_IP": "true"})
    assert made["addresses"] == []
    (vm,) = cloud.live()
    assert driver.tool("wait", {"USE_PUBLIC_IP": "true"}, id=made["id"])["addresses"] == [vm.nat, vm.handle.address]
    assert sent(cloud)["networkInterfaces"][0]["accessConfigs"][0]["networkTier"] == "STANDARD"


def test_waiting_for_what_never_comes_says_why(cloud, driver):
    cloud.steps = (("STAGING", False),)
    cloud.operation_seconds = 600
    made = create(driver)
    error = failed(driver.tool, "wait", id=made["id"], seconds=1)
    # The end comes between two looks, or, rarely, within one.
    assert error.kind == "timeout" and re.search("wait for the addresses|^instances.list: ", error.message)
    cloud.lose_vm(made["id"], "TERMINATED")
    assert failed(driver.tool, "wait", id=made["id"]).message == f"instance {made['id']} is TERMINATED"


def test_an_operation_that_fails_late_is_told_by_the_wait(cloud, driver):
    """Placed, and given out, and then the cloud finds that it cannot."""
    cloud.steps = (("STAGING", False),)
    cloud.operation_seconds = 600
    made = create(driver)
    (operation,) = cloud.operations.values()
    operation.error = {"errors": [{"code": "INTERNAL_ERROR", "message": "something broke"}]}
    operation.done = True
    cloud.lose_vm(made["id"], "STOPPING")
    error = failed(driver.tool, "wait", id=made["id"])
    assert error.kind == "retry" and f"instance {made['id']}: INTERNAL_ERROR: something broke (operation {operation.name}" in error.message


def test_console_shows_the_last_words(cloud, driver):
    cloud.console = "x" * 9000 + "panic\n"
    made = create(driver)
    assert driver.tool("console", id=made["id"], max=10)["tail"] == "xxxxpanic\n"
    assert driver.tool("console", id="podvm-none") == {"tail": ""}


# ---- deletion and lists ------------------------------------------------------------------------------------


def test_deletion_does_not_wait_for_a_shutdown_and_waits_for_the_operation(cloud, driver):
    made = create(driver)
    cloud.early_waits, cloud.operation_seconds = 2, 600
    cloud.script("zoneOperations.wait", Delay(0.2))
    driver.tool("delete", id=made["id"])
    (call,) = cloud.made("instances.delete")
    assert call.one("noGracefulShutdown") == "true" and len(call.one("requestId")) == 36
    assert cloud.count("zoneOperations.wait") == 3 and cloud.vms == {}


def test_deletion_takes_the_disk_that_is_left(cloud, driver):
    made = create(driver)
    cloud.fail_operation("instances.delete", "INTERNAL_ERROR", leaves_disk=True)
    cloud.dooms[-1].error = None
    driver.tool("delete", id=made["id"])
    assert cloud.count("disks.delete") == 1 and cloud.inventory() == {}


def test_leftover_disks_are_listed_and_deleted_by_the_name_of_their_instance(cloud, driver):
    labels = {"peerpod-token": "00ff", "peerpod-cluster": "c1", "peerpod-node": "n1"}
    cloud.make_disk("podvm-gone-1", "us-central1-b", labels=labels)
    cloud.make_disk("data-1")
    (found,) = driver.tool("list", cluster="c1", node="n1")
    assert found["id"] == "podvm-gone-1" and found["token"] == "00ff" and found["addresses"] == []
    driver.tool("delete", id="podvm-gone-1")
    driver.tool("delete", id="data-1")
    assert [disk.name for disk in cloud.disks.values()] == ["data-1"]


def test_delete_refuses_what_is_not_ours(cloud, driver):
    cloud.make_vm("somebody-elses")
    refused = failed(driver.tool, "delete", id="somebody-elses")
    assert refused.kind == "denied" and "carries no label peerpod-token" in refused.message
    assert failed(driver.tool, "delete", id="").message == "the id of the instance is empty"
    assert failed(driver.tool, "delete", id="Not A Name").kind == "invalid"
    assert failed(driver.tool, "delete", id="projects/other/zones/us-central1-a/instances/x").kind == "invalid"
    assert cloud.count("instances.delete") == 0 and driver.tool("list") == []


def test_what_cannot_be_seen_is_not_taken_for_gone(cloud, driver):
    """A zone that is down is left out of lists over all zones."""
    token = new_token()
    here, there = create(driver, token=token), create(driver, {"GCP_ZONE": "us-central1-b"}, name="podvm-there")
    cloud.unreachable = {"us-central1-b"}
    error = failed(driver.tool, "delete", id=there["id"])
    assert error.kind == "retry" and "some zone of the project cannot be asked just now" in error.message
    assert failed(driver.tool, "find", token=new_token()).kind == "retry"
    assert driver.tool("find", token=token)["id"] == here["id"]
    assert [one["id"] for one in driver.tool("list")] == [here["id"]] and "what is in it is not listed" in driver.log
    driver.tool("delete", id=here["id"])
    elsewhere = {"GCP_ZONE": "us-central1-a,us-central1-c"}
    driver.tool("delete", id=create(driver, elsewhere, name="podvm-meanwhile")["id"])
    assert failed(create, driver, {"GCP_ZONE": ZONES}).kind == "retry"
    cloud.unreachable = set()
    driver.tool("delete", id=there["id"])
    assert cloud.inventory() == {}


def test_a_deletion_that_is_too_early_is_repeated(cloud, driver):
    made = create(driver)
    cloud.script("instances.delete", refusal(400, "resourceNotReady", "The resource is not ready"))
    cloud.fail_operation("instances.delete", "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE")
    driver.tool("delete", id=made["id"])
    assert cloud.count("instances.delete") == 3 and cloud.inventory() == {}


def test_list_goes_through_all_zones_and_pages_with_ages(cloud, driver):
    for n, zone in enumerate(cloud.zones):
        create(driver, {"GCP_ZONE": zone}, name=f"podvm-{n}")
        create(driver, {"GCP_ZONE": zone}, name=f"podvm-{n}-more", node="n2")
    cloud.page_max = 3
    listed = driver.tool("list")
    assert len({one["id"] for one in listed}) == 8
    assert all(abs(one["created"] - cloud.now()) < 60 for one in listed)
    assert len(driver.tool("list", node="n2")) == 4
    assert sum("pageToken" in call.query for call in cloud.made("instances.aggregatedList")) == 3


def test_lists_never_bring_the_user_data(cloud, driver):
    made = create(driver)
    driver.tool("wait", id=made["id"])
    driver.tool("list")
    driver.tool("delete", id=made["id"])
    for call in cloud.calls:
        if call.operation in ("instances.list", "instances.aggregatedList", "instances.get"):
            assert "metadata" not in call.one("fields") and call.one("fields")


def test_names_that_labels_cannot_hold_are_listed_exactly(driver):
    odd = {"cluster": "Prod/EU", "node": "ip-10-1-2-3.eu-west-1.compute.internal", "namespace": "kube_x", "pod": "a." * 40}
    create(driver, **odd)
    create(driver, **{**odd, "node": "ip-10-1-2-3.eu-west-1.compute-internal"}, name="podvm-other")
    (found,) = driver.tool("list", cluster=odd["cluster"], node=odd["node"])
    assert {key: found[key] for key in odd} == odd


# ---- the guide ---------------------------------------------------------------------------------------------


def test_the_guide_has_the_options_of_the_driver():
    assert documented_options("gcp") == told_options("gcp")


def test_the_role_allows_what_is_called_and_nothing_else(cloud, driver):
    role = json.loads((paths.ROOT / "docs/providers/gcp-role.json").read_text())
    allowed = set(role["includedPermissions"])
    source = (paths.ROOT / "providers/gcp/check.c").read_text()
    asked_for = set(re.findall(r'"((?:compute|resourcemanager)\.[A-Za-z.]+)"', source))
    assert allowed == asked_for
    cloud.images.append(Image("podvm-2"))
    cloud.make_disk("data-1")
    everything = {"TAGS": "env=prod", "USE_PUBLIC_IP": "true", "GCP_NETWORK_TAGS": "a", "GCP_SUBNETWORK": "podvm", "GCP_NETWORK": "custom"}
    driver.tool("check", everything)
    cloud.fail_operation("instances.insert", "INTERNAL_ERROR", leaves_disk=True)
    cloud.make_vm("podvm-2")
    made = create(driver, everything, volumes="data-1", image="projects/demo-proj/global/images/family/podvm", type="n2d-standard-2")
    cloud.steps = (("PROVISIONING", True), ("RUNNING", True))
    create(driver, {"GCP_MACHINE_TYPE": "n2d-custom-2-8192"}, name="podvm-2")
    driver.tool("wait", id=made["id"])
    driver.tool("console", id=made["id"])
    driver.tool("list")
    driver.tool("delete", id=made["id"])
    used = cloud.permissions_used
    assert used <= allowed, used - allowed
    assert allowed - used == set(), "the role allows what nothing needs"
