# SPDX-License-Identifier: Apache-2.0
"""The GCP driver against the fake of Google (tests/fakes/gcp.py): the life of an instance, and what may go wrong in it."""

import base64
import json
import re
import secrets
import signal
import subprocess
import threading

import pytest

import gcp_rig
from fakes.gcp_rules import Image, refusal
from fakes.server import Delay, Drop, Reply
from gcp_rig import ToolError
from peerpod import paths

ZONES = "us-central1-a,us-central1-b"
NOTHING = Reply(200, {"kind": "compute#instanceList", "id": "x"})
ORDINARY = {"DISABLECVM": "true", "GCP_CONFIDENTIAL_TYPE": None}


@pytest.fixture
def rig():
    one = gcp_rig.Rig()
    yield one
    one.close()


def new_token() -> str:
    return secrets.token_hex(16)


def create(rig, environment=(), **more):
    arguments = {"token": new_token(), "name": "podvm-web-01234567", "pod": "web", "cluster": "c1", "node": "n1", **more}
    return rig.tool("create", environment, **arguments)


def failed(function, *arguments, **more) -> ToolError:
    with pytest.raises(ToolError) as caught:
        function(*arguments, **more)
    return caught.value


def sent(rig) -> dict:
    """The body of the only insert."""
    (body,) = rig.cloud.bodies("instances.insert")
    return body


def types_of(rig) -> list:
    return [
        (body["machineType"].rsplit("/", 1)[1], call.path.split("/")[6])
        for call, body in zip(inserts(rig), rig.cloud.bodies("instances.insert"))
    ]


def inserts(rig) -> list:
    return rig.cloud.made("instances.insert")


def request_ids(rig) -> list:
    return [call.one("requestId") for call in inserts(rig)]


# ---- the life of an instance -------------------------------------------------------------------------------


def test_an_instance_from_create_to_nothing(rig):
    token = new_token()
    made = create(rig, token=token, sandbox="s1")
    assert made["id"] == made["name"] == "podvm-web-01234567" and len(made["addresses"]) == 1
    assert (made["token"], made["pod"], made["cluster"], made["node"], made["sandbox"]) == (token, "web", "c1", "n1", "s1")
    assert rig.tool("wait", id=made["id"])["addresses"] == made["addresses"]
    assert rig.tool("find", token=token)["id"] == made["id"]
    assert [one["id"] for one in rig.tool("list", cluster="c1", node="n1")] == [made["id"]]
    assert rig.tool("list", cluster="other") == rig.tool("list", cluster="c1", node="n2") == []
    rig.tool("delete", id=made["id"])
    assert rig.tool("list") == [] and rig.cloud.inventory() == {}
    assert failed(rig.tool, "find", token=token).kind == "gone"


def test_the_insert_says_all_there_is_to_say(rig, tmp_path):
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
    create(rig, more, token=token, user_data=tmp_path / "data", sandbox="s1", node="Ip-10.1.internal")
    labels = {
        "peerpod-token": token,
        "peerpod-cluster": "c1",
        "peerpod-node": "ip-10-1-internal-" + sent(rig)["labels"]["peerpod-node"][-8:],
        "peerpod-namespace": "default",
        "peerpod-pod": "web",
        "peerpod-sandbox": "s1",
        "team": "a",
        "cost": "1",
    }
    owner = {"cluster": "c1", "node": "Ip-10.1.internal", "namespace": "default", "pod": "web", "sandbox": "s1"}
    items = {"user-data": base64.b64encode(bytes(range(256)) * 8).decode(), "user-data-encoding": "base64"}
    items |= {f"peerpod-{name}": value for name, value in owner.items()}
    body = sent(rig)
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
def test_each_kind_of_confidential_vm(rig, asked, machine_type, disk, platform):
    create(rig, {"GCP_CONFIDENTIAL_TYPE": asked, "GCP_MACHINE_TYPE": None})
    body = sent(rig)
    assert body["confidentialInstanceConfig"]["confidentialInstanceType"] == asked
    assert body["scheduling"]["onHostMaintenance"] == "TERMINATE" and body.get("minCpuPlatform") == platform
    assert body["machineType"].endswith("/" + machine_type)
    assert body["disks"][0]["initializeParams"]["diskType"].endswith("/" + disk)


def test_an_ordinary_vm_has_nothing_of_it(rig):
    create(rig, {**ORDINARY, "GCP_MACHINE_TYPE": None})
    body = sent(rig)
    assert body["machineType"].endswith("/e2-medium") and body["scheduling"] == {"automaticRestart": False}
    assert not {"confidentialInstanceConfig", "minCpuPlatform", "shieldedInstanceConfig", "params", "tags"} & set(body)


def test_volumes_are_attached_in_order_and_survive(rig):
    rig.cloud.make_disk("data-1")
    rig.cloud.make_disk("data-2")
    made = create(rig, volumes="data-1:first,projects/demo-proj/zones/us-central1-a/disks/data-2")
    disks = [(disk["source"].rsplit("/", 1)[1], disk["deviceName"], disk["autoDelete"]) for disk in sent(rig)["disks"][1:]]
    assert disks == [("data-1", "first", False), ("data-2", "vol-1", False)]
    refused = failed(create, rig, volumes="data-1")
    assert refused.kind == "invalid" and "volume data-1 is attached to instance podvm-web-01234567 already" in refused.message
    rig.tool("delete", id=made["id"])
    assert {disk.name: disk.users for disk in rig.cloud.disks.values()} == {"data-1": [], "data-2": []}


