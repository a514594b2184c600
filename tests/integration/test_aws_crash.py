# SPDX-License-Identifier: Apache-2.0
"""One instance or none, and nothing left over, wherever a process of the AWS driver dies and whatever answer is lost."""

import itertools

import pytest

from aws_rig import Driver, all_at_once
from fakes import ec2
from fakes.server import ANY, Drop
from peerpod.provider_tool import create, failed, new_token

PUBLIC = {"USE_PUBLIC_IP": "true"}
TEMPLATE = {"USE_PODVM_LAUNCHTEMPLATE": "true", "PODVM_AMI_ID": None}
KINDS = {
    "plain": ({}, {}),
    "address": (PUBLIC, {"second_nic": 1}),
    "template": (TEMPLATE, {"second_nic": 1}),
    "volumes": ({}, {"volumes": True}),
}


def with_each_kind(check) -> None:
    """Calls check(cloud, driver, environment, more, volumes) for each kind of pod VM, all at the same time."""

    def one(kind):
        environment, more = KINDS[kind]
        with ec2.Ec2(pending_looks=0) as cloud:
            cloud.attaching_looks = 0
            cloud.templates["kata"] = {"ImageId": "ami-0123456789abcdef0", "InstanceType": "m6a.large"}
            volumes = sorted(cloud.make_volume() for _ in range(2)) if "volumes" in more else []
            more = {**more, **({"volumes": ",".join(volumes)} if volumes else {})}
            check(cloud, Driver(cloud), environment, {"name": "podvm-web", "cluster": "c1", "node": "n1", **more}, volumes)

    all_at_once(one, KINDS)


def is_whole(cloud, token, more, volumes) -> None:
    """Exactly one instance, with all that was asked for and nothing besides."""
    (vm,) = cloud.live()
    assert vm.tags["peerpod-token"] == token
    nics = sorted((nic.index, nic.instance, nic.dies_with_instance) for nic in cloud.nics.values())
    assert nics == [(index, vm.id, True) for index in range(2 if "second_nic" in more else 1)]
    assert len(cloud.volumes) == 1 + len(volumes) and all(volume.instance == vm.id for volume in cloud.volumes.values())
    assert all(address.nic in cloud.nics for address in cloud.addresses.values()) and len(cloud.addresses) <= 1


def is_nothing(cloud, volumes) -> bool:
    return cloud.inventory() == ({"volumes": volumes} if volumes else {})


def test_kill_after_every_call_of_create_then_the_same_creation():
    def check(cloud, driver, environment, more, volumes):
        for call in itertools.count(1):
            token = new_token()
            killed = driver.killed_after(call, "create", environment, token=token, **more)
            made = driver.tool("create", environment, token=token, **more)
            is_whole(cloud, token, more, volumes)
            driver.tool("delete", environment, id=made["id"])
            assert is_nothing(cloud, volumes), call
            if not killed:
                break
        assert call > 5

    with_each_kind(check)


def test_kill_after_every_call_of_create_then_what_is_listed_is_deleted():
    def check(cloud, driver, environment, more, volumes):
        for call in itertools.count(1):
            token = new_token()
            killed = driver.killed_after(call, "create", environment, token=token, **more)
            for left in driver.tool("list", environment, cluster="c1", node="n1"):
                assert left["token"] == token
                driver.tool("delete", environment, id=left["id"])
            assert is_nothing(cloud, volumes) and driver.tool("list") == [], call
            if not killed:
                break

    with_each_kind(check)


def test_kill_after_every_call_of_delete_then_the_same_deletion():
    def check(cloud, driver, environment, more, volumes):
        for call in itertools.count(1):
            made = driver.tool("create", environment, token=new_token(), **more)
            killed = driver.killed_after(call, "delete", environment, id=made["id"])
            driver.tool("delete", environment, id=made["id"])
            assert is_nothing(cloud, volumes), call
            if not killed:
                break
        assert call > 2

    with_each_kind(check)


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_answer_lost_at_any_call_makes_no_second_instance(when):
    def check(cloud, driver, environment, more, volumes):
        for call in itertools.count(1):
            token, left = new_token(), itertools.count(1)
            cloud.script(ANY, Drop(when), when=lambda _, left=left, call=call: next(left) == call)
            made = driver.tool("create", environment, token=token, **more)
            is_whole(cloud, token, more, volumes)
            lost = next(left) > call
            cloud.unscript()
            driver.tool("delete", environment, id=made["id"])
            assert is_nothing(cloud, volumes), call
            if not lost:
                break
        assert call > 5

    with_each_kind(check)


def test_one_token_of_many_creations_at_once_is_one_instance():
    with ec2.Ec2() as cloud:
        made = Driver(cloud).tool("parallel 8 create", token=new_token(), name="podvm-x")
        assert len({one["id"] for one in made}) == 1 and len(cloud.live()) == 1


def test_a_token_that_came_with_other_parameters_finds_its_instance():
    with ec2.Ec2(hidden_looks=2) as cloud:
        token, driver = new_token(), Driver(cloud)
        assert driver.killed_after("RunInstances", "create", token=token, name="podvm-x")
        made = create(driver, {"ROOT_VOLUME_SIZE": "40"}, token=token, name="podvm-x")
        assert [vm.id for vm in cloud.live()] == [made["id"]] and cloud.count("RunInstances") == 2


@pytest.mark.parametrize("later", [{}, {"ROOT_VOLUME_SIZE": "40"}], ids=["same-request", "other-request"])
def test_a_token_of_an_instance_that_ended_is_not_used_again(later):
    with ec2.Ec2() as cloud:
        token, driver = new_token(), Driver(cloud)
        first = create(driver, token=token)
        driver.tool("delete", id=first["id"])
        assert create(driver, later, token=token)["id"] != first["id"]
        assert [sent["ClientToken"] for sent in cloud.sent("RunInstances")] == [token, token, token + "-2"]


def test_a_token_whose_instance_ec2_has_forgotten_is_not_used_again():
    with ec2.Ec2() as cloud:
        token, driver = new_token(), Driver(cloud)
        driver.tool("delete", id=create(driver, token=token)["id"])
        cloud.forget_the_dead()
        create(driver, token=token)
        assert len(cloud.live()) == 1


def test_a_creation_that_cannot_be_undone_says_what_remains():
    with ec2.Ec2() as cloud:
        driver, volume = Driver(cloud), cloud.make_volume()
        cloud.fail("AttachVolume", "InvalidParameterValue")
        cloud.fail("TerminateInstances", "UnauthorizedOperation")
        error = failed(create, driver, volumes=volume)
        (vm,) = cloud.live()
        assert f"(instance {vm.id} is left behind: TerminateInstances: UnauthorizedOperation" in error.message
        assert [one["id"] for one in driver.tool("list")] == [vm.id]
