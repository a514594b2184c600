# SPDX-License-Identifier: Apache-2.0
"""What the Go adaptor's GCP provider does badly, numbered as in the list that this driver was written against: a test for each."""

import json

from fakes.gcp_rules import Image, refusal
from fakes.server import Drop
from gcp_rig import ZONES, cloud, driver, tried  # noqa: F401 (fixtures)
from peerpod.provider_tool import create, failed, new_token


def test_weakness_01_one_zone_and_one_type_without_fallback_on_a_stock_out(cloud, driver):
    cloud.full("n2d-standard-2")
    cloud.full("n2d-standard-4", "us-central1-a", code="UNSUPPORTED_OPERATION")
    types = "n2d-standard-2,n2d-standard-4"
    create(driver, {"GCP_ZONE": ZONES, "GCP_INSTANCE_TYPES": types}, vcpus=2, memory=4096)
    a, b = ZONES.split(",")
    assert tried(cloud) == [("n2d-standard-2", a), ("n2d-standard-2", b), ("n2d-standard-4", a), ("n2d-standard-4", b)]
    assert "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS: " in driver.log and "UNSUPPORTED_OPERATION: " in driver.log


def test_weakness_01_the_first_zone_is_where_pods_belong(cloud, driver):
    create(driver, {"GCP_ZONE": "us-central1-c,us-central1-a,us-central1-b"})
    assert tried(cloud) == [("n2d-standard-2", "us-central1-c")]


def test_weakness_02_no_labels_no_listing_of_orphans_no_controller_support(cloud, driver):
    token = new_token()
    made = create(driver, token=token, node="n1", pod="web", namespace="shop", sandbox="s1")
    (body,) = cloud.bodies("instances.insert")
    for labels in (body["labels"], body["disks"][0]["initializeParams"]["labels"]):
        assert labels["peerpod-token"] == token and labels["peerpod-cluster"] == "c1"
    (found,) = driver.tool("list", cluster="c1")
    assert (found["id"], found["namespace"], found["sandbox"]) == (made["id"], "shop", "s1")


def test_weakness_03_tags_are_listed_before_every_creation_and_bound_after_it(cloud, driver):
    cloud.page_max = 1
    verbs = "".join(f"create token={new_token()} name=podvm-{i}\n" for i in range(3))
    driver.tool("serve", {"TAGS": "team=a"}, stdin=verbs)
    assert len(cloud.live()) == 3
    assert {json.dumps(body["params"]) for body in cloud.bodies("instances.insert")} == {
        '{"resourceManagerTags": {"tagKeys/334": "tagValues/446"}}'
    }
    assert (cloud.count("tagKeys.list"), cloud.count("tagValues.list")) == (2, 1)
    create(driver, name="podvm-plain")
    create(driver, {"TAGS": "tagKeys/333=tagValues/445"}, name="podvm-ids")
    assert (cloud.count("tagKeys.list"), cloud.count("tagValues.list")) == (2, 1)


def test_weakness_03_a_permission_that_is_missing_does_not_look_like_a_tag_that_is(cloud, driver):
    cloud.denied = {"resourcemanager.tagKeys.list"}
    error = failed(create, driver, {"TAGS": "env=prod"})
    assert (
        error.kind == "denied" and "TAGS: env: tagKeys.list: forbidden: Required 'resourcemanager.tagKeys.list' permission" in error.message
    )


def test_weakness_04_two_credential_paths_a_key_in_a_temporary_file_and_no_keyless_modes(cloud, driver, tmp_path):
    """One credential for images, types, tags and instances; nothing is written; a federation or the metadata server will do."""
    create(driver, {"TMPDIR": str(tmp_path), "TAGS": "env=prod"})
    assert cloud.count("token") == 1 and not list(tmp_path.iterdir())
    assert len({call.headers["Authorization"] for call in cloud.calls if call.operation != "token"}) == 1
    (tmp_path / "token").write_text("a.projected.token")
    keyless = json.dumps(cloud.external_account({"file": str(tmp_path / "token")}))
    create(driver, {"GCP_CREDENTIALS": keyless}, name="podvm-1")
    cloud.is_instance = True
    create(driver, {"GCP_CREDENTIALS": None}, name="podvm-2")
    assert len(cloud.live()) == 3