def test_a_volume_decides_the_zone(rig):
    rig.cloud.make_disk("data-1", "us-central1-b")
    create(rig, {"GCP_ZONE": ZONES}, volumes="projects/demo-proj/zones/us-central1-b/disks/data-1")
    assert types_of(rig) == [("n2d-standard-2", "us-central1-b")]
    refused = failed(create, rig, volumes="projects/demo-proj/zones/us-central1-b/disks/data-1")
    assert "the volumes are in zone us-central1-b, which is not among those of GCP_ZONE" in refused.message
    assert "was not found" in failed(create, rig, volumes="missing").message
    assert len(inserts(rig)) == 1


def test_gpus_come_with_the_type_or_are_attached_to_n1(rig):
    types = {**ORDINARY, "GCP_INSTANCE_TYPES": "n1-standard-4,a2-highgpu-1g"}
    create(rig, types, gpus=1)
    assert types_of(rig)[0][0] == "a2-highgpu-1g" and sent(rig)["scheduling"]["onHostMaintenance"] == "TERMINATE"
    create(rig, {**types, "GCP_ACCELERATOR_TYPE": "nvidia-tesla-t4"}, gpus=2, name="podvm-other-1")
    body = rig.cloud.bodies("instances.insert")[1]
    assert body["machineType"].endswith("/n1-standard-4")
    kind = "projects/demo-proj/zones/us-central1-a/acceleratorTypes/nvidia-tesla-t4"
    assert body["guestAccelerators"] == [{"acceleratorType": kind, "acceleratorCount": 2}]


def test_addresses_are_given_as_soon_as_they_are_shown(rig):
    """The instance is on a host before it has an address; the id is out by then."""
    rig.cloud.steps = (("PROVISIONING", False), ("STAGING", False), ("STAGING", True), ("RUNNING", True))
    made = create(rig)
    assert made["addresses"] == []
    assert len(rig.tool("wait", id=made["id"])["addresses"]) == 1
    assert [vm.looks for vm in rig.cloud.live()] == [3]


def test_public_address_is_waited_for(rig):
    rig.cloud.nat_looks = 2
    made = create(rig, {"USE_PUBLIC_IP": "true"})
    assert made["addresses"] == []
    (vm,) = rig.cloud.live()
    assert rig.tool("wait", {"USE_PUBLIC_IP": "true"}, id=made["id"])["addresses"] == [vm.nat, vm.handle.address]
    assert sent(rig)["networkInterfaces"][0]["accessConfigs"][0]["networkTier"] == "STANDARD"


def test_waiting_for_what_never_comes_says_why(rig):
    rig.cloud.steps = (("STAGING", False),)
    rig.cloud.operation_seconds = 600
    made = create(rig)
    error = failed(rig.tool, "wait", id=made["id"], seconds=1)
    assert error.kind == "timeout" and "wait for the addresses" in error.message
    rig.cloud.lose_vm(made["id"], "TERMINATED")
    assert failed(rig.tool, "wait", id=made["id"]).message == f"instance {made['id']} is TERMINATED"


def test_an_operation_that_fails_late_is_told_by_the_wait(rig):
    """Placed, and given out, and then the cloud finds that it cannot."""
    rig.cloud.steps = (("STAGING", False),)
    rig.cloud.operation_seconds = 600
    made = create(rig)
    (operation,) = rig.cloud.operations.values()
    operation.error = {"errors": [{"code": "INTERNAL_ERROR", "message": "something broke"}]}
    operation.done = True
    rig.cloud.lose_vm(made["id"], "STOPPING")
    error = failed(rig.tool, "wait", id=made["id"])
    assert error.kind == "retry" and f"instance {made['id']}: INTERNAL_ERROR: something broke (operation {operation.name}" in error.message


def test_console_shows_the_last_words(rig):
    rig.cloud.console = "x" * 9000 + "panic\n"
    made = create(rig)
    assert rig.tool("console", id=made["id"], max=10)["tail"] == "xxxxpanic\n"
    assert rig.tool("console", id="podvm-none") == {"tail": ""}


# ---- once, whatever happens --------------------------------------------------------------------------------


def test_create_with_the_same_token_gives_the_same_instance(rig, tmp_path):
    token = new_token()
    first = create(rig, token=token)
    (tmp_path / "other").write_text("#cloud-config\n# with another key\n")
    assert create(rig, token=token, user_data=tmp_path / "other")["id"] == first["id"]
    assert len(inserts(rig)) == 1


def test_a_connection_cut_after_the_insert_makes_no_second_instance(rig):
    rig.cloud.script("instances.insert", Drop("after"))
    made = create(rig)
    assert len(inserts(rig)) == 2 and len(set(request_ids(rig))) == 1
    assert [vm.name for vm in rig.cloud.live()] == [made["id"]]


