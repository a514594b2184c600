# SPDX-License-Identifier: Apache-2.0
"""The Azure driver against a strict fake (fakes/azure.py)."""

import base64
import collections
import concurrent.futures
import json
import re
import secrets
import subprocess
import time

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

import azure_rig
from azure_rig import ToolError
from fakes import azure as fake_azure
from fakes.azure import GROUP, NSG, RG, SECOND_SUBNET, SUBNET, Azure, error
from fakes.server import Drop, Reply
from peerpod import paths

called: set = set()  # operations of all tests


@pytest.fixture(scope="module")
def ssh_key(tmp_path_factory):
    """A key of the operator's: no test but one needs one made."""
    path = tmp_path_factory.mktemp("ssh") / "id.pub"
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    path.write_bytes(key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH) + b" me@here\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def make_cloud():
    clouds = []

    def make(**settings):
        clouds.append(Azure(**settings))
        return clouds[-1]

    yield make
    for cloud in clouds:
        called.update(call.operation for call in cloud.calls if call.operation in fake_azure.ACTIONS)
        cloud.close()


@pytest.fixture
def cloud(make_cloud):
    return make_cloud()


@pytest.fixture
def tool(cloud, ssh_key):
    return tool_for(cloud, ssh_key)


def tool_for(cloud, ssh_key):
    tool = azure_rig.Tool(cloud)
    tool.ssh = [f"-ssh-key-path={ssh_key}"]

    def run(verb, more=(), stdin="", **arguments):
        return azure_rig.Tool.__call__(tool, verb, more, stdin, options=tool.ssh, **arguments)

    run.tool = tool
    return run


def new_token() -> str:
    return secrets.token_hex(16)


def create(tool, more=(), **arguments):
    defaults = {"token": new_token(), "name": "podvm-web-01234567", "pod": "web", "cluster": "c1", "node": "n1"}
    return tool("create", more, **{**defaults, **arguments})


def failed(function, *arguments, **more) -> ToolError:
    with pytest.raises(ToolError) as caught:
        function(*arguments, **more)
    return caught.value


def sent(cloud) -> dict:
    """The body of the last creation."""
    return cloud.made("create_vm")[-1].json()


# ---- the life of an instance -------------------------------------------------------------------------------


def test_life_of_an_instance(cloud, tool):
    token = new_token()
    made = create(tool, token=token)
    assert made["id"] == f"{RG}/providers/Microsoft.Compute/virtualMachines/podvm-web-01234567"
    assert (made["name"], made["token"], made["pod"], made["cluster"], made["node"]) == ("podvm-web-01234567", token, "web", "c1", "n1")
    assert made["addresses"] == ["10.99.0.4"]
    assert tool("wait", id=made["id"])["addresses"] == made["addresses"]
    assert tool("find", token=token)["addresses"] == made["addresses"]
    (listed,) = tool("list", cluster="c1", node="n1")
    assert listed["id"].lower() == made["id"].lower() and listed["sandbox"] == token and listed["created"] == 1773569731
    assert tool("list", cluster="other") == [] and tool("list", node="other") == []
    tool("delete", id=made["id"])
    assert cloud.inventory() == {} and cloud.instances.existing == []
    assert tool("list") == []
    assert failed(tool, "find", token=token).kind == "gone"
    tool("delete", id=made["id"])


def test_the_request_is_complete_confidential_and_tagged(cloud, tool):
    token = new_token()
    create(tool, {"TAGS": "team=a b"}, token=token)
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
    assert properties["storageProfile"]["imageReference"] == {"id": fake_azure.IMAGE}
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


def at(document, path):
    for key in path.split("/"):
        document = document[int(key) if key.isdecimal() else key]
    return document


OS_DISK = "properties/storageProfile/osDisk"
NIC = "properties/networkProfile/networkInterfaceConfigurations/0"
DES = f"{RG}/providers/Microsoft.Compute/diskEncryptionSets/keys"
IDENTITY = f"{RG}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/pods"
SECURE = {"ENABLE_SECURE_BOOT": "true", "AZURE_DISK_ENCRYPTION": "DiskWithVMGuestState"}


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
            {"AZURE_IMAGE_ID": fake_azure.COMMUNITY_IMAGE.lower()},
            "properties/storageProfile/imageReference/communityGalleryImageId",
            fake_azure.COMMUNITY_IMAGE.lower(),
        ),
        (
            {"AZURE_IMAGE_ID": fake_azure.SHARED_IMAGE.upper()},
            "properties/storageProfile/imageReference/sharedGalleryImageId",
            fake_azure.SHARED_IMAGE.upper(),
        ),
        ({"AZURE_IMAGE_ID": fake_azure.GALLERY_IMAGE}, "properties/storageProfile/imageReference/id", fake_azure.GALLERY_IMAGE),
        (
            {"AZURE_IMAGE_ID": f"{RG}/providers/Microsoft.Compute/images/podvm"},
            "properties/storageProfile/imageReference/id",
            f"{RG}/providers/Microsoft.Compute/images/podvm",
        ),
    ],
    ids=lambda value: re.sub(r"[^a-zA-Z=]+", "-", str(value))[-40:] if isinstance(value, dict) else "",
)
def test_every_option_has_its_effect(cloud, tool, environment, path, value):
    create(tool, environment)
    assert at(sent(cloud), path) == value


def test_an_ordinary_vm_has_no_security_profiles(cloud, tool):
    create(tool, {"DISABLECVM": "true", "AZURE_INSTANCE_SIZE": "Standard_D2as_v5", "AZURE_NSG_ID": None})
    properties = sent(cloud)["properties"]
    assert "securityProfile" not in properties and "securityProfile" not in properties["storageProfile"]["osDisk"]["managedDisk"]
    assert "networkSecurityGroup" not in at(sent(cloud), f"{NIC}/properties")


SIZES = {"AZURE_INSTANCE_SIZES": "standard_dc2as_v5,Standard_DC4as_v5,Standard_DC2es_v6,Standard_D2as_v5,Standard_D4as_v5"}


def test_a_pod_may_choose_tee_market_image_and_size(cloud, tool):
    wish = {"type": "Standard_DC4as_v5", "tee": "snp", "market": "spot", "image": fake_azure.COMMUNITY_IMAGE}
    create(tool, {**SIZES, "DISABLECVM": "true"}, **wish)
    body = sent(cloud)
    assert at(body, "properties/hardwareProfile/vmSize") == "Standard_DC4as_v5" and at(body, "properties/priority") == "Spot"
    assert at(body, "properties/securityProfile/securityType") == "ConfidentialVM"
    assert at(body, "properties/storageProfile/imageReference") == {"communityGalleryImageId": fake_azure.COMMUNITY_IMAGE}
    create(tool, SIZES, name="podvm-b-1", tee="tdx", vcpus=1, memory=1)
    assert at(sent(cloud), "properties/hardwareProfile/vmSize") == "Standard_DC2es_v6"
    create(tool, {**SIZES, "AZURE_SPOT": "true"}, name="podvm-b-2", tee="none", market="on-demand", vcpus=3, memory=1)
    assert at(sent(cloud), "properties/hardwareProfile/vmSize") == "Standard_D4as_v5" and "priority" not in sent(cloud)["properties"]
    error_ = failed(create, tool, name="podvm-b-3", tee="sev")
    assert error_.kind == "unsupported" and "Azure has no AMD SEV without SNP" in error_.message


