# SPDX-License-Identifier: Apache-2.0
"""Prices in the tree, and `peerpodctl choose` against an oracle that knows nothing of its code."""

import json
import os
import random
import re
import subprocess

import pytest

from peerpod import paths

PROVIDERS = {
    "aws": ["us-east-1", "us-east-2", "eu-west-1"],
    "azure": ["eastus", "eastus2", "westeurope", "northeurope"],
    "gcp": ["us-central1", "us-east1", "europe-west4"],
}
PLACES = [(provider, region) for provider, regions in PROVIDERS.items() for region in regions]
TEES = {"snp", "tdx", "sev"}
# vCPUs, GiB, GPUs of some, from the clouds' own pages: a slip in the generated files would show.
SIZES = {
    "aws": {"t3.large": (2, 8, 0), "r5.large": (2, 16, 0), "m5.xlarge": (4, 16, 0), "c5.2xlarge": (8, 16, 0), "r5.xlarge": (4, 32, 0),
            "m6a.48xlarge": (192, 768, 0), "c6a.32xlarge": (128, 256, 0), "g4dn.12xlarge": (48, 192, 4), "g5.48xlarge": (192, 768, 8)},
    "azure": {"Standard_DC2as_v5": (2, 8, 0), "Standard_EC32as_v5": (32, 192, 0), "Standard_EC96ads_v5": (96, 672, 0),
              "Standard_DC128es_v6": (128, 512, 0), "Standard_F72s_v2": (72, 144, 0), "Standard_NC64as_T4_v3": (64, 440, 4)},
    "gcp": {"e2-highcpu-2": (2, 2, 0), "n2d-highcpu-2": (2, 2, 0), "c3-standard-4": (4, 16, 0), "n2-highmem-128": (128, 864, 0),
            "c3d-highcpu-30": (30, 59, 0), "g2-standard-96": (96, 384, 8)},
}  # fmt: skip
SHARED_CORE = {"e2-micro", "e2-small", "e2-medium"}


def unique(pairs: list) -> dict:
    found = dict(pairs)
    assert len(found) == len(pairs), f"twice in one object: {[k for k, _ in pairs]}"
    return found


def prices(provider: str) -> dict:
    return json.loads((paths.ROOT / f"providers/{provider}/prices.json").read_text(), object_pairs_hook=unique)