def test_weakness_05_the_default_configuration_cannot_create_a_vm(cloud, driver):
    defaults = {"GCP_MACHINE_TYPE": None}
    for number, (tee, kind) in enumerate([("SEV", "n2d-standard-2"), ("SEV_SNP", "n2d-standard-2"), ("TDX", "c3-standard-4")]):
        create(driver, {**defaults, "GCP_CONFIDENTIAL_TYPE": tee}, name=f"podvm-{number}")
        assert tried(cloud)[-1][0] == kind
        assert f"e2-medium cannot be a confidential VM of type {tee}: pods that wish nothing get a {kind}" in driver.log
    message = failed(create, driver, {**defaults, "GCP_CONFIDENTIAL_TYPE": None}).message
    assert message.startswith("GCP_CONFIDENTIAL_TYPE is not set")


def test_weakness_05_the_confidential_type_is_not_checked_against_family_and_image(cloud, driver):
    error = failed(create, driver, {"GCP_MACHINE_TYPE": "c2d-standard-2"})
    assert error.message == (
        "GCP_MACHINE_TYPE: c2d-standard-2 cannot be a confidential VM of type SEV_SNP: "
        "use n2d types (n2d-standard-2), or set DISABLECVM=true"
    )
    assert not cloud.calls
    cloud.images.append(Image("old", features=("UEFI_COMPATIBLE", "SEV_CAPABLE")))
    error = failed(create, driver, image="old")
    assert error.kind == "invalid" and error.message.startswith(
        "image projects/demo-proj/global/images/old cannot boot a confidential VM of type SEV_SNP: it lacks the guest OS feature "
        "SEV_SNP_CAPABLE"
    )
    cloud.images.append(Image("bios", features=("SEV_SNP_CAPABLE",)))
    assert "it lacks the guest OS feature UEFI_COMPATIBLE" in failed(create, driver, image="bios").message
    assert cloud.count("instances.insert") == 0


def test_weakness_06_a_pod_cannot_choose_its_confidential_type(cloud, driver):
    for number, (tee, kind) in enumerate([("none", None), ("sev", "SEV"), ("snp", "SEV_SNP"), ("tdx", "TDX")]):
        create(driver, tee=tee, name=f"podvm-{number}")
        config = cloud.bodies("instances.insert")[-1].get("confidentialInstanceConfig")
        assert (config or {}).get("confidentialInstanceType") == kind
    create(driver, {"DISABLECVM": "true", "GCP_CONFIDENTIAL_TYPE": None}, tee="snp", name="podvm-5")
    assert cloud.bodies("instances.insert")[-1]["confidentialInstanceConfig"]["confidentialInstanceType"] == "SEV_SNP"


def test_weakness_06_nor_its_market(cloud, driver):
    create(driver, market="spot")
    assert cloud.bodies("instances.insert")[-1]["scheduling"]["provisioningModel"] == "SPOT"
    create(driver, {"GCP_SPOT": "true"}, market="on-demand", name="podvm-2")
    assert "provisioningModel" not in cloud.bodies("instances.insert")[-1]["scheduling"]


def test_weakness_07_unsorted_best_fit_and_no_gpu_data(cloud, driver):
    types = {
        "GCP_INSTANCE_TYPES": "n2d-standard-8,n2d-standard-2,a2-highgpu-1g,n2d-standard-4",
        "DISABLECVM": "true",
        "GCP_CONFIDENTIAL_TYPE": None,
    }
    create(driver, types, vcpus=3, memory=10000)
    create(driver, types, gpus=1, name="podvm-gpu")
    assert [kind for kind, _ in tried(cloud)] == ["n2d-standard-4", "a2-highgpu-1g"]


def test_weakness_08_volumes_and_a_second_interface_are_ignored(cloud, driver):
    cloud.make_disk("data-1")
    second = {"GCP_SECOND_NETWORK": "second"}
    made = create(driver, second, second_nic=1, volumes="data-1:vol")
    (body,) = cloud.bodies("instances.insert")
    assert [nic["network"] for nic in body["networkInterfaces"]] == ["global/networks/default", "global/networks/second"]
    assert body["disks"][1]["source"].endswith("/disks/data-1") and cloud.disks["us-central1-a", "data-1"].users == [made["id"]]
    assert len(set(driver.tool("wait", id=made["id"], needed=2)["addresses"])) == 2
    error = failed(create, driver, second_nic=1)
    assert error.kind == "invalid" and error.message.endswith("set GCP_SECOND_NETWORK")


def test_weakness_09_public_mode_drops_private_addresses_and_assumes_a_nat_address(cloud, driver):
    cloud.nat_looks = 2
    public = {"USE_PUBLIC_IP": "true", "GCP_SECOND_NETWORK": "second"}
    made = create(driver, public, second_nic=1)
    assert made["addresses"] == []
    (vm,) = cloud.live()
    first, second = vm.handle.addresses
    assert driver.tool("wait", public, id=made["id"], needed=2)["addresses"] == [vm.nat, second, first]