def test_second_nic_has_its_own_subnet_address_and_goes_with_the_vm(cloud, tool):
    made = create(tool, {"AZURE_SECOND_SUBNET_ID": SECOND_SUBNET}, second_nic=1)
    assert made["addresses"] == ["10.99.0.4", "10.99.0.5"]
    assert tool("wait", id=made["id"], needed=2)["addresses"] == made["addresses"]
    first, second = at(sent(cloud), "properties/networkProfile/networkInterfaceConfigurations")
    assert (first["properties"]["primary"], second["properties"]["primary"]) == (True, False)
    assert at(second, "properties/ipConfigurations/0/properties/subnet/id") == SECOND_SUBNET
    tool("delete", id=made["id"])
    assert cloud.inventory() == {}


def test_public_address_comes_first(cloud, tool):
    public = {"USE_PUBLIC_IP": "true"}
    made = create(tool, public, second_nic=1)
    assert made["addresses"] == ["203.0.113.1", "10.99.0.5"]
    assert tool("wait", public, id=made["id"])["addresses"] == made["addresses"]
    tool("delete", public, id=made["id"])
    assert cloud.inventory() == {}


def test_volumes_are_attached_in_order_in_their_zone_and_survive(cloud, tool):
    volumes = [cloud.add_disk(f"data-{n}", zone="2") for n in range(2)]
    made = create(tool, volumes=",".join(volumes), more={"AZURE_ZONES": "1,2"})
    assert sent(cloud)["zones"] == ["2"]
    disks = at(sent(cloud), "properties/storageProfile/dataDisks")
    assert [(one["lun"], one["managedDisk"]["id"], one["deleteOption"]) for one in disks] == [(n, volumes[n], "Detach") for n in range(2)]
    again = create(tool, volumes=",".join(volumes), token=made["token"])
    assert again["id"] == made["id"]
    busy = failed(create, tool, name="podvm-b-1", volumes=volumes[1])
    assert busy.kind == "retry" and f"volume {volumes[1]} is Attached, held by {made['id']}" in busy.message
    tool("delete", id=made["id"])
    assert {disk["properties"]["diskState"] for disk in cloud.disks.values()} == {"Unattached"} and len(cloud.disks) == 2


def test_volumes_that_cannot_be_attached_are_refused_before_anything_is_made(cloud, tool):
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
        refused = failed(create, tool, volumes=volumes)
        assert refused.kind == kind and text in refused.message
    many = ",".join([same, *(cloud.add_disk(f"more-{n}") for n in range(4))])
    refused = failed(create, tool, volumes=many)
    assert refused.kind == "invalid" and "takes 4 volumes, 5 needed" in refused.message
    assert failed(create, tool, {"AZURE_ZONES": "3"}, volumes=first).message == "the volumes are in zone 1, which is not in -zone 3"
    assert cloud.count("create_vm") == 0


def test_user_data_over_the_limit_is_refused_before_any_call(cloud, tool, tmp_path):
    (tmp_path / "user-data").write_bytes(b"x" * 49153)
    refused = failed(create, tool, user_data=tmp_path / "user-data")
    assert refused.kind == "invalid" and refused.message.startswith("the user data has 49153 bytes, 1 more than the 49152 that Azure takes")
    assert not cloud.calls
    (tmp_path / "user-data").write_bytes(b"x" * 49152)
    create(tool, user_data=tmp_path / "user-data")
    assert cloud.instances.existing[0].user_data == b"x" * 49152


# ---- once, whatever happens --------------------------------------------------------------------------------


def test_create_with_the_same_token_gives_the_same_instance_also_with_other_user_data(cloud, tool, tmp_path):
    (tmp_path / "other").write_text("#cloud-config\nother: true\n")
    token = new_token()
    made = create(tool, token=token)
    assert create(tool, token=token, user_data=tmp_path / "other", type="Standard_DC8as_v5")["id"] == made["id"]
    assert cloud.count("create_vm") == 1


def test_a_connection_that_breaks_after_the_put_makes_no_second_vm(cloud, tool):
    cloud.script("create_vm", Drop("after"))
    create(tool)
    assert [call.status for call in cloud.made("create_vm")] == [0, 412]
    assert len(cloud.inventory()["vm"]) == 1


def test_a_connection_that_breaks_before_the_put_is_tried_again(cloud, tool):
    cloud.script("create_vm", Drop("before"))
    create(tool)
    assert len(cloud.inventory()["vm"]) == 1


def test_eight_digits_that_collide_give_another_name_and_the_same_one_again(cloud, tool):
    cloud.add_foreign_vm("PODVM-web-01234567", {"peerpod-token": "somebody else's"})
    token = new_token()
    made = create(tool, token=token)
    assert re.fullmatch(r"podvm-web-01234567-[0-9a-f]{8}", made["name"])
    # Also when the other one has gone, and the first name is free.
    del cloud.vms["podvm-web-01234567"]
    assert create(tool, token=token)["id"] == made["id"]
    assert create(tool)["name"] == "podvm-web-01234567"
    assert len(cloud.inventory()["vm"]) == 2


@pytest.mark.parametrize("state", ["Failed", "Deleting"])
def test_what_an_earlier_try_left_goes_before_the_vm_is_made(cloud, tool, state):
    token = new_token()
    create(tool, token=token)
    cloud.vms["podvm-web-01234567"]["document"]["properties"]["provisioningState"] = state
    cloud.vms["podvm-web-01234567"]["looks"] = -1
    create(tool, token=token)
    assert {kind: len(names) for kind, names in cloud.inventory().items()} == {"vm": 1, "nic": 1, "disk": 1}
    assert cloud.count("create_vm") == 2 and cloud.count("delete_vm") == (state == "Failed")


def test_what_failed_for_want_of_room_after_a_crash_is_made_elsewhere(make_cloud, ssh_key):
    cloud = make_cloud(host_ticks=10**6, ticks=10**6)
    tool = tool_for(cloud, ssh_key)
    arguments = {"token": new_token(), "name": "podvm-web-01234567"}
    cloud.fail_creation("AllocationFailed", ticks=3)
    Murder(cloud, 6).run("create", ssh_key, **arguments)
    assert len(cloud.inventory()["vm"]) == 1
    cloud.host_ticks = 0
    assert create(tool, **arguments)["addresses"]
    assert cloud.count("create_vm") == 2 and len(cloud.inventory()["vm"]) == 1