def test_a_crash_after_the_insert_and_other_user_data_give_the_same_instance(rig, tmp_path):
    """The list does not show it yet: the requestId and the name are what keep it one."""
    token = new_token()
    first = create(rig, token=token)
    rig.cloud.script("instances.list", NOTHING)
    (tmp_path / "other").write_text("#cloud-config\n# with another key\n")
    again = create(rig, token=token, user_data=tmp_path / "other")
    assert again["id"] == first["id"] and len(rig.cloud.live()) == 1
    assert len(inserts(rig)) == 2 and len(set(request_ids(rig))) == 1


def test_a_name_that_is_taken_by_ourselves_is_found_when_the_request_is_forgotten(rig):
    token = new_token()
    first = create(rig, token=token)
    rig.cloud.requests.clear()  # as an hour later
    rig.cloud.script("instances.list", NOTHING)
    assert create(rig, token=token)["id"] == first["id"] and len(rig.cloud.live()) == 1


def test_a_name_that_somebody_else_has_gets_a_tail(rig):
    rig.cloud.make_vm("podvm-web-01234567")
    token = new_token()
    made = create(rig, token=token)
    assert re.fullmatch(r"podvm-web-01234567-[0-9a-f]{8}", made["id"])
    assert create(rig, token=token)["id"] == made["id"]
    rig.tool("delete", id=made["id"])
    assert [vm.name for vm in rig.cloud.live()] == ["podvm-web-01234567"]


def test_a_disk_that_is_left_with_the_name_makes_room(rig):
    token = new_token()
    rig.cloud.make_disk("podvm-web-01234567", labels={"peerpod-token": token})
    assert create(rig, token=token)["id"] == "podvm-web-01234567"
    rig.cloud.make_disk("podvm-api-01234567")
    assert re.fullmatch(r"podvm-api-01234567-[0-9a-f]{8}", create(rig, name="podvm-api-01234567")["id"])


@pytest.mark.parametrize("meanwhile", [0, 60, 7200], ids=["at-once", "a-minute-later", "when-requests-are-forgotten"])
def test_a_token_of_an_instance_that_ended_makes_a_new_one(rig, meanwhile):
    token = new_token()
    first = create(rig, token=token)
    (old,) = rig.cloud.live()
    rig.tool("delete", id=first["id"])
    rig.cloud.age_operations(meanwhile)
    create(rig, token=token)
    (new,) = rig.cloud.live()
    assert new.number != old.number


def test_one_that_ended_by_itself_makes_room_for_another(rig):
    token = new_token()
    first = create(rig, token=token)
    rig.cloud.lose_vm(first["id"], "TERMINATED")
    second = create(rig, token=token)
    assert second["addresses"] and second["addresses"] != first["addresses"] and len(rig.cloud.live()) == 1


def test_an_operation_of_before_that_failed_is_not_the_answer(rig):
    token = new_token()
    rig.cloud.fail_operation("instances.insert", "ZONE_RESOURCE_POOL_EXHAUSTED", status=503)
    assert failed(create, rig, token=token).kind == "capacity"
    rig.cloud.age_operations(60)
    create(rig, token=token)
    assert len(rig.cloud.live()) == 1 and len(set(request_ids(rig))) == 2


def test_a_passing_fault_of_the_operation_is_asked_for_again(rig):
    rig.cloud.fail_operation("instances.insert", "INTERNAL_ERROR", leaves_disk=True)
    create(rig)
    assert len(set(request_ids(rig))) == 2
    assert rig.cloud.inventory() == {"instances": ["podvm-web-01234567"], "disks": ["podvm-web-01234567"]}


def test_a_creation_that_fails_half_way_leaves_nothing(rig):
    for n, leaves_disk in enumerate((False, True)):
        rig.cloud.fail_operation("instances.insert", "INVALID_USAGE", "no such thing", leaves_disk=leaves_disk)
        error = failed(create, rig, name=f"podvm-{n}")
        assert error.kind == "invalid" and "INVALID_USAGE: no such thing (operation operation-" in error.message
        assert rig.cloud.inventory() == {}


def test_an_instance_without_the_protection_asked_for_is_not_used(rig):
    rig.cloud.tee_shown = "SEV"
    error = failed(create, rig)
    assert error.kind == "unsupported" and "was made with SEV instead of SEV_SNP, so it is not used" in error.message
    assert rig.cloud.inventory() == {}


def test_a_creation_that_ran_out_of_time_is_undone(rig):
    rig.cloud.steps, rig.cloud.operation_seconds = (("PROVISIONING", False),) * 99, 600
    error = failed(create, rig, seconds=1)
    assert error.kind == "timeout" and rig.cloud.inventory() == {}


def test_an_insert_of_unknown_fate_says_so(rig):
    rig.cloud.script("instances.insert", Drop("before"), times=None)
    error = failed(create, rig, seconds=2)
    assert (
        error.kind in ("retry", "timeout")
        and "whether an instance was made is not known; if so, it is podvm-web-01234567 in zone us-central1-a" in error.message
    )


