# SPDX-License-Identifier: Apache-2.0
"""A fake Azure and provider-tool to drive the driver against it."""

import json
import os
import subprocess

from fakes.azure import SECRET, Azure
from peerpod import paths

DRIVER = paths.BUILD / "providers/azure.so"


class ToolError(Exception):
    def __init__(self, kind: str, message: str):
        super().__init__(f"{kind}: {message}")
        self.kind, self.message = kind, message


def environment(cloud, more=()) -> dict:
    keep = {name: value for name, value in os.environ.items() if not name.startswith("AZURE_")}
    merged = {**keep, **cloud.environment(), "AZURE_CATALOGUE_FOLDER": "", "HOME": "/nonexistent", **dict(more)}
    # An empty variable counts as unset: this one is given as a flag.
    return {name: value for name, value in merged.items() if value is not None}


def command(verb, options=(), **arguments) -> list:
    words = [f"{key.replace('_', '-')}={value}" for key, value in arguments.items()]
    return [paths.program("provider-tool"), str(DRIVER), "-catalogue-folder=", *options, "--", *verb.split(), *words]


class Tool:
    def __init__(self, cloud: Azure):
        self.cloud = cloud
        self.log = ""

    def __call__(self, verb, more=(), stdin="", options=(), **arguments):
        done = subprocess.run(
            command(verb, options, **arguments),
            env=environment(self.cloud, more),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert "Sanitizer" not in done.stderr, done.stderr
        assert SECRET not in done.stderr + done.stdout and "fake-token-" not in done.stderr + done.stdout
        self.log = done.stderr
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert lines, f"exit status {done.returncode}: {done.stderr}"
        value = lines[0] if len(lines) == 1 else lines
        if done.returncode and isinstance(value, dict) and "error" in value:
            raise ToolError(value["error"], value["message"])
        return value
