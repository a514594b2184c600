# SPDX-License-Identifier: Apache-2.0
"""The EC2 Query API as it goes over the wire, by botocore's model of the service: requests read strictly, answers written.

    read(model, body)            -> the parameters, nested and typed, in the model's own names; Refusal where the model says no
    write(model, result, id)     -> the XML of an answer; what the model does not know is a mistake of the caller's
    check_signature(...)         -> Refusal unless botocore's signer comes to the same signature

Whatever the service would reject is rejected: unknown parameters, missing ones, lists with gaps, values of another type or
outside an enumeration.
"""

import base64
import binascii
import datetime
import functools
import json
import re
import urllib.parse
from xml.sax import saxutils

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import botocore.session

# The HTTP status of each code that is not a plain 400.
STATUS = {
    "AuthFailure": 401,
    "InvalidClientTokenId": 403,
    "SignatureDoesNotMatch": 403,
    "UnauthorizedOperation": 403,
    "AccessDenied": 403,
    "OptInRequired": 403,
    "Blocked": 403,
    "DryRunOperation": 412,
    "InsufficientInstanceCapacity": 500,
    "InsufficientCapacity": 500,
    "InsufficientHostCapacity": 500,
    "InsufficientAddressCapacity": 500,
    "InternalError": 500,
    "InternalFailure": 500,
    "RequestLimitExceeded": 503,
    "EC2ThrottledException": 503,
    "ServiceUnavailable": 503,
    "Unavailable": 503,
}
TIME_LIMIT_S = 300  # signatures are taken within this of the service's clock


class Refusal(Exception):
    """An error of the service: its code, its text, its HTTP status."""

    def __init__(self, code: str, message: str = "", status: int = 0):
        super().__init__(f"{code}: {message}")
        self.code, self.message = code, message or code
        self.status = status or STATUS.get(code, 400)


@functools.lru_cache(maxsize=None)
def service(name: str):
    return botocore.session.get_session().get_service_model(name)


@functools.lru_cache(maxsize=None)
def operation(name: str, action: str):
    return service(name).operation_model(action)


# ---- requests --------------------------------------------------------------------------------------------------


def flat(body: bytes) -> dict:
    """The parameters as they were sent, each once."""
    try:
        pairs = urllib.parse.parse_qsl(body.decode("utf-8"), strict_parsing=True, keep_blank_values=True, errors="strict")
    except (UnicodeDecodeError, ValueError) as wrong:
        raise Refusal("MalformedQueryString", str(wrong)) from wrong
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Refusal("InvalidParameterValue", "a parameter comes twice")
    return found


def read(name: str, body: bytes):
    """(action, parameters) of a request to this service."""
    sent = flat(body)
    action, version = sent.pop("Action", ""), sent.pop("Version", "")
    model = service(name)
    if action not in model.operation_names:
        raise Refusal("InvalidAction", f"The action {action} is not valid for this web service.")
    if version != model.api_version:
        raise Refusal("InvalidParameterValue", f"Version {version}: {model.api_version} is the one")
    shape = operation(name, action).input_shape
    if shape is None:
        return action, {}
    reader = _Reader(sent, flat_lists=model.metadata["protocol"] == "ec2")
    parameters = reader.structure(shape, "")
    if reader.left:
        raise Refusal("UnknownParameter", f"The parameter {sorted(reader.left)[0]} is not recognized")
    return action, parameters


def read_json(name: str, headers, body: bytes):
    """(action, parameters) of a request to a service that speaks JSON; flat ones are all that is needed here."""
    model = service(name)
    if headers["Content-Type"] != f"application/x-amz-json-{model.metadata['jsonVersion']}":
        raise Refusal("SerializationException", f"Content-Type {headers['Content-Type']}")
    prefix, _, action = (headers["X-Amz-Target"] or "").partition(".")
    if prefix != model.metadata["targetPrefix"] or action not in model.operation_names:
        raise Refusal("UnknownOperationException", headers["X-Amz-Target"] or "")
    shape, asked = operation(name, action).input_shape, json.loads(body)
    if set(asked) - set(shape.members) or set(shape.required_members) - set(asked):
        raise Refusal("ValidationException", f"parameters {sorted(asked)}")
    return action, {key: scalar(shape.members[key], key, value) for key, value in asked.items()}


