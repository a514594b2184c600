# SPDX-License-Identifier: Apache-2.0
"""make bench: what the tunnel, the worker's processes and the start of a pod cost; writes build/bench.json.

  rpc_*, bulk_*   tunnel-bench: calls and bytes to one agent by its own socket, through agent-proxy, through both ends
                  of the tunnel; raw TLS between two processes beside it
  rss_kib         resident memory of adaptor and agent-proxy together, by number of sandboxes
  start_ms        what a pod takes from CreateVM to StartVM's answer beyond what the netns driver alone takes to have
                  an instance whose forwarder listens; for one pod, and for each of 100 that start together
  boot_s          libvirt: from the order to start the VM to the agent's answer, with its parts

Parts that cannot run here (no root, no image) are left out of the file, and that is said.
"""

import argparse
import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from peerpod import cni, libvirt, paths, shim, stack  # noqa: E402

SUBNET = "192.168.148.0/23"
BRIDGE = "pp-netns0"
SINGLE_RUNS = 9
TOGETHER = 100
SANDBOXES = (0, 1, 50, 250)
BOOTS = 3


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


# ---- the tunnel ------------------------------------------------------------------------------------------


def tunnel() -> dict:
    done = subprocess.run([paths.program("tunnel-bench")], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"tunnel-bench: {done.stderr.strip()}")
    result = json.loads(done.stdout)
    return {key: result[key] for key in ("rpc_p50_us", "rpc_p99_us", "rpc_per_s", "bulk_read_mb_s", "bulk_write_mb_s")}


# ---- the worker's processes -------------------------------------------------------------------------------


@contextlib.contextmanager
def worker_with_stack():
    prefix = "b" + secrets.token_hex(2)
    with contextlib.ExitStack() as undo:
        worker = undo.enter_context(cni.Worker(prefix))
        network = undo.enter_context(cni.Bridge(worker, prefix, "10.244.0.0/16"))
        environment = {"NETNS_SUBNET": SUBNET, "LOG_LEVEL": "warn"}
        yield worker, network, undo.enter_context(
            stack.Stack("netns", worker, environment, [f"-host-interface={BRIDGE}", "-peerpods-limit-per-node=-1"])
        )


def start_pods(s, network, first: int, count: int, at_once: int) -> list:
    """Pods whose shims are connected."""
    shims = [s.shim(network.add_pod(f"p{n}"), pod=f"p{n}") for n in range(first, first + count)]

    def start(one):
        one.create_vm()
        one.start_vm(300)
        one.connect()

    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        list(pool.map(start, shims))
    return shims


def stop_pods(shims: list, at_once: int = 16) -> None:
    def stop(one):
        one.close()
        one.stop_vm(120)

    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        list(pool.map(stop, shims))


def memory() -> tuple:
    """({sandboxes: KiB of both}, the same with both apart)."""
    both, apart = {}, {}
    with worker_with_stack() as (_, network, s):
        shims: list = []
        for count in SANDBOXES:
            shims += start_pods(s, network, len(shims), count - len(shims), 8)
            adaptor, proxy = stack.rss_kib(s.process.pid), stack.rss_kib(s.proxy_pid())
            both[str(count)] = adaptor + proxy
            apart[str(count)] = (adaptor, proxy)
            say(f"{count} sandboxes: adaptor {adaptor} KiB, agent-proxy {proxy} KiB")
        stop_pods(shims)
    return both, apart


# ---- the start of a pod --------------------------------------------------------------------------------------


def start_through_adaptor(s, network, number: int, count: int) -> float:
    """Seconds from the first CreateVM to the last answer of StartVM, of `count` pods together."""
    shims = [s.shim(network.add_pod(f"p{number + n}"), pod=f"p{number + n}") for n in range(count)]
    gate = threading.Barrier(count + 1)
    failures: list = []

    def start(one):
        gate.wait()
        try:
            one.create_vm()
            one.start_vm(300)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=start, args=(one,)) for one in shims]
    for thread in threads:
        thread.start()
    gate.wait()
    began = time.monotonic()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - began
    if failures:
        raise failures[0]
    stop_pods(shims)
    for one in shims:
        network.remove_pod(next(p for p in network.pods if p.path == one.netns_path))
    return seconds


