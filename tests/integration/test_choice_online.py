# SPDX-License-Identifier: Apache-2.0
"""`peerpodctl choose` where the cloud is asked, against each of the fakes: what there is, where, at which prices, and why not.

The driver's creation of a pod that asks for the same then takes the first of that ranking, and logs it in the same words.
"""

import json
import os
import re
import subprocess

import pytest

from fakes.azure import Azure
from fakes.ec2 import Ec2
from fakes.gcp import Gcp
from peerpod import paths


class Cloud:
    def __init__(self, name, fake, region, types, variable, folder):
        self.name, self.fake, self.region, self.types, self.variable = name, fake, region, types, variable
        self.folder = folder

    def environment(self, more=()) -> dict:
        drop = ("AWS_", "AZURE_", "GCP_", "PODVM_", "CLOUD_")
        keep = {name: value for name, value in os.environ.items() if not name.startswith(drop)}
        folder = {f"{self.name.upper()}_CATALOGUE_FOLDER": str(self.folder)}
        merged = {**keep, "HOME": "/nonexistent", **self.fake.environment(), **folder, **dict(more)}
        return {name: value for name, value in merged.items() if value is not None}

    def run(self, *command, status=0, more=()) -> subprocess.CompletedProcess:
        done = subprocess.run(command, env=self.environment(more), capture_output=True, text=True, timeout=120)
        assert "Sanitizer" not in done.stderr, done.stderr
        assert done.returncode == status, done.stdout + done.stderr
        return done

    def choose(self, *arguments, status=0, more=()) -> subprocess.CompletedProcess:
        return self.run(paths.program("peerpodctl"), "choose", f"--provider={self.name}", *arguments, status=status, more=more)

    def create_log(self, **wish) -> str:
        words = [f"{key}={value}" for key, value in {"token": "0f" * 16, "name": "podvm-web-01234567", **wish}.items()]
        driver = str(paths.BUILD / f"providers/{self.name}.so")
        types = {self.variable: ",".join(self.types)}
        return self.run(paths.program("provider-tool"), driver, "--", "create", *words, more=types).stderr


CLOUDS = {
    "aws": (Ec2, "us-east-2", ("m6a.large", "m6a.xlarge", "t3.large"), "PODVM_INSTANCE_TYPES"),
    "azure": (Azure, "eastus", ("Standard_DC2as_v5", "Standard_DC4as_v5", "Standard_D2as_v5"), "AZURE_INSTANCE_SIZES"),
    "gcp": (Gcp, "us-central1", ("n2d-standard-2", "n2d-standard-4", "e2-medium"), "GCP_INSTANCE_TYPES"),
}


@pytest.fixture(params=CLOUDS)
def cloud(request, tmp_path):
    fake, *more = CLOUDS[request.param]
    with fake() as running:
        yield Cloud(request.param, running, *more, tmp_path)


WISH = ("--vcpu=2", "--memory=4Gi", "--tee=snp")


def test_the_prices_and_the_region_are_told(cloud):
    prices = json.loads((paths.ROOT / f"providers/{cloud.name}/prices.json").read_text())
    head, unit, first, *_ = cloud.choose(*WISH).stdout.splitlines()
    assert head.startswith(f"{cloud.name} in {cloud.region}, 2 vCPU, 4 GiB, snp: ")
    assert unit == f"USD for an hour, prices of {prices['date']}: " + re.split("[.:;]", prices["source"])[0]
    answer = json.loads(cloud.choose(*WISH, "--json").stdout)
    told = [answer[key] for key in ("offline", "region", "prices_of", "currency", "source", "unknown")]
    assert told == [False, cloud.region, prices["date"], "USD", prices["source"], []]
    cheapest = answer["ranking"][0]
    assert cheapest["price"] == prices["regions"][cloud.region][cheapest["type"]]["on_demand"] and first.split()[1] == cheapest["type"]
    fitting = [one["price"] for one in answer["ranking"][: answer["fits"]] if one["price"] is not None]
    assert fitting == sorted(fitting)


def test_an_operators_own_prices_are_told(cloud, tmp_path):
    own = {"provider": cloud.name, "date": "2026-11-02", "source": "our contract", "currency": "EUR"}
    own["regions"] = {cloud.region: {cloud.types[1]: {"on_demand": 0.01}}}
    (tmp_path / "own.json").write_text(json.dumps(own))
    more = {f"{cloud.name.upper()}_PRICES": str(tmp_path / "own.json")}
    _, unit, first, *_ = cloud.choose(*WISH, more=more).stdout.splitlines()
    assert unit == "EUR for an hour, prices of 2026-11-02: our contract"
    assert first.split()[1] == cloud.types[1] and first.endswith("0.0100/h")
    refused = cloud.choose(*WISH, f"--prices={tmp_path}/own.json", status=2).stderr
    assert "--prices goes with --offline" in refused


def test_names_that_mean_nothing_are_told(cloud):
    typo, zone = cloud.types[0] + "x", "moon-1"
    refused = cloud.choose(f"--types={typo}", f"--zones={zone}", status=1).stderr
    assert refused.endswith(f"no instance type fits (not known here: {typo}, {zone})\n")
    done = cloud.choose(f"--types={typo},{cloud.types[0]}")
    assert f"(not known here: {typo})" in done.stderr and done.stdout.splitlines()[2].split()[1] == cloud.types[0]
    assert json.loads(cloud.choose(f"--types={typo},{cloud.types[0]}", "--json").stdout)["unknown"] == [typo]


def test_a_name_in_other_capitals_is_the_same(cloud):
    assert cloud.choose(f"--types={cloud.types[0].swapcase()}").stdout.splitlines()[2].split()[1] == cloud.types[0]


def test_what_is_named_and_cannot_comes_before_what_is_not_named(cloud):
    answer = json.loads(cloud.choose(*WISH, f"--types={','.join(cloud.types)}", "--json").stdout)
    left_out = answer["ranking"][answer["fits"] :]
    named = [one["type"] in cloud.types for one in left_out]
    assert named == sorted(named, reverse=True) and not all(named)
    ours = [one["left_out"] for one in left_out if one["type"] == cloud.types[2] and one["market"] == "on-demand"]
    assert ours and set(ours) == {"cannot make a confidential VM of the kind asked for"}


def rows(text) -> list:
    """(type, market, vCPUs and so on, the reason against it) of a ranking, without what differs in the zone."""
    found = re.findall(r"^(?:.*: choice:)? +(?:\d+\.|-) +(\S+) .*?(on-demand|spot) +(.*)$", text, re.MULTILINE)
    return [(kind, market, *re.split(r"  +", rest)) for kind, market, rest in found]


def test_a_creation_takes_the_first_and_logs_the_ranking_in_the_same_words(cloud):
    types = ",".join(cloud.types)
    shown = rows(cloud.choose(*WISH, f"--types={types}", "--all").stdout)
    log = cloud.create_log(vcpus=2, memory=4096, tee="snp")
    logged = rows("\n".join(line for line in log.splitlines() if ": choice:" in line))
    assert logged == [row for row in shown if row[0] in cloud.types and row[1] == "on-demand"] and len(logged) == 3
    assert f"the instance is a {logged[0][0]} in " in log
