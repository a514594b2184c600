# SPDX-License-Identifier: Apache-2.0
"""Who the GCP driver says it is, and what it finds out about itself: keys, federations, users, the metadata server."""

import json
import urllib.parse

import pytest

from fakes.gcp_identity import KEY_ID, oauth_error, unpadded
from fakes.server import Delay, Drop, Reply
from gcp_rig import cloud, driver  # noqa: F401 (fixtures)
from peerpod.provider_tool import Served, failed, new_token


def look(driver, environment=()):
    """Something that needs a token and finds nothing."""
    return driver.tool("list", environment)


def federation(cloud, source, **more) -> dict:
    return {"GCP_CREDENTIALS": json.dumps(cloud.external_account(source, **more))}


def secret_file(folder, text):
    path = folder / "token"
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def test_a_key_is_taken_from_its_variable_or_from_a_file(cloud, driver, tmp_path):
    look(driver)
    file = secret_file(tmp_path, json.dumps(cloud.service_account()))
    look(driver, {"GCP_CREDENTIALS": None, "GOOGLE_APPLICATION_CREDENTIALS": file})
    assert cloud.count("token") == 2
    missing = failed(look, driver, {"GCP_CREDENTIALS": None, "GOOGLE_APPLICATION_CREDENTIALS": "/nonexistent/key"})
    assert missing.message.startswith("GOOGLE_APPLICATION_CREDENTIALS: ") and "/nonexistent/key" in missing.message


def in_file(folder, credentials) -> dict:
    """GOOGLE_APPLICATION_CREDENTIALS with these, or with a text."""
    text = credentials if isinstance(credentials, str) else json.dumps(credentials)
    (folder / "credentials").write_text(text)
    return {"GCP_CREDENTIALS": None, "GOOGLE_APPLICATION_CREDENTIALS": str(folder / "credentials")}


def signed_with(cloud) -> list:
    """The key ids of all assertions."""
    forms = [urllib.parse.parse_qs(call.body.decode()) for call in cloud.made("token")]
    return [json.loads(unpadded(form["assertion"][0].split(".")[0]))["kid"] for form in forms]


def test_a_key_that_was_replaced_in_its_file_gets_the_next_token(cloud, driver, tmp_path):
    served = Served(driver, in_file(tmp_path, cloud.service_account()))
    assert served.ask("list") == []
    in_file(tmp_path, cloud.service_account("second"))
    cloud.key_ids = {"second"}
    assert served.ask("list") == [] and signed_with(cloud) == [KEY_ID]  # the token is good
    cloud.refuse_tokens()
    assert served.ask("list") == [] and signed_with(cloud) == [KEY_ID, "second"]
    assert "credentials is of no use" not in served.end()


@pytest.mark.parametrize("damage", ["gone", "empty", "cut off", "without a key"])
def test_a_file_of_credentials_that_is_damaged_for_a_while_breaks_nothing(cloud, driver, tmp_path, damage):
    second, cloud.key_ids = cloud.service_account("second"), {KEY_ID, "second"}
    served = Served(driver, in_file(tmp_path, cloud.service_account()))
    assert served.ask("list") == []
    if damage == "gone":
        (tmp_path / "credentials").unlink()
    else:
        broken = {"empty": "", "cut off": json.dumps(second)[:-20], "without a key": {**second, "private_key": None}}
        in_file(tmp_path, broken[damage])
    cloud.refuse_tokens()
    assert served.ask("list") == [] and signed_with(cloud) == [KEY_ID, KEY_ID]
    in_file(tmp_path, second)
    cloud.refuse_tokens()
    assert served.ask("list") == [] and signed_with(cloud) == [KEY_ID, KEY_ID, "second"]
    log = served.end()
    assert log.count(f"{tmp_path}/credentials is of no use now, its earlier content is used: GOOGLE_APPLICATION_CREDENTIALS: ") == 1


def test_a_key_can_become_a_federation_and_a_key_again_in_its_file(cloud, driver, tmp_path):
    key = cloud.service_account()
    served = Served(driver, {**in_file(tmp_path, key), "GCP_PROJECT_ID": None})
    assert served.ask("list") == []
    cloud.key_ids = set()
    in_file(tmp_path, cloud.external_account({"file": secret_file(tmp_path, "a.projected.token")}))
    cloud.refuse_tokens()
    assert served.ask("list") == [] and (cloud.count("token"), cloud.count("sts")) == (1, 1)
    cloud.key_ids = {KEY_ID}
    in_file(tmp_path, {**key, "project_id": "another"})
    cloud.refuse_tokens()
    assert served.ask("list") == [] and (cloud.count("token"), cloud.count("sts")) == (2, 1)
    served.end()
    assert all("/projects/demo-proj/" in call.path for call in cloud.made("instances.aggregatedList"))


@pytest.mark.parametrize("impersonate", [False, True])
@pytest.mark.parametrize("form", ["text", "json"])
def test_a_federation_exchanges_the_token_of_a_file(cloud, driver, tmp_path, impersonate, form):
    source = {"file": secret_file(tmp_path, "a.projected.token\n")}
    if form == "json":
        (tmp_path / "token").write_text(json.dumps({"jwt": "a.projected.token"}))
        source["format"] = {"type": "json", "subject_token_field_name": "jwt"}
    look(driver, federation(cloud, source, impersonate=impersonate))
    assert (cloud.count("sts"), cloud.count("generateAccessToken")) == (1, int(impersonate))


