# SPDX-License-Identifier: Apache-2.0
"""Puts tests/ on the path (tests say `from peerpod import ttrpc`) and gives the fixtures that many need."""

import os
import pathlib
import secrets
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from fakes.instances import Netns  # noqa: E402
from peerpod import cni, clouds, leaks, paths, stack  # noqa: E402

# Failures of what must be there in CI; elsewhere a reason to skip.
IN_CI = bool(os.environ.get("CI"))


def need(condition: bool, reason: str) -> None:
    """Skips, saying so; in CI nothing may be skipped."""
    if not condition:
        if IN_CI:
            pytest.fail(f"in CI this must not be skipped: {reason}")
        pytest.skip(reason)


class World:
    """A worker in a namespace of its own, its pod network, an adaptor. driver: "netns", or a cloud whose fake
    (settings: the fake's own) then runs at the worker's 127.0.0.1 and has netns instances."""

    bridge = "pp-netns0"

    def __init__(self, environment=(), options=(), driver="netns", **settings):
        self.prefix = "t" + secrets.token_hex(2)
        self.driver = driver
        self.worker = cni.Worker(self.prefix)
        self.instances = self.cloud = None
        self.shims: list = []
        self.before = None
        try:
            self.network = cni.Bridge(self.worker, self.prefix)
            variables = dict(environment)
            if driver != "netns":
                self.instances = Netns(self.bridge, worker=self.worker)
                self.cloud = clouds.make(driver, self.instances, **settings)
                variables = {**self.cloud.environment(), **variables}
            self.stack = stack.Stack(driver, self.worker, variables, [f"-host-interface={self.bridge}", *options])
            if self.instances:
                self.stack.netns_state = self.instances.state
        except BaseException:
            self.close_cloud()
            self.worker.close()
            raise

    def start(self, **how) -> "World":
        self.stack.start(**how)
        if self.before is None:
            self.before = self.picture()
        return self

    def picture(self) -> leaks.Picture:
        said = self.instances.log() if self.instances else ""
        return self.stack.picture(netns=self.prefix, also_log=said)

    def inventory(self) -> dict:
        """What the cloud has that costs money or is ours."""
        return self.cloud.inventory() if self.cloud else {"instances": self.stack.instances()}

    def vms(self) -> list:
        """The instances in it."""
        return clouds.instances_in(self.driver, self.inventory()) if self.cloud else self.stack.instances()

    def shim(self, name: str = "web", **more):
        """A pod network namespace and the shim for it."""
        pod = self.network.add_pod(name)
        shim = self.stack.shim(pod, pod=name, **more)
        shim.pod_netns = pod
        self.shims.append(shim)
        return shim

    def pod(self, name: str = "web", **more):
        """A pod whose sandbox container runs."""
        shim = self.shim(name, **more)
        shim.start_pod(timeout=60)
        return shim

    def nothing_left(self, timeout: float = 15) -> None:
        """No instance, record, socket, link, rule, cgroup or process that was not there before."""
        from peerpod.shim import wait_until

        for shim in self.shims:
            shim.close()
            pod = shim.pod_netns
            wait_until(lambda: not leaks.in_pod(pod), timeout, f"no tunnel device is left in {pod.path}")
            self.network.remove_pod(shim.pod_netns)
        self.shims = []
        try:
            wait_until(lambda: not self.left(), timeout, "nothing is left", 0.05)
        except TimeoutError:
            raise AssertionError("left behind:\n" + "\n".join(self.left())) from None

    def left(self) -> list:
        """Lines, one for each thing that was not there before."""
        return self.picture().new_since(self.before) + [f"{kind}: {names}" for kind, names in self.inventory().items() if names]

    def close_cloud(self) -> None:
        if what := self.cloud or self.instances:
            what.close()

    def close(self, failed: bool) -> None:
        try:
            for shim in self.shims:
                shim.close()
            self.stack.__exit__(AssertionError if failed else None)
        finally:
            try:
                self.close_cloud()
            finally:
                self.network.close()
                self.worker.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    setattr(item, f"report_{report.when}", report)
    return report


@pytest.fixture
def make_world(request):
    """A function that makes worlds; they end with the test, and must then hold no sanitizer's complaint."""
    worlds = []

    def make(**how) -> World:
        need(os.geteuid() == 0, "needs root: network namespaces")
        worlds.append(World(**how))
        return worlds[-1]

    yield make
    report = getattr(request.node, "report_call", None)
    for world in worlds:
        world.close(failed=report is None or report.failed)


@pytest.fixture
def world(make_world) -> World:
    return make_world().start()


@pytest.fixture(scope="session")
def fault_points() -> list:
    return list_fault_points()


def list_fault_points() -> list:
    """The places where the adaptor can be told to kill itself; empty for builds without."""
    done = subprocess.run([paths.program("cloud-api-adaptor"), "faults"], capture_output=True, text=True)
    return done.stdout.split() if done.returncode == 0 else []


def storm_of(rig):
    """Creations that go on beside the other tests of a cloud (peerpod.provider_tool.Storm)."""
    storm = rig.Storm()
    yield storm
    storm.close()


@pytest.fixture(scope="session")
def aws_storm():
    import aws_rig

    yield from storm_of(aws_rig)


@pytest.fixture(scope="session")
def azure_storm():
    import azure_rig

    yield from storm_of(azure_rig)


@pytest.fixture(scope="session")
def gcp_storm():
    import gcp_rig

    yield from storm_of(gcp_rig)
