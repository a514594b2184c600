# SPDX-License-Identifier: Apache-2.0
"""The fake clouds (tests/fakes) by the names of their drivers.

    instances = Netns(worker=worker)
    cloud = clouds.make("aws", instances)
    stack.Stack("aws", worker, cloud.environment())
"""

import importlib

# driver: (module, class, what instances are called in its inventory)
_CLOUDS = {
    "aws": ("fakes.ec2", "Ec2", "instances"),
    "azure": ("fakes.azure", "Azure", "vm"),
    "gcp": ("fakes.gcp", "Gcp", "instances"),
}
NAMES = tuple(_CLOUDS)


def make(driver: str, instances=None, **settings):
    """The fake of a driver's cloud; settings are the fake's own."""
    module, name, _ = _CLOUDS[driver]
    return getattr(importlib.import_module(module), name)(instances, **settings)


def instances_in(driver: str, inventory: dict) -> list:
    """Names of the instances in an inventory."""
    return inventory.get(_CLOUDS[driver][2], [])
