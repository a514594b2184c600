# SPDX-License-Identifier: Apache-2.0
"""A driver in provider-tool: a verb of provider.h is a process, its answer JSON.

    driver = Driver("aws", cloud, hidden=("AWS_",))              # cloud: whatever has environment()
    made = create(driver, {"AWS_SPOT": "true"}, vcpus=4)         # the answer, or a ToolError
    driver.tool("delete", id=made["id"])
    driver.tool("serve", stdin="list\\nlist\\n")                 # a verb a line: the answers
    assert failed(driver.tool, "find", token="00").kind == "gone"
    driver.killed_after("DeleteVolume", "delete", id=made["id"])

What a run prints is looked through for sanitizers' words and for secrets.
"""

import itertools
import json
import os
import re
import secrets
import signal
import subprocess
import tempfile

from peerpod import paths

TIMEOUT = 180  # seconds; more than any wait of a driver that a test lets run out


class ToolError(Exception):
    """What a driver answers when it fails."""

    def __init__(self, kind: str, message: str):
        super().__init__(f"{kind}: {message}")
        self.kind, self.message = kind, message


class Driver:
    """cloud: None where all variables come with the calls; hidden: how the names of variables begin that the driver must not
    have from the caller; secrets: what it must never print; options: its flags in every call."""

    def __init__(self, name: str, cloud, hidden=(), secrets=(), options=()):
        self.name, self.cloud = name, cloud
        self.hidden, self.secrets, self.options = tuple(hidden), list(secrets), list(options)
        self.log = ""  # of the last call

    def environment(self, more=()) -> dict:
        """None as a value: without that variable."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(self.hidden)}
        merged = {**kept, "HOME": "/nonexistent", **(self.cloud.environment() if self.cloud else {}), **dict(more)}
        return {name: value for name, value in merged.items() if value is not None}

    def start(self, verb: str, environment=(), options=(), stderr=subprocess.PIPE, **arguments) -> subprocess.Popen:
        words = [f"{key.replace('_', '-')}={value}" for key, value in arguments.items()]
        module = str(paths.BUILD / f"providers/{self.name}.so")
        return subprocess.Popen(
            [paths.program("provider-tool"), module, *self.options, *options, "--", *verb.split(), *words],
            env=self.environment(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )

    def finish(self, process: subprocess.Popen, stdin="", timeout=TIMEOUT):
        """The answer, or the list of them where there are several."""
        output, self.log = process.communicate(stdin, timeout=timeout)
        assert "Sanitizer" not in self.log and "runtime error" not in self.log, self.log
        assert not [secret for secret in self.secrets if secret in self.log + output]
        lines = [json.loads(line) for line in output.splitlines()]
        assert lines and process.returncode in (0, 1), f"exit status {process.returncode}: {self.log}"
        value = lines[0] if len(lines) == 1 else lines
        if process.returncode and isinstance(value, dict) and "error" in value:
            raise ToolError(value["error"], value["message"])
        return value

    def tool(self, verb: str, environment=(), options=(), stdin="", **arguments):
        return self.finish(self.start(verb, environment, options, **arguments), stdin)

    def killed_after(self, call, verb: str, environment=(), **arguments) -> bool:
        """Runs a verb, and kills it between what the cloud did for its request number `call`, or for one of that name, and
        the answer. False: it ended before, with success."""
        seen = itertools.count(1)

        def hook(made):
            if call in (made.operation, next(seen)):
                process.kill()
                process.wait()

        with self.cloud.lock:  # nothing is carried out before it is known whom to kill
            self.cloud.after_call = hook
            process = self.start(verb, environment, **arguments)
        try:
            process.communicate(timeout=TIMEOUT)
        finally:
            self.cloud.after_call = None
        assert process.returncode in (0, -signal.SIGKILL)
        return process.returncode != 0


def new_token() -> str:
    return secrets.token_hex(16)


def create(driver: Driver, environment=(), **more) -> dict:
    """An instance for the pod web."""
    arguments = {"token": new_token(), "name": "podvm-web-01234567", "pod": "web", "cluster": "c1", "node": "n1", **more}
    return driver.tool("create", environment, **arguments)


def failed(function, *arguments, **more) -> ToolError:
    """What a call fails with."""
    try:
        answer = function(*arguments, **more)
    except ToolError as error:
        return error
    raise AssertionError(f"it did not fail: {answer}")


def one_an_interval(calls, seconds: float) -> None:
    """Of a batch: each call begins an interval after the last one began. How long it takes from there to its arrival differs,
    so they are counted."""
    times = sorted(call.time for call in calls)
    assert not times or len(times) <= (times[-1] - times[0]) / seconds + 2, times


class Served:
    """One process that takes a verb after the other, so what it keeps between them counts."""

    def __init__(self, driver: Driver, environment=()):
        self._secrets = driver.secrets
        self._log = tempfile.TemporaryFile("w+")  # not a pipe: nobody reads before the end
        self.process = driver.start("serve", environment, stderr=self._log)

    def ask(self, line: str):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self) -> str:
        """Its log."""
        self.process.communicate(timeout=30)
        self._log.seek(0)
        log = self._log.read()
        assert self.process.returncode == 0 and "Sanitizer" not in log, log
        assert not [secret for secret in self._secrets if secret in log]
        return log


class Storm:
    """Many creations at once, which go on beside other tests until one asks how they ended."""

    def __init__(self, driver: Driver, size: int, environment=(), **arguments):
        self.driver, self.cloud, self.size = driver, driver.cloud, size
        self.process = driver.start(f"parallel {size} create", environment, token=new_token()[:20] + "%d", name="podvm-%d", **arguments)

    def finish(self) -> list:
        """The instances that were made."""
        return self.driver.finish(self.process, timeout=300)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.cloud.close()


def told_options(name: str) -> str:
    """The table of options that a driver tells."""
    command = [paths.program("provider-tool"), str(paths.BUILD / f"providers/{name}.so"), "-markdown"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n\n", 1)[1].strip()


def documented_options(name: str) -> str:
    """The one in its guide."""
    guide = (paths.ROOT / f"docs/providers/{name}.md").read_text()
    return re.search(r"<!-- options: .*? -->\n(.*?)\n<!-- /options -->", guide, re.DOTALL).group(1)
