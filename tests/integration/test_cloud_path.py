# SPDX-License-Identifier: Apache-2.0
"""The whole path through each cloud's driver and fake: what is created there boots as a netns instance with the user
data that the cloud received, so a pod lives in it as it would in the cloud."""

import hashlib
import os
import subprocess

import pytest

from cloud_cases import CASES
from peerpod import clouds, paths, ttrpc
from peerpod.pods import each_at_once, page, start_box, start_ending, start_web
from peerpod.shim import SIGTERM, wait_until

each_cloud = pytest.mark.parametrize("driver", clouds.NAMES)


@each_cloud
def test_a_pod_lives_in_the_cloud_and_leaves_nothing(make_world, driver):
    world = make_world(driver=driver, options=["-cloud-config-verify"]).start()
    assert world.inventory() == {}
    shim = world.pod()
    shim.start_monitor(0.2)
    assert len(world.vms()) == len(world.instances.tokens()) == 1
    web, other = start_web(shim), start_ending(shim)
    wait_until(lambda: page(world.network, shim), 20, "the web server answers from the cluster")
    assert page(world.network, shim) == b"hello from web\n"
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


@each_cloud
def test_a_pods_wishes_arrive_at_the_cloud(make_world, driver):
    """By annotation: type, confidential kind and market in one, the image in the other."""
    case = CASES[driver]
    world = make_world(driver=driver, environment=case.environment, **case.settings).start()
    key = "io.katacontainers.config.hypervisor."
    wishes = {key + "machine_type": case.machine_type, key + "image": case.image}
    for annotations, expected in ((wishes, case.wished), ({}, case.default)):
        shim = world.shim(annotations=annotations)
        shim.create_vm()
        shim.start_vm(60)
        (made,) = case.made(world.cloud)
        user_data = made.pop("user_data")
        assert made == expected
        assert user_data == (world.instances.state / world.instances.tokens()[0] / "user-data").read_bytes()
        assert user_data.startswith(b"#cloud-config\n")
        shim.stop_vm(60)
        world.nothing_left()


@each_cloud
def test_a_wish_that_cannot_be_had_is_refused_before_anything_is_made(make_world, driver):
    world = make_world(driver=driver, options=["-cloud-config-verify"]).start()
    tried = world.cloud.count(CASES[driver].create)  # a check may try without making
    shim = world.shim(annotations={"io.katacontainers.config.hypervisor.machine_type": "no-such-type-9"})
    shim.create_vm()
    with pytest.raises(ttrpc.Status) as caught:
        shim.start_vm(60)
    assert "default/web" in caught.value.message and "no-such-type-9" in caught.value.message
    assert world.cloud.count(CASES[driver].create) == tried
    shim.stop_vm()
    world.nothing_left()


def check(driver, cloud, **changes):
    """cloud-api-adaptor <driver> -check: (status, output)."""
    environment = {**os.environ, **cloud.environment(), **changes}
    where = [f"-provider-dir={paths.BUILD / 'providers'}", "-catalogue-folder="]
    command = [paths.program("cloud-api-adaptor"), driver, "-check", *where]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert "Sanitizer" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


@each_cloud
def test_check_finds_a_good_configuration_right_and_makes_nothing(driver):
    with clouds.make(driver) as cloud:
        status, out, err = check(driver, cloud)
        assert status == 0, out + err
        assert f"check of the configuration of provider {driver}:\n" in out
        assert out.endswith("nothing is wrong\n") and "  right  " in out and "WRONG" not in out
        assert cloud.inventory() == {}


@each_cloud
def test_check_names_all_that_is_wrong_and_its_remedy(driver):
    case = CASES[driver]
    with clouds.make(driver) as cloud:
        status, out, err = check(driver, cloud, **case.wrong)
        assert status == 1, out + err
        rows = [line for line in out.splitlines() if line.startswith("  WRONG")]
        assert out.endswith(f"{len(rows)} wrong\n")
        for name in case.named:
            assert any(name in row for row in rows), f"{name}:\n{out}"
        assert "to mend: " in out
        assert cloud.inventory() == {}


@each_cloud
def test_twenty_pods_at_once_over_a_cloud_that_takes_few_creations(make_world, driver):
    """Nobody fails, nobody gets two, and the cloud is not asked about each of them by itself."""
    case = CASES[driver]
    world = make_world(driver=driver, **case.limit).start()
    shims = [world.shim(f"p{n}") for n in range(20)]

    def live(shim):
        shim.start_pod(120)
        assert start_box(shim).exec("hostname")[1].decode().strip() == shim.pod

    each_at_once(shims, live)
    assert len(world.vms()) == 20
    each_at_once(shims, lambda shim: shim.stop_pod())
    assert world.inventory() == {}
    world.nothing_left(30)