class _Reader:
    def __init__(self, sent: dict, flat_lists: bool):
        self.sent, self.flat_lists = sent, flat_lists
        self.left = set(sent)

    def has(self, prefix: str) -> bool:
        return any(name == prefix or name.startswith(prefix + ".") for name in self.left)

    def name_of(self, name: str, shape) -> str:
        if not self.flat_lists:
            return shape.serialization.get("name", name)
        on_wire = shape.serialization.get("queryName") or shape.serialization.get("name") or name
        return on_wire[0].upper() + on_wire[1:]

    def structure(self, shape, prefix: str) -> dict:
        found = {}
        for name, member in shape.members.items():
            path = (prefix and prefix + ".") + self.name_of(name, member)
            if self.has(path):
                found[name] = self.value(member, path)
        for name in shape.required_members:
            if name not in found:
                raise Refusal("MissingParameter", f"The request must contain the parameter {(prefix and prefix + '.') + name}")
        return found

    def list(self, shape, prefix: str) -> list:
        if not self.flat_lists and not shape.serialization.get("flattened"):
            prefix += "." + shape.member.serialization.get("name", "member")
        numbers = {name[len(prefix) + 1 :].split(".")[0] for name in self.left if name.startswith(prefix + ".")}
        if not numbers or not all(number.isdecimal() for number in numbers):
            raise Refusal("InvalidParameterValue", f"{prefix} is a list: {prefix}.1, {prefix}.2 ...")
        wanted = [str(n) for n in range(1, len(numbers) + 1)]
        if numbers != set(wanted):
            raise Refusal("InvalidParameterValue", f"{prefix}: elements {sorted(numbers)} are not numbered from 1 without gaps")
        return [self.value(shape.member, f"{prefix}.{number}") for number in wanted]

    def value(self, shape, path: str):
        if shape.type_name == "structure":
            return self.structure(shape, path)
        if shape.type_name == "list":
            return self.list(shape, path)
        if path not in self.left:
            raise Refusal("InvalidParameterValue", f"{path} has one value and no parts")
        self.left.discard(path)
        return scalar(shape, path, self.sent[path])


def scalar(shape, path: str, text: str):
    def wrong(why):
        return Refusal("InvalidParameterValue", f"Value ({text[:60]}) for parameter {path} is invalid. {why}")

    kind, limits = shape.type_name, shape.metadata
    if kind == "boolean":
        if text not in ("true", "false"):
            raise wrong("true or false")
        return text == "true"
    if kind in ("integer", "long"):
        if not re.fullmatch(r"-?\d+", text):
            raise wrong("It is no integer")
        number = int(text)
        if not limits.get("min", number) <= number <= limits.get("max", number):
            raise wrong(f"Expected a value from {limits.get('min')} to {limits.get('max')}")
        return number
    if kind in ("float", "double"):
        return float(text)
    if kind == "timestamp":
        return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    if kind == "blob":
        return decode64(text, path)
    if getattr(shape, "enum", None) and text not in shape.enum:
        raise wrong(f"It is none of {', '.join(shape.enum[:12])}")
    if not limits.get("min", 0) <= len(text) <= limits.get("max", len(text)):
        raise wrong(f"It must have {limits.get('min', 0)} to {limits.get('max')} characters")
    return text


def decode64(text: str, path: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as wrong:
        raise Refusal("InvalidParameterValue", f"{path}: Invalid BASE64 encoding of user data") from wrong


# ---- answers ---------------------------------------------------------------------------------------------------


def write(name: str, action: str, result: dict, request: str) -> bytes:
    model = service(name)
    inner = f"<requestId>{request}</requestId>"
    shape = operation(name, action).output_shape
    if shape is not None:
        inner += _members(shape, result, action)
    elif result:
        raise TypeError(f"{action} answers nothing: {result}")
    else:
        inner += "<return>true</return>"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<{action}Response xmlns="http://ec2.amazonaws.com/doc/{model.api_version}/">{inner}</{action}Response>'
    ).encode()


