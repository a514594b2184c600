# SPDX-License-Identifier: Apache-2.0
"""peerpodctl beside a running adaptor with the netns driver: instances, sandboxes, initdata; and bad input."""

import base64
import gzip
import hashlib
import json
import os
import re
import secrets
import subprocess

import pytest

from peerpod import paths
from peerpod.shim import wait_until

OTHER = b'algorithm = "sha384"\nversion = "0.1.0"\n\n[data]\n"aa.toml" = "x"\n'
TOML = b'algorithm = "sha256"\nversion = "0.1.0"\n\n[data]\n"aa.toml" = """\n[token_configs]\n"""\n"policy.rego" = "default x := true"\n'


def run(*arguments, text=None, status=0, prefix=(), **environment) -> subprocess.CompletedProcess:
    variables = {"PATH": os.environ["PATH"], **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}, **environment}
    done = subprocess.run(
        [*prefix, paths.program("peerpodctl"), *arguments], input=text, capture_output=True, timeout=120, env=variables
    )
    done.out, done.error = done.stdout.decode(), done.stderr.decode()
    assert done.returncode == status, f"{done.out}{done.error}"
    return done


class Node:
    """peerpodctl on a world's worker, as its adaptor is configured."""

    def __init__(self, world):
        self.world = world
        self.environment = {
            "CLOUD_PROVIDER": "netns",
            "STATE_DIR": str(world.stack.state_dir),
            "AGENT_PROXY_SOCKET": world.stack.proxy_socket,
            "NETNS_STATE_DIR": str(world.stack.netns_state),
            "NETNS_BUNDLES": str(paths.BUILD / "bundles"),
        }
        self.cluster = (world.stack.state_dir / "cluster").read_text().strip()
        self.name = os.uname().nodename

    def ctl(self, *arguments, status=0, **environment):
        return run(*arguments, status=status, prefix=self.world.worker.command(), **{**self.environment, **environment})

    def json(self, *arguments, **more):
        return json.loads(self.ctl(*arguments, "--json", **more).out)

    def orphan(self, cluster="", node="", sandbox="") -> str:
        """An instance that no record knows: its id."""
        token = secrets.token_hex(16)
        tool = [paths.program("provider-tool"), str(paths.BUILD / "providers/netns.so"), "--", "create", f"token={token}"]
        tool += [f"cluster={cluster or self.cluster}", f"node={node or self.name}", f"sandbox={sandbox or token}", "pod=lost"]
        done = subprocess.run(
            self.world.worker.command(*tool), capture_output=True, text=True, env={"PATH": os.environ["PATH"], **self.environment}
        )
        return json.loads(done.stdout)["id"]


@pytest.fixture
def node(world) -> Node:
    return Node(world)


def table(text: str) -> list:
    """Rows of a table as dicts; every cell begins where its header does."""
    lines = text.splitlines()
    starts = [m.start() for m in re.finditer(r"(?<!\S)\S", lines[0])]
    names = lines[0].split()
    rows = []
    for line in lines[1:]:
        cells = [line[a:b].strip() for a, b in zip(starts, [*starts[1:], None])]
        assert all(start == 0 or line[start - 1] == " " for start in starts), line
        rows.append(dict(zip(names, cells)))
    return rows


# ---- instances and sandboxes