class Murder:
    """After the n-th request was carried out, and before it is answered, the client is killed."""

    def __init__(self, cloud, n):
        self.cloud, self.n, self.seen, self.process = cloud, n, 0, None

    def __call__(self, call):
        self.seen += 1
        if self.seen == self.n and self.process:
            self.process.kill()
            self.process.wait()

    def run(self, words, ssh_key, **arguments):
        command = azure_rig.command(words, [f"-ssh-key-path={ssh_key}"], **arguments)
        self.cloud.after_call = self
        with self.cloud.lock:  # nothing is carried out before we know whom to kill
            self.process = subprocess.Popen(
                command, env=azure_rig.environment(self.cloud), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        status = self.process.wait(60)
        self.cloud.after_call = None
        return status


def kill_after(cloud, ssh_key, verb, left, n) -> bool:
    """Kills after the n-th request, then does it again; whether there was no n-th request."""
    tool = tool_for(cloud, ssh_key)
    token = new_token()
    cloud.leave_behind = set(left)
    arguments = {"token": token, "name": "podvm-web-01234567", "cluster": "c1", "node": "n1"}
    if verb == "delete":
        arguments = {"id": tool("create", **arguments)["id"]}
    done = Murder(cloud, n).run(verb, ssh_key, **arguments) == 0
    if verb == "create":
        again = tool("create", **arguments)
        assert len(cloud.inventory()["vm"]) == 1 and tool("find", token=token)["name"] == again["name"]
        assert [one["token"] for one in tool("list", cluster="c1", node="n1")] == [token]
        arguments = {"id": again["id"]}
    tool("delete", **arguments)
    assert cloud.inventory() == {} and tool("list") == [], n
    return done


@pytest.mark.parametrize("left", [(), ("nic", "ip", "disk")], ids=["deleted-by-azure", "left-by-azure"])
@pytest.mark.parametrize("verb", ["create", "delete"])
def test_kill_after_every_request_leaves_one_instance_or_none(make_cloud, ssh_key, verb, left):
    most = 18
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(kill_after, make_cloud(), ssh_key, verb, left, n) for n in range(1, most + 1)]
    done = [run.result() for run in runs]
    # There are at least so many requests and not more than were tried.
    assert not any(done[:5]) and done[-1]


# ---- must-have scripts -------------------------------------------------------------------------------------


def test_201_then_in_progress_three_times_then_succeeded(make_cloud, ssh_key):
    """The VM is not shown at first: only its operation tells that it is coming."""
    cloud = make_cloud(ticks=99)
    tool = tool_for(cloud, ssh_key)
    cloud.hidden.add("podvm-web-01234567")
    looks = []

    def progress(call):
        looks.append(call)
        if len(looks) == 3:
            cloud.nic_ticks = 0
            cloud.hidden.clear()

    cloud.nic_ticks = 10**6
    cloud.script("get_operation", progress, times=None)
    made = create(tool)
    assert made["addresses"] and len(looks) >= 3
    assert cloud.count("create_vm") == 1


def test_failed_with_zonal_allocation_failed_goes_to_the_next_zone(cloud, tool):
    cloud.fail_creation("ZonalAllocationFailed", when=lambda body: body["zones"] == ["1"])
    create(tool, {"AZURE_ZONES": "1,2"})
    assert [call.json()["zones"] for call in cloud.made("create_vm")] == [["1"], ["2"]]
    assert {kind: len(names) for kind, names in cloud.inventory().items()} == {"vm": 1, "nic": 1, "disk": 1}


def test_429_with_retry_after_2_waits_as_told(cloud, tool):
    throttled = error(429, "TooManyRequests", "slow down", {"Retry-After": "2"})
    cloud.script("create_vm", throttled)
    create(tool)
    first, second = cloud.made("create_vm")
    assert second.time - first.time >= 1.9


@pytest.mark.parametrize("headers", [{"retry-after-ms": "1500"}, {"x-ms-retry-after-ms": "1500"}])
def test_retry_after_in_milliseconds_counts(cloud, tool, headers):
    cloud.script("list_vms", error(429, "TooManyRequests", "slow down", headers))
    assert failed(tool, "find", token=new_token()).kind == "gone"
    first, second = cloud.made("list_vms")
    assert 1.4 <= second.time - first.time < 10


def test_an_expired_token_is_renewed_once(cloud, tool):
    cloud.script("list_vms", error(401, "ExpiredAuthenticationToken", "The access token expiry UTC time is earlier."))
    assert tool("list") == []
    assert cloud.count("token") == 2
    cloud.script("list_nics", error(401, "InvalidAuthenticationToken", "no"), times=2)
    refused = failed(tool, "list")
    assert refused.kind == "denied" and "InvalidAuthenticationToken: no (HTTP 401" in refused.message
    assert cloud.count("token") == 4


def test_a_vm_that_is_deleted_meanwhile_is_no_success(make_cloud, ssh_key):
    cloud = make_cloud(ticks=99, nic_ticks=99)
    tool = tool_for(cloud, ssh_key)

    def vanish(call):
        with cloud.lock:
            if cloud.count("list_nics") == 2 and cloud.vms:
                cloud.remove("podvm-web-01234567")
                cloud.operations.clear()

    cloud.after_call = vanish
    refused = failed(create, tool, seconds=40)
    assert refused.kind == "retry" and "is not there any more: somebody deleted it" in refused.message
    assert cloud.inventory() == {}


def test_an_operation_that_is_forgotten_while_the_vm_succeeds_is_no_failure(make_cloud, ssh_key):
    cloud = make_cloud(host_ticks=10**6, ticks=2)
    tool = tool_for(cloud, ssh_key)
    cloud.script("get_operation", error(404, "NotFound", "forgotten"), times=None)
    assert create(tool)["addresses"] == ["10.99.0.4"]  # without a MAC: the VM says that it is ready


def test_a_nic_without_address_twice_is_waited_for(make_cloud, ssh_key):
    cloud = make_cloud(nic_ticks=2)
    assert create(tool_for(cloud, ssh_key))["addresses"] == ["10.99.0.4"]
    assert cloud.count("list_nics") == 3


def test_a_location_without_an_operation_url_will_do(make_cloud, ssh_key):
    cloud = make_cloud(location_only=True)
    tool = tool_for(cloud, ssh_key)
    made = create(tool)
    tool("delete", id=made["id"])
    assert cloud.inventory() == {}


def test_wait_addresses_waits_for_a_host_and_tells_a_failure(make_cloud, ssh_key):
    cloud = make_cloud(nic_ticks=2, host_ticks=3)
    tool = tool_for(cloud, ssh_key)
    cloud.fail_creation("OSProvisioningTimedOut", "OS Provisioning did not finish", ticks=10**6)
    token = new_token()
    failed(create, tool, token=token, seconds=1, more={})
    assert cloud.inventory() == {}


