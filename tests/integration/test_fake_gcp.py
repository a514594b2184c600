# SPDX-License-Identifier: Apache-2.0
"""The fake of Google refuses what Google refuses: without this, tests against it would show nothing."""

import copy
import json
import time
import urllib.error
import urllib.parse
import urllib.request

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from fakes import gcp_identity
from fakes.discovery import Wrong, parse_filter, parse_mask
from fakes.gcp import Gcp

ZONE = "projects/demo-proj/zones/us-central1-a"
BODY = {
    "name": "podvm-1",
    "machineType": f"{ZONE}/machineTypes/n2d-standard-2",
    "labels": {"a": "b"},
    "disks": [
        {
            "boot": True,
            "autoDelete": True,
            "type": "PERSISTENT",
            "initializeParams": {
                "sourceImage": "projects/demo-proj/global/images/podvm-1",
                "diskType": f"{ZONE}/diskTypes/pd-standard",
                "diskSizeGb": "10",
            },
        }
    ],
    "networkInterfaces": [{"network": "global/networks/default"}],
    "metadata": {"items": [{"key": "user-data", "value": "YQ=="}]},
    "scheduling": {"onHostMaintenance": "TERMINATE", "automaticRestart": False},
}


@pytest.fixture
def cloud():
    with Gcp() as one:
        yield one


def ask(cloud, method, path, body=None, token=True, headers=()):
    request = urllib.request.Request(cloud.url + "/" + path, method=method, headers=dict(headers))
    if body is not None:
        request.data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request.headers.setdefault("Content-type", "application/json")
    if token:
        request.add_header("Authorization", "Bearer " + (cloud.issue() if token is True else token))
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def insert(cloud, change=lambda body: None, query=""):
    body = copy.deepcopy(BODY)
    change(body)
    return ask(cloud, "POST", f"compute/v1/{ZONE}/instances{query}", body)


def at(*path, value):
    def change(body):
        for name in path[:-1]:
            body = body[name]
        if value is None:
            del body[path[-1]]
        else:
            body[path[-1]] = value

    return change


def test_what_is_right_is_made_once_for_one_request(cloud):
    query = "?requestId=26eed887-36e6-5bde-a9c6-3dbca924cb72"
    status, first = insert(cloud, query=query)
    assert status == 200 and first["status"] == "RUNNING"
    status, again = insert(cloud, at("name", value="podvm-2"), query=query)
    assert status == 200 and again["name"] == first["name"] and [vm.name for vm in cloud.live()] == ["podvm-1"]
    assert insert(cloud)[0] == 409


@pytest.mark.parametrize(
    "change, part",
    [
        (at("nonsense", value=1), "Unknown name"),
        (at("disks", 0, "nonsense", value=1), "Unknown name"),
        (at("id", value="5"), "output only"),
        (at("name", value=None), "Required field"),
        (at("name", value="Upper"), "Must be a match of regex"),
        (at("disks", 0, "initializeParams", "diskSizeGb", value=10), "no string"),
        (at("disks", 0, "initializeParams", "diskSizeGb", value="ten"), "TYPE_INT64"),
        (at("disks", 0, "initializeParams", "diskSizeGb", value="5"), "cannot be smaller than the image"),
        (at("disks", 0, "boot", value="true"), "TYPE_BOOL"),
        (at("disks", value={}), "no array"),
        (at("networkInterfaces", 0, "stackType", value="IPV4_Only"), "Must be one of"),
        (at("networkInterfaces", 0, "network", value="global/networks/none"), "was not found"),
        (at("networkInterfaces", 0, "network", value="global/networks/custom"), "custom subnet mode"),
        (at("networkInterfaces", value=[{"network": "global/networks/default"}] * 2), "networkInterfaces"),
        (at("labels", "A", value="b"), "resource.labels"),
        (at("labels", "a", value="B"), "resource.labels"),
        (at("machineType", value="zones/us-central1-b/machineTypes/n2d-standard-2"), "resource.machineType"),
        (at("machineType", value=f"{ZONE}/machineTypes/none"), "was not found"),
        (at("minCpuPlatform", value="AMD"), "minCpuPlatform"),
        (
            at("confidentialInstanceConfig", value={"enableConfidentialCompute": True, "confidentialInstanceType": "TDX"}),
            "not supported by",
        ),
        (at("scheduling", value={"provisioningModel": "SPOT"}), "spot"),
        (at("params", value={"resourceManagerTags": {"tagKeys/333": "tagValues/0"}}), "Invalid resource manager tag"),
        (at("metadata", "items", 0, "value", value="a" * (256 * 1024 + 4)), "too large"),
    ],
)
def test_what_is_wrong_is_refused(cloud, change, part):
    status, answer = insert(cloud, change)
    assert status in (400, 404) and part in answer["error"]["message"]
    assert cloud.live() == [] and cloud.inventory() == {}