def choose(*arguments, text: str = "", status: int = 0, **environment) -> str:
    done = subprocess.run(
        [paths.program("peerpodctl"), "choose", *arguments],
        input=text, capture_output=True, text=True, env={"PATH": os.environ["PATH"], **environment}, timeout=120,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stdout + done.stderr


# ---- the files


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_price_file_says_where_it_is_from(provider):
    file = prices(provider)
    assert file["provider"] == provider
    assert re.fullmatch(r"20\d\d-[01]\d-[0-3]\d", file["date"])
    assert file["currency"] == "USD"
    assert "github.com/" in file["source"] and len(file["source"]) > 100
    assert set(file["regions"]) == set(PROVIDERS[provider])
    assert (paths.BUILD / f"providers/prices/{provider}.json").read_text() == (paths.ROOT / f"providers/{provider}/prices.json").read_text()


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_row_is_whole(provider):
    file = prices(provider)
    for name, known in SIZES[provider].items():
        found = file["types"][name]
        assert (found["vcpus"], found["memory_mib"], found.get("gpus", 0)) == (known[0], known[1] * 1024, known[2]), name
    for name, found in file["types"].items():
        assert set(found) <= {"family", "vcpus", "memory_mib", "gpus", "tees"}, name
        assert found["vcpus"] > 0 and found["memory_mib"] >= 512 and found.get("gpus", 1) > 0, name
        assert set(found.get("tees", [])) <= TEES, name
        assert any(name in rows for rows in file["regions"].values()), f"{name} is in no region"
    for region, rows in file["regions"].items():
        for name, row in rows.items():
            # Shares of a core have a price, and are no answer to who asks for vCPUs.
            assert name in file["types"] or name in SHARED_CORE, f"{region}: {name} has no size"
            assert set(row) <= {"on_demand", "spot", "tees"}
            assert all(0.001 < row[m] < 150 for m in ("on_demand", "spot") if m in row), (region, name)
            if "spot" in row:
                assert row["spot"] < row["on_demand"], (region, name)


@pytest.mark.parametrize("provider, region", PLACES)
def test_more_of_a_family_never_costs_less(provider, region):
    file = prices(provider)
    rows = [(file["types"][name], row, name) for name, row in file["regions"][region].items() if name in file["types"]]
    for small, cheap, a in rows:
        for large, dear, b in rows:
            if small["family"] != large["family"] or a == b:
                continue
            if all(small.get(k, 0) <= large.get(k, 0) for k in ("vcpus", "memory_mib", "gpus")):
                for market in ("on_demand", "spot"):
                    if market in cheap and market in dear:
                        assert cheap[market] <= dear[market], (a, b, market)


# ---- the choice


def fits(file: dict, region: str, request: dict) -> list:
    """What satisfies every clause of a request, as (price or None, type, market)."""
    found = []
    gib = {"Gi": 1024, "Mi": 1}
    for name, row in file["regions"][region].items():
        if name not in file["types"]:
            continue
        size = file["types"][name]
        tees = row.get("tees", size.get("tees", []))
        gpus = size.get("gpus", 0)
        if request.get("types") and name not in request["types"]:
            continue
        if size["vcpus"] < request.get("vcpu", 0):
            continue
        if "memory" in request and size["memory_mib"] < int(request["memory"][:-2]) * gib[request["memory"][-2:]]:
            continue
        if gpus < request.get("gpu", 0) or (gpus and not request.get("gpu")):
            continue
        if request.get("tee", "none") != "none" and request["tee"] not in tees:
            continue
        found.append((row.get("on_demand"), name, "on-demand"))
        if request.get("spot") and "spot" in row:
            found.append((row["spot"], name, "spot"))
    return found


def wish(generator: random.Random, names: list) -> dict:
    request = {}
    if generator.random() < 0.9:
        request["vcpu"] = generator.choice([1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 200, 400])
    if generator.random() < 0.9:
        request["memory"] = generator.choice([f"{generator.randint(1, 900)}Gi", f"{generator.randint(256, 70000)}Mi"])
    if generator.random() < 0.12:
        request["gpu"] = generator.choice([1, 1, 2, 4, 8])
    if generator.random() < 0.4:
        request["tee"] = generator.choice(["snp", "tdx", "sev", "none"])
    if generator.random() < 0.3:
        request["types"] = generator.sample(names, generator.randint(1, 12))
    if generator.random() < 0.4:
        request["spot"] = True
    return request


@pytest.mark.parametrize("provider, region", PLACES)
def test_the_cheapest_fit_of_10000_requests_is_the_oracles(provider, region):
    """1,000 for each region, and the whole 10,000 for one."""
    file = prices(provider)
    generator = random.Random(f"{provider} {region}")
    count = 10000 if (provider, region) == ("gcp", "us-central1") else 1000
    requests = [wish(generator, sorted(file["types"])) for _ in range(count)]
    text = "".join(json.dumps(r) + "\n" for r in requests)
    lines = choose("--provider", provider, "--region", region, "--offline", "--catalogue-folder=", "--requests=-", "--json", text=text)
    answers = [json.loads(line) for line in lines.splitlines()]
    assert len(answers) == count
    served = 0
    for number, (request, answer) in enumerate(zip(requests, answers), 1):
        good = fits(file, region, request)
        assert answer["line"] == number
        assert answer["fits"] == len(good), request
        if not good:
            assert answer["nearest"]["left_out"], request
            continue
        served += 1
        best = answer["best"]
        priced = [g for g in good if g[0] is not None]
        least = min(priced)[0] if priced else None
        assert best["price"] == least, (request, best, min(priced, default=None))
        assert (least, best["type"], best["market"]) in good, request
    assert count * 0.2 < served < count


def test_upstreams_failing_example_gives_c5_2xlarge():
    """A bisection over (memory, vCPU) passes by the one type that fits."""
    types = "t3.large,r5.large,m5.xlarge,c5.2xlarge,r5.xlarge"
    out = choose("--provider=aws", "--offline", "--region=us-east-1", "--vcpu=8", "--memory=16Gi", f"--types={types}", "--json")
    answer = json.loads(out)
    assert answer["fits"] == 1
    assert answer["ranking"][0]["type"] == "c5.2xlarge"
    assert answer["ranking"][0]["price"] == 0.34
    reasons = {r["type"]: r["left_out"] for r in answer["ranking"]}
    assert reasons["m5.xlarge"] == "4 vCPU, 8 needed"
    assert reasons["t3.large"] == "2 vCPU, 8 needed; 8192 MiB, 16384 needed"
    assert reasons["c6a.2xlarge"] == "not in the list of allowed types"


def test_the_ranking_for_people():
    out = choose("--provider=aws", "--offline", "--region=us-east-2", "--vcpu=8", "--memory=16Gi", "--tee=snp")
    head, unit, first, *rest = out.splitlines()
    assert head == "aws in us-east-2, 8 vCPU, 16 GiB, snp: 10 of 95 offerings fit"
    assert unit == "USD for an hour, prices of 2025-03-02: Linux on-demand list prices"
    assert first.split() == ["1.", "c6a.2xlarge", "on-demand", "8", "vCPU", "16", "GiB", "snp", "0.3060/h"]
    middle = rest.index("left out, the nearest first:")
    assert middle == 9
    assert rest[middle + 1].endswith("cannot make a confidential VM of the kind asked for")
    assert re.fullmatch(r"    and \d+ more", rest[-1])
    whole = choose("--provider=aws", "--offline", "--region=us-east-2", "--vcpu=2", "--all")
    assert len(whole.splitlines()) == 95 + 3
    some = choose("--provider=aws", "--offline", "--region=us-east-2", "--vcpu=2").splitlines()
    assert some[0].endswith("offerings fit, the 10 cheapest:") and some[12] == "left out, the nearest first:"


def test_zones_that_cost_the_same_share_a_line():
    zones = "europe-west4-a,europe-west4-b"
    out = choose("--provider=gcp", "--offline", "--region=europe-west4", "--vcpu=4", "--memory=16Gi", "--tee=snp", f"--zones={zones}")
    first, second = out.splitlines()[2:4]
    assert first.split()[1:6] == ["n2d-standard-4", "europe-west4-a,", "europe-west4-b", "on-demand", "4"]
    assert second.split()[1] == "n2d-highmem-4"


def test_what_has_no_price_comes_last_and_says_so():
    out = choose("--provider=azure", "--offline", "--region=eastus2", "--vcpu=2", "--memory=8Gi", "--all", "--json")
    ranked = [r["price"] for r in json.loads(out)["ranking"] if not r["left_out"]]
    known = [p for p in ranked if p is not None]
    assert known == sorted(known) and ranked[: len(known)] == known and len(ranked) > len(known)
    assert "price unknown" in choose("--provider=azure", "--offline", "--region=eastus2", "--tee=tdx")


def test_sev_snp_of_aws_is_where_amazon_has_it():
    for region, there in (("us-east-2", True), ("eu-west-1", True), ("us-east-1", False)):
        out = choose("--provider=aws", "--offline", f"--region={region}", "--tee=snp", "--json", status=0 if there else 1)
        if there:
            assert json.loads(out)["ranking"][0]["type"].startswith("c6a.")
        else:
            assert "no instance type fits" in out


def test_the_region_may_come_from_the_clouds_own_variables():
    assert choose("--provider=gcp", "--offline", "--vcpu=2", GCP_ZONE="europe-west4-a,europe-west4-b").startswith("gcp in europe-west4, ")
    assert choose("--provider=azure", "--offline", "--vcpu=2", AZURE_REGION="westeurope").startswith("azure in westeurope, ")
    assert choose("--offline", "--vcpu=2", CLOUD_PROVIDER="aws", AWS_REGION="eu-west-1").startswith("aws in eu-west-1, ")


def test_a_driver_is_asked_for_what_there_is():
    answer = json.loads(choose("--provider=netns", "--vcpu=2", "--memory=2Gi", "--spot", "--json"))
    assert (answer["offline"], answer["fits"], answer["region"]) == (False, 2, "netns")
    assert [(r["type"], r["market"], r["price"]) for r in answer["ranking"]] == [
        ("netns.large", "spot", 0.0015), ("netns.large", "on-demand", 0.004), ("netns.small", "on-demand", 0.001)]  # fmt: skip
    text = choose("--provider=netns", "--zones=there", status=1)
    assert "zone here is not among the zones to use" in text
    failed = choose("--provider=netns", "--", "-netns-fail=offerings:throttled:1", status=1)
    assert "peerpodctl: choose: netns: ask for the instance types: " in failed


def test_an_operators_own_prices(tmp_path):
    file = {"provider": "aws", "date": "2026-11-02", "source": "our contract", "currency": "EUR",
            "types": {"m6a.large": {"family": "m6a", "vcpus": 2, "memory_mib": 8192}}, "regions": {"mars-1": {"m6a.large": {"on_demand": 0.07}}}}  # fmt: skip
    path = tmp_path / "prices.json"
    path.write_text(json.dumps(file))
    out = choose("--provider=aws", "--offline", "--region=mars-1", f"--prices={path}", "--vcpu=2")
    assert "EUR for an hour, prices of 2026-11-02" in out and "0.0700/h" in out
    file["regions"]["mars-1"]["m6a.large"]["on_demand"] = "cheap"
    path.write_text(json.dumps(file))
    message = choose("--provider=aws", "--offline", "--region=mars-1", f"--prices={path}", status=1)
    assert f'{path}: regions: mars-1: m6a.large: "on_demand" must be a number' in message


def test_a_saved_catalogue_is_used_and_a_bad_one_is_said(tmp_path):
    path = tmp_path / "aws-us-east-2.json"
    one = {"type": "m9x.large", "family": "m9x", "vcpus": 2, "memory_mib": 8192, "gpus": 0, "tees": ["tdx"], "max_nics": 3, "max_volumes": 27}
    path.write_text(json.dumps({"version": 1, "provider": "aws", "region": "us-east-2", "saved_at": 1790000000, "types": [one]}))
    where = ["--provider=aws", "--offline", "--region=us-east-2", f"--catalogue-folder={tmp_path}", "--json"]
    answer = json.loads(choose(*where, "--tee=tdx"))
    assert (answer["fits"], answer["ranking"][0]["type"], answer["ranking"][0]["price"]) == (1, "m9x.large", None)
    assert answer["catalogue_of"] == "2026-09-21T14:13:20Z"
    path.write_text("{")
    assert "tdx" not in json.dumps(json.loads(choose(*where, "--vcpu=2"))["ranking"])
    done = subprocess.run([paths.program("peerpodctl"), "choose", *where], capture_output=True, text=True, env={"PATH": os.environ["PATH"]})
    assert "going by the file of prices alone" in done.stderr


@pytest.mark.parametrize(
    "arguments, status, message",
    [
        (["--provider=aws", "--offline"], 2, "which region? Name it with --region: there are no prices of region"),
        (["--provider=aws", "--offline", "--region=mars"], 2, "there are of eu-west-1, us-east-1, us-east-2"),
        (["--offline"], 2, "which driver? Name it with --provider, or set CLOUD_PROVIDER"),
        (["--provider=libvirt", "--offline"], 1, 'there are no prices of "libvirt"; --prices names a file'),
        (["--provider=aws", "--offline", "--memory=16"], 2, '"16" has no unit: write it like 16Gi or 512Mi'),
        (["--provider=aws", "--offline", "--vcpu=-2"], 2, 'option --vcpu: "-2" is no whole number'),
        (["--provider=aws", "--region=us-east-1"], 2, "--region goes with --offline"),
        (["--provider=libvirt"], 1, "driver libvirt has no instance types to choose from"),
        (["--provider=aws", "--offline", "--requests=-", "--vcpu=2"], 2, "--vcpu goes without --requests"),
        (["--provider=nimbus"], 2, 'there is no provider "nimbus"'),
        (["--provider=aws", "--offline", "--region=us-east-1", "--requests=/nonexistent/file"], 1, "open /nonexistent/file"),
    ],
)
def test_a_choice_that_cannot_be_made_says_why(arguments, status, message):
    assert message in choose(*arguments, status=status)


def test_a_bad_line_of_requests_is_named():
    text = '{"vcpu": 2}\n\n{"vcpu": "2"}\n'
    out = choose("--provider=aws", "--offline", "--region=us-east-1", "--requests=-", text=text, status=1)
    assert out.startswith("1: 1.  t3.nano")
    assert 'standard input, line 3: request: "vcpu" must be an integer' in out