def test_a_federation_asks_a_url_for_the_token(cloud, driver):
    source = {
        "url": cloud.url + "/subject",
        "headers": {"X-Who": "pod"},
        "format": {"type": "json", "subject_token_field_name": "id_token"},
    }
    look(driver, federation(cloud, source))
    assert failed(look, driver, federation(cloud, {**source, "headers": {}})).message.endswith("the token to exchange: HTTP 403")


def test_the_token_of_a_federation_is_read_anew_for_each_exchange(cloud, driver, tmp_path):
    """Kubernetes replaces projected tokens."""
    cloud.subject_tokens = {"second.token"}
    file = secret_file(tmp_path, "first.token")
    error = failed(look, driver, federation(cloud, {"file": file}))
    assert error.kind == "denied" and "token exchange: invalid_grant" in error.message
    (tmp_path / "token").write_text("second.token")
    look(driver, federation(cloud, {"file": file}))


def test_a_users_refresh_token_is_exchanged(cloud, driver):
    look(driver, {"GCP_CREDENTIALS": json.dumps(cloud.authorized_user())})
    assert cloud.count("token") == 1


def test_without_credentials_the_metadata_server_has_them_and_says_where_we_are(cloud, driver):
    cloud.is_instance = True
    cloud.metadata = {
        "project/project-id": "demo-proj",
        "instance/zone": "projects/1234567890/zones/us-central1-b",
        "instance/network-interfaces/0/network": "projects/1234567890/networks/default",
    }
    alone = {"GCP_CREDENTIALS": None, "GCP_PROJECT_ID": None, "GCP_ZONE": None, "GCP_NETWORK": None}
    driver.tool("create", alone, token=new_token())
    (body,) = cloud.bodies("instances.insert")
    assert body["machineType"].startswith("projects/demo-proj/zones/us-central1-b/")
    assert body["networkInterfaces"][0]["network"] == "projects/1234567890/global/networks/default"
    assert cloud.count("token") == 0
    del cloud.metadata["instance/zone"]
    error = failed(look, driver, alone)
    assert error.message.endswith(
        "GCP_ZONE is not set, and this machine does not tell its own: metadata server: instance/zone: there is none"
    )


def test_a_metadata_server_must_show_that_it_is_one(cloud, driver):
    cloud.is_instance, cloud.metadata_flavor = True, ""
    error = failed(look, driver, {"GCP_CREDENTIALS": None})
    assert "is no metadata server: its answer lacks Metadata-Flavor: Google" in error.message


def test_an_instance_without_a_service_account_is_told(driver):
    error = failed(look, driver, {"GCP_CREDENTIALS": None})
    assert error.kind == "denied" and "this instance has no service account: give it one, or set GCP_CREDENTIALS" in error.message


def test_a_clock_that_is_off_is_corrected_by_the_servers_and_once_only(cloud, driver):
    cloud.clock_offset = -7000
    look(driver)
    assert cloud.count("token") == 2 and "this machine's clock differs from Google's by" in driver.log
    cloud.script("token", oauth_error("invalid_grant", "Invalid JWT: Token must be a short-lived token"), times=None)
    before = cloud.count("token")
    assert failed(look, driver).kind == "denied" and cloud.count("token") == before + 2


@pytest.mark.parametrize("code", ["invalid_grant", "invalid_scope", "invalid_client", "unauthorized_client"])
def test_refusals_of_the_token_endpoint_are_final(cloud, driver, code):
    cloud.script("token", oauth_error(code, "account not found"))
    error = failed(look, driver)
    assert error.kind == "denied" and f"token of the service account: {code}: account not found (HTTP 400)" in error.message
    assert cloud.count("token") == 1


@pytest.mark.parametrize("outcome", [Reply(503, "busy"), Reply(429, "slowly"), Drop("before"), Drop("after"), Reply(200, "no json")])
def test_passing_faults_of_the_token_endpoint_are_tried_again(cloud, driver, outcome):
    cloud.script("token", outcome)
    look(driver)
    assert cloud.count("token") == 2


def test_many_share_one_token(cloud, driver):
    cloud.script("token", Delay(0.3))
    driver.tool("parallel 8 list")
    assert cloud.count("token") == 1


def test_a_token_is_renewed_before_it_ends(cloud, driver):
    cloud.token_seconds = 1
    lines = "find token=00\n" + "wait id=podvm-none seconds=2\n" + "find token=00\n"
    driver.tool("serve", stdin=lines)
    assert cloud.count("token") >= 2
    assert all(call.status != 401 for call in cloud.calls)


def test_the_quota_project_is_told(cloud, driver):
    look(driver, {"GOOGLE_CLOUD_QUOTA_PROJECT": "billing-1"})
    look(driver, {"GCP_CREDENTIALS": json.dumps(cloud.service_account(quota_project_id="billing-2"))})
    calls = cloud.made("instances.aggregatedList")
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
def test_what_is_missing_or_wrong_is_named_at_the_start_and_nobody_is_asked(cloud, driver, environment, message):
    assert failed(look, driver, environment).message == message
    assert not cloud.calls


def test_the_project_is_that_of_the_key_where_none_is_set(cloud, driver):
    look(driver, {"GCP_PROJECT_ID": None})
    assert "/projects/demo-proj/" in cloud.made("instances.aggregatedList")[0].path
    user = json.dumps(cloud.authorized_user())
    error = failed(look, driver, {"GCP_PROJECT_ID": None, "GCP_CREDENTIALS": user})
    assert error.message == "GCP_PROJECT_ID (-gcp-project-id) is not set, and the credentials name no project"


def test_an_adaptor_can_start_while_google_cannot_be_reached(cloud, driver):
    assert driver.tool("open") == {}
    assert not cloud.calls