def listens(worker, addresses: list) -> None:
    """Until something listens on the forwarder's port of each address."""

    def wait():
        for address in addresses:
            while True:
                with socket.socket() as sock:
                    sock.settimeout(1)
                    if sock.connect_ex((address, 15150)) == 0:
                        break
                time.sleep(0.0005)

    worker.run(wait)


def start_by_driver(worker, folder: pathlib.Path, user_data: pathlib.Path, count: int) -> float:
    """Seconds from the driver's first create to the last forwarder that listens, without an adaptor."""
    state = folder / "driver"
    command = worker.command(
        paths.program("provider-tool"),
        str(paths.BUILD / "providers/netns.so"),
        f"-netns-state-dir={state}",
        f"-netns-subnet={SUBNET}",
        f"-netns-bridge={BRIDGE}",
        f"-netns-bundles={paths.BUILD / 'bundles'}",
        "--",
        "serve",
    )
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as tool:

        def ask(line: str, answers: int) -> list:
            tool.stdin.write(line + "\n")
            tool.stdin.flush()
            got = [json.loads(tool.stdout.readline()) for _ in range(answers)]
            for answer in got:
                if "error" in answer:
                    raise RuntimeError(f"{line}: {answer['message']}")
            return got

        ask("list", 1)  # it is up
        run = secrets.token_hex(4)
        began = time.monotonic()
        made = ask(f"parallel {count} create token={run}%d user-data={user_data} name=podvm-bench", count)
        listens(worker, [m["addresses"][0] for m in made])
        seconds = time.monotonic() - began
        for one in made:
            ask(f"delete id={one['id']}", 1)
        tool.stdin.close()
    return seconds


def keep_user_data(s, network, folder: pathlib.Path) -> pathlib.Path:
    """The user data of a real pod, for the driver's own runs."""
    one = s.shim(network.add_pod("sample"), pod="sample")
    one.create_vm()
    one.start_vm(120)
    kept = folder / "user-data"
    shutil.copyfile(s.netns_state / s.instances()[0] / "user-data", kept)
    kept.chmod(0o600)
    one.stop_vm()
    return kept


def starts() -> dict:
    with worker_with_stack() as (worker, network, s):
        user_data = keep_user_data(s, network, s.folder)
        ours, drivers = [], []
        for n in range(SINGLE_RUNS):  # in turns, so that a busy machine hits both alike
            ours.append(start_through_adaptor(s, network, 1 + n, 1))
            drivers.append(start_by_driver(worker, s.folder, user_data, 1))
        one, own = statistics.median(ours), statistics.median(drivers)
        say(f"one pod: {one * 1000:.1f} ms, the driver alone {own * 1000:.1f} ms")
        result = {"1": round((one - own) * 1000, 1)}
        many = start_through_adaptor(s, network, 100, TOGETHER)
        own = start_by_driver(worker, s.folder, user_data, TOGETHER)
        say(f"{TOGETHER} pods together: {many:.2f} s, the driver alone {own:.2f} s")
        result[str(TOGETHER)] = round((many - own) * 1000 / TOGETHER, 1)
        return result


# ---- a virtual machine ----------------------------------------------------------------------------------------


def boot_parts(log: str, console: str) -> dict:
    steps = {name: int(ms) / 1000 for name, ms in re.findall(r"(create the pod VM|running after): ?(\d+) ms", log)}
    running = re.findall(r"running after (\d+) ms", log)
    stages = [float(t) for t in re.findall(r"podvm-init: ([0-9.]+) s ", console)]
    total, create = int(running[-1]) / 1000, steps["create the pod VM"]
    kernel, ready = stages[0], stages[-1]
    return {
        "total": round(total, 2),
        "create": round(create, 2),  # volumes, definition, start of the domain
        "kernel": round(kernel, 2),  # firmware's and kernel's part is before podvm-init's first line
        "init": round(ready - kernel, 2),  # modules, address, user data, agent and forwarder started
        "agent": round(max(total - create - ready, 0), 2),  # network, handshake, the agent's answer
    }


