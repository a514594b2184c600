# SPDX-License-Identifier: Apache-2.0
"""cloud-api-adaptor at its doors: the command line, the hypervisor socket, the probes; and what nobody asks it for."""

import json
import os
import re
import resource
import socket
import stat
import subprocess
import threading
import time

import pytest

from peerpod import leaks, paths, services, ttrpc
from peerpod.shim import wait_until

KEY = "io.katacontainers.config.hypervisor."
NAME = "io.kubernetes.cri.sandbox-name"
# A document that no log may repeat.
INITDATA = 'algorithm = "sha256"\nversion = "0.1.0"\n\n[data]\n"aa.toml" = "withheld-from-logs"\n'


def run(*arguments, **environment) -> subprocess.CompletedProcess:
    variables = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(
        [paths.program("cloud-api-adaptor"), *arguments], capture_output=True, text=True, env=variables, timeout=60
    )


# ---- the command line


def test_version_and_help():
    assert run("version").stdout.startswith("cloud-api-adaptor version ")
    text = run("help")
    assert text.returncode == 0
    assert "netns" in text.stdout and "-pods-dir string" in text.stdout
    text = run("help", "netns")
    assert text.returncode == 0
    assert "-netns-bridge string" in text.stdout and "-pods-dir string" in text.stdout


def test_options_as_markdown_are_a_table():
    rows = run("options", "--markdown").stdout.splitlines()
    assert "| `-pods-dir` | `PODS_DIR` | `/run/peerpod/pods` | folder of the per-sandbox folders that hold the agent sockets; required |" in rows


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nimbus"], 'there is no provider "nimbus"; drivers in '),
        (["../netns"], '"../netns" is no name of a provider: lower-case letters, digits and \'-\' only'),
        (["netns", "-colour=red"], "unknown option -colour: --help lists what there is"),
        (["netns", "-vxlan-port=x"], 'option -vxlan-port (VXLAN_PORT): "x" is no whole number'),
        (["netns", "-netns-create-delay=x"], 'option -netns-create-delay (NETNS_CREATE_DELAY): "x" is no duration'),
        (["netns", "-tls-min-version=VersionTLS10"], "options -tls-min-version and -tls-cipher-suites: "),
        (["netns", "-initdata=AAAA"], "option -initdata (INITDATA): "),
        (["netns", "stray"], 'unexpected argument "stray": options begin with a dash'),
        ([], "which provider? Name it first, or set CLOUD_PROVIDER"),
        (["options", "x"], 'options takes --markdown only, not "x"'),
    ],
)
def test_a_wrong_command_line_is_refused_with_status_2(arguments, message):
    done = run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_a_wrong_variable_is_refused_by_name():
    done = run("netns", PROXY_TIMEOUT="soon")
    assert done.returncode == 2
    assert 'option -proxy-timeout (PROXY_TIMEOUT): "soon" is no duration' in done.stderr


def test_the_provider_may_come_from_the_environment():
    done = run("-colour=red", CLOUD_PROVIDER="netns")
    assert done.returncode == 2
    assert "unknown option -colour" in done.stderr


def test_a_configuration_that_fails_its_check_is_not_served(make_world):
    world = make_world(environment={"NETNS_BIN_DIR": "/nonexistent"}, options=["-cloud-config-verify"])
    world.stack.start(wait=False)
    assert world.stack.process.wait(30) == 1
    world.stack.process = None
    assert "provider netns: " in world.stack.log()
    assert not os.path.exists(world.stack.socket)


# ---- the socket and the state folder


def test_files_are_for_root_alone(world):
    shim = world.shim()
    shim.create_vm()
    for path in [world.stack.socket, *world.stack.state_dir.rglob("*.json"), *world.stack.state_dir.rglob("*.pem")]:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600, path
    assert stat.S_IMODE(os.stat(world.stack.state_dir / "sandboxes").st_mode) == 0o700
    shim.stop_vm()
    world.nothing_left()


def test_a_second_adaptor_on_the_same_state_names_the_first(world):
    second = subprocess.run(
        world.worker.command(*world.stack.command()), capture_output=True, text=True, timeout=60, env=world.stack.environment
    )
    assert second.returncode == 1
    assert f"is in use by another cloud-api-adaptor (process {world.stack.process.pid})" in second.stderr
    with world.stack.hypervisor() as hypervisor:  # the first one's socket is still there
        assert hypervisor.Version().version == "0.0.0"


