# SPDX-License-Identifier: Apache-2.0
"""Who the GCP driver says it is, and what it finds out about itself: keys, federations, users, the metadata server."""

import json
import secrets

import pytest

import gcp_rig
from fakes.gcp_identity import oauth_error
from fakes.server import Delay, Drop, Reply
from gcp_rig import ToolError


@pytest.fixture
def rig():
    one = gcp_rig.Rig()
    yield one
    one.close()


def look(rig, environment=()):
    """Something that needs a token and finds nothing."""
    return rig.tool("list", environment)


def failed(function, *arguments, **more) -> ToolError:
    with pytest.raises(ToolError) as caught:
        function(*arguments, **more)
    return caught.value


def federation(rig, source, **more) -> dict:
    return {"GCP_CREDENTIALS": json.dumps(rig.cloud.external_account(source, **more))}


def secret_file(folder, text):
    path = folder / "token"
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def test_a_key_is_taken_from_its_variable_or_from_a_file(rig, tmp_path):
    look(rig)
    file = secret_file(tmp_path, json.dumps(rig.cloud.service_account()))
    look(rig, {"GCP_CREDENTIALS": None, "GOOGLE_APPLICATION_CREDENTIALS": file})
    assert rig.cloud.count("token") == 2
    missing = failed(look, rig, {"GCP_CREDENTIALS": None, "GOOGLE_APPLICATION_CREDENTIALS": "/nonexistent/key"})
    assert missing.message.startswith("GOOGLE_APPLICATION_CREDENTIALS: ") and "/nonexistent/key" in missing.message


@pytest.mark.parametrize("impersonate", [False, True])
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_federation_exchanges_the_token_of_a_file(rig, tmp_path, impersonate, form):
    source = {"file": secret_file(tmp_path, "a.projected.token\n")}
    if form == "json":
        (tmp_path / "token").write_text(json.dumps({"jwt": "a.projected.token"}))
        source["format"] = {"type": "json", "subject_token_field_name": "jwt"}
    look(rig, federation(rig, source, impersonate=impersonate))
    assert (rig.cloud.count("sts"), rig.cloud.count("generateAccessToken")) == (1, int(impersonate))


def test_a_federation_asks_a_url_for_the_token(rig):
    source = {
        "url": rig.cloud.url + "/subject",
        "headers": {"X-Who": "pod"},
        "format": {"type": "json", "subject_token_field_name": "id_token"},
    }
    look(rig, federation(rig, source))
    assert failed(look, rig, federation(rig, {**source, "headers": {}})).message.endswith("the token to exchange: HTTP 403")


def test_the_token_of_a_federation_is_read_anew_for_each_exchange(rig, tmp_path):
    """Kubernetes replaces projected tokens."""
    rig.cloud.subject_tokens = {"second.token"}
    file = secret_file(tmp_path, "first.token")
    error = failed(look, rig, federation(rig, {"file": file}))
    assert error.kind == "denied" and "token exchange: invalid_grant" in error.message
    (tmp_path / "token").write_text("second.token")
    look(rig, federation(rig, {"file": file}))


def test_a_users_refresh_token_is_exchanged(rig):
    look(rig, {"GCP_CREDENTIALS": json.dumps(rig.cloud.authorized_user())})
    assert rig.cloud.count("token") == 1


def test_without_credentials_the_metadata_server_has_them_and_says_where_we_are(rig):
    rig.cloud.is_instance = True
    rig.cloud.metadata = {
        "project/project-id": "demo-proj",
        "instance/zone": "projects/1234567890/zones/us-central1-b",
        "instance/network-interfaces/0/network": "projects/1234567890/networks/default",
    }
    alone = {"GCP_CREDENTIALS": None, "GCP_PROJECT_ID": None, "GCP_ZONE": None, "GCP_NETWORK": None}
    rig.tool("create", alone, token=secrets.token_hex(16))
    (body,) = rig.cloud.bodies("instances.insert")
    assert body["machineType"].startswith("projects/demo-proj/zones/us-central1-b/")
    assert body["networkInterfaces"][0]["network"] == "projects/1234567890/global/networks/default"
    assert rig.cloud.count("token") == 0
    del rig.cloud.metadata["instance/zone"]
    error = failed(look, rig, alone)
    assert error.message.endswith(
        "GCP_ZONE is not set, and this machine does not tell its own: metadata server: instance/zone: there is none"
    )


def test_a_metadata_server_must_show_that_it_is_one(rig):
    rig.cloud.is_instance, rig.cloud.metadata_flavor = True, ""
    error = failed(look, rig, {"GCP_CREDENTIALS": None})
    assert "is no metadata server: its answer lacks Metadata-Flavor: Google" in error.message


