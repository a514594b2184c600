# SPDX-License-Identifier: Apache-2.0
"""kill -9 of the adaptor after every single request to a cloud: one instance or none, and nothing leaks.

Requests are counted from the moment of StartVM or StopVM: the adaptor has checked its configuration before (so that it asks
for nothing in the background). After the n-th was carried out and before it is answered the adaptor is killed; n grows until
a whole start or stop has no n-th request. What exists is what the fake says, not what the driver believes.
"""

import itertools
import threading

import pytest

from cloud_cases import CASES, DETOURS
from fakes.server import ANY, Drop
from peerpod import clouds, ttrpc
from peerpod.shim import wait_until

CALM = ["-cloud-config-verify", "-orphan-grace=0"]
SWEEP = ["-cloud-config-verify", "-orphan-grace=100ms", "-orphan-interval=100ms"]
UNREACHED = ["-proxy-timeout=100ms"]
REQUESTS_MAX = 60

each_cloud = pytest.mark.parametrize("driver", clouds.NAMES)


class Killer:
    """The fake's hook. n = 0: only counts."""

    def __init__(self, world, n: int = 0):
        self.world, self.n = world, n
        self.seen: list = []  # operations
        self.most = 0  # instances at once
        self.hit = False
        self._lock = threading.Lock()

    def __call__(self, call) -> None:
        with self._lock:
            if self.hit:
                return
            self.seen.append(call.operation)
            self.most = max(self.most, len(self.world.vms()))
            hit = self.hit = len(self.seen) == self.n
            process = self.world.stack.process
        if hit:  # nobody else's: several requests may be under way, and who waits for the end may start another
            process.kill()
            process.wait()

    def __enter__(self):
        self.world.cloud.after_call = self
        return self

    def __exit__(self, *_):
        self.world.cloud.after_call = None


@pytest.fixture
def calm(make_world, driver):
    """A world whose adaptor asks the cloud for nothing by itself."""

    quick = CASES[driver].quick()

    def make(prepare=lambda cloud: None, options=(), annotations=(), **how):
        world = make_world(driver=driver, options=[*quick, *options], **how)
        prepare(world.cloud)
        world.annotations = annotations
        world.base = list(world.stack.options)
        return start(world, CALM)

    return make


def start(world, options):
    world.stack.options = world.base + options
    return world.start()


def calls_fail(function) -> None:
    try:
        function()
    except (ttrpc.Closed, ttrpc.Status, ConnectionError, OSError):
        pass


def nothing_there(world) -> bool:
    return not world.inventory() and not world.stack.records()


# What may follow the death of the adaptor. But for the last, instances without a record are not searched for: the journal
# has to be enough.


def nobody_comes(world, shim) -> None:
    """The shim has died too."""
    start(world, CALM)


def the_pod_is_stopped(world, shim) -> None:
    start(world, CALM)
    shim.stop_vm(60)


def the_start_is_repeated(world, shim) -> None:
    start(world, CALM)
    calls_fail(lambda: shim.start_vm(60))
    assert len(world.vms()) <= 1
    shim.stop_vm(60)


def the_journal_is_lost(world, shim) -> None:
    for record in (world.stack.state_dir / "sandboxes").glob("*.json"):
        record.unlink()
    start(world, SWEEP)


# ---- one after the other, in several worlds ----------------------------------------------------------------------------


def for_every_request(make, attempt, worlds: int = 2) -> None:
    """attempt(world, n) for n = 1, 2, ... until it says that there is no n-th request. Most of the time something is
    waited for: so many worlds side by side share the numbers."""
    numbers = itertools.count(1)
    ended = []  # numbers that were too high
    errors = []

    def run():
        try:
            world = make()
            while not ended and not errors and (n := next(numbers)) < REQUESTS_MAX:
                if not attempt(world, n):
                    ended.append(n)
            world.nothing_left()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(worlds)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    assert ended and min(ended) > 1, f"{REQUESTS_MAX} requests and no end"


def kill_start(world, n: int, ending) -> bool:
    """A start whose n-th request is the adaptor's last act; False: it has no n-th request."""
    shim = world.shim(annotations=world.annotations)
    shim.create_vm()
    with Killer(world, n) as killer:
        calls_fail(lambda: shim.start_vm(60))
    assert killer.most <= 1, f"{killer.most} instances at once: {killer.seen}"
    if not killer.hit:
        shim.stop_vm(60)
        assert world.inventory() == {}, f"{killer.seen}: {world.inventory()}"
        return False
    world.stack.wait_killed()
    assert len(world.vms()) <= 1
    with Killer(world) as watcher:
        ending(world, shim)
        wait_until(lambda: nothing_there(world), 30, f"nothing is left of {killer.seen}: {world.inventory()}")
    assert watcher.most <= 1, f"{watcher.most} instances at once: {killer.seen}, then {watcher.seen}"
    world.nothing_left()
    world.stack.stop()
    start(world, CALM)
    return True