def _members(shape, value: dict, path: str) -> str:
    unknown = set(value) - set(shape.members)
    if unknown:
        raise TypeError(f"{path}: the model knows no {sorted(unknown)}")
    text = ""
    for name, member in shape.members.items():
        if value.get(name) is not None:
            tag = member.serialization.get("name", name)
            text += f"<{tag}>{_content(member, value[name], f'{path}.{name}')}</{tag}>"
    return text


def _content(shape, value, path: str) -> str:
    kind = shape.type_name
    if kind == "structure":
        return _members(shape, value, path)
    if kind == "list":
        tag = shape.member.serialization.get("name", "member")
        return "".join(f"<{tag}>{_content(shape.member, one, path)}</{tag}>" for one in value)
    if kind == "boolean":
        if not isinstance(value, bool):
            raise TypeError(f"{path}: {value!r} is no boolean")
        return "true" if value else "false"
    if kind in ("integer", "long"):
        return str(int(value))
    if kind == "timestamp":
        return value.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    if kind == "blob":
        return base64.b64encode(value).decode()
    if not isinstance(value, str):
        raise TypeError(f"{path}: {value!r} is no string")
    if getattr(shape, "enum", None) and value not in shape.enum:
        raise TypeError(f"{path}: {value} is none of {shape.enum}")
    return saxutils.escape(value)


def write_error(code: str, message: str, request: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Response><Errors><Error><Code>{code}</Code><Message>{saxutils.escape(message)}</Message></Error></Errors>"
        f"<RequestID>{request}</RequestID></Response>"
    ).encode()


def write_sts(action: str, result: str, request: str) -> bytes:
    return (
        f'<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result>{result}</{action}Result>'
        f"<ResponseMetadata><RequestId>{request}</RequestId></ResponseMetadata></{action}Response>"
    ).encode()


def write_sts_error(code: str, message: str, request: str) -> bytes:
    return (
        '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
        f"<Code>{code}</Code><Message>{saxutils.escape(message)}</Message></Error><RequestId>{request}</RequestId></ErrorResponse>"
    ).encode()


# ---- signatures ------------------------------------------------------------------------------------------------

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})"
)


def check_signature(headers, body: bytes, keys: dict, region: str, name: str, now: float) -> None:
    """keys: {key id: (secret, session token or None, Unix time of its end or None)}."""
    found = _AUTHORIZATION.fullmatch(headers["Authorization"] or "")
    if not found:
        raise Refusal("AuthFailure", "The request has no Authorization header of Signature Version 4")
    key, day, scope_region, scope_service, signed, signature = found.groups()
    if key not in keys:
        raise Refusal("AuthFailure", "AWS was not able to validate the provided access credentials")
    secret, token, ends = keys[key]
    if (headers["X-Amz-Security-Token"] or None) != token:
        raise Refusal("AuthFailure", "the session token is not that of the key pair")
    if ends is not None and now >= ends:
        raise Refusal("ExpiredToken", "The security token included in the request is expired")
    if (scope_region, scope_service) != (region, name):
        raise Refusal("SignatureDoesNotMatch", f"Credential should be scoped to {region}/{name}, not {scope_region}/{scope_service}")
    names = signed.split(";")
    needed = {"content-type", "host", "x-amz-date"} | {name.lower() for name in headers.keys() if name.lower().startswith("x-amz-")}
    if names != sorted(names) or not needed <= set(names):
        raise Refusal("SignatureDoesNotMatch", f"the signed headers are {signed}")
    request = botocore.awsrequest.AWSRequest(
        method="POST",
        url=f"http://{headers['Host']}/",
        data=body,
        headers={header: headers[header] for header in names},
    )
    when = headers["X-Amz-Date"]
    request.context["timestamp"] = when
    signer = botocore.auth.SigV4Auth(botocore.credentials.Credentials(key, secret), scope_service, scope_region)
    text = signer.string_to_sign(request, signer.canonical_request(request))
    if signer.signature(text, request) != signature or not when.startswith(day):
        raise Refusal("SignatureDoesNotMatch", "The request signature we calculated does not match the signature you provided")
    sent = datetime.datetime.strptime(when, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc).timestamp()
    if abs(sent - now) > TIME_LIMIT_S:
        raise Refusal("RequestExpired", "Request has expired.")