def crash_at(rig, verb, n, **arguments):
    """provider-tool is killed after its n-th request of the API was carried out; whether there was one."""
    count, hit = [0], threading.Event()

    def hook(call):
        if call.operation in ("token", "metadata") or hit.is_set():
            return
        count[0] += 1
        if count[0] == n:
            hit.set()
            process.send_signal(signal.SIGKILL)
            process.wait()

    rig.cloud.after_call = hook
    process = rig.start(verb, **arguments)
    process.communicate(timeout=60)
    rig.cloud.after_call = None
    return hit.is_set()


@pytest.mark.parametrize("zone", ["us-central1-a", ZONES])
def test_killed_after_each_request_of_a_creation_there_is_one_instance(rig, zone):
    environment = {"GCP_ZONE": zone}
    for n in range(1, 40):
        if zone == ZONES:
            rig.cloud.full(zone="us-central1-a")
        token = new_token()
        arguments = dict(token=token, name="podvm-web-01234567")
        hit = crash_at(rig, "create", n, environment=environment, **arguments)
        assert len(rig.cloud.live()) <= 1
        made = rig.tool("create", environment, **arguments)
        assert [vm.name for vm in rig.cloud.live()] == [made["id"]]
        rig.tool("delete", id=made["id"])
        assert rig.cloud.inventory() == {}, n
        if not hit:
            break
    assert 5 <= n < 39


def test_killed_after_each_request_of_a_deletion_nothing_is_left(rig):
    for n in range(1, 20):
        made = create(rig)
        hit = crash_at(rig, "delete", n, id=made["id"])
        rig.tool("delete", id=made["id"])
        assert rig.cloud.inventory() == {} and rig.tool("list") == []
        if not hit:
            break
    assert 3 <= n < 19


# ---- deletion and lists ------------------------------------------------------------------------------------


def test_deletion_does_not_wait_for_a_shutdown_and_waits_for_the_operation(rig):
    made = create(rig)
    rig.cloud.early_waits = 2
    rig.cloud.script("zoneOperations.wait", Delay(0.2))
    rig.tool("delete", id=made["id"])
    (call,) = rig.cloud.made("instances.delete")
    assert call.one("noGracefulShutdown") == "true" and len(call.one("requestId")) == 36
    assert rig.cloud.count("zoneOperations.wait") == 3 and rig.cloud.vms == {}


def test_deletion_takes_the_disk_that_is_left(rig):
    made = create(rig)
    rig.cloud.fail_operation("instances.delete", "INTERNAL_ERROR", leaves_disk=True)
    rig.cloud.dooms[-1].error = None
    rig.tool("delete", id=made["id"])
    assert rig.cloud.count("disks.delete") == 1 and rig.cloud.inventory() == {}


def test_leftover_disks_are_listed_and_deleted_by_the_name_of_their_instance(rig):
    labels = {"peerpod-token": "00ff", "peerpod-cluster": "c1", "peerpod-node": "n1"}
    rig.cloud.make_disk("podvm-gone-1", "us-central1-b", labels=labels)
    rig.cloud.make_disk("data-1")
    (found,) = rig.tool("list", cluster="c1", node="n1")
    assert found["id"] == "podvm-gone-1" and found["token"] == "00ff" and found["addresses"] == []
    rig.tool("delete", id="podvm-gone-1")
    rig.tool("delete", id="data-1")
    assert [disk.name for disk in rig.cloud.disks.values()] == ["data-1"]


def test_delete_refuses_what_is_not_ours(rig):
    rig.cloud.make_vm("somebody-elses")
    refused = failed(rig.tool, "delete", id="somebody-elses")
    assert refused.kind == "denied" and "carries no label peerpod-token" in refused.message
    assert failed(rig.tool, "delete", id="").message == "the id of the instance is empty"
    assert failed(rig.tool, "delete", id="Not A Name").kind == "invalid"
    assert failed(rig.tool, "delete", id="projects/other/zones/us-central1-a/instances/x").kind == "invalid"
    assert rig.cloud.count("instances.delete") == 0 and rig.tool("list") == []


def test_what_cannot_be_seen_is_not_taken_for_gone(rig):
    """A zone that is down is left out of lists over all zones."""
    token = new_token()
    here, there = create(rig, token=token), create(rig, {"GCP_ZONE": "us-central1-b"}, name="podvm-there")
    rig.cloud.unreachable = {"us-central1-b"}
    error = failed(rig.tool, "delete", id=there["id"])
    assert error.kind == "retry" and "some zone of the project cannot be asked just now" in error.message
    assert failed(rig.tool, "find", token=new_token()).kind == "retry"
    assert rig.tool("find", token=token)["id"] == here["id"]
    assert [one["id"] for one in rig.tool("list")] == [here["id"]] and "what is in it is not listed" in rig.log
    rig.tool("delete", id=here["id"])
    elsewhere = {"GCP_ZONE": "us-central1-a,us-central1-c"}
    rig.tool("delete", id=create(rig, elsewhere, name="podvm-meanwhile")["id"])
    assert failed(create, rig, {"GCP_ZONE": ZONES}).kind == "retry"
    rig.cloud.unreachable = set()
    rig.tool("delete", id=there["id"])
    assert rig.cloud.inventory() == {}


