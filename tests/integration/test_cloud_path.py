# SPDX-License-Identifier: Apache-2.0
"""The whole path through each cloud's driver and fake: what is created there boots as a netns instance with the user
data that the cloud received, so a pod lives in it as it would in the cloud."""

import hashlib
import os
import threading

import pytest

import conftest
from peerpod import clouds
from peerpod.shim import SIGTERM, wait_until

IMAGE = "docker.io/library/busybox:1.36"
WEB = "mkdir -p /srv; echo hello from $(hostname) >/srv/index.html; exec httpd -f -p 8080 -h /srv"
TRAP = "trap 'echo ending; exit 7' TERM; echo started; while :; do sleep 1 & wait $!; done"

pytestmark = pytest.mark.parametrize("driver", clouds.NAMES)


def page_of(world, shim) -> bytes:
    try:
        return world.network.get(shim.pod_netns.address, 8080)
    except ConnectionRefusedError:
        return b""


def test_a_pod_lives_in_the_cloud_and_leaves_nothing(make_world, driver):
    world = make_world(driver=driver, options=["-cloud-config-verify"]).start()
    assert world.inventory() == {}
    shim = world.pod()
    shim.start_monitor(0.2)
    assert len(world.vms()) == len(world.instances.tokens()) == 1
    web = shim.create_container("web", IMAGE, ["/bin/sh", "-c", WEB])
    web.start()
    other = shim.create_container("other", IMAGE, ["/bin/sh", "-c", TRAP])
    other.start()
    wait_until(lambda: page_of(world, shim), 20, "the web server answers from the cluster")
    assert page_of(world, shim) == b"hello from web\n"
    data = os.urandom(300_000)
    status, out, err = web.exec("sha256sum", stdin=data)
    assert (status, out.split()[0].decode(), err) == (0, hashlib.sha256(data).hexdigest(), b"")
    other.process.stdout.wait_for(b"started\n")
    other.process.signal(SIGTERM)
    assert other.process.wait() == 7
    other.remove()
    assert shim.dead is None
    shim.stop_pod()
    assert world.inventory() == {} and world.instances.tokens() == []
    shim.stop_vm()  # a second one succeeds too
    world.nothing_left()


def test_many_pods_at_once(make_world, driver):
    world = make_world(driver=driver).start()
    shims = [world.shim(f"p{n}") for n in range(6)]
    errors = []

    def live(shim):
        try:
            shim.start_pod(120)
            box = shim.create_container("box", IMAGE, ["sleep", "1000"])
            box.start()
            assert box.exec("hostname")[1].decode().strip() == shim.pod
        except BaseException as error:
            errors.append(f"{shim.pod}: {error!r}")

    run_all(shims, live)
    assert errors == []
    assert len(world.vms()) == 6
    run_all(shims, lambda shim: shim.stop_pod())
    world.nothing_left()


def run_all(shims, function) -> None:
    threads = [threading.Thread(target=function, args=(s,)) for s in shims]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


conftest