def test_a_socket_of_a_newer_instance_is_never_unlinked(world):
    os.unlink(world.stack.socket)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(world.stack.socket)
    listener.listen()
    assert world.stack.stop() == 0
    assert os.path.exists(world.stack.socket)
    listener.close()
    os.unlink(world.stack.socket)


@pytest.mark.parametrize("content, message", [("x" * 300, "is larger than the limit of 256 bytes"), ("", "is empty")])
def test_a_cluster_name_that_cannot_be_read_is_not_replaced(make_world, content, message):
    world = make_world()
    world.stack.state_dir.mkdir(mode=0o700)
    name = world.stack.state_dir / "cluster"
    name.write_text(content)
    world.stack.start(wait=False)
    assert world.stack.process.wait(30) == 1
    world.stack.process = None
    assert "name of this node's cluster (mend it, or set -cluster-name" in world.stack.log()
    assert f"{name} {message}" in world.stack.log()
    assert name.read_text() == content


def test_its_own_socket_goes_with_it(world):
    assert world.stack.stop() == 0
    assert not os.path.exists(world.stack.socket)


# ---- calls


@pytest.mark.parametrize(
    "change, message",
    [
        ({"id": ""}, "empty sandbox id"),
        ({"id": "../x"}, "sandbox id \"../x\" may hold letters, digits, '.', '_' and '-' only, and begins with a letter or digit"),
        ({"networkNamespacePath": ""}, "pod default/web: networkNamespacePath is empty"),
        ({"networkNamespacePath": "/nonexistent"}, "pod default/web: network namespace /nonexistent: No such file or directory"),
        ({"networkNamespacePath": "/etc/hostname"}, "pod default/web: pod network: "),
        ({NAME: ""}, f"annotation {NAME}: is missing or empty"),
        ({KEY + "default_vcpus": "many"}, f'pod default/web: annotation {KEY}default_vcpus: "many" is no number of vCPUs'),
        ({KEY + "cc_init_data": "no = [toml"}, f"pod default/web: annotation {KEY}cc_init_data: "),
    ],
)
def test_create_vm_refuses_what_is_wrong(world, change, message):
    shim = world.shim()
    request = {"id": shim.id, "networkNamespacePath": shim.netns_path}
    annotations = shim.vm_annotations()
    for key, value in change.items():
        (request if key in request else annotations)[key] = value
    with world.stack.hypervisor() as hypervisor, pytest.raises(ttrpc.Status) as refused:
        hypervisor.CreateVM(annotations=annotations, timeout=20, **request)
    assert message in refused.value.message
    assert refused.value.code in (3, 5)
    assert world.stack.records() == []
    world.nothing_left()


def test_every_line_that_concerns_a_sandbox_names_it_and_its_pod(make_world):
    world = make_world(options=["-log-format=json"]).start()
    refused = world.shim("refused")
    with world.stack.hypervisor() as hypervisor, pytest.raises(ttrpc.Status):
        annotations = {**refused.vm_annotations(), KEY + "default_vcpus": "many"}
        hypervisor.CreateVM(id=refused.id, networkNamespacePath=refused.netns_path, annotations=annotations, timeout=20)
    lived = world.pod("lived")
    world.stack.restart()
    lived.check()
    with world.stack.agent_proxy() as proxy, pytest.raises(ttrpc.Status):  # an Open that is refused
        proxy.Open(sandbox=lived.id, pod="lived", pod_namespace="default", socket_path="/tmp/other", address="192.0.2.1:1", timeout=20)
    lived.stop_pod()
    world.stack.wait_log("taken down")
    said = {refused.id: 0, lived.id: 0}
    for line in map(json.loads, world.stack.log().splitlines()):
        for id, pod in ((refused.id, "refused"), (lived.id, "lived")):
            if id in json.dumps(line):
                said[id] += 1
                assert (line.get("sandbox"), line.get("namespace"), line.get("pod")) == (id, "default", pod), line
    assert said[refused.id] >= 1 and said[lived.id] >= 8