def test_waits_end_at_their_deadline(make_cloud, ssh_key):
    cloud = make_cloud(nic_ticks=10**6, ticks=10**6)
    tool = tool_for(cloud, ssh_key)
    began = time.monotonic()
    refused = failed(create, tool, seconds=3)
    assert refused.kind == "timeout" and time.monotonic() - began < 15
    assert cloud.inventory() == {}
    cloud.script("list_vms", error(429, "TooManyRequests", "slow down", {"Retry-After": "30"}), times=None)
    began = time.monotonic()
    assert failed(tool, "find", token=new_token(), seconds=2).kind in ("throttled", "timeout")
    assert time.monotonic() - began < 5


# ---- nothing is left ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", [{"nic"}, {"disk"}, {"nic", "ip"}, {"ip"}, {"nic", "ip", "disk"}], ids="-".join)
def test_what_azure_leaves_of_a_vm_is_removed_with_it(cloud, tool, left):
    cloud.leave_behind = left
    public = {"USE_PUBLIC_IP": "true"}
    made = create(tool, public)
    tool("delete", public, id=made["id"])
    assert cloud.inventory() == {}


def test_a_nic_that_is_reserved_is_waited_for(cloud, tool):
    cloud.leave_behind = {"nic"}
    cloud.nic_reserved = 1
    made = create(tool)
    tool("delete", id=made["id"])
    assert cloud.inventory() == {} and cloud.count("delete_nic") == 2


def test_what_is_left_when_the_time_is_over_is_named(cloud, tool):
    cloud.leave_behind = {"nic"}
    cloud.nic_reserved = 10**6
    made = create(tool)
    refused = failed(tool, "delete", id=made["id"], seconds=2)
    assert "there is still NIC podvm-web-01234567-net-" in refused.message and "NicReservedForAnotherVm" in refused.message


def test_leftovers_without_a_vm_are_listed_found_and_removed(cloud, tool):
    token = new_token()
    create(tool, {"USE_PUBLIC_IP": "true"}, token=token)
    cloud.leave_behind = {"nic", "disk", "ip"}
    cloud.remove("podvm-web-01234567")
    (one,) = tool("list", cluster="c1", node="n1")
    assert (one["token"], one["pod"], one["name"]) == (token, "web", "podvm-web-01234567") and one["created"] > time.time() - 60
    assert tool("find", token=token)["id"] == one["id"]
    assert tool("list", cluster="c2") == []
    tool("delete", id=one["id"])
    assert cloud.inventory() == {} and tool("list") == []


def test_a_nic_that_an_earlier_vm_of_the_name_left_is_not_taken_for_the_new_ones(cloud, tool):
    create(tool)
    cloud.leave_behind = {"nic"}
    cloud.remove("podvm-web-01234567")
    token = new_token()
    made = create(tool, token=token)
    assert len(cloud.inventory()["nic"]) == 2 and made["addresses"] == ["10.99.0.5"]
    assert tool("find", token=token)["addresses"] == ["10.99.0.5"]
    tool("delete", id=made["id"])
    assert cloud.inventory() == {}


def test_a_disk_without_tags_is_known_by_its_name(cloud, tool):
    made = create(tool)
    (disk,) = cloud.disks.values()
    del disk["tags"]
    cloud.leave_behind = {"disk"}
    cloud.remove("podvm-web-01234567")
    (one,) = tool("list", cluster="c1", node="n1")
    assert (one["cluster"], one["node"]) == ("c1", "n1") and one["id"] == made["id"]
    assert tool("list", cluster="c1", node="n2") == [] and tool("list", cluster="c2", node="n1") == []
    tool("delete", id=one["id"])
    assert cloud.inventory() == {}


def test_what_is_not_ours_is_never_touched(cloud, tool):
    foreign = cloud.add_foreign_vm("podvm-web-01234567", {"team": "other"})
    disk = cloud.add_disk("podvm-web-01234567-disk", group=GROUP)
    refused = failed(tool, "delete", id=foreign)
    assert refused.kind == "denied" and "carries no tag peerpod-token" in refused.message
    del cloud.vms["podvm-web-01234567"]
    tool("delete", id=foreign)
    assert disk.split("/")[-1] in cloud.disks and cloud.count("delete_disk") == 0 and cloud.count("delete_vm") == 0
    assert tool("list") == []


def test_list_goes_through_all_pages(make_cloud, ssh_key):
    cloud = make_cloud(page_size=2)
    tool = tool_for(cloud, ssh_key)
    made = tool("parallel 7 create", token=new_token()[:20] + "%d", name="podvm-%d", cluster="c1", node="n1")
    assert sorted(one["name"] for one in tool("list")) == sorted(one["name"] for one in made)
    tool("delete", id=made[0]["id"])
    assert len(tool("list")) == 6


def test_a_next_link_to_somebody_else_gets_no_token(cloud, tool):
    cloud.script("list_nics", Reply(200, {"value": [], "nextLink": "http://127.0.0.1:1/steal"}))
    refused = failed(tool, "list")
    assert "is not on http://127.0.0.1" in refused.message and "nothing is sent there" in refused.message


# ---- many at once ------------------------------------------------------------------------------------------


def at_most_one_an_interval(calls, interval):
    """Each begins an interval after the last one began; how long it takes from there to its arrival differs."""
    times = sorted(call.time for call in calls)
    assert len(times) <= (times[-1] - times[0]) / interval + 2 if times else True


def test_deletions_at_once_share_lists(make_cloud, ssh_key):
    cloud = make_cloud(delete_ticks=2)
    tool = tool_for(cloud, ssh_key)
    made = tool("parallel 9 create", token=new_token()[:20] + "%d", name="podvm-%d")
    before = cloud.count("list_nics")
    words = "".join(f"delete id={one['id']}\n" for one in made)
    assert len(words) and tool("parallel 9 delete", id=made[0]["id"].replace(made[0]["name"], "podvm-%d")) == [{}] * 9
    assert cloud.inventory() == {}
    assert cloud.count("list_nics") - before <= 4 and cloud.count("list_vms") <= 6


def test_few_calls_that_are_left_slow_us_down(cloud, tool):
    cloud.remaining = {"x-ms-ratelimit-remaining-subscription-reads": "8"}
    tool("list")
    times = [call.time for call in cloud.calls if call.operation.startswith("list_")]
    assert all(later - earlier >= 0.9 for earlier, later in zip(times, times[1:]))


# ---- which size, where -------------------------------------------------------------------------------------


def test_no_room_leads_to_the_next_size_and_is_remembered_for_an_hour(cloud, tool):
    cloud.fail_creation("AllocationFailed", times=9, when=lambda b: b["properties"]["hardwareProfile"]["vmSize"] == "Standard_DC4as_v5")
    sizes = {"AZURE_INSTANCE_SIZES": "Standard_DC2as_v5,Standard_DC4as_v5,Standard_DC8as_v5"}
    verbs = "".join(f"create token={new_token()} name=podvm-{n} vcpus=4 memory=16384\n" for n in range(2))
    tool("serve", sizes, stdin=verbs)
    tried = [call.json()["properties"]["hardwareProfile"]["vmSize"] for call in cloud.made("create_vm")]
    assert tried == ["Standard_DC4as_v5", "Standard_DC8as_v5", "Standard_DC8as_v5"]
    left = re.search(r"refused a short while ago \(capacity\); tried again in (\d+) s", tool.tool.log)
    assert 3500 < int(left.group(1)) <= 3600
    assert len(cloud.inventory()["vm"]) == len(cloud.inventory()["disk"]) == 2


