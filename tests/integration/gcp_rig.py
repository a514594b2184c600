# SPDX-License-Identifier: Apache-2.0
"""provider-tool with the GCP driver against the fake of Google (tests/fakes/gcp.py)."""

import dataclasses
import json
import os
import subprocess
import time

from fakes.gcp import Gcp
from peerpod import paths


@dataclasses.dataclass
class ToolError(Exception):
    kind: str
    message: str


class Rig:
    def __init__(self, **settings):
        self.cloud = Gcp(**settings)
        self.log = ""
        self.secrets = [self.cloud.service_account()["private_key"].splitlines()[1]]

    def close(self):
        for token in list(self.cloud.tokens):
            assert token not in self.log
        self.cloud.close()

    def environment(self, more=()) -> dict:
        keep = {name: value for name, value in os.environ.items() if not name.startswith(("GCP_", "GCE_", "GOOGLE_", "PODVM_"))}
        merged = {**keep, "HOME": "/nonexistent", **self.cloud.environment(), **dict(more)}
        return {name: value for name, value in merged.items() if value is not None}

    def command(self, *words):
        return [paths.program("provider-tool"), str(paths.BUILD / "providers/gcp.so"), "--", *words]

    def start(self, verb, environment=(), **arguments) -> subprocess.Popen:
        words = [f"{key.replace('_', '-')}={value}" for key, value in arguments.items()]
        return subprocess.Popen(
            self.command(*verb.split(), *words),
            env=self.environment(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, verb, environment=(), stdin="", **arguments) -> list:
        words = [f"{key.replace('_', '-')}={value}" for key, value in arguments.items()]
        done = subprocess.run(
            self.command(*verb.split(), *words),
            env=self.environment(environment),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr, done.stderr
        for secret in self.secrets:
            assert secret not in done.stderr + done.stdout
        self.log, self.status = done.stderr, done.returncode
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert lines, f"exit status {done.returncode}: {done.stderr}"
        return lines

    def tool(self, verb, environment=(), stdin="", **arguments):
        lines = self.run(verb, environment, stdin, **arguments)
        value = lines[0] if len(lines) == 1 else lines
        if self.status and isinstance(value, dict) and "error" in value:
            raise ToolError(value["error"], value["message"])
        return value