def test_a_deletion_that_is_too_early_is_repeated(rig):
    made = create(rig)
    rig.cloud.script("instances.delete", refusal(400, "resourceNotReady", "The resource is not ready"))
    rig.cloud.fail_operation("instances.delete", "RESOURCE_IN_USE_BY_ANOTHER_RESOURCE")
    rig.tool("delete", id=made["id"])
    assert rig.cloud.count("instances.delete") == 3 and rig.cloud.inventory() == {}


def test_list_goes_through_all_zones_and_pages_with_ages(rig):
    for n, zone in enumerate(rig.cloud.zones):
        create(rig, {"GCP_ZONE": zone}, name=f"podvm-{n}")
        create(rig, {"GCP_ZONE": zone}, name=f"podvm-{n}-more", node="n2")
    rig.cloud.page_max = 3
    listed = rig.tool("list")
    assert len({one["id"] for one in listed}) == 8
    assert all(abs(one["created"] - rig.cloud.now()) < 60 for one in listed)
    assert len(rig.tool("list", node="n2")) == 4
    assert sum("pageToken" in call.query for call in rig.cloud.made("instances.aggregatedList")) == 3


def test_lists_never_bring_the_user_data(rig):
    made = create(rig)
    rig.tool("wait", id=made["id"])
    rig.tool("list")
    rig.tool("delete", id=made["id"])
    for call in rig.cloud.calls:
        if call.operation in ("instances.list", "instances.aggregatedList", "instances.get"):
            assert "metadata" not in call.one("fields") and call.one("fields")


def test_names_that_labels_cannot_hold_are_listed_exactly(rig):
    odd = {"cluster": "Prod/EU", "node": "ip-10-1-2-3.eu-west-1.compute.internal", "namespace": "kube_x", "pod": "a." * 40}
    create(rig, **odd)
    create(rig, **{**odd, "node": "ip-10-1-2-3.eu-west-1.compute-internal"}, name="podvm-other")
    (found,) = rig.tool("list", cluster=odd["cluster"], node=odd["node"])
    assert {key: found[key] for key in odd} == odd


# ---- many at once ------------------------------------------------------------------------------------------


def test_many_creations_share_their_questions(rig):
    rig.cloud.steps = (("PROVISIONING", False), ("STAGING", False), ("RUNNING", True))
    made = rig.run("parallel 20 create", {"GCP_CREATE_RATE": "100"}, token=new_token()[:20] + "%d", name="podvm-%d")
    assert len({one["id"] for one in made}) == 20 and rig.cloud.count("instances.insert") == 20
    assert_one_call_per_interval(rig.cloud.made("instances.list"))
    assert_one_call_per_interval(rig.cloud.made("zoneOperations.list"))
    assert rig.cloud.count("images.get") <= 20 and rig.cloud.count("token") == 1


def assert_one_call_per_interval(calls, interval=0.3) -> None:
    """By token and by name there is a batch each. Calls are counted: a single one may arrive late."""
    for kind in ("labels.peerpod-token=", "name="):
        times = [call.time for call in calls if kind in call.one("filter")]
        assert not times or len(times) <= (times[-1] - times[0]) / interval + 2, times


def test_a_hundred_creations_at_once_within_a_limit_of_two_a_second():
    """The limit's own time is (100 - what it takes at once) / 2 s. Nothing is refused, so no turn of the limit is lost."""
    at_once = 20
    rig = gcp_rig.Rig(limits={"instances.insert": (2, at_once + 1)})
    rig.cloud.latency = 0.05
    try:
        made = rig.run("parallel 100 create", {"GCP_CREATE_RATE": "2"}, token=new_token()[:20] + "%d", name="podvm-%d", seconds=110)
        assert len({one["id"] for one in made}) == 100 and len(rig.cloud.live()) == 100
        calls = inserts(rig)
        assert [call.status for call in calls] == [200] * 100
        assert calls[-1].time - calls[0].time <= (100 - at_once) / 2 * 1.1
        assert_one_call_per_interval(rig.cloud.made("instances.list"))
        assert_one_call_per_interval(rig.cloud.made("zoneOperations.list"))
    finally:
        rig.close()


# ---- no room, too fast, not allowed ------------------------------------------------------------------------


@pytest.mark.parametrize("spot", ["true", "prefer"])
def test_spot_and_what_is_tried_when_there_is_none(rig, spot):
    rig.cloud.full(spot=True)
    if spot == "true":
        assert failed(create, rig, {"GCP_SPOT": spot}).kind == "capacity"
        return
    create(rig, {"GCP_SPOT": spot})
    first, second = rig.cloud.bodies("instances.insert")
    assert first["scheduling"] == {
        "automaticRestart": False,
        "onHostMaintenance": "TERMINATE",
        "provisioningModel": "SPOT",
        "instanceTerminationAction": "DELETE",
    }
    assert "provisioningModel" not in second["scheduling"]


