# SPDX-License-Identifier: Apache-2.0
"""make demo: one pod, one VM, from nothing to nothing left, on this machine.

Builds, makes the image where the driver needs one, starts what stands behind the driver (backends.py: libvirt's daemon, a
bridge, a fake cloud), a pod network and the adaptor, and then is the shim: CreateVM, StartVM, a sandbox, two containers, what one does with them, StopVM. Says on one line
per stage what it took and what was seen, then shows that nothing is left.
"""

import argparse
import hashlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from backends import BACKENDS, PREFIX  # noqa: E402

WEB_PORT = 8080


class Failed(Exception):
    """A stage that did not do what it should; the message says what."""


class Stages:
    """Runs stages, shows the seconds while they run, keeps them for the table."""

    def __init__(self):
        self.done: list = []  # (name, seconds, what was seen)
        self.began = time.monotonic()
        self._terminal = sys.stdout.isatty()

    def add(self, name: str, seconds: float, seen: str = "") -> None:
        self.done.append((name, seconds, seen))
        print(f"{'' if not self._terminal else chr(13)}demo: {name:<26}{seconds:7.2f} s  {seen}", flush=True)

    def run(self, name: str, function):
        """function() -> what was seen, in words; it may return (words, value)."""
        began = time.monotonic()
        over = threading.Event()
        ticker = threading.Thread(target=self._tick, args=(name, began, over), daemon=True)
        ticker.start()
        try:
            result = function()
        finally:
            over.set()
            ticker.join()
        seen, value = result if isinstance(result, tuple) else (result, None)
        self.add(name, time.monotonic() - began, seen or "")
        return value

    def _tick(self, name: str, began: float, over: threading.Event) -> None:
        """On a terminal the line counts; in a log there is a word every 15 s."""
        while not over.wait(0.2 if self._terminal else 15):
            seconds = time.monotonic() - began
            if self._terminal:
                print(f"\rdemo: {name:<26}{seconds:7.1f} s ", end="", flush=True)
            else:
                print(f"demo: {name:<26}{seconds:7.1f} s so far", flush=True)

    def table(self) -> None:
        print("\n  stage                       seconds")
        for name, seconds, _ in self.done:
            print(f"  {name:<26} {seconds:8.2f}")
        print(f"  {'all of it':<26} {sum(s for _, s, _ in self.done):8.2f}\n", flush=True)


