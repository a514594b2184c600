# SPDX-License-Identifier: Apache-2.0
"""Pods come and go while what serves them is killed and replaced: `make chaos`.

A search for what no test thought of, and so no part of `make test`: the seed fixes what is done, not how it falls together.
It goes on for its time, or until something is seen that must not be:

    a call fails though nothing was being killed or replaced meanwhile
    a running pod loses its connection, or a byte, though neither agent-proxy nor its VM was killed
    StopVM does not get through within a minute, or a pod whose shim died is not removed within that time
    something is left when all pods are gone, or a sanitizer complains

The logs are kept then, and the last line says where.
"""

import argparse
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "integration")]

from conftest import World  # noqa: E402
from peerpod import ttrpc  # noqa: E402
from peerpod.pods import Talk, start_box  # noqa: E402
from peerpod.shim import wait_until  # noqa: E402
from peerpod.stack import wait_gone  # noqa: E402

PATIENCE = 60
# Pods whose shims die are removed as soon as that is known.
OPTIONS = ["-shim-grace=2s", "-create-grace=5s"]
CALL_ERRORS = (OSError, ttrpc.Closed, ttrpc.Status, TimeoutError)


class Trouble:
    """Is, or was, something going on? It counts beginnings and ends, so while it goes on the count is odd."""

    def __init__(self):
        self.count = 0

    def __enter__(self):
        self.count += 1

    def __exit__(self, *_):
        self.count += 1

    def since(self, before: int) -> bool:
        return self.count != before or before % 2 == 1