def test_weakness_10_no_request_id_no_retry_of_inserts_a_vm_lost_when_the_wait_fails(cloud, driver):
    cloud.script("instances.insert", Drop("after"))
    cloud.script("instances.list", refusal(503, "backendError"), when=lambda call: "name=" in call.one("filter"))
    made = create(driver)
    calls = cloud.made("instances.insert")
    assert len(calls) == 2 and len({call.one("requestId") for call in calls}) == 1
    assert [vm.name for vm in cloud.live()] == [made["id"]]
    cloud.script("instances.list", refusal(400, "invalid"), times=None, when=lambda call: "name=" in call.one("filter"))
    assert failed(create, driver, name="podvm-lost").kind == "invalid"
    assert [vm.name for vm in cloud.live()] == [made["id"]]


def test_weakness_11_deletion_of_what_is_gone_fails_and_a_change_of_zone_strands_vms(cloud, driver):
    driver.tool("delete", id="podvm-gone")
    driver.tool("delete", id="projects/demo-proj/zones/us-central1-a/instances/podvm-gone")
    first, second = create(driver, name="podvm-1"), create(driver, name="podvm-2")
    elsewhere = {"GCP_ZONE": "europe-west1-b"}
    assert {one["id"] for one in driver.tool("list", elsewhere)} == {first["id"], second["id"]}
    assert driver.tool("wait", elsewhere, id=first["id"])["addresses"] == first["addresses"]
    driver.tool("delete", elsewhere, id=first["id"])
    driver.tool("delete", elsewhere, id="projects/demo-proj/zones/us-central1-a/instances/" + second["id"])
    assert cloud.inventory() == {}


def test_weakness_12_the_image_is_looked_up_for_every_pod_and_its_name_is_taken_as_it_is(cloud, driver):
    verbs = "".join(f"create token={new_token()} name=podvm-{i} image={image}\n" for i, image in enumerate(["podvm-1"] * 3))
    driver.tool("serve", stdin=verbs)
    assert cloud.count("images.get") == 1
    whole = "projects/demo-proj/global/images/podvm-1"
    names = [
        "podvm-1",
        whole,
        "/" + whole,
        "https://www.googleapis.com/compute/v1/" + whole,
        "projects/demo-proj/global/images/family/podvm",
    ]
    for number, name in enumerate(names):
        create(driver, image=name, name=f"podvm-form-{number}")
        create(driver, {"PODVM_IMAGE_NAME": name}, name=f"podvm-set-{number}")
    images = {body["disks"][0]["initializeParams"]["sourceImage"] for body in cloud.bodies("instances.insert")}
    assert images == {whole} and cloud.count("images.getFromFamily") == 2
    assert {body["disks"][0]["initializeParams"]["diskSizeGb"] for body in cloud.bodies("instances.insert")} == {"10"}
    cloud.images.append(Image("large", gib=40))
    create(driver, image="large", name="podvm-large")
    assert cloud.bodies("instances.insert")[-1]["disks"][0]["initializeParams"]["diskSizeGb"] == "40"


def test_weakness_13_disk_interface_encryption_spot_shielded_options_and_platform_cannot_be_set(cloud, driver):
    more = {
        "GCP_DISK_INTERFACE": "SCSI",
        "GCP_DISK_KMS_KEY": "projects/p/locations/l/keyRings/r/cryptoKeys/k",
        "GCP_SPOT": "true",
        "GCP_VTPM": "false",
        "GCP_INTEGRITY_MONITORING": "false",
        "GCP_MIN_CPU_PLATFORM": "AMD Genoa",
        "GCP_DISK_TYPE": "pd-ssd",
    }
    create(driver, more)
    (body,) = cloud.bodies("instances.insert")
    disk = body["disks"][0]
    assert disk["interface"] == "SCSI" and disk["diskEncryptionKey"]["kmsKeyName"].endswith("/k")
    assert disk["initializeParams"]["diskType"].endswith("/pd-ssd") and body["minCpuPlatform"] == "AMD Genoa"
    assert body["shieldedInstanceConfig"] == {"enableSecureBoot": False, "enableVtpm": False, "enableIntegrityMonitoring": False}
    assert body["scheduling"]["provisioningModel"] == "SPOT"


def test_weakness_14_an_automatic_restart_reboots_a_pod_vm_that_has_lost_its_pod(cloud, driver):
    create(driver)
    create(driver, {"DISABLECVM": "true", "GCP_CONFIDENTIAL_TYPE": None}, name="podvm-plain")
    assert [body["scheduling"]["automaticRestart"] for body in cloud.bodies("instances.insert")] == [False, False]