def boots() -> dict:
    image = ROOT / "build/image/local"
    if not (image / "stamp").exists():
        raise RuntimeError("no image: make image")
    folder = stack.make_folder()
    folder.chmod(0o755)
    name = "b" + secrets.token_hex(3)
    backend = libvirt.Libvirt(folder / "lv", name, image, private=True)
    seen = []
    try:
        backend.start()
        with cni.Bridge(cni.Host(), name, "10.244.79.0/24") as network:
            for n in range(BOOTS):
                with stack.Stack("libvirt", cni.Host(), backend.environment(), backend.options()) as s:
                    one = s.shim(network.add_pod(f"p{n}"), pod=f"p{n}")
                    one.create_vm()
                    one.start_vm(180)
                    seen.append(boot_parts(s.log(), backend.console()))
                    say(f"boot {n + 1}: {seen[-1]}")
                    one.stop_vm(60)
    finally:
        backend.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return sorted(seen, key=lambda b: b["total"])[len(seen) // 2]


# ---- all together ---------------------------------------------------------------------------------------------


def table(result: dict, apart: dict) -> None:
    print(f"\n  {'':24}{'direct':>10}{'proxy':>10}{'tunnel':>10}{'raw TLS':>10}")
    for key, title in [
        ("rpc_p50_us", "call, median, us"),
        ("rpc_p99_us", "call, 99 %, us"),
        ("rpc_per_s", "calls per second"),
        ("bulk_read_mb_s", "read, MB/s"),
        ("bulk_write_mb_s", "write, MB/s"),
    ]:
        if key in result:
            row = result[key]
            cells = "".join(f"{row[way]:10.0f}" if way in row else f"{'':>10}" for way in ("direct", "proxy", "tunnel", "raw_tls"))
            print(f"  {title:24}{cells}")
    if "rss_kib" in result:
        print(f"\n  {'sandboxes':24}{'adaptor':>10}{'proxy':>10}{'both':>10}  KiB resident")
        for count, both in result["rss_kib"].items():
            adaptor, proxy = apart[count]
            print(f"  {count:24}{adaptor:10}{proxy:10}{both:10}")
    if "start_ms" in result:
        one, many = result["start_ms"].values()
        print(f"\n  a pod's start over the driver's own time: {one} ms alone, {many} ms each of {TOGETHER} together")
    if "boot_s" in result:
        print(f"  a VM's boot, seconds: {', '.join(f'{k} {v}' for k, v in result['boot_s'].items())}")
    print()


def main() -> int:
    parser = argparse.ArgumentParser(description="what the system costs")
    parser.add_argument("--only", default="tunnel,memory,starts,boots", help="parts, separated by commas")
    parser.add_argument("--out", type=pathlib.Path, default=paths.BUILD / "bench.json")
    arguments = parser.parse_args()
    wanted = arguments.only.split(",")
    result, apart, failed = {}, {}, 0
    if os.geteuid() != 0 and set(wanted) - {"tunnel"}:
        say("not root: only the tunnel is measured")
        wanted = ["tunnel"]
    for part in wanted:
        say(part)
        try:
            if part == "tunnel":
                result.update(tunnel())
            elif part == "memory":
                result["rss_kib"], apart = memory()
            elif part == "starts":
                result["start_ms"] = starts()
            elif part == "boots":
                result["boot_s"] = boots()
            else:
                raise RuntimeError("no such part")
        except (RuntimeError, OSError, subprocess.SubprocessError, shim.ttrpc.Status) as error:
            say(f"{part}: left out: {error}")
            failed = 1
    table(result, apart)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(f"bench: wrote {arguments.out}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