def test_a_message_that_is_cut_stays_text(make_world):
    """Go's protobuf takes no answer with a string that is not UTF-8: the shim would show that instead."""
    world = make_world(options=["-log-format=json"]).start()
    shim = world.shim()
    annotations = {**shim.vm_annotations(), KEY + "default_vcpus": "x" + 30 * "é"}
    request = services.hv.CreateVMRequest(id=shim.id, networkNamespacePath=shim.netns_path, annotations=annotations)
    with ttrpc.connect_unix(world.stack.socket) as sock:
        sock.sendall(ttrpc.pack(1, 1, data=ttrpc.request("hypervisor.Hypervisor", "CreateVM", request.SerializeToString())))
        status = dict(ttrpc.fields(dict(ttrpc.fields(ttrpc.read_frame(sock).data))[1]))
    assert 'default_vcpus: "x' in status[2].decode()
    for line in world.stack.log_path.read_bytes().splitlines():
        json.loads(line.decode())


def test_unknown_calls_and_sandboxes(world):
    with ttrpc.Client.connect(world.stack.socket) as client:
        for service, method in [("hypervisor.Hypervisor", "Levitate"), ("hypervisor.Submarine", "StopVM")]:
            with pytest.raises(ttrpc.Status) as refused:
                client.call(service, method, timeout=20)
            assert refused.value.code == 12
        hypervisor = services.hypervisor(client)
        with pytest.raises(ttrpc.Status) as refused:
            hypervisor.StartVM(id="ab12", timeout=20)
        assert (refused.value.code, refused.value.message) == (5, "sandbox ab12 does not exist")
        hypervisor.StopVM(id="ab12", timeout=20)


def test_a_connection_for_every_pod_of_a_large_node(world):
    clients = [ttrpc.connect_unix(world.stack.socket) for _ in range(600)]  # idle, as those of runtime-rs
    try:
        with world.stack.hypervisor() as hypervisor:
            assert hypervisor.Version(timeout=20).version == "0.0.0"
    finally:
        for client in clients:
            client.close()


def test_all_on_one_connection_as_runtime_rs_does(world):
    shim = world.shim(annotations={KEY + "default_vcpus": "1.5", KEY + "cc_init_data": INITDATA})
    with ttrpc.Client.connect(world.stack.socket) as client:
        hypervisor = services.hypervisor(client)
        hypervisor.CreateVM(id=shim.id, annotations=shim.vm_annotations(), networkNamespacePath=shim.netns_path)
        hypervisor.StartVM(id=shim.id, timeout=10000)
        info = services.podvminfo(client).GetInfo(PodName="web", PodNamespace="default", Wait=True, timeout=20)
        assert info.VMID == json.loads((world.stack.state_dir / "sandboxes" / f"{shim.id}.json").read_text())["instance-id"]
        with pytest.raises(ttrpc.Status) as late:  # it gives StopVM a second, and here less
            hypervisor.start_StopVM(id=shim.id, timeout=0.001).result(20)
        assert late.value.code == 4
    wait_until(lambda: not world.stack.instances() and not world.stack.records(), 20, "the deletion went on")
    assert "withheld-from-logs" not in world.stack.log()
    world.nothing_left()


def test_get_info_of_an_unknown_pod(world):
    with world.stack.podvminfo() as info:
        with pytest.raises(ttrpc.Status) as refused:
            info.GetInfo(PodName="web", PodNamespace="default", timeout=20)
        assert (refused.value.code, refused.value.message) == (5, "VM ID for default:web was not found")
        with pytest.raises(ttrpc.Status) as refused:
            info.start_GetInfo(PodName="web", PodNamespace="default", Wait=True, timeout=0.1).result(20)
        assert refused.value.code == 4


def test_stop_vm_whose_caller_hangs_up_at_once_is_done(world):
    """The Go shim writes the request with a dead context and closes the socket."""
    shim = world.pod()
    shim.close()
    with ttrpc.connect_unix(world.stack.socket) as sock:
        payload = services.hv.StopVMRequest(id=shim.id).SerializeToString()
        sock.sendall(ttrpc.pack(1, ttrpc.REQUEST, 0, ttrpc.request("hypervisor.Hypervisor", "StopVM", payload)))
    wait_until(lambda: not world.stack.instances() and not world.stack.records(), 20, "the deletion is done")
    shim.stop_vm()  # again
    world.nothing_left()


