# SPDX-License-Identifier: Apache-2.0
"""Azure's published schema: the models of the official SDK packages, as a judge of JSON documents.

The packages describe each model by a map of attributes (JSON key, type), what is read-only or required, and, in the
annotations of its constructor, which enumeration a text belongs to.
"""

import base64
import datetime
import enum
import functools
import inspect
import re

# Lists that the schema itself calls incomplete: sizes are judged by resourceSkus.
OPEN = {"VirtualMachineSizeTypes"}


class Refused(Exception):
    """What is wrong with a document, and where."""


class Schema:
    def __init__(self, models):
        self.models = models

    def check(self, name: str, document, request: bool) -> None:
        """request: what a client sends: nothing read-only, nothing required missing. Else what a server answers."""
        self._model(getattr(self.models, name), document, name, request)

    @functools.lru_cache(maxsize=None)
    def _tree(self, model) -> dict:
        """JSON key -> (type, attribute) or a dict for what is flattened: "properties.hardwareProfile"."""
        tree: dict = {}
        for attribute, entry in model._attribute_map.items():
            keys = [key.replace("\\.", ".") for key in re.split(r"(?<!\\)\.", entry["key"])]
            node = tree
            for key in keys[:-1]:
                node = node.setdefault(key, {})
            node[keys[-1]] = (entry["type"], attribute)
        return tree

    @functools.lru_cache(maxsize=None)
    def _enums(self, model) -> dict:
        """attribute -> the enumeration that its values are of."""
        found = {}
        for attribute, annotation in inspect.get_annotations(model.__init__).items():
            for word in re.findall(r"_models\.(\w+)", str(annotation)):
                kind = getattr(self.models, word, None)
                if isinstance(kind, type) and issubclass(kind, enum.Enum) and word not in OPEN:
                    found[attribute] = kind
        for base in model.__mro__[1:]:
            if hasattr(base, "_attribute_map"):
                for attribute, kind in self._enums(base).items():
                    found.setdefault(attribute, kind)
        return found

    def _model(self, model, document, where, request) -> None:
        if not isinstance(document, dict):
            raise Refused(f"{where} must be an object")
        self._node(model, self._tree(model), document, where, request)

    def _node(self, model, tree, document, where, request) -> None:
        rules = getattr(model, "_validation", {})
        for key in document:
            if key not in tree:
                raise Refused(f"Could not find member '{key}' on object of type '{model.__name__}' at {where}.{key}")
        for key, entry in tree.items():
            place = f"{where}.{key}"
            if isinstance(entry, dict):
                if key in document:
                    if not isinstance(document[key], dict):
                        raise Refused(f"{place} must be an object")
                    self._node(model, entry, document[key], place, request)
                continue
            kind, attribute = entry
            rule = rules.get(attribute, {})
            if key not in document:
                if rule.get("required") and not (rule.get("constant") and not request):
                    raise Refused(f"Required parameter '{key}' is missing at {place}")
                continue
            if request and rule.get("readonly"):
                raise Refused(f"{place} is read-only")
            if document[key] is None:
                if request:
                    raise Refused(f"{place} is null")
                continue
            self._value(model, attribute, kind, document[key], place, request)

    def _value(self, model, attribute, kind, value, where, request) -> None:
        if kind.startswith("["):
            if not isinstance(value, list):
                raise Refused(f"{where} must be an array")
            for index, item in enumerate(value):
                self._value(model, attribute, kind[1:-1], item, f"{where}[{index}]", request)
        elif kind.startswith("{"):
            if not isinstance(value, dict):
                raise Refused(f"{where} must be an object")
            for key, item in value.items():
                self._value(model, attribute, kind[1:-1], item, f"{where}.{key}", request)
        elif kind in PLAIN:
            if not PLAIN[kind](value):
                raise Refused(f"{where}: {value!r:.80} is not of type {kind}")
            allowed = self._enums(model).get(attribute)
            if allowed and value.lower() not in {one.value.lower() for one in allowed}:
                raise Refused(f"{where}: {value!r:.80} is none of {', '.join(one.value for one in allowed)}")
        else:
            self._model(getattr(self.models, kind), value, where, request)


def _is_time(value) -> bool:
    try:
        return isinstance(value, str) and bool(datetime.datetime.fromisoformat(value.replace("Z", "+00:00")))
    except ValueError:
        return False


PLAIN = {
    "str": lambda value: isinstance(value, str),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "long": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "bool": lambda value: isinstance(value, bool),
    "iso-8601": _is_time,
    "object": lambda value: True,
    "duration": lambda value: isinstance(value, str),
}


def ssh_rsa_bits(text: str) -> int:
    """Of an "ssh-rsa BASE64" line; raises Refused for anything else."""
    words = text.split()
    if len(words) < 2 or words[0] != "ssh-rsa":
        raise Refused("the SSH key is not of type ssh-rsa")
    try:
        blob = base64.b64decode(words[1], validate=True)
        parts = []
        while blob:
            size = int.from_bytes(blob[:4], "big")
            if len(blob) < 4 + size:
                raise ValueError("cut")
            parts.append(blob[4 : 4 + size])
            blob = blob[4 + size :]
        kind, exponent, modulus = parts
    except ValueError as error:
        raise Refused(f"the SSH key cannot be read: {error}") from None
    if kind != b"ssh-rsa" or modulus[:1] >= b"\x80" or int.from_bytes(exponent, "big") != 65537:
        raise Refused("the SSH key is malformed")
    return int.from_bytes(modulus, "big").bit_length()