def test_no_quota_leads_to_another_family(cloud, tool):
    text = "Operation could not be completed as it results in exceeding approved standardDCASv5Family Cores quota."
    refuse = error(409, "OperationNotAllowed", text)
    cloud.script("create_vm", refuse, times=None, when=lambda c: "_DC" in c.json()["properties"]["hardwareProfile"]["vmSize"])
    sizes = {"AZURE_INSTANCE_SIZES": "Standard_DC2as_v5,Standard_DC4as_v5,Standard_DC8as_v5,Standard_EC4as_v5"}
    create(tool, sizes, vcpus=4, memory=8192)
    tried = [call.json()["properties"]["hardwareProfile"]["vmSize"] for call in cloud.made("create_vm")]
    assert tried[0] == "Standard_DC4as_v5" and tried[-1] == "Standard_EC4as_v5" and len(tried) == 2


def test_a_full_subnet_leads_to_the_next_one(cloud, tool):
    cloud.subnets.add((SUBNET + "-2").lower())
    cloud.fail_creation(
        "SubnetIsFull", "Subnet is full", when=lambda b: at(b, f"{NIC}/properties/ipConfigurations/0/properties/subnet/id") == SUBNET
    )
    create(tool, {"AZURE_SUBNET_ID": f"{SUBNET},{SUBNET}-2"})
    assert len(cloud.inventory()["vm"]) == 1
    cloud.fail_creation("SubnetIsFull", "Subnet is full", times=9)
    refused = failed(create, tool, SIZES, name="podvm-b-1", vcpus=1, memory=1)
    assert refused.kind == "capacity" and "name more subnets in AZURE_SUBNET_ID" in refused.message
    assert cloud.count("create_vm") == 3 and len(cloud.inventory()["vm"]) == 1


def test_what_image_and_size_cannot_do_together_is_refused_before_the_call(cloud, tool):
    cloud.features["DiskControllerTypes"] = "SCSI"
    refused = failed(create, tool, {"AZURE_INSTANCE_SIZE": "Standard_DC2es_v6"})
    assert refused.kind == "invalid" and "the size has NVMe disks only" in refused.message
    arm = {"DISABLECVM": "true", "AZURE_INSTANCE_SIZE": "Standard_D2ps_v5"}
    assert "the image is for another architecture" in failed(create, tool, arm).message
    refused = failed(create, tool, {"AZURE_INSTANCE_SIZE": "Standard_DC2ads_v5"})
    assert "NotAvailableForSubscription" in refused.message
    cloud.features["SecurityType"] = "TrustedLaunch"
    refused = failed(create, tool)
    assert refused.kind == "invalid" and "its definition has no confidential security feature" in refused.message
    cloud.definition["hyperVGeneration"] = "V1"
    assert "it is of generation 1" in failed(create, tool).message
    assert cloud.count("create_vm") == 0


def test_sizes_that_cannot_are_left_out_with_the_reason(cloud, tool):
    refused = failed(create, tool, {"AZURE_INSTANCE_SIZE": "Standard_D2as_v5"})
    assert refused.kind == "invalid" and "cannot make a confidential VM of the kind asked for" in refused.message
    assert "only the default type is allowed" in failed(create, tool, type="Standard_DC8as_v5").message
    refused = failed(create, tool, {"AZURE_INSTANCE_SIZE": "Standard_EC2as_v5", "AZURE_ZONES": "2,3"})
    assert "not offered in this zone" in refused.message
    assert cloud.count("create_vm") == 0


def test_gpus_are_counted(cloud, tool):
    gpu = {"AZURE_INSTANCE_SIZES": "Standard_D2as_v5,Standard_NC24ads_A100_v4", "DISABLECVM": "true"}
    create(tool, gpu, gpus=1, vcpus=2, memory=1024)
    assert at(sent(cloud), "properties/hardwareProfile/vmSize") == "Standard_NC24ads_A100_v4"


def test_offerings_are_sizes_times_zones_times_markets(make_cloud, ssh_key):
    cloud = make_cloud(page_size=4)
    offerings = tool_for(cloud, ssh_key)("offerings")
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


def test_the_list_of_sizes_is_kept_for_when_azure_cannot_be_asked(cloud, tool, tmp_path, ssh_key):
    def run(verb, **arguments):
        command = azure_rig.command(verb, [f"-ssh-key-path={ssh_key}", f"-catalogue-folder={tmp_path}"], **arguments)
        done = subprocess.run(command, env=azure_rig.environment(cloud), capture_output=True, text=True, timeout=60)
        return json.loads(done.stdout)

    assert len(run("offerings")) > 50
    cloud.script("list_skus", error(403, "AuthorizationFailed", "no"), times=None)
    assert {one["type"] for one in run("offerings")} > {"Standard_DC2as_v5", "Standard_NC24ads_A100_v4"}
    made = run("create", token=new_token(), name="podvm-a-1", **{"second-nic": 0})
    assert made["id"]
    for path in tmp_path.iterdir():
        path.unlink()
    assert "AuthorizationFailed" in run("offerings")["message"]
    # Nothing is known of the default size, and it is used nevertheless.
    assert run("create", token=new_token(), name="podvm-a-2")["id"]


# ---- errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reply, kind, text",
    [
        (
            error(403, "AuthorizationFailed", "The client 'x' does not have authorization to perform action 'a/write'"),
            "denied",
            "azure-role.json",
        ),
        (error(403, "RequestDisallowedByPolicy", "policy p"), "denied", "a policy of the subscription forbids it"),
        (error(409, "MissingSubscriptionRegistration", "not registered"), "invalid", "az provider register"),
        (error(400, "InvalidParameter", "bad"), "invalid", "InvalidParameter: bad (HTTP 400, request request-InvalidParameter)"),
        (error(404, "ImageNotFound", "no image"), "invalid", "check AZURE_IMAGE_ID"),
        (error(404, "NotFound", "no subnet"), "invalid", "NotFound: no subnet"),
        (error(409, "SkuNotAvailable", "not here"), "capacity", "no room for any of the 1 offerings that fit"),
        (error(400, "QuotaExceeded", "no"), "quota", "ask Microsoft for a higher quota"),
    ],
    ids=lambda value: "",
)
def test_a_refusal_is_told_with_code_request_and_what_to_do(cloud, tool, reply, kind, text):
    cloud.script("create_vm", reply, times=None)
    refused = failed(create, tool, seconds=20)
    assert refused.kind == kind and text in refused.message
    assert f"create VM podvm-web-01234567: {json.loads(reply.body)['error']['code']}: " in refused.message
    assert cloud.inventory() == {}