class Chaos:
    def __init__(self, driver: str, seconds: float, pods: int, seed: int):
        self.seed = seed
        self.end = time.monotonic() + seconds
        self.wrong: list = []
        self.calls, self.losses = Trouble(), Trouble()  # calls fail; pods are lost
        self.lock = threading.Lock()  # of the pod network's folder and the figures
        self.figures = {"whole": 0, "disturbed": 0, "stopped while they started": 0, "troubles": 0}
        self.proxies: list = []
        self.world = World(driver=driver, options=OPTIONS).start()
        self.lives = [threading.Thread(target=self.guarded, args=(self.live, n)) for n in range(pods)]
        self.over = threading.Event()
        self.maker = threading.Thread(target=self.guarded, args=(self.make_trouble,))

    def run(self) -> None:
        for thread in [*self.lives, self.maker]:
            thread.start()
        for thread in self.lives:
            while thread.is_alive():
                thread.join(10)
                print(f"chaos: {self.told()}", flush=True)
        self.over.set()
        self.maker.join()
        if not self.wrong:
            self.guarded(lambda: self.world.nothing_left(PATIENCE))

    def told(self) -> str:
        return ", ".join(f"{n} {what}" for what, n in self.figures.items())

    def count(self, what: str) -> None:
        with self.lock:
            self.figures[what] += 1

    def guarded(self, function, *args) -> None:
        try:
            function(*args)
        except Exception:
            self.wrong.append(traceback.format_exc())

    def goes_on(self) -> bool:
        return time.monotonic() < self.end and not self.wrong

    # ---- pods

    def live(self, number: int) -> None:
        """One pod after the other."""
        chance = random.Random(f"{self.seed} {number}")
        while self.goes_on():
            with self.lock:
                shim = self.world.shim(f"p{number}-{chance.randrange(10**6)}")
            if chance.random() < 0.15:
                self.stop_while_it_starts(shim, chance.random() * 0.3)
            else:
                self.run_pod(shim, chance)
            shim.close()
            if chance.random() < 0.9:
                self.stop_vm(shim)
            else:
                gone = lambda: shim.id not in self.world.stack.records()  # noqa: E731
                wait_until(gone, PATIENCE, f"{shim.id}: the pod of a shim that died is removed")
            with self.lock:
                self.world.network.remove_pod(shim.pod_netns)
                self.world.shims.remove(shim)

    def run_pod(self, shim, chance) -> None:
        calls, losses, runs = self.calls.count, self.losses.count, False
        try:
            shim.start_pod(PATIENCE)
            runs = True
            talk = Talk(start_box(shim), chance.choice([10, 300, 1500]), chance.choice([0, 1000]))
            assert talk.came_whole(), "bytes were lost"
            runs = False
            if chance.random() < 0.5:
                shim.stop_pod()
            self.count("whole")
        except Exception as error:
            self.count("disturbed")
            if not (self.losses.since(losses) if runs else self.calls.since(calls)):
                raise AssertionError(f"{shim.id}: {'running' if runs else 'not running'}, and nothing happened") from error

    def stop_while_it_starts(self, shim, after: float) -> None:
        timer = threading.Timer(after, self.guarded, (self.stop_vm, shim))
        timer.start()
        try:
            shim.start_pod(PATIENCE)
        except (*CALL_ERRORS, AssertionError):
            pass
        timer.join()
        self.count("stopped while they started")

    def stop_vm(self, shim) -> None:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return shim.stop_vm(30)
            except CALL_ERRORS as error:
                if time.monotonic() > end:
                    raise AssertionError(f"{shim.id}: StopVM does not get through") from error
                time.sleep(0.05)

    # ---- troubles

    def make_trouble(self) -> None:
        chance = random.Random(f"{self.seed}")
        troubles = {
            self.kill_adaptor: 9, self.restart_adaptor: 4, self.replace_proxy: 5, self.kill_proxy: 2, self.kill_vm: 2,
            self.cut_tunnels: 6,
        }  # fmt: skip
        while not self.over.wait(chance.choice([0.1, 0.5, 1, 2])):
            (trouble,) = chance.choices(list(troubles), troubles.values())
            trouble()
            self.count("troubles")

    def kill_adaptor(self) -> None:
        with self.calls:
            self.world.stack.kill()
            self.world.stack.start()

    def restart_adaptor(self) -> None:
        with self.calls:
            self.world.stack.restart()

    def replace_proxy(self) -> None:
        with self.calls:
            old = self.world.stack.proxy_pid()
            self.proxies.append(self.world.stack.start_proxy())
            wait_gone(old, PATIENCE)

    def cut_tunnels(self) -> None:
        """Nobody is to notice: agent-proxy dials again."""
        subprocess.run(self.world.worker.command("ss", "-tK", "dport", "=", ":15150"), check=True, stdout=subprocess.DEVNULL)

    def kill_proxy(self) -> None:
        with self.calls, self.losses:
            self.world.stack.kill_proxy()

    def kill_vm(self) -> None:
        with self.calls, self.losses:
            for process in sorted(self.world.stack.netns_state.glob("*/process")):
                try:
                    os.kill(int(process.read_text().split()[0]), signal.SIGKILL)
                except (OSError, ValueError, IndexError):
                    continue  # it is being made, or removed
                break

    # ---- the end

    def close(self) -> str:
        """Where the logs are kept, if they are."""
        kept = ""
        if self.wrong:
            kept = f"/tmp/peerpod-chaos-{self.seed}-{os.getpid()}"
            shutil.copytree(self.world.stack.folder, kept, ignore=shutil.ignore_patterns("*.sock", "*.ttrpc"), symlinks=True)
        self.guarded(self.world.close, bool(self.wrong))
        for proxy in self.proxies:
            self.guarded(proxy.wait, 10)
        return kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--driver", default="netns", choices=["netns", "aws", "azure", "gcp"])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--pods", type=int, default=4, help="pods at a time")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    how = parser.parse_args()
    print(f"chaos: {how.pods} pods at a time for {how.seconds:g} s, driver {how.driver}, seed {how.seed}", flush=True)
    chaos = Chaos(how.driver, how.seconds, how.pods, how.seed)
    chaos.run()
    kept = chaos.close()
    for wrong in chaos.wrong:
        print(wrong)
    print(f"chaos: {chaos.told()}")
    print(f"chaos: failed{f'; logs: {kept}' if kept else ''}" if chaos.wrong else "chaos: passed")
    return 1 if chaos.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