def test_an_instance_without_a_service_account_is_told(rig):
    error = failed(look, rig, {"GCP_CREDENTIALS": None})
    assert error.kind == "denied" and "this instance has no service account: give it one, or set GCP_CREDENTIALS" in error.message


def test_a_clock_that_is_off_is_corrected_by_the_servers_and_once_only(rig):
    rig.cloud.clock_offset = -7000
    look(rig)
    assert rig.cloud.count("token") == 2 and "this machine's clock differs from Google's by" in rig.log
    rig.cloud.script("token", oauth_error("invalid_grant", "Invalid JWT: Token must be a short-lived token"), times=None)
    before = rig.cloud.count("token")
    assert failed(look, rig).kind == "denied" and rig.cloud.count("token") == before + 2


@pytest.mark.parametrize("code", ["invalid_grant", "invalid_scope", "invalid_client", "unauthorized_client"])
def test_refusals_of_the_token_endpoint_are_final(rig, code):
    rig.cloud.script("token", oauth_error(code, "account not found"))
    error = failed(look, rig)
    assert error.kind == "denied" and f"token of the service account: {code}: account not found (HTTP 400)" in error.message
    assert rig.cloud.count("token") == 1


@pytest.mark.parametrize("outcome", [Reply(503, "busy"), Reply(429, "slowly"), Drop("before"), Drop("after"), Reply(200, "no json")])
def test_passing_faults_of_the_token_endpoint_are_tried_again(rig, outcome):
    rig.cloud.script("token", outcome)
    look(rig)
    assert rig.cloud.count("token") == 2


def test_many_share_one_token(rig):
    rig.cloud.script("token", Delay(0.3))
    rig.run("parallel 8 list")
    assert rig.cloud.count("token") == 1


def test_a_token_is_renewed_before_it_ends(rig):
    rig.cloud.token_seconds = 1
    lines = "find token=00\n" + "wait id=podvm-none seconds=2\n" + "find token=00\n"
    rig.run("serve", stdin=lines)
    assert rig.cloud.count("token") >= 2
    assert all(call.status != 401 for call in rig.cloud.calls)


def test_the_quota_project_is_told(rig):
    look(rig, {"GOOGLE_CLOUD_QUOTA_PROJECT": "billing-1"})
    look(rig, {"GCP_CREDENTIALS": json.dumps(rig.cloud.service_account(quota_project_id="billing-2"))})
    calls = rig.cloud.made("instances.aggregatedList")
    assert [call.headers.get("x-goog-user-project") for call in calls] == ["billing-1", "billing-2"]


@pytest.mark.parametrize(
    "environment, message",
    [
        (
            {"GCP_CREDENTIALS": "/etc/key.json"},
            "GCP_CREDENTIALS must be the JSON text itself; a path belongs into GOOGLE_APPLICATION_CREDENTIALS",
        ),
        ({"GCP_CREDENTIALS": "{"}, "GCP_CREDENTIALS: this is no JSON object"),
        (
            {"GCP_CREDENTIALS": '{"type":"x"}'},
            'GCP_CREDENTIALS: the type "x" is none of service_account, external_account, authorized_user',
        ),
        ({"GCP_CONFIDENTIAL_TYPE": None}, "GCP_CONFIDENTIAL_TYPE is not set: TDX, SEV or SEV_SNP, or set DISABLECVM=true for ordinary VMs"),
        ({"GCP_ZONE": None}, "GCP_ZONE (-zone) is not set: us-central1-a, or several, comma-separated"),
        ({"GCP_NETWORK": None}, "GCP_NETWORK (-network) is not set: global/networks/default, or set GCP_SUBNETWORK"),
    ],
)
def test_what_is_missing_or_wrong_is_named_at_the_start_and_nobody_is_asked(rig, environment, message):
    assert failed(look, rig, environment).message == message
    assert not rig.cloud.calls


def test_the_project_is_that_of_the_key_where_none_is_set(rig):
    look(rig, {"GCP_PROJECT_ID": None})
    assert "/projects/demo-proj/" in rig.cloud.made("instances.aggregatedList")[0].path
    user = json.dumps(rig.cloud.authorized_user())
    error = failed(look, rig, {"GCP_PROJECT_ID": None, "GCP_CREDENTIALS": user})
    assert error.message == "GCP_PROJECT_ID (-gcp-project-id) is not set, and the credentials name no project"


def test_an_adaptor_can_start_while_google_cannot_be_reached(rig):
    assert rig.tool("open") == {}
    assert not rig.cloud.calls
