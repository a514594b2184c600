# SPDX-License-Identifier: Apache-2.0
"""What must not be left behind: a picture of the machine before, and what is new after.

Looked at: links of the worker's and the machine's network, nft rules, named network namespaces, cgroups,
files below the folders of the stack (records, sockets, instances), processes that have such a folder on their
command line; with libvirt: domains, volumes, DHCP leases of its network.
"""

import json
import os
import pathlib
import shutil
import subprocess
from typing import Optional

from peerpod import cni


def _nft(worker) -> set:
    done = subprocess.run(worker.command("nft", "-j", "list", "ruleset"), capture_output=True, text=True)
    if done.returncode or not done.stdout.strip():
        return set()
    found = set()
    for item in json.loads(done.stdout)["nftables"]:
        (kind, value), *_ = item.items()
        if kind == "metainfo":
            continue
        value.pop("handle", None)
        elements = value.pop("elem", []) if kind in ("set", "map") else []
        for element in elements:
            found.add(f"element of {value['family']} {value['table']} {value['name']}: {json.dumps(element)}")
        # Counters count.
        if kind == "rule":
            value["expr"] = [e for e in value.get("expr", []) if "counter" not in e]
        value = {key: v for key, v in value.items() if key not in ("packets", "bytes")}
        found.add(f"{kind} {json.dumps(value, sort_keys=True)}")
    return found


def _processes(folders: list) -> set:
    found = set()
    for folder in pathlib.Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if any(f in command for f in folders):
            found.add(f"{folder.name} {command[:200]}")
    return found


def _cgroups() -> set:
    root = pathlib.Path("/sys/fs/cgroup")
    patterns = ["peerpod-netns-*", "*/peerpod-netns-*"]
    return {str(p) for pattern in patterns for p in root.glob(pattern)}


def _virsh(uri: str, *arguments: str) -> set:
    done = subprocess.run(["virsh", "-q", "-c", uri, *arguments], capture_output=True, text=True)
    return {" ".join(line.split()) for line in done.stdout.splitlines() if line.strip()}


def in_pod(pod) -> list:
    """What the tunnel has left in a pod's network namespace. (The redirect on eth0 stays, without a target: until the
    namespace goes, it drops what comes in, so that the worker never answers in the pod's name.)"""
    return sorted({link["ifname"] for link in json.loads(pod.ip("-j", "link", "show"))} - {"lo", "eth0"})


class Picture:
    """What is there now. folders: those of the stack, whose files count; keep: parts of names of files that may
    appear (logs, the node's CA). netns: how the names of its network namespaces begin; log: its log, which names
    its instances: so that stacks side by side do not see each other's."""

    def __init__(
        self, worker, folders=(), keep=(), uri: Optional[str] = None, pool: str = "", commands=(), netns="", log=None
    ):
        self.parts = {
            "link": _links(worker),
            "nft": _nft(worker) if shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin") else set(),
            "network namespace": {p.name for p in cni.NETNS_FOLDER.glob(f"{netns}*")},
            "cgroup": {g for g in _cgroups() if log is None or g.rpartition("-")[2] in log},
            "process": _processes([str(c) for c in commands]),
        }
        files = set()
        for folder in folders:
            for path in pathlib.Path(folder).rglob("*"):
                if path.is_dir() and not path.is_symlink() and any(path.iterdir()):
                    continue  # told by what is in it
                if not any(k in str(path) for k in keep):
                    files.add(str(path))
        self.parts["file"] = files
        if uri:
            self.parts["domain"] = _virsh(uri, "list", "--all", "--name")
            self.parts["volume"] = _virsh(uri, "vol-list", pool) if pool else set()

    def new_since(self, before: "Picture") -> list:
        """Lines, one for each thing that was not there before."""
        return [
            f"{part}: {thing}" for part, things in self.parts.items() for thing in sorted(things - before.parts.get(part, set()))
        ]

    def counts(self) -> dict:
        return {part: len(things) for part, things in self.parts.items()}


def _links(worker) -> set:
    return {link["ifname"] for link in json.loads(worker.ip("-j", "link", "show") or "[]")}