def command(*arguments: str, log: pathlib.Path) -> None:
    """Runs a program whose words go to a log, of which a failure shows the end."""
    with open(log, "wb") as out:
        done = subprocess.run(arguments, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
    if done.returncode:
        raise Failed(f"{' '.join(arguments)} failed; {log} ends:\n{tail(log)}")


def tail(path: pathlib.Path, size: int = 3000) -> str:
    return path.read_text(errors="replace")[-size:] if path.exists() else ""


def count_bytes(path: pathlib.Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"


# ---- the demo -----------------------------------------------------------------------------------------


class Demo:
    def __init__(self, driver: str, folder: pathlib.Path):
        self.driver = driver
        self.folder = folder
        self.stages = Stages()
        self.backend = BACKENDS[driver](driver, folder, ROOT)
        self.stack = self.network = self.shim = self.web = self.ticker = None
        self.said = ""
        self.undo: list = []  # what ends what was begun, in the order of beginning

    def build(self) -> str:
        command("make", "-j2", "all", "bundles", "python-protos", log=self.folder / "build.log")
        programs = ["cloud-api-adaptor", "agent-proxy", "agent-protocol-forwarder", "process-user-data"]
        return ", ".join(f"{p} {count_bytes(ROOT / 'build' / p)}" for p in programs)

    def image(self) -> str:
        command("make", "image", log=self.folder / "image.log")
        image = ROOT / "build/image/local"
        return f"kernel {count_bytes(image / 'vmlinuz')}, initrd {count_bytes(image / 'initrd')}"

    def start_backend(self) -> str:
        self.undo.append(self.backend.stop)
        return self.backend.start()

    def sweep(self) -> None:
        """What an earlier demo left that was killed before it could clean up."""
        from peerpod import cni

        cni.sweep(PREFIX)

    def start_network(self) -> str:
        from peerpod import cni

        self.network = cni.Bridge(cni.Host(), PREFIX, "10.244.77.0/24")
        self.undo.append(self.network.close)
        self.pod = self.network.add_pod("web")
        return f"{self.pod.path}: {self.pod.interface} on bridge {self.network.name}"

    def start_adaptor(self) -> str:
        from peerpod import cni, stack, ttrpc

        self.stack = stack.Stack(self.driver, cni.Host(), self.backend.environment(), self.backend.options())
        self.stack.netns_state = self.backend.state or self.stack.netns_state
        self.undo.append(self.stack.close)
        self.stack.start()
        ttrpc.wait_for_socket(self.stack.proxy_socket).close()
        pid, proxy = self.stack.process.pid, self.stack.proxy_pid()
        return f"adaptor {stack.rss_kib(pid) / 1024:.1f} MiB, agent-proxy {stack.rss_kib(proxy) / 1024:.1f} MiB resident"

    def create_vm(self) -> str:
        self.shim = self.stack.shim(self.pod, pod="web", namespace="demo")
        self.undo.append(self.shim.close)
        self.shim.create_vm()
        return f"agent socket .../{self.shim.id[:8]}.../{pathlib.Path(self.shim.agent_path).name}"

    def start_vm(self) -> str:
        self.shim.start_vm()
        self.shim.connect()
        self.shim.start_monitor()
        boot = re.findall(r"podvm-init: ([0-9.]+) s ", self.backend.console())
        return f"the agent answers{f'; the pod VM needed {boot[-1]} s of it' if boot else ''}"

    def create_sandbox(self) -> str:
        self.shim.create_sandbox()
        self.shim.create_container("pause", "pause", ["/pause"]).start()
        return "sandbox and its pause container"

    def start_containers(self) -> str:
        page = (
            f"mkdir -p /srv && echo \"this is $(hostname) on $(uname -r)\" >/srv/index.html && "
            f"exec httpd -f -v -p {WEB_PORT} -h /srv"
        )
        self.web = self.shim.create_container("web", "docker.io/library/busybox:1.36", ["/bin/sh", "-c", page])
        self.web.start()
        tick = "trap 'echo asked to end; exit 7' TERM; n=0; while :; do n=$((n+1)); echo tick $n; sleep 0.2 & wait $!; done"
        self.ticker = self.shim.create_container(
            "ticker", "docker.io/library/busybox:1.36", ["/bin/sh", "-c", tick], files={"/etc/hosts": b"127.0.0.1 localhost\n"}
        )
        self.ticker.start()
        return "web (a web server) and ticker (a line every 0.2 s)"

    def exec_with_stdin(self) -> str:
        data = os.urandom(1 << 20)
        status, out, err = self.web.exec("sha256sum", stdin=data, timeout=60)
        digest = hashlib.sha256(data).hexdigest()
        if status or out.split()[:1] != [digest.encode()]:
            raise Failed(f"exec sha256sum: status {status}, said {out!r} {err!r}, should say {digest}")
        return f"1 MiB in, sha256 {digest[:12]}... came back"

    def stream_logs(self) -> str:
        text = self.ticker.process.stdout.wait_for(b"tick 5\n", 30).decode()
        lines = text.splitlines()
        if lines != [f"tick {n}" for n in range(1, len(lines) + 1)]:
            raise Failed(f"the ticker's lines are not whole: {text!r}")
        return f"{len(lines)} lines, none lost: {lines[0]} ... {lines[-1]}"

    def http_request(self) -> str:
        from peerpod import shim

        body: list = []

        def answered() -> bool:
            try:
                body[:] = [self.network.get(self.pod.address, WEB_PORT)]
            except ConnectionRefusedError:
                return False  # the web server has not begun to listen
            return True

        shim.wait_until(answered, 30, f"http://{self.pod.address}:{WEB_PORT}/ answers")
        status, name, _ = self.web.exec("cat", "/srv/index.html")
        if status or body[0] != name:
            raise Failed(f"the page {body[0]!r} is not what the container holds: {name!r}")
        return f"http://{self.pod.address}:{WEB_PORT}/ says {body[0].decode().strip()!r}"

    def stats(self) -> str:
        stats = self.web.stats()
        memory, cpu = stats.memory_stats.usage.usage, stats.cpu_stats.cpu_usage.total_usage
        if not (memory or cpu):
            raise Failed(f"StatsContainer says nothing: {stats}")
        return f"web: {memory / 1024:.0f} KiB memory, {cpu / 1e6:.0f} ms CPU, {stats.pids_stats.current} processes"

    def signal_and_wait(self) -> str:
        self.ticker.process.signal(signal.SIGTERM)
        status = self.ticker.process.wait(30)
        said = bytes(self.ticker.process.stdout.data).splitlines()[-1:]
        if status != 7 or said != [b"asked to end"]:
            raise Failed(f"ticker ended with status {status} and said last {said}, not 7 and 'asked to end'")
        self.ticker.remove()
        return "SIGTERM to ticker: 'asked to end', exit code 7"

    def stop_vm(self) -> str:
        # Kept: with the VM goes its console.
        (self.folder / "console.log").write_text(self.backend.console())
        if self.shim.dead:
            raise Failed(f"the shim's health check failed: {self.shim.dead}")
        self.shim.stop_pod()
        self.shim.stop_vm()  # a second one succeeds too
        return "containers killed, sandbox destroyed, VM deleted; a second StopVM succeeds too"

    def stop_all(self) -> str:
        ours = [self.shim.id, '"peerpod"']  # the last pod takes the nftables table with it
        left = [line for line in self.picture().new_since(self.before) if any(o in line for o in ours)]
        left += self.backend.left() + [f"record {r}" for r in self.stack.records()]
        left += [f"agent socket folder {p.name}" for p in self.stack.pods_dir.glob("*")]
        self.end()
        if left:
            raise Failed("left behind by StopVM: " + ", ".join(left))
        return "adaptor, agent-proxy and all that the demo made are gone"

    def end(self) -> None:
        """Undoes what was begun, the last first; goes on after a failure and tells the first one."""
        first = None
        while self.undo:
            try:
                self.undo.pop()()
            except Exception as error:
                first = first or error
        if first:
            raise first

    def nothing_left(self) -> str:
        from peerpod import shim

        # Namespaces and processes of the kernel's and libvirt's go a moment after the call that ends them.
        try:
            shim.wait_until(lambda: not self.left_now(), 10, "nothing is left", pause=0.1)
        except TimeoutError:
            raise Failed("left behind:\n  " + "\n  ".join(self.left_now())) from None
        others = len(self.picture().new_since(self.before))
        looked = f"links, nft rules, network namespaces, cgroups, processes, records, sockets, {self.backend.looked}"
        return f"looked at {looked}{f' ({others} new ones are not of the demo)' if others else ''}"

    def left_now(self) -> list:
        """What is new on this machine and bears a name of the demo's."""
        names = [PREFIX, str(self.folder), str(self.stack.folder), self.shim.id, "cgroup:", *self.backend.traces()]
        return [line for line in self.picture().new_since(self.before) if any(n in line for n in names)]

    def picture(self):
        from peerpod import cni, leaks

        folders = [str(self.folder)] + ([str(self.stack.folder)] if self.stack else [])
        if self.stack:  # cgroups are ours whose instance is in a log of ours; logs go with what wrote them
            self.said = max(self.said, self.stack.log() + self.backend.log(), key=len)
        return leaks.Picture(cni.Host(), commands=folders, log=self.said)

    def run(self, installed: float) -> None:
        stages = self.stages
        stages.add("install", installed)
        stages.run("build", self.build)
        if self.backend.image:
            stages.run("image", self.image)
        self.sweep()
        self.before = self.picture()
        stages.run(self.backend.stage, self.start_backend)
        stages.run("pod network", self.start_network)
        stages.run("adaptor", self.start_adaptor)
        stages.run("CreateVM", self.create_vm)
        stages.run("StartVM", self.start_vm)
        stages.run("CreateSandbox", self.create_sandbox)
        stages.run("two containers", self.start_containers)
        stages.run("exec with stdin", self.exec_with_stdin)
        stages.run("streaming logs", self.stream_logs)
        stages.run("HTTP from the cluster", self.http_request)
        stages.run("stats", self.stats)
        stages.run("signal and exit code", self.signal_and_wait)
        stages.run("StopVM", self.stop_vm)
        stages.run("clean up", self.stop_all)
        stages.run("nothing is left", self.nothing_left)
        stages.table()

    def explain(self, error: BaseException) -> None:
        """After a failure: the words of those who took part, then the reason."""
        if self.stack and self.stack.log():
            print(f"\ndemo: the adaptor's log ends:\n{self.stack.log_tail()}", file=sys.stderr)
        try:
            console = self.backend.console()
        except Exception as failure:
            console = f"(not to be had: {failure})"
        if console:
            (self.folder / "console.log").write_text(console)
            print(f"\ndemo: the pod VM's console ends:\n{console[-3000:]}", file=sys.stderr)
        try:
            self.end()
        except Exception as failure:
            print(f"demo: while cleaning up: {failure}", file=sys.stderr)
        print(f"demo: failed: {error}", file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--driver", choices=list(BACKENDS), default="libvirt")
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "build/demo")
    parser.add_argument("--installed", type=int, default=0, help="nanoseconds that the installation took")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    demo = Demo(arguments.driver, arguments.folder)
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    try:
        demo.run(arguments.installed / 1e9)
    except BaseException as error:
        demo.explain(error if str(error) else RuntimeError(type(error).__name__))
        return 1
    print("demo: passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
