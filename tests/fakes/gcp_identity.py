# SPDX-License-Identifier: Apache-2.0
"""How Google knows who asks: OAuth's token endpoint, the security token service, service account impersonation, and the
metadata server of an instance. gcp.py mixes this into its fake.

A service account's assertion is verified with its public key, and its claims as Google does: audience, scope, and times
within the hour around the server's own clock.
"""

import base64
import functools
import json
import re
import secrets
import threading
import time
import urllib.parse

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from fakes.server import Reply

EMAIL = "peerpods@demo-proj.iam.gserviceaccount.com"
KEY_ID = "0f3a9c1e77b24d5f8a6e"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
AUDIENCE = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/cluster"
JWT_TYPE = "urn:ietf:params:oauth:token-type:jwt"
SKEW_TAKEN_S = 300


@functools.cache
def _key(_key_id: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


_making = threading.Lock()


def key(key_id: str = KEY_ID) -> rsa.RSAPrivateKey:
    """The same for all fakes of this process, whoever comes first."""
    with _making:
        return _key(key_id)


def pem(key_id: str) -> str:
    form = serialization.PrivateFormat.PKCS8
    return key(key_id).private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def unpadded(text: str) -> bytes:
    if not re.fullmatch(r"[A-Za-z0-9_-]*", text):
        raise ValueError(f"no base64url: {text[:40]}")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def oauth_error(code: str, text: str, status: int = 400) -> Reply:
    return Reply(status, {"error": code, "error_description": text})


class Identity:
    """Needs of the fake: now(), url."""

    def start_identity(self) -> None:
        self.tokens: dict = {}  # access token -> when it ends, by the fake's clock
        self.token_seconds = 3600
        self.federated: set = set()  # tokens that can only impersonate
        self.key_ids = {KEY_ID}  # of the service account, without those that were revoked
        self.subject_tokens = {"a.projected.token"}
        self.refresh_tokens = {"1//refresh"}
        self.metadata: dict = {}  # path below computeMetadata/v1/ -> text
        self.is_instance = False  # the worker has a metadata server with a service account
        self.metadata_flavor = "Google"

    # ---- what a driver is given

    def service_account(self, key_id: str = KEY_ID, **more) -> dict:
        return {
            "type": "service_account",
            "project_id": self.project,
            "private_key_id": key_id,
            "private_key": pem(key_id),
            "client_email": EMAIL,
            "token_uri": self.url + "/token",
            **more,
        }

    def external_account(self, source: dict, impersonate: bool = False, **more) -> dict:
        path = f"/v1/projects/-/serviceAccounts/{EMAIL}:generateAccessToken"
        return {
            "type": "external_account",
            "audience": AUDIENCE,
            "subject_token_type": JWT_TYPE,
            "token_url": self.url + "/v1/token",
            "credential_source": source,
            **({"service_account_impersonation_url": self.url + path} if impersonate else {}),
            **more,
        }

    def authorized_user(self) -> dict:
        return {
            "type": "authorized_user",
            "client_id": "client",
            "client_secret": "client-secret",
            "refresh_token": "1//refresh",
            "token_uri": self.url + "/token",
        }

    # ---- tokens

    def issue(self, federated: bool = False) -> str:
        token = "ya29.c." + secrets.token_urlsafe(24)
        self.tokens[token] = self.now() + self.token_seconds
        if federated:
            self.federated.add(token)
        return token

    def refuse_tokens(self) -> None:
        """Every token that was given out so far is worthless."""
        with self.lock:
            self.tokens.clear()

    def bearer(self, call) -> str:
        """The token of a call; "" where there is no good one."""
        found = re.fullmatch(r"Bearer (\S+)", call.headers.get("Authorization") or "")
        token = found.group(1) if found else ""
        return token if self.tokens.get(token, 0) > self.now() else ""

    def _form(self, call) -> dict:
        if call.headers.get("Content-Type") != "application/x-www-form-urlencoded":
            raise oauth_error("invalid_request", "Content-Type must be application/x-www-form-urlencoded")
        fields = urllib.parse.parse_qsl(call.body.decode(), strict_parsing=True, keep_blank_values=True)
        if len(dict(fields)) != len(fields):
            raise oauth_error("invalid_request", "a parameter came twice")
        return dict(fields)

    @staticmethod
    def _only(form: dict, *names: str) -> None:
        if set(form) != set(names):
            raise oauth_error("invalid_request", f"parameters {sorted(form)} instead of {sorted(names)}")

    def _granted(self, federated: bool = False, **more) -> Reply:
        return Reply(200, {"access_token": self.issue(federated), "expires_in": self.token_seconds, "token_type": "Bearer", **more})

    def do_token(self, call) -> Reply:
        form = self._form(call)
        if form.get("grant_type") == "refresh_token":
            self._only(form, "grant_type", "client_id", "client_secret", "refresh_token")
            if form["refresh_token"] not in self.refresh_tokens or form["client_secret"] != "client-secret":
                return oauth_error("invalid_grant", "Token has been expired or revoked.")
            return self._granted()
        self._only(form, "grant_type", "assertion")
        if form["grant_type"] != "urn:ietf:params:oauth:grant-type:jwt-bearer":
            return oauth_error("unsupported_grant_type", f"Invalid grant_type: {form['grant_type']}")
        self._verify(form["assertion"])
        return self._granted()

    def _verify(self, assertion: str) -> None:
        """Raises what Google answers."""
        try:
            head, claims, signature = assertion.split(".")
            header, said = json.loads(unpadded(head)), json.loads(unpadded(claims))
            key_id = header.get("kid")
            if key_id not in self.key_ids:
                raise ValueError("no key of this account")
            key(key_id).public_key().verify(unpadded(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())
        except (ValueError, InvalidSignature) as error:
            raise oauth_error("invalid_grant", "Invalid JWT Signature.") from error
        if header != {"alg": "RS256", "typ": "JWT", "kid": key_id}:
            raise oauth_error("invalid_grant", f"Invalid JWT: header {header}")
        if set(said) != {"iss", "scope", "aud", "iat", "exp"} or said["iss"] != EMAIL:
            raise oauth_error("invalid_grant", "Invalid grant: account not found")
        if said["scope"] != SCOPE:
            raise oauth_error("invalid_scope", f"Invalid OAuth scope or ID token audience provided: {said['scope']}")
        if said["aud"] != self.url + "/token":
            raise oauth_error("invalid_grant", f"Invalid JWT: Failed audience check: {said['aud']}")
        now = self.now()
        if (
            said["exp"] - said["iat"] > 3600
            or said["iat"] > now + SKEW_TAKEN_S
            or not now - SKEW_TAKEN_S < said["exp"] <= now + 3600 + SKEW_TAKEN_S
        ):
            raise oauth_error(
                "invalid_grant",
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
                "Check your iat and exp values in the JWT claim.",
            )

    def do_sts(self, call) -> Reply:
        form = self._form(call)
        self._only(form, "grant_type", "audience", "scope", "requested_token_type", "subject_token", "subject_token_type")
        if form["grant_type"] != "urn:ietf:params:oauth:grant-type:token-exchange":
            return oauth_error("unsupported_grant_type", form["grant_type"])
        if form["audience"] != AUDIENCE or form["scope"] != SCOPE or form["subject_token_type"] != JWT_TYPE:
            return oauth_error("invalid_request", f"{form}")
        if form["requested_token_type"] != "urn:ietf:params:oauth:token-type:access_token":
            return oauth_error("invalid_request", form["requested_token_type"])
        if form["subject_token"] not in self.subject_tokens:
            return oauth_error("invalid_grant", "The given credential is rejected by the attribute condition.")
        return self._granted(federated=True, issued_token_type="urn:ietf:params:oauth:token-type:access_token")

    def do_generateAccessToken(self, call) -> Reply:
        if self.bearer(call) not in self.federated:
            return Reply(401, {"error": {"code": 401, "message": "no federated token", "status": "UNAUTHENTICATED"}})
        if call.json() != {"scope": [SCOPE], "lifetime": "3600s"}:
            return Reply(400, {"error": {"code": 400, "message": f"{call.json()}", "status": "INVALID_ARGUMENT"}})
        ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.now() + self.token_seconds))
        return Reply(200, {"accessToken": self.issue(), "expireTime": ends})

    def do_subject(self, call) -> Reply:
        """Where a federation's subject gets its token by URL."""
        if call.headers.get("X-Who") != "pod":
            return Reply(403, "who?")
        return Reply(200, {"id_token": sorted(self.subject_tokens)[0]})

    def do_metadata(self, call) -> Reply:
        flavor = {"Metadata-Flavor": self.metadata_flavor} if self.metadata_flavor else {}
        path = call.path.removeprefix("/computeMetadata/v1/")
        if call.headers.get("Metadata-Flavor") != "Google":
            return Reply(403, "Metadata-Flavor: Google is missing", flavor)
        if path == "instance/service-accounts/default/token" and self.is_instance:
            if call.one("scopes") != SCOPE:
                return Reply(400, "scopes", flavor)
            return Reply(200, self._granted().body, {**flavor, "Content-Type": "application/json"})
        text = self.metadata.get(path)
        return Reply(404 if text is None else 200, text or "not found", flavor)
