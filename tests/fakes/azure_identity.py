# SPDX-License-Identifier: Apache-2.0
"""How Azure knows who asks: Entra ID's tokens for a secret or for a service account's token, and the metadata service.

azure.py mixes this into its fake, which has `url`, `lock` and `audience`.
"""

import base64
import functools
import json
import secrets
import time
import urllib.parse

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from fakes.azure_names import AUDIENCE, CLIENT, ISSUER, SECRET, SUBJECT, TENANT
from fakes.server import Reply


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@functools.cache
def issuer_key():
    """The cluster's, which signs the tokens of service accounts."""
    return rsa.generate_private_key(65537, 2048)


class Identity:
    def start_identity(self) -> None:
        self.tokens: dict = {}  # token -> end
        self.token_life = 3599
        self.imds_identities = {"": True}
        self.key = issuer_key()

    @property
    def audience(self) -> str:
        return self.url

    def federated_token(self, key=None, **claims) -> str:
        """What the kubelet would write for the adaptor's service account; claims replace those that are right."""
        now = int(time.time())
        full = {"iss": ISSUER, "sub": SUBJECT, "aud": [AUDIENCE], "iat": now, "nbf": now, "exp": now + 3600, **claims}
        head = _b64(json.dumps({"alg": "RS256", "typ": "JWT", "kid": "1"}).encode()) + "." + _b64(json.dumps(full).encode())
        return head + "." + _b64((key or self.key).sign(head.encode(), padding.PKCS1v15(), hashes.SHA256()))

    def give_token(self) -> str:
        token = "fake-token-" + secrets.token_hex(16)
        self.tokens[token] = time.time() + self.token_life
        return token

    def revoke_tokens(self) -> None:
        with self.lock:
            self.tokens.clear()

    @staticmethod
    def entra(status, code, number, text):
        body = {"error": code, "error_description": f"AADSTS{number}: {text}\r\nTrace ID: t-1", "error_codes": [number]}
        return Reply(status, {**body, "trace_id": "t-1", "correlation_id": "c-1"})

    def do_token(self, call):
        if call.path != f"/{TENANT}/oauth2/v2.0/token":
            return self.entra(400, "invalid_request", 90002, "Tenant not found.")
        if call.headers.get("Content-Type") != "application/x-www-form-urlencoded":
            return self.entra(400, "invalid_request", 900144, "The request body must be a form.")
        form = urllib.parse.parse_qs(call.body.decode(), strict_parsing=True)
        if any(len(values) != 1 for values in form.values()):
            return self.entra(400, "invalid_request", 9000411, "A parameter is duplicated.")
        form = {name: values[0] for name, values in form.items()}
        common = {"client_id", "scope", "grant_type"}
        if form.get("grant_type") != "client_credentials":
            return self.entra(400, "unsupported_grant_type", 70003, "The grant type is not supported.")
        if form.get("scope") != self.audience + "/.default":
            return self.entra(400, "invalid_scope", 70011, f"The scope {form.get('scope')} is not valid.")
        if form.get("client_id") != CLIENT:
            return self.entra(400, "unauthorized_client", 700016, "Application was not found in the directory.")
        if set(form) == common | {"client_secret"}:
            if form["client_secret"] != SECRET:
                return self.entra(401, "invalid_client", 7000215, "Invalid client secret provided.")
        elif set(form) == common | {"client_assertion", "client_assertion_type"}:
            if form["client_assertion_type"] != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer":
                return self.entra(400, "invalid_request", 700021, "Client assertion type is not supported.")
            wrong = self.wrong_assertion(form["client_assertion"])
            if wrong:
                return self.entra(401, "invalid_client", *wrong)
        else:
            return self.entra(400, "invalid_request", 900144, f"The request has the parameters {sorted(form)}.")
        life = self.token_life
        return Reply(200, {"token_type": "Bearer", "expires_in": life, "ext_expires_in": life, "access_token": self.give_token()})

    def wrong_assertion(self, text):
        try:
            head, claims, signature = text.split(".")
            self.key.public_key().verify(_unb64(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())
            head, claims = json.loads(_unb64(head)), json.loads(_unb64(claims))
        except (ValueError, InvalidSignature):
            return 700027, "The certificate used to sign the assertion is not registered."
        if head.get("alg") != "RS256" or claims["iss"] != ISSUER:
            return 700211, "No matching federated identity record found for presented assertion issuer."
        if claims["sub"] != SUBJECT:
            return 700213, "No matching federated identity record found for presented assertion subject."
        if claims["aud"] not in (AUDIENCE, [AUDIENCE]):
            return 700212, "No matching federated identity record found for presented assertion audience."
        if not claims["nbf"] - 5 <= time.time() < claims["exp"]:
            return 700024, "Client assertion is not within its valid time range."
        return None

    def do_imds_token(self, call):
        if call.method != "GET" or call.headers.get("Metadata") != "true" or call.headers.get("X-Forwarded-For"):
            return Reply(400, {"error": "invalid_request", "error_description": "Required metadata header not specified"})
        known = {"api-version": "2018-02-01", "resource": self.audience + "/"}
        given = {name: call.one(name) for name in call.query}
        client = given.pop("client_id", "")
        if given != known:
            return Reply(400, {"error": "invalid_request", "error_description": f"{given} is not {known}"})
        if client not in self.imds_identities:
            return Reply(400, {"error": "invalid_request", "error_description": "Identity not found"})
        now = int(time.time())
        body = {"access_token": self.give_token(), "client_id": client or CLIENT, "expires_in": str(self.token_life)}
        body.update(expires_on=str(now + self.token_life), not_before=str(now - 5), resource=self.audience + "/", token_type="Bearer")
        return Reply(200, body)