def test_quota_errors_skip_the_family(rig):
    quota = {
        "quotaInfo": {
            "metricName": "compute.googleapis.com/n2d_cpus",
            "limitName": "N2D-CPUS-per-project-region",
            "limit": 24,
            "dimensions": {"region": "us-central1"},
        }
    }
    rig.cloud.fail_operation(
        "instances.insert",
        "QUOTA_EXCEEDED",
        "Quota 'N2D_CPUS' exceeded.  Limit: 24.0",
        403,
        None,
        lambda body, zone: "/n2d-" in body["machineType"],
        [quota],
    )
    types = {"GCP_CONFIDENTIAL_TYPE": "SEV", "GCP_INSTANCE_TYPES": "n2d-standard-2,n2d-standard-4,c2d-standard-2", "GCP_ZONE": ZONES}
    create(rig, types, vcpus=2, memory=8192)
    families = [kind.split("-")[0] for kind, _ in types_of(rig)]
    assert families[-1] == "c2d" and families.count("n2d") <= 1
    error = failed(create, rig, name="podvm-other")
    assert error.kind == "quota"
    for part in (
        "QUOTA_EXCEEDED: Quota 'N2D_CPUS' exceeded",
        "limit N2D-CPUS-per-project-region of compute.googleapis.com/n2d_cpus: 24, region us-central1",
    ):
        assert part in error.message


def test_what_was_refused_is_not_asked_for_again_for_a_while(rig):
    rig.cloud.full(zone="us-central1-a")
    verbs = "".join(f"create token={new_token()} name=podvm-{i}\n" for i in range(2))
    rig.run("serve", {"GCP_ZONE": ZONES}, stdin=verbs)
    assert [zone for _, zone in types_of(rig)] == ["us-central1-a", "us-central1-b", "us-central1-b"]
    assert "refused a short while ago (capacity)" in rig.log


def test_no_room_anywhere_says_so(rig):
    rig.cloud.full()
    error = failed(create, rig, {"GCP_ZONE": ZONES})
    assert error.kind == "capacity"
    assert re.search(
        r"no room for any of the 2 offerings.*ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS: The zone does not have enough resources "
        r"available to fulfill the request. \(HTTP 503, operation operation-\S+, resource_availability, zone any\)",
        error.message,
    )
    assert rig.cloud.inventory() == {}


@pytest.mark.parametrize("reply", [(403, "rateLimitExceeded"), (429, "rateLimitExceeded"), (403, "userRateLimitExceeded")])
def test_throttled_calls_wait_as_told_and_succeed(rig, reply):
    rig.cloud.script("instances.insert", refusal(*reply, headers={"Retry-After": "1"}))
    create(rig)
    first, second = inserts(rig)
    assert second.time - first.time >= 1 and len(set(request_ids(rig))) == 1


@pytest.mark.parametrize("status, reason", [(500, "internalError"), (502, "backendError"), (503, "backendError"), (504, "deadline")])
def test_passing_faults_are_sent_again_with_the_same_request(rig, status, reason):
    rig.cloud.script("instances.insert", refusal(status, reason))
    create(rig)
    assert len(inserts(rig)) == 2 and len(set(request_ids(rig))) == 1


def test_done_with_an_error_and_no_http_status_is_a_failure(rig):
    rig.cloud.fail_operation("instances.insert", "PERMISSIONS_ERROR", "Required 'compute.images.useReadOnly' permission", None)
    error = failed(create, rig)
    assert error.kind == "denied" and "PERMISSIONS_ERROR: Required 'compute.images.useReadOnly' permission (operation " in error.message


def test_denied_is_told_with_the_reason_and_what_to_compare(rig):
    rig.cloud.denied = {"compute.instances.create"}
    error = failed(create, rig)
    assert error.kind == "denied"
    assert "instances.insert: forbidden: Required 'compute.instances.create' permission" in error.message
    assert "(HTTP 403); compare the role with docs/providers/gcp-role.json (request " in error.message


def test_an_api_that_is_not_enabled_is_named(rig):
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED", "domain": "googleapis.com"}]
    rig.cloud.script("instances.insert", refusal(403, "forbidden", "Compute Engine API has not been used", details=details))
    error = failed(create, rig)
    assert (
        error.kind == "denied"
        and "SERVICE_DISABLED: Compute Engine API has not been used (HTTP 403); enable the API in the project" in error.message
    )


def test_a_token_refused_once_is_renewed_and_the_call_succeeds(rig):
    rig.cloud.script("instances.insert", lambda call: rig.cloud.refuse_tokens())
    create(rig)
    assert rig.cloud.count("token") == 2 and [call.status for call in inserts(rig)] == [401, 200]
    rig.cloud.script("instances.insert", refusal(401, "authError"), times=None)
    error = failed(create, rig, name="podvm-other")
    assert error.kind == "denied" and "authError: scripted (HTTP 401)" in error.message and len(inserts(rig)) == 4


def test_waits_end_at_their_deadline(rig):
    rig.cloud.script("instances.aggregatedList", refusal(429, "rateLimitExceeded", headers={"Retry-After": "9"}), times=None)
    error = failed(rig.tool, "find", token=new_token(), seconds=2)
    assert error.kind in ("throttled", "timeout")


