# SPDX-License-Identifier: Apache-2.0
"""podvm-init as first process of a PID namespace: starts in order, restarts, stops in order, says what failed.

The programs that it starts are scripts here, which write down when they start and end.
"""

import os
import pathlib
import signal
import subprocess
import time

import pytest

import conftest
from peerpod import cni, paths

# $LOG: one line for each start and end. A waiting script ends on SIGTERM.
SCRIPTS = {
    "process-user-data": 'echo "user-data $*" >>$LOG; test -e /media/cidata/user-data',
    "mini-agent": """echo "agent start $*" >>$LOG
        trap 'echo "agent end" >>$LOG; exit 0' TERM
        while [ ! -e $LOG.agent-exit ]; do read -rt 0.05 <>/run/never; done; exit $(cat $LOG.agent-exit)""",
    "agent-protocol-forwarder": """echo "forwarder start $*" >>$LOG
        [ ! -e $LOG.fail ] || { rm $LOG.fail; exit 3; }
        trap 'echo "forwarder end" >>$LOG; exit 0' TERM
        while :; do read -rt 0.05 <>/run/never; done""",
}
# In a chroot / may be no mount point: then at least those that are mounted on keep it to themselves.
NAMESPACES = """for m in / /proc /run; do mount --make-rprivate $m 2>/dev/null || :; done
mount -t proc proc /proc; mount -t tmpfs run /run; mount -t tmpfs media /media
mkfifo /run/never; mkdir /media/cidata; [ -z "$USER_DATA" ] || echo "$USER_DATA" >/media/cidata/user-data; exec "$@" """


class Init:
    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.log = folder / "log"
        self.console = folder / "console"
        self.bin = folder / "bin"
        self.bin.mkdir()
        for name, text in SCRIPTS.items():
            (self.bin / name).write_text("#!/bin/bash\n" + text + "\n")
            (self.bin / name).chmod(0o755)
        self.outer = None

    def start(self, *options: str, user_data="#cloud-config") -> "Init":
        init = [paths.program("podvm-init"), "-container", f"-bin-dir={self.bin}", "-bundles=/b", *options]
        with open(self.console, "wb") as out:
            self.outer = subprocess.Popen(
                ["unshare", "-mpnu", "--propagation", cni.private_mounts(), "--fork", "--kill-child", "bash", "-ec", NAMESPACES, "namespaces", *init],
                stdout=out, stderr=out, stdin=subprocess.DEVNULL,
                env={**os.environ, "LOG": str(self.log), "USER_DATA": user_data},
            )  # fmt: skip
        return self

    def lines(self) -> list:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def wait_line(self, part: str, count: int = 1) -> None:
        end = time.monotonic() + 20
        while sum(part in line for line in self.lines()) < count:
            assert time.monotonic() < end and self.outer.poll() is None, f"no {part!r}: {self.lines()} {self.text()}"
            time.sleep(0.01)

    def text(self) -> str:
        return self.console.read_text()

    def terminate(self) -> None:
        """The first process of the namespace is the child of unshare."""
        child = pathlib.Path(f"/proc/{self.outer.pid}/task/{self.outer.pid}/children").read_text().split()[0]
        os.kill(int(child), signal.SIGTERM)

    def wait(self) -> int:
        return self.outer.wait(20)

    def close(self) -> None:
        if self.outer and self.outer.poll() is None:
            self.outer.kill()
            self.outer.wait()


@pytest.fixture
def init(tmp_path):
    conftest.need(os.geteuid() == 0, "needs root: namespaces")
    it = Init(tmp_path)
    yield it
    it.close()


def test_user_data_come_first_and_the_forwarder_stops_before_the_agent(init):
    init.start()
    init.wait_line("forwarder start")
    init.wait_line("agent start")
    init.terminate()
    assert init.wait() == 0
    lines = init.lines()
    assert lines[0] == "user-data provision-files"
    assert "agent start -socket /run/kata-containers/agent.sock -bundles /b" in lines
    assert "forwarder start -pod-namespace /run/netns/podns -kata-agent-socket /run/kata-containers/agent.sock" in lines
    assert lines[-2:] == ["forwarder end", "agent end"]
    assert "told to stop" in init.text()


def test_a_forwarder_that_fails_is_started_again(init):
    (init.folder / "log.fail").touch()
    init.start()
    init.wait_line("forwarder start", 2)
    assert "agent-protocol-forwarder ended with status 3: it is started again in 100 ms" in init.text()
    init.terminate()
    assert init.wait() == 0


@pytest.mark.parametrize("status", [0, 7])
def test_the_end_of_the_agent_is_the_end_of_the_pod(init, status):
    init.start()
    init.wait_line("forwarder start")
    (init.folder / "log.agent-exit").write_text(str(status))
    assert init.wait() == (1 if status else 0)
    assert init.lines()[-1] == "forwarder end"
    assert f"agent ended with status {status}" in init.text()


def test_without_user_data_nothing_else_starts(init):
    init.start(user_data="")
    assert init.wait() == 1
    assert init.lines() == ["user-data provision-files"]
    assert "failed: process-user-data ended with status 1: the pod VM has no usable user data" in init.text()


def test_a_program_that_is_missing_is_named(init):
    (init.bin / "agent-protocol-forwarder").unlink()
    init.start()
    assert init.wait() == 1
    assert f"failed: start agent-protocol-forwarder: {init.bin}/agent-protocol-forwarder: No such file" in init.text()


def test_more_options_reach_the_forwarder(init):
    init.start("-forwarder-options=-listen 0.0.0.0:15151")
    init.wait_line("-listen 0.0.0.0:15151")


def test_it_refuses_to_be_anything_but_the_first_process(init):
    done = subprocess.run(
        [paths.program("podvm-init"), "-container", f"-bin-dir={init.bin}"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "this is the first process of a pod VM" in done.stderr


LEASE = """set -e
mount -t proc proc /proc; ip link add name net0 type veth peer name peer0; ip link set net0 up
"$0" bound; ip -o -4 address show dev net0; ip -o link show dev net0"""


@pytest.mark.parametrize("mtu, result", [("1400", "1400"), ("70000", "1500"), ("12", "1500"), ("", "1500")])
def test_an_mtu_that_the_interface_cannot_have_costs_no_address(mtu, result):
    conftest.need(os.geteuid() == 0, "needs root: namespaces")
    lease = {"interface": "net0", "ip": "192.0.2.7", "mask": "24", "mtu": mtu}
    # A PID namespace: it sends a signal to the first process.
    done = subprocess.run(
        ["unshare", "--net", "--pid", "--fork", "--mount", "--propagation", cni.private_mounts(), "sh", "-c", LEASE, str(paths.program("podvm-dhcp"))],
        env={**os.environ, **lease}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "192.0.2.7/24" in done.stdout and f" mtu {result} " in done.stdout
    assert (f"network: MTU {mtu}: interface net0: " in done.stderr) == (mtu in ("70000", "12"))