def test_a_running_pod_is_seen_from_both_sides(world, node):
    pod = world.pod("web", namespace="shop")
    (seen,) = table(node.ctl("instances", "list").out)
    (token,) = world.stack.instances()
    assert seen["INSTANCE"] == f"netns-{token}"
    assert (seen["POD"], seen["CLUSTER"], seen["NODE"], seen["RECORD"]) == ("shop/web", node.cluster, node.name, "running")
    assert re.fullmatch(r"192\.168\.151\.\d+", seen["ADDRESS"]) and re.fullmatch(r"\d+s", seen["AGE"])

    (sandbox,) = table(node.ctl("sandboxes", "list").out)
    assert sandbox["SANDBOX"] == pod.id[:12]
    assert (sandbox["NAMESPACE"], sandbox["POD"], sandbox["STATE"]) == ("shop", "web", "running")
    assert sandbox["INSTANCE"] == seen["INSTANCE"] and sandbox["ADDRESS"] == seen["ADDRESS"]

    (found,) = node.json("instances", "list")
    assert (found["sandbox"], found["pod"], found["record"]) == (pod.id, "web", "running")
    for name in (found["id"], found["name"], found["token"], found["sandbox"]):
        assert node.json("instances", "show", name) == found
    shown = node.ctl("instances", "show", found["id"], "--console").out
    assert re.search(rf"^sandbox +{pod.id}$", shown, re.M) and "record         running" in shown

    record = node.json("sandboxes", "show", pod.id[:10])
    assert (record["sandbox"], record["state"], record["instance"]) == (pod.id, "running", found["id"])
    assert re.search(rf"^pod +web$", node.ctl("sandboxes", "show", pod.id).out, re.M)
    pod.stop_pod()
    wait_until(lambda: node.json("instances", "list") == [], 15, "no instance is listed")
    assert node.json("sandboxes", "list") == []
    world.nothing_left()


def test_nothing_secret_of_a_record_is_printed(world, node):
    pod = world.pod("web")
    record = json.loads((world.stack.state_dir / "sandboxes" / f"{pod.id}.json").read_text())
    key = record["tunnel-client-key"].split("\n")[1]
    assert len(key) > 40
    for arguments in (["list"], ["list", "--json"], ["show", pod.id], ["show", pod.id, "--json"]):
        out = node.ctl("sandboxes", *arguments).out
        assert key not in out and "PRIVATE KEY" not in out and "BEGIN" not in out


def test_gc_deletes_what_no_record_knows_and_nothing_else(world, node):
    pod = world.pod("web")
    orphan, foreign, elsewhere = node.orphan(), node.orphan(cluster="other"), node.orphan(node="other-node")
    (served,) = [i["id"] for i in node.json("instances", "list") if i["record"] == "running"]

    young = {i["id"]: (i["fate"], i["why"]) for i in node.json("instances", "gc", "--grace=1h")}
    assert young == {served: ("kept", "it has a record"), orphan: ("kept", "younger than the grace period")}
    dry = {i["id"]: i["fate"] for i in node.json("instances", "gc", "--grace=0", "--dry-run")}
    assert dry == {served: "kept", orphan: "would be deleted"}
    assert len(world.stack.instances()) == 4

    rows = {r["INSTANCE"]: (r["FATE"], r["WHY"]) for r in table(node.ctl("instances", "gc", "--grace=0").out)}
    assert rows == {served: ("kept", "it has a record"), orphan: ("deleted", "no record, older than the grace period")}
    left = {f"netns-{t}" for t in world.stack.instances()}
    assert left == {served, foreign, elsewhere}
    assert {i["id"] for i in node.json("instances", "list")} == {served, elsewhere}
    assert {i["id"] for i in node.json("instances", "list", "--all-clusters")} == left

    node.ctl("instances", "delete", elsewhere, "--force")
    node.ctl("instances", "delete", foreign, "--cluster-name=other", "--force")
    pod.stop_pod()
    world.nothing_left()


def test_gc_keeps_what_a_shim_is_connected_to_and_what_it_cannot_judge(world, node):
    pod = world.pod("web")
    path = world.stack.state_dir / "sandboxes" / f"{pod.id}.json"
    good = path.read_bytes()
    (served,) = [i["id"] for i in node.json("instances", "list")]

    def fate() -> tuple:
        (only,) = node.json("instances", "gc", "--grace=0")
        return only["id"], only["fate"], only["why"]

    path.write_bytes(b'{"version": 99}')
    assert fate() == (served, "kept", "its record cannot be read")
    assert table(node.ctl("sandboxes", "list").out)[0]["STATE"] == "damaged"
    assert "cannot be read" in node.ctl("sandboxes", "show", pod.id, status=1).error
    path.unlink()
    assert fate() == (served, "kept", "a shim is connected to it")
    path.write_bytes(good)
    assert node.ctl("instances", "gc", "--grace=0", "--state-dir=/nonexistent", f"--cluster-name={node.cluster}", status=1).error.count(
        "without the journal nobody can tell an orphan"
    )
    assert "which cluster? Name it with --cluster-name" in node.ctl("instances", "gc", STATE_DIR="/nonexistent", status=2).error
    pod.stop_pod()
    world.nothing_left()