def kill_stop(world, n: int, ending) -> bool:
    shim = world.shim(annotations=world.annotations)
    shim.create_vm()
    shim.start_vm(60)
    assert len(world.vms()) == 1
    with Killer(world, n) as killer:
        calls_fail(lambda: shim.stop_vm(60))
    if not killer.hit:
        assert world.inventory() == {}, f"{killer.seen}: {world.inventory()}"
        return False
    world.stack.wait_killed()
    ending(world, shim)
    wait_until(lambda: nothing_there(world), 30, f"nothing is left of {killer.seen}: {world.inventory()}")
    world.nothing_left()
    world.stack.stop()
    start(world, CALM)
    return True


def lose_answer(world, n: int) -> None:
    """The n-th request from now on is carried out, and the connection breaks before the answer."""
    numbers = itertools.count(1)
    world.cloud.script(ANY, lambda call: Drop("after") if next(numbers) == n else None, times=None)


def lose_in_start(world, n: int, reached: bool) -> bool:
    shim = world.shim(annotations=world.annotations)
    shim.create_vm()
    lose_answer(world, n)
    with Killer(world) as watcher:
        shim.start_vm(60) if reached else calls_fail(lambda: shim.start_vm(60))
    world.cloud.unscript()
    assert watcher.most == 1, watcher.seen
    assert len(world.vms()) == int(reached), watcher.seen
    shim.stop_vm(60)
    world.nothing_left()
    return len(watcher.seen) >= n


def lose_in_stop(world, n: int) -> bool:
    shim = world.shim(annotations=world.annotations)
    shim.create_vm()
    shim.start_vm(60)
    lose_answer(world, n)
    with Killer(world) as watcher:
        shim.stop_vm(60)
    world.cloud.unscript()
    world.nothing_left()
    return len(watcher.seen) >= n


# ---- the promises ------------------------------------------------------------------------------------------------------


@each_cloud
@pytest.mark.parametrize("ending", [nobody_comes, the_pod_is_stopped, the_start_is_repeated, the_journal_is_lost])
def test_killed_after_each_request_of_a_start_no_instance_is_left(calm, driver, ending):
    for_every_request(calm, lambda world, n: kill_start(world, n, ending))


@each_cloud
@pytest.mark.parametrize("ending", [nobody_comes, the_pod_is_stopped, the_journal_is_lost])
def test_killed_after_each_request_of_a_stop_the_deletion_is_finished(calm, driver, ending):
    for_every_request(calm, lambda world, n: kill_stop(world, n, ending))


@each_cloud
def test_an_answer_lost_anywhere_in_a_start_costs_no_second_instance(calm, driver):
    for_every_request(calm, lambda world, n: lose_in_start(world, n, True))


@each_cloud
def test_an_answer_lost_anywhere_in_a_stop_leaves_nothing(calm, driver):
    for_every_request(calm, lose_in_stop)


def take_detour(calm, driver, detour):
    how = CASES[driver].detours[detour]
    options = [*how.options, *(() if how.reached else UNREACHED)]
    return lambda: calm(how.prepare, environment=how.environment, options=options, annotations=how.annotations)


@pytest.mark.parametrize("driver, detour", DETOURS)
def test_killed_after_each_request_of_a_long_start_nothing_is_left(calm, driver, detour):
    """More is made than an instance, or the start fails and undoes what it made: it may be killed there, too."""
    endings = (nobody_comes, the_journal_is_lost)
    for_every_request(take_detour(calm, driver, detour), lambda world, n: kill_start(world, n, endings[n % 2]), 4)


@pytest.mark.parametrize("driver, detour", DETOURS)
def test_an_answer_lost_anywhere_in_a_long_start_leaves_nothing(calm, driver, detour):
    reached = CASES[driver].detours[detour].reached
    for_every_request(take_detour(calm, driver, detour), lambda world, n: lose_in_start(world, n, reached), 4)


@pytest.mark.parametrize("driver", ["aws"])
def test_an_instance_that_the_cloud_shows_late_is_found_by_the_search(calm, driver):
    """EC2 may not show to a describe call what it has just made: after the restart it seems that nothing was made."""
    world = calm(hidden_looks=4)  # two of which the check at the start has
    shim = world.shim(annotations=world.annotations)
    shim.create_vm()
    launched = Killer(world, 0)

    def kill_after_launch(call):
        if call.operation == "RunInstances":
            launched.n = len(launched.seen) + 1
        launched(call)

    world.cloud.after_call = kill_after_launch
    calls_fail(lambda: shim.start_vm(60))
    world.cloud.after_call = None
    assert launched.hit
    world.stack.wait_killed()
    start(world, CALM)
    wait_until(lambda: not world.stack.records(), 30, "the record is dealt with")
    assert len(world.vms()) == 1, "the instance was found at once: this test shows nothing"
    world.stack.stop()
    start(world, SWEEP)
    wait_until(lambda: nothing_there(world), 30, "the search finds it")
    world.nothing_left()