def test_a_start_vm_whose_caller_goes_away_is_rolled_back(make_world):
    world = make_world(environment={"NETNS_ADDRESS_DELAY": "60s"}).start()
    shim = world.shim()
    shim.create_vm()
    client = ttrpc.Client.connect(world.stack.socket)
    services.hypervisor(client).start_StartVM(id=shim.id, timeout=600)
    world.stack.wait_log(" created sandbox=")
    client.close()
    wait_until(lambda: not world.stack.instances() and not world.stack.records(), 20, "the start is rolled back")
    world.nothing_left()


def test_a_start_vm_makes_no_tunnel_in_another_pods_namespace_that_has_the_path_meanwhile(world):
    shim = world.shim()
    shim.create_vm()
    other = world.network.add_pod("other")
    before = leaks.in_pod(other)
    with open(shim.pod_netns.path):  # it lives on: no new namespace gets its number
        subprocess.run(["umount", "--lazy", shim.pod_netns.path], check=True)
        subprocess.run(["mount", "--bind", other.path, shim.pod_netns.path], check=True)
        with pytest.raises(ttrpc.Status) as refused:
            shim.start_vm(60)
        assert "is another one than when the pod was created" in refused.value.message
        assert leaks.in_pod(other) == before
        shim.stop_vm()
    world.network.remove_pod(other)
    world.nothing_left()


def test_stop_vm_cancels_a_start_vm(make_world):
    world = make_world(environment={"NETNS_ADDRESS_DELAY": "60s"}).start()
    shim = world.shim()
    shim.create_vm()
    with world.stack.hypervisor() as hypervisor:
        start = hypervisor.start_StartVM(id=shim.id, timeout=600)
        world.stack.wait_log(" created sandbox=")
        began = time.monotonic()
        shim.stop_vm(20)
        assert time.monotonic() - began < 10
        with pytest.raises(ttrpc.Status) as ended:
            start.result(20)
        assert ended.value.code == 1
        assert ended.value.message.startswith("start pod default/web: ")
    assert world.stack.instances() == world.stack.records() == []
    world.nothing_left()


def test_sigterm_in_a_start_vm_ends_within_seconds_and_leaves_nothing(make_world):
    world = make_world(environment={"NETNS_ADDRESS_DELAY": "60s"}).start()
    shim = world.shim()
    shim.create_vm()
    with world.stack.hypervisor() as hypervisor:
        running = hypervisor.start_StartVM(id=shim.id, timeout=600)
        world.stack.wait_log(" created sandbox=")
        began = time.monotonic()
        assert world.stack.stop() == 0
        assert time.monotonic() - began < 10
        with pytest.raises((ttrpc.Status, ttrpc.Closed)):
            running.result(20)
    assert world.stack.instances() == world.stack.records() == []
    world.start()
    world.nothing_left()


@pytest.mark.parametrize("kind, tries", [("retry", 2), ("throttled", 2), ("capacity", 1)])
def test_passing_faults_of_the_cloud_are_tried_again(make_world, kind, tries):
    world = make_world(environment={"NETNS_FAIL": f"create:{kind}:1"}).start()
    shim = world.shim()
    shim.create_vm()
    if tries == 2:
        shim.start_vm(60)
        shim.stop_vm()
    else:
        with pytest.raises(ttrpc.Status) as failed:
            shim.start_vm(60)
        assert failed.value.message.startswith("start pod default/web: create the pod VM: ")
    world.nothing_left()


def test_a_deletion_that_fails_is_tried_until_it_succeeds(make_world):
    world = make_world(environment={"NETNS_FAIL": "delete:retry:1"}).start()
    shim = world.pod()
    shim.close()
    with pytest.raises(ttrpc.Status) as failed:
        shim.stop_vm(20)
    assert "it is taken down in the background" in failed.value.message
    wait_until(lambda: not world.stack.instances() and not world.stack.records(), 20, "the second attempt succeeds")
    world.nothing_left()