@pytest.mark.parametrize(
    "path, part",
    [
        (f"{ZONE}/instances?nonsense=1", "Cannot bind query parameter"),
        (f"{ZONE}/instances?maxResults=many", "maxResults"),
        (f"{ZONE}/instances?maxResults=1&maxResults=2", "2 times"),
        (f"{ZONE}/instances?filter=name%20eq%20x", "filter"),
        (f"{ZONE}/instances?fields=items(nonsense)", "field selection"),
        (f"{ZONE}/instances/UPPER", "Values must match"),
        ("projects/other/zones/us-central1-a/instances", "was not found"),
        ("projects/demo-proj/zones/us-central1-z/instances", "was not found"),
    ],
)
def test_questions_that_are_wrong_are_refused(cloud, path, part):
    status, answer = ask(cloud, "GET", "compute/v1/" + path)
    assert status in (400, 404) and part in answer["error"]["message"]


def test_nobody_is_heard_without_a_good_token(cloud):
    for token in (None, "made-up"):
        assert ask(cloud, "GET", f"compute/v1/{ZONE}/instances", token=token)[0] == 401
    old = cloud.issue()
    cloud.clock_offset = 3700
    assert ask(cloud, "GET", f"compute/v1/{ZONE}/instances", token=old)[0] == 401


def assertion(cloud, key=None, header=(), **claims) -> str:
    import base64

    def part(value) -> str:
        return base64.urlsafe_b64encode(value if isinstance(value, bytes) else json.dumps(value).encode()).decode().rstrip("=")

    now = int(time.time())
    said = {"iss": gcp_identity.EMAIL, "scope": gcp_identity.SCOPE, "aud": cloud.url + "/token", "iat": now, "exp": now + 3600, **claims}
    text = part({"alg": "RS256", "typ": "JWT", "kid": gcp_identity.KEY_ID, **dict(header)}) + "." + part(said)
    return text + "." + part((key or gcp_identity.key()).sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))


@pytest.mark.parametrize(
    "wrong, code",
    [
        ({}, None),
        ({"iss": "other@x"}, "invalid_grant"),
        ({"aud": "https://oauth2.googleapis.com/token"}, "invalid_grant"),
        ({"scope": "https://www.googleapis.com/auth/compute"}, "invalid_scope"),
        ({"iat": 0}, "invalid_grant"),
        ({"exp": 1 << 33}, "invalid_grant"),
        ({"more": 1}, "invalid_grant"),
        ({"header": {"alg": "none"}}, "invalid_grant"),
        ({"key": "another"}, "invalid_grant"),
    ],
)
def test_assertions_are_verified(cloud, wrong, code):
    if wrong.get("key"):
        wrong = {"key": rsa.generate_private_key(public_exponent=65537, key_size=2048)}
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion(cloud, **wrong)}
    kind = {"Content-type": "application/x-www-form-urlencoded"}
    status, answer = ask(cloud, "POST", "token", urllib.parse.urlencode(form).encode(), token=None, headers=kind)
    assert (status, answer.get("error")) == ((400, code) if code else (200, None))
    assert bool(answer.get("access_token")) == (code is None)


@pytest.mark.parametrize("text", ["", "(a=b", "a", "a eq b", "(a=b) OR", "a ~ b", "a=b)"])
def test_filters_that_are_none_are_refused(text):
    with pytest.raises(Wrong):
        parse_filter(text)


def test_filters_and_masks_are_understood():
    test = parse_filter('(name="a") OR (labels.k:*) (labels.k != "x y")')
    assert [test(item) for item in ({"name": "a"}, {"labels": {"k": "z"}}, {"labels": {"k": "x y"}}, {})] == [True, True, False, False]
    assert parse_mask("items/*/x(a,b/c),n") == ({"items": {"*": {"x": {"a": {}, "b": {"c": {}}}}}, "n": {}}, "")
