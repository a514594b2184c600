# SPDX-License-Identifier: Apache-2.0
"""What stands behind each DRIVER of the demo: what to start before the adaptor, and to look at and stop after it.

    start() -> what was seen, in words      environment(), options(): the adaptor's
    console() -> the newest pod VM's words  left() -> lines, one for each thing that is still there
    state: the folder of the netns driver's instances, or None

Nothing is imported here before it is needed: the demo builds first.
"""

import pathlib

PREFIX = "ppdemo"


class Libvirt:
    """Pod VMs are virtual machines: libvirt's daemon, a network and a pool."""

    stage = "libvirt daemon"
    image = True
    looked = "domains, volumes"
    state = None

    def __init__(self, driver: str, folder: pathlib.Path, root: pathlib.Path):
        from peerpod import libvirt

        self.daemon = libvirt.Libvirt(folder / "libvirt", PREFIX, root / "build/image/local")
        self.environment, self.options = self.daemon.environment, self.daemon.options
        self.console, self.left, self.stop = self.daemon.console, self.daemon.left, self.daemon.stop

    def start(self) -> str:
        self.daemon.start()
        whose = "our own daemon" if self.daemon.is_ours else "the daemon that runs here"
        values = self.daemon.values
        return f"{whose}, network {values['LIBVIRT_NET']} {values['LIBVIRT_NET_GATEWAY']}/24"

    def log(self) -> str:
        return ""

    def traces(self) -> list:
        """Names by which what is the demo's is known on this machine."""
        return [self.daemon.values["LIBVIRT_NET_BRIDGE"]]


class Netns:
    """Pod VMs are namespaces, made by the netns driver, which needs a bridge; it is the demo's, as libvirt's network is."""

    stage = "bridge"
    image = False
    looked = "instances"
    bridge = f"{PREFIX}-vms"
    subnet = "192.168.149.0/24"

    def __init__(self, driver: str, folder: pathlib.Path, root: pathlib.Path):
        self.driver = driver
        self.state = folder / "instances"

    def start(self) -> str:
        from peerpod import cni

        cni.run("ip", "link", "add", self.bridge, "type", "bridge")
        return f"bridge {self.bridge}, {self.subnet}"

    def environment(self) -> dict:
        return {"NETNS_BRIDGE": self.bridge, "NETNS_SUBNET": self.subnet, "NETNS_STATE_DIR": str(self.state)}

    def options(self) -> list:
        return []

    def console(self) -> str:
        logs = sorted(self.state.glob("*/console.log"))
        return logs[-1].read_text(errors="replace") if logs else ""

    def left(self) -> list:
        return [f"instance {path.parent.name}" for path in sorted(self.state.glob("*/metadata.json"))]

    def stop(self) -> None:
        from peerpod import cni

        cni.run("ip", "link", "delete", self.bridge, check=False)

    def log(self) -> str:
        """What names instances besides the adaptor's log."""
        return ""

    def traces(self) -> list:
        return []


class Cloud(Netns):
    """Pod VMs are instances of a cloud. There is none here: its API is a fake (tests/fakes) whose instances are namespaces
    that boot with the user data that it received."""

    stage = "fake cloud"
    looked = "instances, the cloud's inventory"
    cloud = instances = None

    def start(self) -> str:
        from fakes import instances
        from peerpod import clouds

        super().start()
        self.instances = instances.Netns(self.bridge, self.subnet, state=self.state)
        self.instances.sweep()
        self.cloud = clouds.make(self.driver, self.instances)
        return f"{self.driver} at {self.cloud.url}, instances on bridge {self.bridge}, {self.subnet}"

    def environment(self) -> dict:
        return self.cloud.environment()

    def log(self) -> str:
        return self.instances.log() if self.instances else ""

    def left(self) -> list:
        inventory = self.cloud.inventory() if self.cloud else {}
        return super().left() + [f"{kind} {name} in the cloud" for kind, names in inventory.items() for name in names]

    def stop(self) -> None:
        try:
            if what := self.cloud or self.instances:
                what.close()
        finally:
            super().stop()


BACKENDS = {"libvirt": Libvirt, "netns": Netns, "aws": Cloud, "azure": Cloud, "gcp": Cloud}