# ---- a full disk


@pytest.fixture
def small_disk_world(make_world):
    """Its journal is on a file system of its own; fill() and drain() it."""
    world = make_world()
    state = world.stack.state_dir
    state.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", state], check=True)

    def fill():
        with open(state / "filler", "wb", buffering=0) as filler, pytest.raises(OSError):
            while filler.write(bytes(4096)):
                pass

    world.fill, world.drain = fill, (state / "filler").unlink
    try:
        yield world.start()
    finally:
        world.stack.stop()
        subprocess.run(["umount", state], check=True)


def test_a_full_disk_refuses_new_pods_and_keeps_no_vm(small_disk_world):
    world = small_disk_world
    running, created = world.pod("running"), world.shim("created")
    created.create_vm()
    world.fill()
    with pytest.raises(ttrpc.Status) as refused:
        world.shim("refused").create_vm()
    assert refused.value.code == 8
    assert re.match(r"pod default/refused: journal: write \S+: (make a temporary file: )?No space left on device$", refused.value.message)
    with pytest.raises(ttrpc.Status) as refused:
        created.start_vm(60)
    assert re.match(r"start pod default/created: create the pod VM: journal: .*No space left on device$", refused.value.message)
    assert len(world.stack.instances()) == 1
    running.check()
    running.stop_pod()
    world.drain()
    world.nothing_left()


def test_a_deletion_that_a_full_disk_kept_out_of_the_journal_is_done_again(small_disk_world):
    world = small_disk_world
    world.stack.options.append("-shim-grace=1s")
    shim = world.pod()
    world.fill()
    world.stack.kill()
    world.start(fault="stop.delete.after")
    shim.close()
    with pytest.raises((ttrpc.Closed, ttrpc.Status)):
        shim.stop_vm()
    world.stack.wait_killed()
    assert json.loads((world.stack.state_dir / "sandboxes" / f"{shim.id}.json").read_text())["state"] == "running"
    world.drain()
    world.start()
    wait_until(lambda: not world.stack.records(), 20, "the grace period takes it")
    world.nothing_left()


# ---- what nobody asks for


def test_a_sandbox_that_is_never_started_goes(make_world):
    world = make_world(options=["-create-grace=300ms"]).start()
    shim = world.shim()
    shim.create_vm()
    wait_until(lambda: not world.stack.records(), 20, "the grace period takes it")
    world.nothing_left()


def test_a_pod_whose_shim_was_killed_goes(make_world):
    world = make_world(options=["-shim-grace=1s"]).start()
    shim = world.pod()
    bound = time.monotonic() + 2
    wait_until(lambda: time.monotonic() > bound, 5, "longer than the grace period")
    assert world.stack.instances()  # while its shim is there
    shim.close()
    wait_until(lambda: not world.stack.instances() and not world.stack.records(), 20, "the grace period takes it")
    world.nothing_left()


def test_an_instance_without_a_record_is_deleted_and_its_neighbours_are_not(make_world):
    world = make_world(options=["-orphan-grace=1s", "-orphan-interval=300ms"]).start()
    lost, kept = world.shim("lost"), world.pod("kept")
    lost.create_vm()
    lost.start_vm(60)
    assert len(world.stack.instances()) == 2
    world.stack.kill()
    os.unlink(world.stack.state_dir / "sandboxes" / f"{lost.id}.json")
    world.start()
    wait_until(lambda: len(world.stack.instances()) == 1, 30, "the orphan is deleted")
    kept.check()
    kept.stop_pod()
    world.nothing_left()


def test_a_damaged_record_costs_no_running_pod(world):
    shim = world.pod()
    world.stack.kill()
    record = world.stack.state_dir / "sandboxes" / f"{shim.id}.json"
    record.write_text(record.read_text()[:100])
    network = leaks.in_pod(shim.pod_netns)
    world.start()
    assert f"damaged record moved to {record}.damaged" in world.stack.log()
    world.stack.wait_log("agent-proxy serves a sandbox that has no record")
    shim.check()
    assert network and leaks.in_pod(shim.pod_netns) == network  # and it is not cut off
    shim.close()
    shim.stop_vm()
    wait_until(lambda: not world.stack.instances(), 20, "the instance is found by its token")
    wait_until(lambda: not record.with_name(record.name + ".damaged").exists(), 20, "the record is done with")
    world.nothing_left()


