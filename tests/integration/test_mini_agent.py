# SPDX-License-Identifier: Apache-2.0
"""mini-agent as a shim meets it: sandbox, containers, exec, logs, signals, statistics, exit codes.

The agent runs in mount and network namespaces of its own, so nothing of it is left on the machine. Needs
root, crun and busybox-static.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest
from conftest import need

from peerpod import cni, paths, services, shim, ttrpc
from peerpod.proto import agent as pb

SHARED = "/run/kata-containers/shared/containers"
CHANGED_ROOT = r"""
root=$1/root
mkdir -p $root && mount -t tmpfs tmpfs $root
for d in /*; do
	if [ -L $d ]; then ln -s "$(readlink $d)" $root$d
	elif [ -d $d ]; then mkdir $root$d && mount --rbind $d $root$d; fi
done
mkdir $root/inner
"""


@pytest.fixture(scope="session")
def bundles(tmp_path_factory):
    need(os.geteuid() == 0, "needs root")
    need(shutil.which("crun") is not None, "needs crun")
    folder = tmp_path_factory.mktemp("bundles")
    subprocess.run([paths.ROOT / "podvm-image/bundle", folder], check=True)
    return folder


class Agent:
    """A running mini-agent and a shim connected to it."""

    def __init__(self, folder: pathlib.Path, bundles, options=(), prepare="", launcher=()):
        self.socket = f"{folder}/agent.sock"
        self.folder = folder
        program = [*launcher, paths.program("mini-agent")]
        script = (
            "set -e; ip link set lo up; mkdir -p /run/kata-containers; mount -t tmpfs tmpfs /run/kata-containers\n"
            f'{prepare}\nshift; exec "$@"'
        )
        self.log = open(folder / "agent.log", "w+b")
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--net", "--propagation", cni.private_mounts(), "sh", "-c", script, "sh", str(folder)]
            + program
            + ["-socket", self.socket, "-bundles", str(bundles), "-state", f"{folder}/state", *options],
            stderr=self.log,
        )
        try:
            self.connect()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def connect(self) -> None:
        shim.wait_until(lambda: os.path.exists(self.socket) or self.process.poll() is not None, 20, "the agent's socket")
        assert self.process.poll() is None, self.log_text()
        self.shim = shim.Shim("", "")
        self.shim.agent_path = self.socket
        self.shim.connect()
        self.agent = self.shim.agent
        # CreateSandbox takes the socket's file away: whoever wants another connection makes it before.
        self.second = ttrpc.Client.connect(self.socket)

    def log_text(self) -> str:
        return (self.folder / "agent.log").read_text()

    def run(self, *args, **more):
        """A container from the busybox bundle, started."""
        container = self.shim.create_container("c", "docker.io/library/busybox:1.36", list(args), **more)
        container.start()
        return container

    def close(self) -> None:
        self.shim.close()
        self.second.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(20)
        finally:
            self.process.kill()
            self.log.close()
        assert status == 0, self.log_text()
        left = [str(p) for p in (self.folder / "state").rglob("*") if p.is_file()]
        assert left == [], "the agent left files behind"


@contextlib.contextmanager
def running_agent(folder, bundles, **how):
    agent = Agent(folder, bundles, **how)
    try:
        yield agent
    finally:
        agent.close()


@pytest.fixture
def agent(tmp_path, bundles):
    with running_agent(tmp_path, bundles) as a:
        a.shim.create_sandbox()
        yield a


@contextlib.contextmanager
def refused(code: int, text: str):
    with pytest.raises(ttrpc.Status) as caught:
        yield
    assert text in caught.value.message
    assert caught.value.code == code


# ---- the sandbox --------------------------------------------------------------------------------


def test_it_says_what_it_is(agent):
    assert "for local runs and tests; it is not kata-agent" in agent.log_text()
    assert services.health(agent.shim.client).Version().agent_version.startswith("mini-agent-")
    details = agent.agent.GetGuestDetails(mem_block_size=True).agent_details
    assert list(details.storage_handlers) == ["ephemeral", "image_guest_pull", "local"]


def test_a_policy_is_refused_because_it_would_not_be_enforced(agent):
    with refused(ttrpc.UNIMPLEMENTED, "mini-agent enforces no policy"):
        agent.agent.SetPolicy(policy="package agent_policy")


def test_methods_it_does_not_have_are_unimplemented(agent):
    with refused(ttrpc.UNIMPLEMENTED, "AddARPNeighbors is not implemented by mini-agent"):
        agent.shim.client.call("grpc.AgentService", "AddARPNeighbors", b"", timeout=10)
    with refused(ttrpc.UNIMPLEMENTED, "method FutureMethod"):
        agent.shim.client.call("grpc.AgentService", "FutureMethod", b"", timeout=10)


def test_create_sandbox_removes_the_socket_file_and_the_connection_lives_on(agent):
    assert not os.path.exists(agent.socket)
    agent.shim.check()
    with refused(ttrpc.INTERNAL, "the sandbox was created before"):
        agent.shim.create_sandbox()


def test_the_socket_file_stays_where_it_is_told_to(tmp_path, bundles):
    with running_agent(tmp_path, bundles, options=["-unlink-on-create-sandbox=false"]) as agent:
        agent.shim.create_sandbox()
        with ttrpc.Client.connect(agent.socket) as second:
            assert services.health(second).Check(timeout=10).status == 1
    assert not os.path.exists(agent.socket)


def test_it_ends_after_destroy_sandbox(agent):
    agent.run("/bin/sleep", "1000")
    with contextlib.suppress(ConnectionError):
        agent.agent.start_DestroySandbox().result(20)
    assert agent.process.wait(20) == 0


# ---- containers ---------------------------------------------------------------------------------


def test_a_pod_of_a_sandbox_container_and_two_more(agent):
    pause = agent.shim.create_container("pause", "pause", ["/pause"])
    pause.start()
    one = agent.run("/bin/sh", "-c", "echo out; echo err >&2; hostname; read x; exit 3")
    two = agent.run("/bin/sleep", "1000")
    assert one.process.stdout is not two.process.stdout
    shim.wait_until(lambda: bytes(one.process.stdout.data) == b"out\nweb\n", 20, "the first container's output")
    one.process.write(b"go\n")
    assert one.process.wait() == 3
    assert bytes(one.process.stderr.data) == b"err\n"
    assert two.exec("/bin/ps")[1].decode().count("\n") == 3, "two processes and the heading: a PID namespace of its own"
    assert two.kill() == 128 + 9
    one.remove()
    pause.signal(signal.SIGTERM)
    assert pause.process.wait() == 0, "the pause program ends by itself on SIGTERM"
    pause.remove()


def test_files_environment_and_folder(agent):
    container = agent.run(
        "/bin/sh", "-c", "cat /etc/motd; echo $COLOUR; pwd", env=["COLOUR=blue"], cwd="/tmp", files={"/etc/motd": b"hello\n"}
    )
    assert container.process.wait() == 0
    assert bytes(container.process.stdout.data) == b"hello\nblue\n/tmp\n"


def test_what_a_container_writes_is_its_own(agent):
    one = agent.run("/bin/sleep", "1000")
    two = agent.run("/bin/sleep", "1000")
    assert one.exec("/bin/sh", "-c", "echo mine > /etc/mine; rm /usr/bin/nc")[0] == 0
    assert two.exec("/bin/sh", "-c", "test ! -e /etc/mine && test -L /usr/bin/nc")[0] == 0


def test_an_image_without_a_bundle_is_refused_by_name(agent):
    with refused(ttrpc.INTERNAL, "image docker.io/library/nginx:1: there is no bundle"):
        agent.shim.create_container("c", "docker.io/library/nginx:1", ["/bin/true"])
    # ... and nothing of it is in the way.
    assert agent.run("/bin/true").process.wait() == 0


def test_a_program_that_is_not_there_fails_with_the_runtimes_reason(agent):
    with refused(ttrpc.INTERNAL, "crun create: executable file `/bin/none` not found in $PATH: No such file or directory"):
        agent.shim.create_container("c", "busybox", ["/bin/none"])


def test_requests_for_what_is_not_there_have_kata_agents_codes(agent):
    container = agent.run("/bin/sleep", "1000")
    a, cid = agent.agent, container.id
    cases = [
        (lambda: a.WaitProcess(container_id="nope", exec_id="nope"), 3, 'container "nope" not found'),
        (lambda: a.SignalProcess(container_id="nope", signal=9), 3, 'container "nope" not found'),
        (lambda: a.StatsContainer(container_id="nope"), 3, 'container "nope" not found'),
        (lambda: a.WaitProcess(container_id=cid, exec_id="nope"), 5, f"process nope not found in container {cid}"),
        (lambda: a.ReadStdout(container_id=cid, exec_id="nope", len=10), 5, f"process nope not found in container {cid}"),
        (lambda: a.WriteStdin(container_id=cid, exec_id="nope", data=b"x"), 13, "process nope not found"),
        (lambda: a.RemoveContainer(container_id="nope"), 13, 'container "nope" not found'),
        (lambda: a.StartContainer(container_id="nope"), 13, 'container "nope" not found'),
        (lambda: a.StartContainer(container_id=cid), 13, "was started before"),
        (lambda: a.SignalProcess(container_id=cid, signal=99), 13, "99 is not a signal"),
        (lambda: a.TtyWinResize(container_id=cid, row=1, column=1), 13, "has no terminal"),
        (lambda: a.ReadStdout(container_id=cid, len=0), 13, "read of 0 bytes"),
        (lambda: a.CreateContainer(container_id="../x", OCI=pb.Spec()), 13, 'container id "../x" is not'),
        (lambda: a.CreateContainer(container_id="x"), 13, "no OCI specification"),
        (lambda: a.CreateContainer(container_id="x", OCI=pb.Spec()), 13, "no image_guest_pull storage"),
    ]
    for call, code, text in cases:
        with pytest.raises(ttrpc.Status) as caught:
            call()
        assert text in caught.value.message
        assert caught.value.code == (code if "image_guest_pull" not in text else ttrpc.UNIMPLEMENTED), text


# ---- processes ----------------------------------------------------------------------------------


def test_exec_with_input_outputs_and_exit_code(agent):
    container = agent.run("/bin/sleep", "1000")
    data = os.urandom(300000)
    status, out, err = container.exec("/bin/sh", "-c", "cat; echo done >&2; exit 42", stdin=data)
    assert (status, out, err) == (42, data, b"done\n")


@pytest.mark.parametrize("number", [1, 9, 15])
def test_a_process_that_a_signal_ends_exits_with_128_and_its_number(agent, number):
    container = agent.run("/bin/sleep", "1000")
    process = container.start_exec("/bin/sleep", "1000")
    process.signal(number)
    assert process.wait() == 128 + number


def test_a_first_process_that_ignores_sigterm_is_killed(agent):
    container = agent.run("/bin/sleep", "1000")
    container.signal(signal.SIGTERM)
    assert container.process.wait() == 128 + 9
    handled = agent.run("/bin/sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do read x; done")
    shim.wait_until(lambda: bytes(handled.process.stdout.data) == b"ready\n", 20, "the handler")
    handled.signal(signal.SIGTERM)
    assert handled.process.wait() == 7


def test_a_signal_to_what_has_ended_says_esrch(agent):
    container = agent.run("/bin/true")
    container.process.stdout.wait_end(20)
    shim.wait_until(lambda: _signal_fails(container), 20, "the end of the process")
    with refused(ttrpc.INTERNAL, "ESRCH: No such process"):
        container.signal(9)


def _signal_fails(container) -> bool:
    try:
        container.signal(18)  # SIGCONT
    except ttrpc.Status:
        return True
    return False


def test_several_waiters_get_the_code_and_a_later_one_finds_nothing(agent):
    container = agent.run("/bin/sh", "-c", "read x; exit 6")
    waits = [agent.agent.start_WaitProcess(container_id=container.id, exec_id=container.id) for _ in range(4)]
    agent.shim.check()
    container.process.close_stdin()
    assert [w.result(20).status for w in waits] == [6] * 4
    with refused(ttrpc.NOT_FOUND, "not found in container"):
        agent.agent.WaitProcess(container_id=container.id, exec_id=container.id)


def test_blocked_reads_and_waits_do_not_hold_up_other_calls(agent):
    container = agent.run("/bin/sleep", "1000")
    pending = [agent.agent.start_WaitProcess(container_id=container.id, exec_id=container.id) for _ in range(30)]
    pending += [agent.agent.start_GetOOMEvent() for _ in range(3)]
    began = time.monotonic()
    for _ in range(20):
        agent.shim.check()
    assert time.monotonic() - began < 5
    assert not any(p.done() for p in pending)


def test_output_that_nobody_reads_is_kept_in_the_pipe_and_not_in_memory(agent):
    container = agent.run("/bin/sleep", "1000")
    exec_id = "writer"
    process = shim._process(["/bin/sh", "-c", "yes | head -c 1000000; echo end"], [], "/", False)
    agent.agent.ExecProcess(container_id=container.id, exec_id=exec_id, process=process)
    reader = shim.Process(agent.agent, container.id, exec_id)
    assert reader.wait() == 0
    assert len(reader.stdout.data) == 1000004
    assert reader.stdout.data.endswith(b"end\n")


def test_a_terminal(agent):
    container = agent.run("/bin/sleep", "1000")
    process = container.start_exec("/bin/sh", "-c", "tty; read x; stty size; echo got $x; exit 4", terminal=True)
    agent.agent.TtyWinResize(container_id=container.id, exec_id=process.exec_id, row=33, column=77)
    shim.wait_until(lambda: bytes(process.stdout.data) == b"/dev/pts/0\r\n", 20, "the terminal's name")
    process.write(b"hello\n")
    assert process.wait() == 4
    assert bytes(process.stdout.data).split() == b"/dev/pts/0 hello 33 77 got hello".split()


def test_a_client_that_goes_away_leaves_the_container_running(agent):
    container = agent.run("/bin/sh", "-c", "read x; exit 5")
    second = services.agent(agent.second)
    second.start_WaitProcess(container_id=container.id, exec_id=container.id)
    second.start_ReadStdout(container_id=container.id, exec_id=container.id, len=100)
    agent.second.close()
    agent.shim.check()  # events come in order: the end of the other connection has been seen by now
    container.process.close_stdin()
    assert container.process.wait() == 5


# ---- statistics, pause, limits ------------------------------------------------------------------


def has_cgroups(agent) -> bool:
    return "no cgroup can be made" not in agent.log_text()


def test_statistics_count_work(agent):
    need(has_cgroups(agent), "needs cgroups")
    container = agent.run("/bin/sleep", "1000")
    before = container.stats().cpu_stats.cpu_usage.total_usage
    container.exec("/bin/sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done")
    assert container.stats().cpu_stats.cpu_usage.total_usage > before + 1_000_000


def test_a_paused_container_stands_still(agent):
    need(has_cgroups(agent), "needs cgroups")
    container = agent.run("/bin/sh", "-c", "while read x; do echo $x; done")
    agent.agent.PauseContainer(container_id=container.id)
    container.process.write(b"one\n")
    agent.shim.check()
    assert bytes(container.process.stdout.data) == b""
    agent.agent.ResumeContainer(container_id=container.id)
    shim.wait_until(lambda: bytes(container.process.stdout.data) == b"one\n", 20, "the echo")


def test_without_cgroups_everything_but_statistics_works(tmp_path, bundles):
    with running_agent(tmp_path, bundles, options=["-cgroups=off"]) as agent:
        agent.shim.create_sandbox()
        container = agent.run("/bin/sleep", "1000")
        assert container.exec("/bin/true")[0] == 0
        assert container.stats().cpu_stats.cpu_usage.total_usage == 0
        with refused(ttrpc.UNIMPLEMENTED, "no cgroup of this container can be frozen"):
            agent.agent.PauseContainer(container_id=container.id)
        assert container.kill() == 137


# ---- where it runs ------------------------------------------------------------------------------


def test_below_a_changed_root_containers_and_execs_stay_inside(tmp_path, bundles):
    root = f"{tmp_path}/root"
    prepare = CHANGED_ROOT + f"\nmkdir -p $root{tmp_path} $root{bundles} 2>/dev/null || true"
    with running_agent(tmp_path, bundles, prepare=prepare, launcher=["chroot", root]) as agent:
        agent.shim.create_sandbox()
        container = agent.run("/bin/sleep", "1000")
        assert container.exec("/bin/sh", "-c", "ls /; test ! -e /inner && test ! -e /work && test -e /www")[0] == 0
        assert container.exec("/bin/cat", "/proc/1/comm")[1] == b"sleep\n"


# ---- CopyFile -----------------------------------------------------------------------------------


def test_copied_folders_and_links_look_as_the_shim_says(agent):
    copy = agent.agent.CopyFile
    base = f"{SHARED}/cfg"
    copy(path=f"{base}", file_mode=0o040755, dir_mode=0o755)
    copy(path=f"{base}/..data_1/key", file_mode=0o100640, dir_mode=0o750, file_size=6, data=b"value\n", uid=7, gid=8)
    copy(path=f"{base}/..data", file_mode=0o120777, data=b"..data_1")
    copy(path=f"{base}/key", file_mode=0o120777, data=b"..data/key")
    container = agent.shim.create_container("c", "busybox", ["/bin/sleep", "1000"])
    container.start()
    inside = f"/proc/{agent.process.pid}/root"
    assert pathlib.Path(f"{inside}{base}/key").read_bytes() == b"value\n"
    status = os.stat(f"{inside}{base}/..data_1/key")
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o640, 7, 8)
    # The kubelet's way of changing it: the link is replaced.
    copy(path=f"{base}/..data_2/key", file_mode=0o100644, dir_mode=0o755, file_size=4, data=b"new\n")
    copy(path=f"{base}/..data", file_mode=0o120777, data=b"..data_2")
    assert pathlib.Path(f"{inside}{base}/key").read_bytes() == b"new\n"


def test_a_file_appears_when_its_last_piece_has_come(agent):
    copy, path = agent.agent.CopyFile, f"{SHARED}/big"
    inside = pathlib.Path(f"/proc/{agent.process.pid}/root{path}")
    data = os.urandom(2_500_000)
    for at in range(0, len(data), 1 << 20):
        assert not inside.exists()
        copy(path=path, file_size=len(data), file_mode=0o100644, offset=at, data=data[at : at + (1 << 20)])
    assert inside.read_bytes() == data


@pytest.mark.parametrize(
    "path, mode, more, text",
    [
        ("/etc/passwd", 0o100644, {}, "not below"),
        (f"{SHARED}", 0o100644, {}, "not below"),
        (f"{SHARED}/", 0o100644, {}, "not below"),
        (f"{SHARED}x/y", 0o100644, {}, "not below"),
        (f"{SHARED}/../../../etc/passwd", 0o100644, {}, "Invalid cross-device link"),
        (f"{SHARED}/a/../../x", 0o100644, {}, "Invalid cross-device link"),
        (f"{SHARED}/..", 0o100644, {}, "no name at its end"),
        (f"{SHARED}/x/", 0o100644, {}, "no name at its end"),
        (f"{SHARED}/out/passwd", 0o100644, {}, "Invalid cross-device link"),
        (f"{SHARED}/device", 0o020644, {}, "is not a file, folder or link"),
        (f"{SHARED}/f", 0o100644, {"file_size": 3, "data": b"four"}, "do not fit a file of 3 bytes"),
        (f"{SHARED}/f", 0o100644, {"file_size": -1}, "do not fit a file of -1 bytes"),
        (f"{SHARED}/f", 0o100644, {"file_size": 1 << 40}, "do not fit a file of"),
        (f"{SHARED}/g", 0o100644, {"file_size": 9, "offset": 5, "data": b"four"}, "no first piece came before"),
        (f"{SHARED}/l", 0o120777, {"data": b""}, "the link's target is not a path"),
        (f"{SHARED}/{'n' * 300}", 0o100644, {}, "the name is too long"),
    ],
)
def test_copy_file_refuses(agent, path, mode, more, text):
    agent.agent.CopyFile(path=f"{SHARED}/out", file_mode=0o120777, data=b"/etc")
    with refused(ttrpc.INTERNAL, text):
        agent.agent.CopyFile(path=path, file_mode=mode, **more)
    assert b"root:" in pathlib.Path("/etc/passwd").read_bytes()


# ---- storages, diagnostic data ------------------------------------------------------------------


def test_storages_of_memory_and_folders(agent):
    inside = f"/proc/{agent.process.pid}/root"
    assert os.stat(f"{inside}/run/kata-containers/sandbox/shm").st_mode & 0o7777 == 0o1777
    for storage, text in [
        (pb.Storage(driver="blk", mount_point="/run/kata-containers/x"), 'no driver "blk"'),
        (pb.Storage(driver="local", mount_point="/etc/x"), "is not below /run/kata-containers"),
        (pb.Storage(driver="local", mount_point="/run/kata-containers/../x"), "is not below /run/kata-containers"),
        (pb.Storage(driver="ephemeral", fstype="hugetlbfs", mount_point="/run/kata-containers/h"), "mounts no hugetlbfs"),
    ]:
        image = pb.Storage(driver="image_guest_pull", source="busybox", mount_point="/run/kata-containers/s/rootfs")
        with pytest.raises(ttrpc.Status) as caught:
            agent.agent.CreateContainer(container_id="s", storages=[image, storage], OCI=pb.Spec(Process=pb.Process()))
        assert text in caught.value.message


def test_the_termination_message(agent):
    annotations = agent.shim.container_annotations

    def with_path(*args):
        return annotations(*args) | {"io.kubernetes.container.terminationMessagePath": "/dev/termination-log"}

    agent.shim.container_annotations = with_path
    container = agent.run("/bin/sh", "-c", "echo it broke > /dev/termination-log; exit 1", files={"/dev/termination-log": b""})
    assert container.process.wait() == 1
    assert agent.agent.GetDiagnosticData(log_type="termination_log", container_id=container.id).data == "it broke\n"
    with refused(ttrpc.UNIMPLEMENTED, 'there is no log "core"'):
        agent.agent.GetDiagnosticData(log_type="core", container_id=container.id)


@pytest.mark.parametrize(
    "script, said",
    [
        ("ln -s /etc/passwd /said", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n"),
        ("ln -s /proc/1/root/etc/hostname /said", ""),
        ("mkfifo /said", None),
        ("mkdir /said", None),
        ("yes | head -c 100000 >/said; echo end >>/said", "y\n" * ((65536 - 4) // 2) + "end\n"),
        ("true", ""),
    ],
)
def test_a_termination_message_is_the_containers_own_and_ends(agent, script, said):
    """In its root file system the container decides what is there: its links lead nowhere else."""
    annotations = agent.shim.container_annotations

    def with_path(*args):
        return annotations(*args) | {"io.kubernetes.container.terminationMessagePath": "/said"}

    agent.shim.container_annotations = with_path
    container = agent.run("/bin/sh", "-c", script)
    assert container.process.wait() == 0
    if said is None:
        with refused(ttrpc.INTERNAL, "it is no file"):
            agent.agent.GetDiagnosticData(log_type="termination_log", container_id=container.id)
    else:
        assert agent.agent.GetDiagnosticData(log_type="termination_log", container_id=container.id).data == said


# ---- options ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, text",
    [
        (["-cgroups", "maybe"], "-cgroups"),
        (["-nonsense"], "nonsense"),
        (["-socket", "/nowhere/at/all"], "folder /nowhere/at: No such file or directory"),
        (["-crun", "/nowhere/crun"], "/nowhere/crun is not there: install the package crun"),
    ],
)
def test_wrong_options_are_named(tmp_path, arguments, text):
    command = [paths.program("mini-agent"), "-state", str(tmp_path / "state"), *arguments]
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", cni.private_mounts(), *command], capture_output=True, text=True, timeout=20
    )
    assert done.returncode != 0
    assert text in done.stderr