def test_user_data_over_the_limit_is_refused_before_any_call(rig, tmp_path):
    (tmp_path / "data").write_bytes(b"x" * 196609)
    error = failed(create, rig, user_data=tmp_path / "data")
    assert error.kind == "invalid" and error.message.startswith(
        "the user data has 196609 bytes, 1 more than the 196608 that Compute Engine takes"
    )
    assert not rig.cloud.calls
    (tmp_path / "data").write_bytes(b"x" * 196608)
    create(rig, user_data=tmp_path / "data")


# ---- choice ------------------------------------------------------------------------------------------------


def test_types_that_cannot_are_refused_before_the_call(rig):
    assert "only the default type is allowed" in failed(create, rig, type="n2d-standard-8").message
    error = failed(create, rig, {"GCP_INSTANCE_TYPES": "n2d-standard-2,e2-medium"}, type="e2-medium")
    assert error.kind == "invalid" and "cannot make a confidential VM of the kind asked for" in error.message
    error = failed(create, rig, {"GCP_MACHINE_TYPE": "n2d-standard-16"})
    assert error.kind == "invalid" and "the zone has no such type" in error.message
    rig.cloud.images.append(Image("arm", architecture="ARM64"))
    assert "the image is for another architecture" in failed(create, rig, image="arm").message
    assert not inserts(rig)


def test_custom_types_are_asked_for_by_name(rig):
    create(rig, {"GCP_MACHINE_TYPE": "n2d-custom-4-16384"})
    assert types_of(rig) == [("n2d-custom-4-16384", "us-central1-a")] and rig.cloud.count("machineTypes.get") == 1


def test_the_catalogue_has_every_type_in_every_zone_and_market(rig):
    rig.cloud.page_max = 3
    listed = rig.tool("offerings", {"GCP_ZONE": ZONES})
    assert len(listed) == len(rig.cloud.types) * 2 * 2
    (one,) = [o for o in listed if (o["type"], o["zone"], o["spot"]) == ("n2d-standard-4", "us-central1-b", False)]
    assert (one["family"], one["vcpus"], one["memory_mib"], one["tees"], one["max_nics"], one["max_volumes"]) == (
        "n2d",
        4,
        16384,
        5,
        4,
        127,
    )
    assert {o["gpus"] for o in listed if o["type"].startswith("a2-")} == {1}


def test_the_catalogue_on_disk_stands_in_for_the_api(rig):
    rig.tool("offerings")
    rig.cloud.script("machineTypes.list", refusal(503, "backendError"), times=None)
    types = {"GCP_INSTANCE_TYPES": "n2d-standard-8,n2d-standard-4", "GCP_ZONE": ZONES}
    create(rig, types, vcpus=3, memory=9000)
    assert types_of(rig)[0][0] == "n2d-standard-4" and "what was kept on disk is used" in rig.log


def test_without_any_catalogue_the_default_type_is_taken_at_its_word(rig):
    rig.cloud.script("machineTypes.list", refusal(503, "backendError"), times=None)
    create(rig, {"GCP_CATALOGUE_FOLDER": None})
    assert types_of(rig)[0][0] == "n2d-standard-2" and "any may do" in rig.log


def test_the_cheapest_that_fits_is_taken_by_the_operators_own_prices(rig, tmp_path):
    prices = {"n2d-standard-8": {"on_demand": 0.1, "spot": 0.05}, "n2d-standard-4": {"on_demand": 0.2}}
    file = {"provider": "gcp", "date": "2026-11-01", "source": "a test", "currency": "USD", "regions": {"us-central1": prices}}
    (tmp_path / "prices.json").write_text(json.dumps(file))
    more = {"GCP_PRICES": tmp_path / "prices.json", "GCP_INSTANCE_TYPES": "n2d-standard-2,n2d-standard-4,n2d-standard-8"}
    create(rig, more, vcpus=2, memory=4096)
    assert types_of(rig) == [("n2d-standard-8", "us-central1-a")] and "price unknown" in rig.log
    listed = rig.tool("offerings", more)
    assert {(o["type"], o["spot"]): o["price_micros"] for o in listed if o["price_micros"]} == {
        ("n2d-standard-8", False): 100000,
        ("n2d-standard-8", True): 50000,
        ("n2d-standard-4", False): 200000,
    }
    assert "missing.json" in failed(create, rig, {"GCP_PRICES": tmp_path / "missing.json"}, name="podvm-2").message


# ---- check -------------------------------------------------------------------------------------------------


def test_check_finds_everything_right_and_makes_nothing(rig):
    rig.tool("check", {"TAGS": "env=prod", "USE_PUBLIC_IP": "true"})
    for row in (
        "credentials",
        "GCP_PROJECT_ID",
        "GCP_ZONE",
        "PODVM_IMAGE_NAME",
        "GCP_NETWORK",
        "machine types",
        "GCP_DISK_TYPE",
        "TAGS",
        "quotas",
        "permissions",
    ):
        assert re.search(rf"right\s+{row}", rig.log), f"{row}:\n{rig.log}"
    assert not inserts(rig) and {
        call.method for call in rig.cloud.calls if call.operation not in ("token", "projects.testIamPermissions")
    } == {"GET"}


