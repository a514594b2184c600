# SPDX-License-Identifier: Apache-2.0
"""What runs in the pods of the tests. A shim is peerpod.shim's, or peerpod.kata's where no more than a container is made."""

import threading

IMAGE = "docker.io/library/busybox:1.36"
PORT = 8080  # of the web server


def start_box(shim, **more):
    """A container in which nothing happens but what a test executes."""
    box = shim.create_container("box", IMAGE, ["sleep", "1000"], **more)
    box.start()
    return box


def start_web(shim, text: str = "hello from $(hostname)"):
    """A web server with one page."""
    script = f"mkdir -p /srv; echo {text} >/srv/index.html; exec httpd -f -p {PORT} -h /srv"
    web = shim.create_container("web", IMAGE, ["/bin/sh", "-c", script])
    web.start()
    return web


def page(network, shim) -> bytes:
    """That of the web server, as the cluster gets it; b"" until it listens."""
    try:
        return network.get(shim.pod_netns.address, PORT)
    except ConnectionRefusedError:
        return b""


def start_ending(shim):
    """A container that says "started", and after SIGTERM "ending", with status 7."""
    script = "trap 'echo ending; exit 7' TERM; echo started; while :; do sleep 1 & wait $!; done"
    other = shim.create_container("other", IMAGE, ["/bin/sh", "-c", script])
    other.start()
    return other


class Talk:
    """An exec that says numbered lines, so a byte that is lost or comes twice is seen."""

    def __init__(self, box, lines: int, pause_us: int = 0):
        self.lines = lines
        pause = f"usleep {pause_us}; " if pause_us else ""
        script = f"n=0; while [ $n -lt {lines} ]; do echo line $n; {pause}n=$((n+1)); done; echo done"
        self.process = box.start_exec("/bin/sh", "-c", script)

    def reach(self, line: int) -> None:
        """Waits until it has said this one."""
        self.process.stdout.wait_for(b"line %d\n" % line)

    def came_whole(self, timeout: float = 120) -> bool:
        """Waits for its end."""
        assert self.process.wait(timeout) == 0
        return bytes(self.process.stdout.data) == b"".join(b"line %d\n" % n for n in range(self.lines)) + b"done\n"


def each_at_once(shims, function) -> None:
    """Calls function(shim) for all of them at the same time; says which ones fail."""
    errors: list = []

    def run(shim):
        try:
            function(shim)
        except BaseException as error:
            errors.append(f"{shim.pod}: {error!r}")

    threads = [threading.Thread(target=run, args=(shim,)) for shim in shims]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