def test_a_lost_journal_costs_no_running_pod(world):
    shim = world.pod()
    world.stack.kill()
    (world.stack.state_dir / "sandboxes" / f"{shim.id}.json").unlink()
    network = leaks.in_pod(shim.pod_netns)
    world.start()
    world.stack.wait_log("agent-proxy serves a sandbox that has no record")
    shim.check()
    assert network and leaks.in_pod(shim.pod_netns) == network
    shim.close()
    shim.stop_vm()
    wait_until(lambda: not world.stack.instances(), 20, "the instance is found by its token")
    world.nothing_left()


def test_agent_proxy_ends_with_the_last_pod_and_not_before(world):
    shim = world.pod()
    proxy = world.stack.proxy_pid()
    assert world.stack.stop() == 0
    os.kill(proxy, 0)
    shim.check()
    world.start()
    assert world.stack.proxy_pid() == proxy
    shim.stop_pod()
    assert world.stack.stop() == 0
    wait_until(lambda: not os.path.exists(f"/proc/{proxy}/exe"), 20, "agent-proxy has ended")


def test_an_agent_proxy_that_was_just_started_does_not_outlive_its_adaptor(make_world):
    world = make_world()
    world.stack.start(wait=False)
    world.stack.wait_log("agent-proxy started: process ")
    proxy = int(world.stack.log().split("agent-proxy started: process ")[1].split()[0])
    world.stack.stop()
    wait_until(lambda: not os.path.exists(f"/proc/{proxy}/exe"), 20, "agent-proxy has ended")


def test_agent_proxy_gets_none_of_the_adaptors_secrets(make_world):
    world = make_world(environment={"CLOUD_API_TOKEN": "withheld", "AGENT_PROXY_GRACE": "40s", "NOTIFY_SOCKET": "@none"}).start()
    with open(f"/proc/{world.stack.proxy_pid()}/environ", "rb") as file:
        names = {variable.split(b"=")[0].decode() for variable in file.read().split(b"\0") if variable}
    assert "AGENT_PROXY_GRACE" in names
    assert {name for name in names if not name.startswith("AGENT_PROXY_") and not name.endswith("SAN_OPTIONS")} == set()


def test_the_soft_limit_of_descriptors_is_not_ours(make_world):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))  # inherited
    try:
        world = make_world().start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for pid in (world.stack.process.pid, world.stack.proxy_pid()):
        assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (min(hard, 65536), hard)


# ---- probes


def get(world, port: int, path: str) -> tuple:
    def ask():
        with socket.create_connection(("127.0.0.1", port), 10) as sock:
            sock.sendall(f"GET {path} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
            answer = b""
            while part := sock.recv(4096):
                answer += part
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), body.decode()

    return ttrpc.in_netns(world.worker.path, ask)


def test_probes(make_world):
    world = make_world(environment={"PROBE_PORT": "8000"}).start()
    world.stack.wait_log("agent-proxy: connected")
    world.stack.wait_log("serving ")
    assert get(world, 8000, "/startup") == (200, "ok\n")
    assert get(world, 8000, "/livez") == (200, "ok\n")
    assert get(world, 8000, "/readyz") == (200, "ok\n")
    assert get(world, 8000, "/readyz?verbose") == (200, "serving: ok\ntable: ok\nagent-proxy: ok\n")
    assert get(world, 8000, "/nothing")[0] == 404


def test_probes_are_where_existing_manifests_ask(make_world):
    world = make_world(environment={"NODE_NAME": "worker-1"}).start()
    world.stack.wait_log("serving ")
    assert get(world, 8000, "/startup") == (200, "ok\n")


def test_many_pods_at_once(world):
    shims = [world.shim(f"pod{i}") for i in range(8)]
    failures: list = []

    def live(shim):
        try:
            shim.start_pod(60)
            shim.stop_pod()
        except BaseException as error:  # shown below
            failures.append(error)

    threads = [threading.Thread(target=live, args=(shim,)) for shim in shims]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    world.nothing_left()