def test_gc_takes_a_record_that_the_adaptor_moved_aside_for_none(world, node):
    sandbox = secrets.token_hex(32)
    aside = world.stack.state_dir / "sandboxes" / f"{sandbox}.json.damaged"
    aside.write_text("{")
    orphan = node.orphan(sandbox=sandbox)
    (row,) = table(node.ctl("sandboxes", "list").out)
    assert (row["SANDBOX"], row["STATE"]) == (sandbox[:12], "damaged")
    assert node.json("instances", "list")[0]["record"] == "damaged"
    (row,) = node.json("instances", "gc", "--grace=0")
    assert (row["id"], row["fate"]) == (orphan, "deleted")
    assert not aside.exists()
    world.nothing_left()


def test_delete_takes_what_is_named_and_not_what_serves_a_pod(world, node):
    pod = world.pod("web")
    (served,) = [i["id"] for i in node.json("instances", "list")]
    first, second, foreign = node.orphan(), node.orphan(), node.orphan(cluster="other")
    refused = node.ctl("instances", "delete", first, served, status=1)
    assert f"instance {served} serves pod default/web (running): delete the pod, or force it with --force" in refused.error
    refused = node.ctl("instances", "delete", first, foreign, status=1)
    assert f'there is no instance "{foreign}" of cluster "{node.cluster}" at netns' in refused.error
    assert len(world.stack.instances()) == 4, "all of them or none"
    assert node.ctl("instances", "delete", first, second).out == f"instance {first} deleted\ninstance {second} deleted\n"
    assert "there is no instance" in node.ctl("instances", "delete", first, status=1).error
    assert node.json("instances", "delete", foreign, "--cluster-name=other", "--force") == {"deleted": [foreign]}
    assert len(world.stack.instances()) == 1
    pod.stop_pod()
    world.nothing_left()


def test_a_cloud_that_fails_is_named_with_what_it_said(world, node):
    failed = node.ctl("instances", "list", "--", "-netns-fail=list:throttled:1", status=1)
    assert re.match(r"peerpodctl: instances list: netns: list the instances: ", failed.error)
    orphan = node.orphan()
    failed = node.ctl("instances", "gc", "--grace=0", "--", "-netns-fail=delete:denied:1", status=1)
    assert table(failed.out)[0]["FATE"] == "failed"
    assert "1 of 1 could not be deleted; run it again" in failed.error
    assert node.json("instances", "gc", "--grace=0")[0]["fate"] == "deleted"
    assert orphan.removeprefix("netns-") not in world.stack.instances()
    world.nothing_left()


# ---- initdata


def test_the_known_document_has_the_known_digest():
    text = (paths.ROOT / "tests/fuzz/corpus/initdata/dummy").read_bytes()
    assert len(text) == 66
    assert run("initdata", "verify", text=text).out == f"sha256:{hashlib.sha256(text).hexdigest()}\n"
    assert hashlib.sha256(text).hexdigest().startswith("adb48cc1")


@pytest.mark.parametrize("toml, hash_name", [(OTHER, "sha384"), (TOML, "sha256")])
def test_initdata_goes_round(tmp_path, toml, hash_name):
    digest = hashlib.new(hash_name, toml)
    annotation = run("initdata", "encode", text=toml).out
    assert gzip.decompress(base64.b64decode(annotation)) == toml
    assert run("initdata", "decode", text=annotation.encode()).stdout == toml
    (tmp_path / "i.toml").write_bytes(toml)
    (tmp_path / "i.b64").write_text(annotation)
    for file in ("i.toml", "i.b64"):
        about = json.loads(run("initdata", "decode", str(tmp_path / file), "--json").out)
        assert about["digest"] == digest.hexdigest() and about["toml"].encode() == toml
        assert about["digest_base64"] == base64.b64encode(digest.digest()).decode()
        for wanted in (about["digest"], about["digest"].upper(), f"{hash_name}:{about['digest']}", about["digest_base64"]):
            run("initdata", "verify", str(tmp_path / file), f"--digest={wanted}", f"--file={tmp_path / 'i.b64'}")
    encoded = json.loads(run("initdata", "encode", str(tmp_path / "i.toml"), "--json").out)
    assert encoded["annotation"] == annotation.strip() and encoded["bytes"] == len(toml)


