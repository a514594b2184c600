# SPDX-License-Identifier: Apache-2.0
"""What a Google API takes and gives, by the discovery documents that google-api-python-client brings along.

    compute = Document("compute.v1")
    method, where = compute.find("POST", "/compute/v1/projects/p/zones/z/instances")
    method.check_query({"requestId": ["..."]})      # Wrong: what is unknown, missing, or of another type
    compute.check(method.request, {...})            # likewise; an answer may hold what is read-only

and field masks (the parameter `fields`), which the real services apply, too.
"""

import base64
import binascii
import functools
import importlib.util
import json
import pathlib
import re

OF_EVERY_METHOD = {"fields", "prettyPrint", "alt", "key", "quotaUser", "access_token"}


class Wrong(Exception):
    """What the service would refuse as malformed."""


def folder() -> pathlib.Path:
    """The package itself is not imported: it wants more packages, and its documents are all that is used."""
    return pathlib.Path(importlib.util.find_spec("googleapiclient").origin).parent / "discovery_cache/documents"


@functools.cache
def load(name: str) -> dict:
    return json.loads((folder() / f"{name}.json").read_text())


@functools.cache
def document(name: str) -> "Document":
    return Document(name)


class Method:
    def __init__(self, document: "Document", description: dict):
        self.document = document
        self.id = description["id"].split(".", 1)[1]  # "instances.insert"
        self.http = description["httpMethod"]
        self.parameters = description.get("parameters", {})
        self.request = description.get("request", {}).get("$ref")
        self.response = description.get("response", {}).get("$ref")
        flat = description.get("flatPath", description["path"])
        self.names = re.findall(r"\{(\w+)\}", flat)
        self.pattern = re.compile("/" + document.base + re.sub(r"\\\{\w+\\\}", r"([^/]+?)", re.escape(flat)))
        self.weight = flat.count("{")  # a literal path is meant before one with a variable

    def check_query(self, query: dict) -> None:
        for name, values in query.items():
            if name in OF_EVERY_METHOD:
                continue
            known = self.parameters.get(name)
            if not known or known["location"] != "query":
                raise Wrong(f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter.')
            if len(values) > 1 and not known.get("repeated"):
                raise Wrong(f"{name}: given {len(values)} times")
            for value in values:
                check_text(name, known, value)
        for name, known in self.parameters.items():
            if known.get("required") and known["location"] == "query" and name not in query:
                raise Wrong(f"Required field '{name}' not specified")

    def check_path(self, where: dict) -> None:
        for name, value in where.items():
            pattern = self.parameters.get(name, {}).get("pattern")
            if pattern and not re.fullmatch(pattern, value):
                raise Wrong(f"Invalid value '{value}'. Values must match the following regular expression: '{pattern}'")


def check_text(name: str, known: dict, value: str) -> None:
    """A parameter of a query, which is text whatever its type."""
    kind = known["type"]
    good = {
        "boolean": value in ("true", "false"),
        "integer": re.fullmatch(r"-?\d{1,10}", value),
        "number": re.fullmatch(r"-?\d+(\.\d+)?", value),
        "string": known.get("format") not in ("int64", "uint64") or re.fullmatch(r"-?\d{1,20}", value),
    }[kind]
    if not good:
        raise Wrong(f"Invalid value for {name}: {value} is no {kind}")
    if "maximum" in known and int(value) > int(known["maximum"]):
        raise Wrong(f"Invalid value for {name}: {value} is more than {known['maximum']}")
    if "enum" in known and value not in known["enum"]:
        raise Wrong(f"Invalid value for {name}: {value}")


class Document:
    def __init__(self, name: str):
        document = load(name)
        self.base = document["servicePath"]
        self.schemas = document["schemas"]
        self.methods = sorted((Method(self, one) for one in self._methods(document)), key=lambda one: one.weight)

    def _methods(self, node: dict):
        yield from node.get("methods", {}).values()
        for resource in node.get("resources", {}).values():
            yield from self._methods(resource)

    def find(self, http: str, path: str):
        """The method and its path parameters; None where the service has no such path."""
        for method in self.methods:
            if method.http == http and (match := method.pattern.fullmatch(path)):
                return method, dict(zip(method.names, match.groups()))
        return None

    # ---- values

    def check(self, schema: str, value, method: str = "", answer: bool = False) -> None:
        self._check({"$ref": schema}, value, "", method, answer)

    def _check(self, kind: dict, value, where: str, method: str, answer: bool) -> None:
        if "$ref" in kind:
            kind = self.schemas[kind["$ref"]]
        name = kind.get("type", "object")
        getattr(self, f"_check_{name}")(kind, value, where, method, answer)

    def _check_object(self, kind, value, where, method, answer):
        if not isinstance(value, dict):
            raise Wrong(f"Invalid value at '{where}': no object")
        known = kind.get("properties", {})
        for name, member in value.items():
            there = f"{where}.{name}" if where else name
            if name in known:
                if known[name].get("readOnly") and not answer:
                    raise Wrong(f"'{there}' is output only")
                self._check(known[name], member, there, method, answer)
            elif "additionalProperties" in kind:
                self._check(kind["additionalProperties"], member, there, method, answer)
            else:
                raise Wrong(f'Invalid JSON payload received. Unknown name "{name}" at \'{where}\': Cannot find field.')
        for name, one in known.items():
            if not answer and method in one.get("annotations", {}).get("required", ()) and name not in value:
                raise Wrong(f"Required field '{where}.{name}' not specified")

    def _check_array(self, kind, value, where, method, answer):
        if not isinstance(value, list):
            raise Wrong(f"Invalid value at '{where}': no array")
        for n, one in enumerate(value):
            self._check(kind["items"], one, f"{where}[{n}]", method, answer)

    def _check_string(self, kind, value, where, _method, _answer):
        if not isinstance(value, str):
            raise Wrong(f"Invalid value at '{where}': no string: {value!r}")
        form = kind.get("format")
        if form in ("int64", "uint64") and not re.fullmatch(r"-?\d{1,20}", value):
            raise Wrong(f"Invalid value at '{where}' (TYPE_INT64), \"{value}\"")
        if form == "byte":
            try:
                base64.b64decode(value, validate=True)
            except binascii.Error as error:
                raise Wrong(f"Invalid value at '{where}' (TYPE_BYTES)") from error
        if "enum" in kind and value not in kind["enum"]:
            raise Wrong(f"Invalid value for field '{where}': '{value}'. Must be one of {kind['enum']}")
        if "pattern" in kind and not re.fullmatch(kind["pattern"], value):
            raise Wrong(f"Invalid value for field '{where}': '{value}'. Must be a match of regex '{kind['pattern']}'")

    def _check_integer(self, _kind, value, where, _method, _answer):
        if isinstance(value, bool) or not isinstance(value, int) or not -(1 << 31) <= value < 1 << 32:
            raise Wrong(f"Invalid value at '{where}' (TYPE_INT32): {value!r}")

    def _check_number(self, _kind, value, where, _method, _answer):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise Wrong(f"Invalid value at '{where}' (TYPE_DOUBLE): {value!r}")

    def _check_boolean(self, _kind, value, where, _method, _answer):
        if not isinstance(value, bool):
            raise Wrong(f"Invalid value at '{where}' (TYPE_BOOL): {value!r}")

    def _check_any(self, *_):
        pass

    # ---- masks

    def mask(self, schema: str, fields: str, value):
        """What is left of a value. Wrong where the mask names what the schema has not."""
        tree, rest = parse_mask(fields)
        if rest:
            raise Wrong(f"Invalid field selection {fields}")
        return self._mask({"$ref": schema}, tree, value)

    def _mask(self, kind: dict, tree: dict, value):
        if "$ref" in kind:
            kind = self.schemas[kind["$ref"]]
        if kind.get("type") == "array":
            return [self._mask(kind["items"], tree, one) for one in value] if value is not None else self._mask(kind["items"], tree, None)
        if not tree:
            return value
        out = {}
        for name, below in tree.items():
            if name == "*":
                members = kind.get("additionalProperties")
                if not members:
                    raise Wrong("Invalid field selection *")
                self._mask(members, below, None)
                out.update({key: self._mask(members, below, one) for key, one in (value or {}).items()})
                continue
            member = kind.get("properties", {}).get(name) or kind.get("additionalProperties")
            if not member:
                raise Wrong(f"Invalid field selection {name}")
            found = self._mask(member, below, (value or {}).get(name))
            if value is not None and name in value:
                out[name] = found
        return out if value is not None else None


def parse_mask(text: str):
    """"a,b(c,d/e)" to {"a": {}, "b": {"c": {}, "d": {"e": {}}}}, and what follows it."""
    tree: dict = {}
    while True:
        match = re.match(r"[A-Za-z0-9_*]+", text)
        if not match:
            raise Wrong(f"Invalid field selection {text}")
        name, text = match.group(0), text[match.end() :]
        below = tree.setdefault(name, {})
        while text.startswith("/"):
            match = re.match(r"/([A-Za-z0-9_*]+)", text)
            if not match:
                raise Wrong(f"Invalid field selection {text}")
            below, text = below.setdefault(match.group(1), {}), text[match.end() :]
        if text.startswith("("):
            inner, text = parse_mask(text[1:])
            if not text.startswith(")"):
                raise Wrong("Invalid field selection: no )")
            below.update(inner)
            text = text[1:]
        if not text.startswith(","):
            return tree, text
        text = text[1:]


# ---- filters of lists ---------------------------------------------------------------------------------------


def parse_filter(text: str):
    """AIP-160, as Compute Engine has it: (a = "x") OR (b:*) (c != y); what stands side by side is ANDed. A function of an item."""
    tokens = re.findall(r'\(|\)|"(?:[^"\\]|\\.)*"|!=|>=|<=|[=:<>]|[^\s()=:!<>"]+', text)
    if "".join(tokens) != re.sub(r'\s+(?=(?:[^"]*"[^"]*")*[^"]*$)', "", text):
        raise Wrong(f"Invalid list filter expression: {text}")
    if {"eq", "ne"} & set(tokens):
        raise Wrong(f"Invalid list filter expression: regular expressions and AIP-160 in one: {text}")
    test, rest = _or(tokens)
    if rest:
        raise Wrong(f"Invalid list filter expression: {text}")
    return test


def _or(tokens):
    left, tokens = _and(tokens)
    tests = [left]
    while tokens and tokens[0] == "OR":
        one, tokens = _and(tokens[1:])
        tests.append(one)
    return (lambda item: any(test(item) for test in tests)), tokens


def _and(tokens):
    tests = []
    while tokens and tokens[0] not in (")", "OR"):
        if tests and tokens[0] == "AND":
            tokens = tokens[1:]
        one, tokens = _term(tokens)
        tests.append(one)
    if not tests:
        raise Wrong("Invalid list filter expression: nothing is asked for")
    return (lambda item: all(test(item) for test in tests)), tokens


def _term(tokens):
    if tokens[0] == "(":
        inner, tokens = _or(tokens[1:])
        if not tokens or tokens[0] != ")":
            raise Wrong("Invalid list filter expression: no )")
        return inner, tokens[1:]
    if len(tokens) < 3 or tokens[1] not in ("=", "!=", ":"):
        raise Wrong(f"Invalid list filter expression at {' '.join(tokens[:3])}")
    field, operator, wanted = tokens[:3]
    if not re.fullmatch(r"[A-Za-z][\w.-]*", field):
        raise Wrong(f"Invalid list filter expression: {field} is no field")
    wanted = wanted[1:-1] if wanted.startswith('"') else wanted
    path = field.split(".", 1)

    def value_of(item):
        for name in path:
            item = item.get(name) if isinstance(item, dict) else None
        return item

    def test(item):
        value = value_of(item)
        if operator == ":":
            return value is not None and (wanted == "*" or wanted in str(value))
        return (str(value) == wanted and value is not None) == (operator == "=")

    return test, tokens[3:]
