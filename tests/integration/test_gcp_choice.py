# SPDX-License-Identifier: Apache-2.0
"""Which machine type the GCP driver takes, and what it knows of them."""

import json

from fakes.gcp_rules import Image, refusal
from gcp_rig import ZONES, cloud, driver, inserts, tried  # noqa: F401 (fixtures)
from peerpod.provider_tool import create, failed


def test_types_that_cannot_are_refused_before_the_call(cloud, driver):
    assert "only the default type is allowed" in failed(create, driver, type="n2d-standard-8").message
    error = failed(create, driver, {"GCP_INSTANCE_TYPES": "n2d-standard-2,e2-medium"}, type="e2-medium")
    assert error.kind == "invalid" and "cannot make a confidential VM of the kind asked for" in error.message
    error = failed(create, driver, {"GCP_MACHINE_TYPE": "n2d-standard-16"})
    assert error.kind == "invalid" and "the zone has no such type" in error.message
    cloud.images.append(Image("arm", architecture="ARM64"))
    assert "the image is for another architecture" in failed(create, driver, image="arm").message
    assert not inserts(cloud)


def test_custom_types_are_asked_for_by_name(cloud, driver):
    create(driver, {"GCP_MACHINE_TYPE": "n2d-custom-4-16384"})
    assert tried(cloud) == [("n2d-custom-4-16384", "us-central1-a")] and cloud.count("machineTypes.get") == 1


def test_the_catalogue_has_every_type_in_every_zone_and_market(cloud, driver):
    cloud.page_max = 3
    listed = driver.tool("offerings", {"GCP_ZONE": ZONES})
    assert len(listed) == len(cloud.types) * 2 * 2
    (one,) = [o for o in listed if (o["type"], o["zone"], o["spot"]) == ("n2d-standard-4", "us-central1-b", False)]
    assert (one["family"], one["vcpus"], one["memory_mib"], one["tees"], one["max_nics"], one["max_volumes"]) == (
        "n2d",
        4,
        16384,
        5,
        4,
        127,
    )
    assert {o["gpus"] for o in listed if o["type"].startswith("a2-")} == {1}


def test_the_catalogue_on_disk_stands_in_for_the_api(cloud, driver):
    driver.tool("offerings")
    cloud.script("machineTypes.list", refusal(503, "backendError"), times=None)
    types = {"GCP_INSTANCE_TYPES": "n2d-standard-8,n2d-standard-4", "GCP_ZONE": ZONES}
    create(driver, types, vcpus=3, memory=9000)
    assert tried(cloud)[0][0] == "n2d-standard-4" and "what was kept on disk is used" in driver.log


def test_without_any_catalogue_the_default_type_is_taken_at_its_word(cloud, driver):
    cloud.script("machineTypes.list", refusal(503, "backendError"), times=None)
    create(driver, {"GCP_CATALOGUE_FOLDER": None})
    assert tried(cloud)[0][0] == "n2d-standard-2" and "any may do" in driver.log


def test_the_cheapest_that_fits_is_taken_by_the_operators_own_prices(cloud, driver, tmp_path):
    prices = {"n2d-standard-8": {"on_demand": 0.1, "spot": 0.05}, "n2d-standard-4": {"on_demand": 0.2}}
    file = {"provider": "gcp", "date": "2026-11-01", "source": "a test", "currency": "USD", "regions": {"us-central1": prices}}
    (tmp_path / "prices.json").write_text(json.dumps(file))
    more = {"GCP_PRICES": tmp_path / "prices.json", "GCP_INSTANCE_TYPES": "n2d-standard-2,n2d-standard-4,n2d-standard-8"}
    create(driver, more, vcpus=2, memory=4096)
    assert tried(cloud) == [("n2d-standard-8", "us-central1-a")] and "price unknown" in driver.log
    listed = driver.tool("offerings", more)
    assert {(o["type"], o["spot"]): o["price_micros"] for o in listed if o["price_micros"]} == {
        ("n2d-standard-8", False): 100000,
        ("n2d-standard-8", True): 50000,
        ("n2d-standard-4", False): 200000,
    }
    assert "missing.json" in failed(create, driver, {"GCP_PRICES": tmp_path / "missing.json"}, name="podvm-2").message
