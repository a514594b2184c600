# SPDX-License-Identifier: Apache-2.0
"""Our ttrpc client and server against Go's library, the one that Kata's Go shim and containerd use."""

import pathlib
import shutil
import socket
import subprocess

import pytest
from conftest import need

from peerpod import paths
from peerpod.shim import wait_until

CHECKS = ["echo", "largest", "statuses", "timeout", "parallel", "chat", "pour", "join"]


@pytest.fixture(scope="session")
def go_peer(tmp_path_factory) -> str:
    go = shutil.which("go") or (paths.ROOT / ".cache/go/bin/go").exists()
    need(bool(go), "needs go")
    program = tmp_path_factory.mktemp("go") / "ttrpc-go"
    subprocess.run([paths.ROOT / "tests/interop/ttrpc/build", program], check=True)
    return str(program)


def answers(path: str) -> bool:
    """Go's listener shows its file a moment before it listens."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


def check_against(server: str, client: str, folder: pathlib.Path) -> None:
    path = f"{folder}/socket"
    with subprocess.Popen([server, "serve", path], stdin=subprocess.PIPE) as serving:
        try:
            wait_until(lambda: answers(path) or serving.poll() is not None, 20, "the server's socket")
            done = subprocess.run([client, "check", path], capture_output=True, text=True, timeout=120)
        finally:
            serving.stdin.close()
            assert serving.wait(20) == 0
    assert done.stdout.split() == CHECKS, done.stderr
    assert done.returncode == 0, done.stderr


def test_go_client_with_our_server(go_peer, tmp_path):
    check_against(paths.program("ttrpc-echo"), go_peer, tmp_path)


def test_our_client_with_go_server(go_peer, tmp_path):
    check_against(go_peer, paths.program("ttrpc-echo"), tmp_path)


def test_our_client_with_our_server(tmp_path):
    check_against(paths.program("ttrpc-echo"), paths.program("ttrpc-echo"), tmp_path)