def test_a_passing_fault_is_tried_again_and_then_told(cloud, tool):
    cloud.script("create_vm", error(503, "ServiceUnavailable", "busy"))
    create(tool)
    cloud.script("create_vm", error(500, "InternalServerError", "broken"), times=None)
    refused = failed(create, tool, name="podvm-b-1", seconds=2)
    assert refused.kind == "retry" and "InternalServerError: broken (HTTP 500" in refused.message
    assert len(cloud.inventory()["vm"]) == 1


def test_a_failed_creation_tells_the_nested_reason(cloud, tool):
    inner = {"code": "OSProvisioningInternalError", "message": "OS Provisioning failed for VM"}
    cloud.fail_creation("Conflict", json.dumps({"error": inner}))
    refused = failed(create, tool, {})
    assert refused.kind == "invalid"
    assert "VM podvm-web-01234567 failed: Conflict/OSProvisioningInternalError: OS Provisioning failed for VM" in refused.message
    assert cloud.inventory() == {}


def test_a_crashed_and_failed_creation_tells_the_reason_from_the_instance_view(make_cloud, ssh_key):
    """Without the operation's URL."""
    cloud = make_cloud(host_ticks=10**6, ticks=10**6)
    tool = tool_for(cloud, ssh_key)
    token = new_token()
    cloud.fail_creation("VMStartTimedOut", "Virtual machine failed to start", ticks=4)
    Murder(cloud, 6).run("create", ssh_key, token=token, name="podvm-web-01234567")
    assert len(cloud.inventory()["vm"]) == 1
    refused = failed(create, tool, token=token)
    assert refused.kind == "invalid" and "VMStartTimedOut: Virtual machine failed to start" in refused.message
    assert cloud.inventory() == {}


# ---- credentials -------------------------------------------------------------------------------------------

NO_SECRET = {"AZURE_CLIENT_SECRET": None}