def test_initdata_that_is_not_what_it_should_be_is_told_apart(tmp_path):
    other = tmp_path / "other.toml"
    other.write_bytes(TOML.replace(b"true", b"tru3"))
    place = TOML.index(b"true") + 4
    failed = run("initdata", "verify", f"--file={other}", text=TOML, status=1)
    assert f"it is not what {other} holds: they differ from byte {place} on (line 8)" in failed.error
    failed = run("initdata", "verify", "--digest=00ff", text=TOML, status=1)
    assert f"its digest is sha256:{hashlib.sha256(TOML).hexdigest()}, not 00ff" in failed.error
    failed = run("initdata", "verify", f"--digest=sha384:{hashlib.sha384(TOML).hexdigest()}", text=TOML, status=1)
    assert "its digest is of sha256, not of sha384" in failed.error


# ---- bad input


@pytest.mark.parametrize(
    "arguments, status, message",
    [
        ([], 2, "Usage: peerpodctl <command> [options]"),
        (["frobnicate"], 2, 'there is no command "frobnicate": `peerpodctl help` lists them'),
        (["instances"], 2, '"instances" wants one of the above'),
        (["instances", "explode"], 2, 'there is no "instances explode", but the above'),
        (["instances", "show"], 2, "INSTANCE is missing"),
        (["instances", "list", "stray"], 2, 'unexpected argument "stray"'),
        (["instances", "list"], 2, "which driver? Name it with --provider, or set CLOUD_PROVIDER"),
        (["instances", "list", "--provider=nimbus"], 2, 'there is no provider "nimbus"; drivers in '),
        (["instances", "list", "--provider=../x"], 2, '"../x" is no name of a provider'),
        (["instances", "list", "--provider=netns", "--", "-colour=red"], 2, "options of netns: unknown option -colour"),
        (["instances", "list", "--provider=netns", "--", "-netns-create-delay=x"], 2, '"x" is no duration'),
        (["instances", "list", "--timeout=soon"], 2, 'option -timeout: "soon" is no duration'),
        (["instances", "list", "--provider=netns", "--log-level=loud"], 2, "option --log-level"),
        (["instances", "gc", "--grace=-1"], 2, "option -grace (ORPHAN_GRACE)"),
        (["sandboxes", "list", "--state-dir=/nonexistent"], 1, "journal /nonexistent/sandboxes: No such file or directory"),
        (["sandboxes", "list", "--", "-x"], 2, 'nothing may follow "--"'),
        (["initdata", "decode", "/nonexistent/file"], 1, "open /nonexistent/file: No such file or directory"),
        (["initdata", "verify", "--file=-"], 2, "standard input cannot be both"),
        (["help", "nonsense"], 2, 'there is no command and no driver "nonsense"'),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong(arguments, status, message):
    assert message in run(*arguments, status=status).error


@pytest.mark.parametrize(
    "text, message",
    [
        (b"", "standard input: there is nothing in it"),
        (b"AAAA", "standard input: "),
        (base64.b64encode(gzip.compress(b"not toml")), "standard input: "),
        (b'algorithm = "md5"\nversion = "0.1.0"\n[data]\n', "standard input: "),
        (b'version = "0.1.0"\n[data]\n', "standard input: "),
        (b"x" * (3 << 20), "is larger than the limit of 2097152 bytes"),
    ],
)
def test_bad_initdata_is_refused(text, message):
    for verb in ("encode", "decode", "verify"):
        assert message in run("initdata", verb, text=text, status=1).error


def test_version_and_help():
    assert re.fullmatch(r"peerpodctl version \d+\.\d+\.\d+\n", run("version").out)
    usage = run("help").out
    for verb in re.findall(r"^  ((?:instances|sandboxes|initdata) [a-z]+|choose)", usage, re.M):
        text = run("help", *verb.split()).out
        assert text == run(*verb.split(), "--help").out
        assert text.startswith(f"Usage: peerpodctl {verb}") and "-json bool" in text
    assert "-netns-state-dir string" in run("help", "netns").out