@pytest.mark.parametrize(
    "environment, parts",
    [
        ({"GCP_PROJECT_ID": "nowhere-1"}, ["GCP_PROJECT_ID: projects.get: notFound", "gcloud projects list"]),
        ({"GCP_ZONE": "us-central1-x"}, ["GCP_ZONE: zones.get: notFound", "gcloud compute zones list"]),
        ({"PODVM_IMAGE_NAME": "missing"}, ["PODVM_IMAGE_NAME: image projects/demo-proj/global/images/missing: images.get: notFound"]),
        ({"PODVM_IMAGE_NAME": "plain"}, ["lacks the guest OS feature SEV_SNP_CAPABLE"]),
        ({"GCP_NETWORK": "missing"}, ["GCP_NETWORK: networks.get: notFound", "gcloud compute networks list"]),
        ({"GCP_NETWORK": "custom"}, ["is of custom mode and has no subnetwork"]),
        ({"GCP_SUBNETWORK": "missing"}, ["GCP_SUBNETWORK: subnetworks.get: notFound"]),
        ({"GCP_SUBNETWORK": "podvm"}, ["is in network custom, not in default"]),
        ({"GCP_SECOND_NETWORK": "default"}, ["it is that of the first interface"]),
        ({"GCP_DISK_TYPE": "pd-missing"}, ["GCP_DISK_TYPE: diskTypes.get: notFound"]),
        (
            {"GCP_INSTANCE_TYPES": "n2d-standard-2,n2d-standard-99,e2-medium"},
            ["n2d-standard-99: the zones have none", "e2-medium cannot be a confidential VM"],
        ),
        ({"GCP_MIN_CPU_PLATFORM": "AMD Turin"}, ["has no CPU platform AMD Turin"]),
        ({"TAGS": "env=missing"}, ['tag key "env" has no value "missing"']),
        ({"TAGS": "missing=x"}, ['project demo-proj has no tag key "missing"']),
    ],
)
def test_check_names_what_is_wrong_and_how_to_mend_it(rig, environment, parts):
    rig.cloud.images.append(Image("plain", features=("UEFI_COMPATIBLE",)))
    error = failed(rig.tool, "check", environment)
    for part in parts:
        assert part in error.message + rig.log, error.message + rig.log
    assert error.kind == "invalid" and not inserts(rig)


def test_check_names_quotas_and_permissions_that_are_missing(rig):
    rig.cloud.quotas["N2D_CPUS"] = (5, 4)
    rig.cloud.denied = {"compute.instances.delete", "compute.disks.delete"}
    error = failed(rig.tool, "check")
    assert "N2D_CPUS in us-central1: 4 of 5 used, one instance needs 2 more" in error.message
    assert "2 are missing: compute.disks.delete, compute.instances.delete" in error.message
    assert "gcp-role.json" in rig.log


def test_check_without_good_credentials_says_only_that(rig):
    account = rig.cloud.service_account(private_key_id="other")
    error = failed(rig.tool, "check", {"GCP_CREDENTIALS": json.dumps(account)})
    assert error.kind == "denied" and "credentials: projects.get: token of the service account: invalid_grant" in error.message


# ---- the guide ---------------------------------------------------------------------------------------------


def test_the_guide_has_the_options_of_the_driver():
    table = subprocess.run(
        [paths.program("provider-tool"), str(paths.BUILD / "providers/gcp.so"), "-markdown"], capture_output=True, text=True, check=True
    ).stdout
    rows = [line for line in table.splitlines() if line.startswith("|")]
    guide = (paths.ROOT / "docs/providers/gcp.md").read_text()
    assert [
        line for line in re.search(r"<!-- options.*?-->\n(.*?)<!-- /options -->", guide, re.DOTALL).group(1).splitlines() if line
    ] == rows


def test_the_role_allows_what_is_called_and_nothing_else(rig):
    role = json.loads((paths.ROOT / "docs/providers/gcp-role.json").read_text())
    allowed = set(role["includedPermissions"])
    source = (paths.ROOT / "providers/gcp/check.c").read_text()
    asked_for = set(re.findall(r'"((?:compute|resourcemanager)\.[A-Za-z.]+)"', source))
    assert allowed == asked_for
    rig.cloud.images.append(Image("podvm-2"))
    rig.cloud.make_disk("data-1")
    everything = {"TAGS": "env=prod", "USE_PUBLIC_IP": "true", "GCP_NETWORK_TAGS": "a", "GCP_SUBNETWORK": "podvm", "GCP_NETWORK": "custom"}
    rig.tool("check", everything)
    rig.cloud.fail_operation("instances.insert", "INTERNAL_ERROR", leaves_disk=True)
    rig.cloud.make_vm("podvm-2")
    made = create(rig, everything, volumes="data-1", image="projects/demo-proj/global/images/family/podvm", type="n2d-standard-2")
    rig.cloud.steps = (("PROVISIONING", True), ("RUNNING", True))
    create(rig, {"GCP_MACHINE_TYPE": "n2d-custom-2-8192"}, name="podvm-2")
    rig.tool("wait", id=made["id"])
    rig.tool("console", id=made["id"])
    rig.tool("list")
    rig.tool("delete", id=made["id"])
    used = rig.cloud.permissions_used
    assert used <= allowed, used - allowed
    assert allowed - used == set(), "the role allows what nothing needs"
