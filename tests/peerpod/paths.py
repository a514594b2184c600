# SPDX-License-Identifier: Apache-2.0
"""Where things are.

PEERPOD_BUILD names the folder of the build under test (default: build/; `make test` sets
build/asan), so the same tests run against every variant.
"""

import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("PEERPOD_BUILD") or ROOT / "build").resolve()


def program(name: str) -> str:
    """Path of a program that `make` builds."""
    path = BUILD / name
    if not path.exists():
        raise FileNotFoundError(f"{path} is not built: run make{make_arguments()}")
    return str(path)


def make_arguments() -> str:
    """What to add to `make` to build into BUILD."""
    if BUILD == ROOT / "build":
        return ""
    if BUILD == ROOT / "build/asan":
        return " SAN=address"
    return f" B={BUILD}"


def is_sanitized() -> bool:
    """True where the build under test has AddressSanitizer, and with it fault points."""
    with open(program("cloud-api-adaptor"), "rb") as f:
        return b"__asan_init" in f.read()