def workload(cloud, tmp_path, text=None) -> dict:
    (tmp_path / "token").write_text((cloud.federated_token() if text is None else text) + "\n")
    return {**NO_SECRET, "AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "token")}


def test_client_secret(cloud, tool):
    assert tool("list") == []
    refused = failed(tool, "list", {"AZURE_CLIENT_SECRET": "wrong"})
    assert refused.kind == "denied"
    assert "token by client secret: invalid_client: AADSTS7000215: Invalid client secret provided. (HTTP 401, trace t-1)" in refused.message
    assert "it must be the secret's value, not its id" in refused.message
    assert "AADSTS700016" in failed(tool, "list", {"AZURE_CLIENT_ID": "other"}).message
    assert "AADSTS90002" in failed(tool, "list", {"AZURE_TENANT_ID": "other"}).message


def test_workload_identity(cloud, tool, tmp_path):
    assert tool("list", workload(cloud, tmp_path)) == []
    assert b"client_secret" not in cloud.made("token")[0].body
    other = rsa.generate_private_key(65537, 2048)
    now = int(time.time())
    for text, number in [
        (cloud.federated_token(sub="system:serviceaccount:default:default"), 700213),
        (cloud.federated_token(iss="https://elsewhere"), 700211),
        (cloud.federated_token(aud="kubernetes"), 700212),
        (cloud.federated_token(exp=now - 60), 700024),
        (cloud.federated_token(key=other), 700027),
    ]:
        refused = failed(tool, "list", workload(cloud, tmp_path, text))
        assert refused.kind == "denied" and f"AADSTS{number}" in refused.message
    assert "is empty" in failed(tool, "list", workload(cloud, tmp_path, "")).message
    (tmp_path / "token").unlink()
    missing = failed(tool, "list", {**NO_SECRET, "AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "token")})
    assert missing.kind == "denied" and "AZURE_FEDERATED_TOKEN_FILE" in missing.message


def test_the_federated_token_is_read_for_each_request(cloud, tool, tmp_path):
    environment = workload(cloud, tmp_path, cloud.federated_token(exp=1))

    def renew(call):
        if call.operation == "token":
            (tmp_path / "token").write_text(cloud.federated_token())

    cloud.after_call = renew
    first, second = tool("serve", environment, stdin="list\nlist\n")
    assert "AADSTS700024" in first["message"] and second == []


def test_managed_identity(cloud, tool):
    managed = {**NO_SECRET, "AZURE_CLIENT_ID": None, "AZURE_TENANT_ID": None}
    assert tool("list", managed) == []
    cloud.imds_identities = {"mine": True}
    assert tool("list", {**managed, "AZURE_CLIENT_ID": "mine"}) == []
    refused = failed(tool, "list", managed)
    assert refused.kind == "denied" and "Identity not found" in refused.message and "assign one to the node pool" in refused.message
    assert cloud.count("token") == 0


@pytest.mark.parametrize("status", [404, 410, 429, 500])
def test_a_metadata_service_that_comes_up_is_waited_for(cloud, tool, status):
    cloud.script("imds_token", Reply(status, {"error": "busy"}), times=2)
    assert tool("list", {**NO_SECRET, "AZURE_CLIENT_ID": None}) == []
    assert cloud.count("imds_token") == 3


def test_a_secret_goes_before_a_token_file_unless_told_otherwise(cloud, tool, tmp_path):
    both = {**workload(cloud, tmp_path), "AZURE_CLIENT_SECRET": fake_azure.SECRET}
    tool("list", both)
    tool("list", {**both, "AZURE_CREDENTIAL": "workload"})
    tool("list", {**both, "AZURE_CREDENTIAL": "managed", "AZURE_CLIENT_ID": None})
    assert [b"client_assertion" in call.body for call in cloud.made("token")] == [False, True] and cloud.count("imds_token") == 1


def test_entra_that_is_down_is_a_passing_fault(cloud, tool):
    cloud.script("token", Reply(503, {"error": "temporarily_unavailable", "error_description": "AADSTS90033"}))
    assert tool("list") == []
    cloud.script("token", Reply(400, {"error": "temporarily_unavailable", "error_description": "AADSTS90033: later"}), times=None)
    assert failed(tool, "list", seconds=2).kind == "retry"


# ---- at the start, and the check ---------------------------------------------------------------------------


def test_start_asks_nobody(cloud, tool):
    down = {"AZURE_AUTHORITY_HOST": "http://127.0.0.1:1", "AZURE_RESOURCE_MANAGER_ENDPOINT": "http://127.0.0.1:1"}
    assert tool("open", down) == {}
    assert failed(tool, "list", down, seconds=2).kind == "retry"


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
def test_a_wrong_or_missing_value_is_named_at_the_start(cloud, tool, environment, text):
    refused = failed(tool, "list", environment)
    assert text in refused.message and not cloud.calls


def test_check_finds_everything_that_is_right_and_makes_nothing(cloud, tool):
    tool("check", {"AZURE_ZONES": "1"})
    log = tool.tool.log
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


def test_check_finds_everything_that_is_wrong_with_a_remedy(cloud, tool, ssh_key):
    cloud.usages["standardDCASv5Family"] = [49, 50]
    cloud.allowed = [{"actions": ["Microsoft.Compute/*", "Microsoft.Network/*/read"], "notActions": ["*/virtualMachines/delete"]}]
    cloud.features["SecurityType"] = "TrustedLaunch"
    wrong = {"AZURE_SUBNET_ID": SUBNET + "x", "AZURE_NSG_ID": NSG + "x", "AZURE_ZONES": "2", "TAGS": "a=b"}
    wrong["AZURE_INSTANCE_SIZES"] = "Standard_DC2as_v5,Standard_DC9,Standard_DC2ads_v5,Standard_EC4as_v5,Standard_D2as_v5"
    message = failed(tool, "check", wrong).message
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
    assert failed(tool, "check", {"AZURE_IMAGE_ID": fake_azure.IMAGE + ".1"}).message.startswith(
        "AZURE_IMAGE_ID: look at the image: ResourceNotFound"
    )
    cloud.script("get_group", error(404, "ResourceGroupNotFound", "no group"))
    assert "AZURE_RESOURCE_GROUP: look at the resource group: ResourceGroupNotFound" in failed(tool, "check").message


def test_check_without_credentials_stops_there(cloud, tool):
    message = failed(tool, "check", {"AZURE_CLIENT_SECRET": "wrong"}).message
    assert message.startswith("credentials: ") and "AADSTS7000215" in message
    assert {call.operation for call in cloud.calls} == {"token"}


def test_a_key_file_that_cannot_be_used_is_named(cloud, tool, tmp_path, monkeypatch):
    bad = tmp_path / "bad.pub"
    bad.write_text("ssh-dss AAAA\n")

    def run(path, verb="list", **more):
        command = azure_rig.command(verb, [f"-ssh-key-path={path}"])
        done = subprocess.run(command, env=azure_rig.environment(cloud, more), capture_output=True, text=True, timeout=60)
        return json.loads(done.stdout)

    assert "it is no public key that Azure takes" in run(bad)["message"]
    assert "-ssh-key-path" in run(tmp_path / "missing")["message"]
    good = tmp_path / "good.pub"
    key = rsa.generate_private_key(65537, 2048).public_key()
    good.write_bytes(b"# mine\n" + key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH))
    assert run("$KEYS/${NAME}.pub", KEYS=str(tmp_path), NAME="good") == []
    good.chmod(0o666)
    assert "others may write to" in run(good, "check")["message"]


def test_the_console_is_told_only_where_it_is_kept(cloud, tool):
    made = create(tool)
    assert tool("console", id=made["id"])["tail"] == "" and cloud.count("console") == 0
    kept = {"AZURE_BOOT_DIAGNOSTICS": "true"}
    cloud.console_text = b"x" * 5000 + b"kernel panic"
    made = create(tool, kept, name="podvm-b-1")
    assert tool("console", kept, id=made["id"], max=20)["tail"] == "x" * 8 + "kernel panic"
    assert tool("console", kept, id="nonsense")["tail"] == ""


# ---- what upstream does badly ------------------------------------------------------------------------------


def test_weakness_1_zones_sizes_and_subnets_have_effect_and_a_fallback(cloud, tool):
    for code in ("ZonalAllocationFailed", "OverconstrainedZonalAllocationRequest"):
        cloud.fail_creation(code)
    create(tool, {"AZURE_ZONES": "3,1", "AZURE_INSTANCE_SIZES": "Standard_DC2as_v5,Standard_DC4as_v5"}, vcpus=2, memory=8192)
    tried = [(c.json()["properties"]["hardwareProfile"]["vmSize"], c.json()["zones"][0]) for c in cloud.made("create_vm")]
    assert tried == [("Standard_DC2as_v5", "1"), ("Standard_DC2as_v5", "3"), ("Standard_DC4as_v5", "1")]


def test_weakness_2_the_address_is_used_before_the_operation_ends(make_cloud, ssh_key):
    cloud = make_cloud(ticks=10**6)
    assert create(tool_for(cloud, ssh_key))["addresses"] == ["10.99.0.4"]
    (vm,) = cloud.vms.values()
    assert vm["document"]["properties"]["provisioningState"] == "Creating"


def test_weakness_3_a_failed_creation_leaves_nothing(cloud, tool):
    cloud.leave_behind = {"nic", "disk", "ip"}
    cloud.fail_creation("AllocationFailed", "no room")
    refused = failed(create, tool, {"USE_PUBLIC_IP": "true"})
    assert refused.kind == "capacity" and "AllocationFailed: no room" in refused.message
    assert cloud.inventory() == {}


def test_weakness_4_deleting_what_is_missing_or_never_was_succeeds(cloud, tool):
    tool("delete", id=f"{RG}/providers/Microsoft.Compute/virtualMachines/never-was")
    tool("delete", id="")
    refused = failed(tool, "delete", id="i-0123")
    assert refused.kind == "invalid" and refused.message.startswith('instance id: "i-0123" is not of the form /subscriptions/ID/')


def test_weakness_5_delete_goes_by_the_ids_own_group_in_any_case(cloud, tool):
    made = create(tool, {"AZURE_RESOURCE_GROUP": "other"})
    tool("delete", id=made["id"].upper())
    assert cloud.inventory() == {}
    assert all("/other/" in call.path.lower() for call in cloud.made("delete_vm"))


def test_weakness_6_one_throwaway_key_a_process_and_no_console(cloud):
    verbs = "".join(f"create token={new_token()} name=podvm-{n}\n" for n in range(2))
    azure_rig.Tool(cloud)("serve", stdin=verbs)
    bodies = [call.json()["properties"] for call in cloud.made("create_vm")]
    keys = {body["osProfile"]["linuxConfiguration"]["ssh"]["publicKeys"][0]["keyData"] for body in bodies}
    assert len(keys) == 1 and serialization.load_ssh_public_key(keys.pop().encode()).key_size == 2048
    assert not any("diagnosticsProfile" in body for body in bodies)


def test_weakness_7_sizes_come_from_resource_skus_once_with_gpus_and_unknown_ones_are_named(cloud, tool):
    verbs = "".join(f"create token={new_token()} name=podvm-{n}\n" for n in range(3))
    tool("serve", {"AZURE_INSTANCE_SIZES": "Standard_DC2as_v5,Standard_Typo"}, stdin=verbs)
    assert cloud.count("list_skus") == 1 and not any("vmSizes" in call.path for call in cloud.calls)
    assert "there is no such size in this region" in tool.tool.log
    assert any(one["gpus"] for one in tool("offerings"))


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
def test_weakness_8_managed_identity_and_all_clouds(cloud, tool, authority, arm):
    """The token comes from the metadata service; the proxy that is not there shows where the driver would go."""
    environment = {**NO_SECRET, "AZURE_CLIENT_ID": None, "AZURE_AUTHORITY_HOST": authority, "AZURE_RESOURCE_MANAGER_ENDPOINT": None}
    audience = {"usgov": "https://management.core.usgovcloudapi.net", "china": "https://management.core.chinacloudapi.cn"}
    wanted = audience.get(arm.removeprefix("management.").split("cloudapi")[0], "https://management.azure.com")
    cloud.script("imds_token", lambda call: Reply(200, {"access_token": cloud.give_token(), "expires_in": "3600"}), times=None)
    refused = failed(tool, "list", {**environment, "https_proxy": "http://127.0.0.1:1", "no_proxy": ""}, seconds=1)
    assert cloud.made("imds_token")[0].query["resource"] == [wanted + "/"]
    assert refused.kind in ("retry", "timeout") and f"GET {arm}" in refused.message


def test_weakness_9_disks_encryption_identity_spot_network_and_tee_can_be_chosen(cloud, tool):
    everything = {**SECURE, "AZURE_DISK_ENCRYPTION_SET_ID": DES, "AZURE_OS_DISK_TYPE": "Premium_ZRS", "AZURE_VM_IDENTITY_IDS": IDENTITY}
    create(tool, {**everything, "AZURE_SPOT": "true", "AZURE_ACCELERATED_NETWORKING": "true", "DISABLECVM": "true"}, tee="snp")
    body = sent(cloud)
    assert at(body, f"{OS_DISK}/managedDisk/storageAccountType") == "Premium_ZRS" and body["identity"]["type"] == "UserAssigned"
    assert at(body, "properties/securityProfile/securityType") == "ConfidentialVM" and at(body, "properties/priority") == "Spot"


def test_weakness_10_public_addresses_have_a_sku_and_everything_has_tags(cloud, tool):
    token = new_token()
    create(tool, {"USE_PUBLIC_IP": "true", "TAGS": "team=a"}, token=token, second_nic=1)
    address = at(sent(cloud), f"{NIC}/properties/ipConfigurations/0/properties/publicIPAddressConfiguration")
    assert address["sku"] == {"name": "Standard", "tier": "Regional"} and address["properties"]["publicIPAllocationMethod"] == "Static"
    everything = [*cloud.nics.values(), *cloud.ips.values(), *cloud.disks.values(), *(vm["document"] for vm in cloud.vms.values())]
    assert len(everything) == 5
    assert all(one["tags"]["peerpod-token"] == token and one["tags"]["team"] == "a" for one in everything)


def test_weakness_11_connections_and_limits_are_shared(make_cloud, ssh_key):
    cloud = make_cloud()
    tool = tool_for(cloud, ssh_key)
    tool("serve", stdin="".join(f"create token={new_token()} name=podvm-{n}\n" for n in range(3)))
    assert cloud.count("token") == 1
    # One that is told to slow down slows the others.
    cloud.script("create_vm", error(429, "TooManyRequests", "slow down", {"Retry-After": "2"}))
    tool("parallel 4 create", token=new_token()[:20] + "%d", name="podvm-b-%d")
    calls = [call for call in cloud.made("create_vm") if "podvm-b" in call.path]
    refused = next(call.time for call in calls if call.status == 429)
    assert sum(1 for call in calls if refused + 0.5 < call.time < refused + 1.9) == 0


def test_weakness_12_orphans_are_listed_by_cluster_and_node(cloud, tool):
    tokens = [new_token() for _ in range(3)]
    for n, (cluster, node) in enumerate((("c1", "n1"), ("c1", "n2"), ("c2", "n1"))):
        create(tool, token=tokens[n], name=f"podvm-{n}", cluster=cluster, node=node)
    cloud.leave_behind = {"nic", "disk"}
    cloud.remove("podvm-0")
    assert {one["token"] for one in tool("list", cluster="c1", node="n1")} == {tokens[0]}
    assert {one["token"] for one in tool("list", cluster="c1")} == set(tokens[:2])
    assert {one["token"] for one in tool("list")} == set(tokens)


# ---- many at once: began with the first test --------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def hundred(ssh_key):
    """A hundred creations at once, which take what the limit says: they go on beside the other tests. (cloud, process)"""
    cloud = Azure(create_limit=(2, 5))
    cloud.latency = 0.05
    command = azure_rig.command(
        "parallel 100 create", [f"-ssh-key-path={ssh_key}"], token=new_token()[:20] + "%d", name="podvm-%d", seconds=150
    )
    process = subprocess.Popen(command, env=azure_rig.environment(cloud), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    yield cloud, process
    process.kill()
    process.wait()
    cloud.close()


def test_a_hundred_creations_at_once_against_a_limit_of_two_a_second(hundred):
    cloud, process = hundred
    out, err = process.communicate(timeout=160)
    assert process.returncode == 0 and "Sanitizer" not in err, err
    made = [json.loads(line) for line in out.splitlines()]
    assert len({one["id"] for one in made}) == 100 and all(one["addresses"] for one in made)
    creations = cloud.made("create_vm")
    statuses = collections.Counter(call.status for call in creations)
    assert statuses[201] == 100 and statuses[429] <= 10 and set(statuses) == {201, 429} - ({429} if not statuses[429] else set())
    # Never more than the limit allows: what it takes is its own time.
    times = sorted(call.time for call in creations if call.status == 201)
    assert times[-1] - times[0] < (100 - 5) / 2 * 1.1
    at_most_one_an_interval(cloud.made("list_nics"), 0.5)
    at_most_one_an_interval(cloud.made("list_vms"), 1.5)
    assert [cloud.count(name) for name in ("token", "list_skus", "get_image_definition", "get_operation")] == [1, 1, 1, 0]


# ---- documentation -----------------------------------------------------------------------------------------


def test_documentation_has_the_options_of_the_driver():
    done = subprocess.run([paths.program("provider-tool"), str(azure_rig.DRIVER), "-markdown"], capture_output=True, text=True)
    table = done.stdout.split("\n\n", 1)[1].strip()
    text = (paths.ROOT / "docs/providers/azure.md").read_text()
    assert re.search(r"<!-- options: .*? -->\n(.*?)\n<!-- /options -->", text, re.DOTALL).group(1) == table


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


def test_the_role_allows_what_is_called_and_nothing_else():
    role = json.loads((paths.ROOT / "docs/providers/azure-role.json").read_text())
    allowed = set(role["Actions"])
    assert role["NotActions"] == [] and len(allowed) == len(role["Actions"])
    # Anybody may read their own permissions.
    actions = {fake_azure.ACTIONS[operation] for operation in called} - {"Microsoft.Authorization/permissions/read"}
    assert len(actions) > 20, "run the whole file"
    assert actions <= allowed
    assert allowed == set(fake_azure.ACTIONS.values()) - {"Microsoft.Authorization/permissions/read"} | IMPLIED
    source = (paths.ROOT / "providers/azure/permissions.c").read_text()
    assert set(re.findall(r'\{"(Microsoft\.[^"]+)"', source)) <= allowed
