# SPDX-License-Identifier: Apache-2.0
"""Who the Azure driver says it is: a secret, a service account's token, a managed identity."""

import time

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from azure_rig import NO_SECRET, cloud, driver, make_cloud  # noqa: F401 (fixtures)
from fakes.azure_names import SECRET
from fakes.server import Reply
from peerpod.provider_tool import failed


def workload(cloud, tmp_path, text=None) -> dict:
    (tmp_path / "token").write_text((cloud.federated_token() if text is None else text) + "\n")
    return {**NO_SECRET, "AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "token")}


def test_client_secret(cloud, driver):
    assert driver.tool("list") == []
    refused = failed(driver.tool, "list", {"AZURE_CLIENT_SECRET": "wrong"})
    assert refused.kind == "denied"
    assert "token by client secret: invalid_client: AADSTS7000215: Invalid client secret provided. (HTTP 401, trace t-1)" in refused.message
    assert "it must be the secret's value, not its id" in refused.message
    assert "AADSTS700016" in failed(driver.tool, "list", {"AZURE_CLIENT_ID": "other"}).message
    assert "AADSTS90002" in failed(driver.tool, "list", {"AZURE_TENANT_ID": "other"}).message


def test_workload_identity(cloud, driver, tmp_path):
    assert driver.tool("list", workload(cloud, tmp_path)) == []
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
        refused = failed(driver.tool, "list", workload(cloud, tmp_path, text))
        assert refused.kind == "denied" and f"AADSTS{number}" in refused.message
    assert "is empty" in failed(driver.tool, "list", workload(cloud, tmp_path, "")).message
    (tmp_path / "token").unlink()
    missing = failed(driver.tool, "list", {**NO_SECRET, "AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "token")})
    assert missing.kind == "denied" and "AZURE_FEDERATED_TOKEN_FILE" in missing.message


def test_the_federated_token_is_read_for_each_request(cloud, driver, tmp_path):
    environment = workload(cloud, tmp_path, cloud.federated_token(exp=1))

    def renew(call):
        if call.operation == "token":
            (tmp_path / "token").write_text(cloud.federated_token())

    cloud.after_call = renew
    first, second = driver.tool("serve", environment, stdin="list\nlist\n")
    assert "AADSTS700024" in first["message"] and second == []


def test_managed_identity(cloud, driver):
    managed = {**NO_SECRET, "AZURE_CLIENT_ID": None, "AZURE_TENANT_ID": None}
    assert driver.tool("list", managed) == []
    cloud.imds_identities = {"mine": True}
    assert driver.tool("list", {**managed, "AZURE_CLIENT_ID": "mine"}) == []
    refused = failed(driver.tool, "list", managed)
    assert refused.kind == "denied" and "Identity not found" in refused.message and "assign one to the node pool" in refused.message
    assert cloud.count("token") == 0


@pytest.mark.parametrize("status", [404, 410, 429, 500])
def test_a_metadata_service_that_comes_up_is_waited_for(cloud, driver, status):
    cloud.script("imds_token", Reply(status, {"error": "busy"}), times=2)
    assert driver.tool("list", {**NO_SECRET, "AZURE_CLIENT_ID": None}) == []
    assert cloud.count("imds_token") == 3


def test_a_secret_goes_before_a_token_file_unless_told_otherwise(cloud, driver, tmp_path):
    both = {**workload(cloud, tmp_path), "AZURE_CLIENT_SECRET": SECRET}
    driver.tool("list", both)
    driver.tool("list", {**both, "AZURE_CREDENTIAL": "workload"})
    driver.tool("list", {**both, "AZURE_CREDENTIAL": "managed", "AZURE_CLIENT_ID": None})
    assert [b"client_assertion" in call.body for call in cloud.made("token")] == [False, True] and cloud.count("imds_token") == 1


def test_entra_that_is_down_is_a_passing_fault(cloud, driver):
    cloud.script("token", Reply(503, {"error": "temporarily_unavailable", "error_description": "AADSTS90033"}))
    assert driver.tool("list") == []
    cloud.script("token", Reply(400, {"error": "temporarily_unavailable", "error_description": "AADSTS90033: later"}), times=None)
    assert failed(driver.tool, "list", seconds=2).kind == "retry"
