# SPDX-License-Identifier: Apache-2.0
"""process-user-data against metadata services that behave, and that do not.

Every test has a folder that stands for the machine's root: its DMI marks say which cloud it is, and what the
program writes lands there. The metadata service is an HTTP server of the test's own on loopback.
"""

import base64
import contextlib
import gzip
import hashlib
import http.server
import os
import pathlib
import re
import socket
import stat
import subprocess
import threading

import pytest

from peerpod import paths

DMI = {
    "Azure": {"chassis_asset_tag": "7783-7084-3265-9085-8269-3286-77"},
    "AWS": {"sys_vendor": "Amazon EC2"},
    "GCP": {"product_name": "Google Compute Engine"},
    "Alibaba Cloud": {"sys_vendor": "Alibaba Cloud"},
}
DUMMY = b"algorithm = \"sha256\"\nversion = \"0.1.0\"\n\n[data]\n\"aa.toml\" = '''\n'''"
DUMMY_DIGEST = "adb48cc14fea9403d3d51f3b5f5068fd4d80445a14e94f1b3d5dbabaad66478d"
INITDATA = b"""algorithm = "sha384"
version = "0.1.0"
[data]
"aa.toml" = "aa = 1\\n"
"cdh.toml" = "cdh = 1\\n"
"policy.rego" = "package agent_policy\\n"
"other.txt" = "measured only"
"""


class Metadata:
    """answers: a function (method, path, headers) -> (status, body), called for every request."""

    def __init__(self, answers):
        self.requests = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self):
                headers = {k.lower(): v for k, v in self.headers.items()}
                outer.requests.append((self.command, self.path, headers))
                status, body = answers(self.command, self.path, headers)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(ConnectionError):
                    self.wfile.write(body)

            do_GET = do_PUT = answer

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class Machine:
    def __init__(self, root: pathlib.Path):
        self.root = root

    def is_cloud(self, name):
        folder = self.root / "sys/class/dmi/id"
        folder.mkdir(parents=True)
        for mark, text in DMI[name].items():
            (folder / mark).write_text(text + "\n")

    def has_medium(self, user_data: bytes):
        (self.root / "media/cidata").mkdir(parents=True, exist_ok=True)
        (self.root / "media/cidata/user-data").write_bytes(user_data)

    def put(self, path, content: bytes):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_bytes(content)

    def run(self, *options, environment=(), timeout=60):
        command = [paths.program("process-user-data"), "provision-files", "-root", str(self.root), *options]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, env={**os.environ, **dict(environment)}
        )

    def provisioned(self):
        """Path below /run/peerpod to (mode, content)."""
        folder = self.root / "run/peerpod"
        return {
            p.name: (stat.S_IMODE(p.stat().st_mode), p.read_bytes()) for p in (folder.iterdir() if folder.exists() else [])
        }


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def encode(toml: bytes) -> str:
    return base64.b64encode(gzip.compress(toml)).decode()


def document(*files) -> bytes:
    lines = ["#cloud-config", "", "write_files:"]
    for path, content in files:
        lines.append(f"  - path: {path}")
        if content:
            lines += ["    content: |"] + ["      " + line for line in content.splitlines()]
    return ("\n".join(lines) + "\n").encode()


USER_DATA = document(("/run/peerpod/apf.json", '{\n    "pod-name": "web"\n}'))
APF = (0o600, b'{\n    "pod-name": "web"\n}\n')


def assert_done(result):
    assert result.returncode == 0, result.stderr


def assert_failed(result, message):
    assert result.returncode == 1, result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.endswith(message), last


# ---- from the medium: what is written ----------------------------------------------------------


def test_files_digest_and_dummy_from_the_medium(machine):
    machine.has_medium(
        document(
            ("/run/peerpod/apf.json", '{\n    "pod-name": "web"\n}'),
            ("/run/peerpod/auth.json", '{"auths":{}}'),
            ("/run/peerpod/scratch-space.marker", None),
        )
    )
    assert_done(machine.run())
    files = machine.provisioned()
    encoded = files.pop("initdata")
    assert gzip.decompress(base64.b64decode(encoded[1])) == DUMMY
    assert files == {
        "apf.json": APF,
        "auth.json": (0o600, b'{"auths":{}}\n'),
        "scratch-space.marker": (0o644, b""),
        "initdata.digest": (0o644, DUMMY_DIGEST.encode()),
        "aa.toml": (0o644, b""),
    }
    assert stat.S_IMODE((machine.root / "run/peerpod").stat().st_mode) == 0o755


def test_initdata_is_measured_and_unpacked(machine):
    machine.has_medium(document(("/run/peerpod/initdata", encode(INITDATA))))
    result = machine.run()
    assert_done(result)
    files = machine.provisioned()
    assert files["initdata.digest"] == (0o644, hashlib.sha384(INITDATA).hexdigest().encode())
    assert files["aa.toml"] == (0o644, b"aa = 1\n")
    assert files["cdh.toml"] == (0o644, b"cdh = 1\n")
    assert files["policy.rego"] == (0o644, b"package agent_policy\n")
    assert "other.txt" not in files
    assert 'initdata hold "other.txt", which is measured but not written to a file' in result.stderr


def test_initdata_without_aa_toml_still_starts_the_services(machine):
    toml = b'algorithm = "sha256"\nversion = "0.1.0"\n[data]\n"policy.rego" = "package agent_policy"\n'
    machine.has_medium(document(("/run/peerpod/initdata", encode(toml))))
    assert_done(machine.run())
    assert machine.provisioned()["aa.toml"] == (0o644, b"")


def test_other_paths_are_left_out_and_named(machine):
    machine.has_medium(
        document(("/etc/shadow", "root::"), ("/run/peerpod/../../etc/passwd", "x"), ("/run/peerpod/apf.json", "{}"))
    )
    result = machine.run()
    assert_done(result)
    assert not (machine.root / "etc").exists()
    assert 'user data hold "/etc/shadow", which is not one of the files they may write: left out' in result.stderr
    assert machine.provisioned()["apf.json"] == (0o600, b"{}\n")


def test_the_last_of_the_same_path_counts(machine):
    machine.has_medium(document(("/run/peerpod/apf.json", "first"), ("/run/peerpod/apf.json", "last")))
    assert_done(machine.run())
    assert machine.provisioned()["apf.json"] == (0o600, b"last\n")


def test_unmeasured_attestation_settings_need_the_option(machine):
    machine.has_medium(document(("/run/peerpod/aa.toml", "host = 1"), ("/run/peerpod/cdh.toml", "host = 1")))
    result = machine.run()
    assert_done(result)
    files = machine.provisioned()
    assert files["aa.toml"] == (0o644, b"")
    assert "cdh.toml" not in files
    assert (
        "user data hold /run/peerpod/aa.toml, which nothing measures: left out; it belongs into initdata "
        "(for adaptors that know no initdata there is -accept-unmeasured)" in result.stderr
    )
    # The dummy's aa.toml is empty, and initdata always has the last word.
    assert_done(machine.run("-accept-unmeasured"))
    assert machine.provisioned()["cdh.toml"] == (0o644, b"host = 1\n")
    assert machine.provisioned()["aa.toml"] == (0o644, b"")


def test_measured_settings_replace_unmeasured_ones(machine):
    machine.has_medium(document(("/run/peerpod/cdh.toml", "host = 1"), ("/run/peerpod/initdata", encode(INITDATA))))
    assert_done(machine.run("-accept-unmeasured"))
    assert machine.provisioned()["cdh.toml"] == (0o644, b"cdh = 1\n")


def test_running_again_changes_nothing(machine):
    machine.has_medium(document(("/run/peerpod/apf.json", "{}"), ("/run/peerpod/initdata", encode(INITDATA))))
    assert_done(machine.run())
    first = machine.provisioned()
    assert_done(machine.run())
    assert machine.provisioned() == first


def test_without_a_source_what_cloud_init_wrote_is_measured(machine):
    machine.put("run/peerpod/initdata", encode(INITDATA).encode() + b"\n")
    result = machine.run()
    assert_done(result)
    assert machine.provisioned()["initdata.digest"][1].decode() == hashlib.sha384(INITDATA).hexdigest()
    assert "no source of user data is known for this machine" in result.stderr


def test_no_secret_in_the_log(machine):
    machine.has_medium(document(("/run/peerpod/apf.json", '{"tls-server-key": "geheim-123"}')))
    result = machine.run()
    assert_done(result)
    assert "geheim-123" not in result.stdout + result.stderr


# ---- bad documents -----------------------------------------------------------------------------

BAD_DOCUMENTS = {
    "unknown key": (
        b"#cloud-config\nruncmd: [reboot]\n",
        'line 2, column 1: unknown key "runcmd"; only "write_files" is allowed here',
    ),
    "permissions": (
        b"write_files:\n- path: /run/peerpod/apf.json\n  permissions: '0777'\n",
        'line 3, column 3: unknown key "permissions"; an entry has "path" and "content" only',
    ),
    "key twice": (b"write_files: []\nwrite_files: []\n", 'line 2, column 1: the key "write_files" is there twice'),
    "anchor": (b"write_files: &a []\n", "line 1, column 14: anchors are not allowed"),
    "shell script": (b"#!/bin/sh\nreboot\n", 'line 2, column 1: a cloud-config must be a mapping with "write_files"'),
    "gzip": (gzip.compress(USER_DATA), "byte 0: control characters are not allowed"),
    "cut short": (b'write_files:\n- path: "/run', "line 2, column 14: found unexpected end of stream"),
}


@pytest.mark.parametrize("name", BAD_DOCUMENTS)
def test_bad_documents_are_refused(machine, name):
    text, message = BAD_DOCUMENTS[name]
    machine.has_medium(text)
    assert_failed(machine.run("-t", "1"), f" attempts: user data: {message}")
    assert machine.provisioned() == {}


def test_what_stays_unreadable_is_given_up_after_a_few_tries(machine):
    machine.has_medium(b"runcmd: []\n")
    result = machine.run()
    assert_failed(
        result,
        "user data from file /media/cidata/user-data, after 4 attempts: user data: line 1, column 1: "
        'unknown key "runcmd"; only "write_files" is allowed here',
    )
    assert result.stderr.count("again in") == 3


def test_too_large_a_document_is_refused(machine):
    machine.has_medium(b"#" * (1024 * 1024 + 1))
    assert_failed(machine.run("-t", "1"), "user-data is larger than the limit of 1048576 bytes")


def test_an_upload_that_is_not_finished_is_waited_for(machine):
    machine.has_medium(b'write_files:\n- path: "/run/peerpod/apf.js')
    command = [paths.program("process-user-data"), "provision-files", "-root", str(machine.root)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if "again in" in line:
                break
        machine.has_medium(USER_DATA)
        process.communicate(timeout=30)
    assert process.returncode == 0
    assert machine.provisioned()["apf.json"] == APF


BAD_INITDATA = {
    "base64": ("H4sI*", "base64: byte 0x2a at 4 is not of the alphabet"),
    "gzip": ("aGVsbG8=", "gzip: incorrect header check"),
    "cut short": (encode(INITDATA)[:40], "gzip: the data are cut short"),
    "TOML": (encode(b"algorithm = "), "line 1, column 13: Error while parsing key-value pair: encountered end-of-file"),
    "algorithm": (
        encode(b'algorithm = "md5"\nversion = "0.1.0"\n[data]\n'),
        'the algorithm "md5" is unknown; use sha256, sha384 or sha512',
    ),
    "version": (encode(b'algorithm = "sha256"\nversion = "2"\n[data]\n'), 'the version "2" is unknown; use 0.1.0'),
    "data": (encode(b'algorithm = "sha256"\nversion = "0.1.0"\n'), "the table [data] is missing"),
    "bomb": (encode(b"#" * 2_000_000), "more than the limit of 1048576 bytes when decompressed"),
}


@pytest.mark.parametrize("name", BAD_INITDATA)
def test_bad_initdata_stop_the_boot(machine, name):
    text, message = BAD_INITDATA[name]
    machine.has_medium(document(("/run/peerpod/initdata", text)))
    result = machine.run()
    assert result.returncode == 1
    assert re.search(
        r"/run/peerpod/initdata: initdata: .*" + re.escape(message) + "$", result.stderr.splitlines()[-1]
    ), result.stderr
    assert not {"aa.toml", "cdh.toml", "policy.rego", "initdata.digest"} & set(machine.provisioned())


# ---- the clouds --------------------------------------------------------------------------------


def plain(method, path, headers):
    return 200, USER_DATA


def encoded(method, path, headers):
    return 200, base64.encodebytes(USER_DATA)


def aws(method, path, headers):
    if method == "PUT":
        return 200, b"AQAEAHtoken=="
    return 200, USER_DATA


CLOUDS = {
    "Azure": (
        encoded,
        [("GET", "/metadata/instance/compute/userData?api-version=2021-01-01&format=text", {"metadata": "true"})],
    ),
    "AWS": (
        aws,
        [
            ("PUT", "/latest/api/token", {"x-aws-ec2-metadata-token-ttl-seconds": "60"}),
            ("GET", "/latest/user-data", {"x-aws-ec2-metadata-token": "AQAEAHtoken=="}),
        ],
    ),
    "GCP": (
        encoded,
        [("GET", "/computeMetadata/v1/instance/attributes/user-data", {"metadata-flavor": "Google"})],
    ),
    "Alibaba Cloud": (plain, [("GET", "/latest/user-data", {})]),
}


@pytest.mark.parametrize("cloud", CLOUDS)
def test_each_cloud_is_asked_as_it_wants(machine, cloud):
    answers, expected = CLOUDS[cloud]
    machine.is_cloud(cloud)
    with Metadata(answers) as metadata:
        result = machine.run("-endpoint", metadata.url)
    assert_done(result)
    assert f"user data come from {cloud}" in result.stderr
    assert machine.provisioned()["apf.json"] == APF
    ours = [
        (method, path, {k: v for k, v in headers.items() if k not in ("host", "accept", "user-agent")})
        for method, path, headers in metadata.requests
    ]
    assert ours == expected


def test_aws_without_imdsv2_is_asked_without_token(machine):
    def answers(method, path, headers):
        return (403, b"") if method == "PUT" else (200, USER_DATA)

    machine.is_cloud("AWS")
    with Metadata(answers) as metadata:
        result = machine.run("-endpoint", metadata.url)
    assert_done(result)
    assert "answered with status 403; asking without a token (IMDSv1)" in result.stderr
    assert "x-aws-ec2-metadata-token" not in metadata.requests[-1][2]


@pytest.mark.parametrize("token", [b"", b"two\r\nX-Line: 1", b"a" * 2000], ids=["empty", "lines", "large"])
def test_what_is_no_token_is_not_sent_on(machine, token):
    machine.is_cloud("AWS")
    with Metadata(lambda method, path, headers: (200, token if method == "PUT" else USER_DATA)) as metadata:
        assert_done(machine.run("-endpoint", metadata.url))
    assert not {"x-aws-ec2-metadata-token", "x-line"} & set(metadata.requests[-1][2])


def test_aws_token_is_asked_for_anew_on_every_try(machine):
    tokens = iter(["first", "second"])

    def answers(method, path, headers):
        if method == "PUT":
            return 200, next(tokens).encode()
        return (200, USER_DATA) if headers["x-aws-ec2-metadata-token"] == "second" else (401, b"")

    machine.is_cloud("AWS")
    with Metadata(answers) as metadata:
        assert_done(machine.run("-endpoint", metadata.url))
    assert [m for m, _, _ in metadata.requests] == ["PUT", "GET", "PUT", "GET"]


def test_a_service_that_comes_up_late_is_waited_for(machine):
    statuses = iter([503, 404])

    def answers(method, path, headers):
        status = next(statuses, 200)
        return status, base64.b64encode(USER_DATA) if status == 200 else b"not yet"

    machine.is_cloud("GCP")
    with Metadata(answers) as metadata:
        result = machine.run("-endpoint", metadata.url)
    assert_done(result)
    assert "answered with status 503; again in" in result.stderr
    assert len(metadata.requests) == 3


def test_a_service_that_never_comes_ends_with_the_time(machine):
    machine.is_cloud("Azure")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        result = machine.run("-t", "2", "-endpoint", url)
    assert result.returncode == 1
    assert re.search(r"user data from Azure, after \d+ attempts: GET http\S+: Couldn't connect to server$", result.stderr)
    assert machine.provisioned() == {}


def test_a_service_that_hangs_ends_with_the_time(machine):
    machine.is_cloud("Alibaba Cloud")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        result = machine.run("-t2", "-endpoint", url)
    assert_failed(result, f"user data from Alibaba Cloud, after 1 attempts: GET {url}/latest/user-data: no answer in time")


def test_too_large_an_answer_is_cut_off(machine):
    machine.is_cloud("Alibaba Cloud")
    with Metadata(lambda *_: (200, b"#" * (1536 * 1024 + 1))) as metadata:
        result = machine.run("-t", "1", "-endpoint", metadata.url)
    assert_failed(result, "/latest/user-data: the answer is larger than the limit of 1572864 bytes")


def test_what_is_not_base64_is_refused(machine):
    machine.is_cloud("GCP")
    with Metadata(lambda *_: (200, b"#cloud-config\n")) as metadata:
        result = machine.run("-t", "1", "-endpoint", metadata.url)
    assert_failed(
        result,
        "/computeMetadata/v1/instance/attributes/user-data: base64: byte 0x23 at 0 is not of the alphabet",
    )


def test_redirects_and_proxies_lead_nowhere(machine):
    machine.is_cloud("Alibaba Cloud")

    def answers(method, path, headers):
        return 302, b"elsewhere"

    with Metadata(answers) as metadata, socket.socket() as proxy:
        proxy.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        result = machine.run(
            "-t", "1", "-endpoint", metadata.url, environment={"http_proxy": address, "ALL_PROXY": address}
        )
    assert result.returncode == 1
    assert "answered with status 302" in result.stderr


def test_empty_user_data_are_taken_as_none(machine):
    machine.is_cloud("Alibaba Cloud")
    with Metadata(lambda *_: (200, b"")) as metadata:
        result = machine.run("-endpoint", metadata.url)
    assert_done(result)
    assert "the user data name no files: the forwarder will have no configuration" in result.stderr
    assert machine.provisioned()["initdata.digest"][1].decode() == DUMMY_DIGEST


# ---- the command line --------------------------------------------------------------------------


def call(*arguments):
    return subprocess.run([paths.program("process-user-data"), *arguments], capture_output=True, text=True, timeout=10)


def test_version_and_help():
    assert re.fullmatch(r"process-user-data \d+\.\d+\.\d+\n", call("version").stdout)
    assert "-user-data-fetch-timeout int" in call("help").stdout
    assert call("provision-files", "-help").returncode == 0
    nothing = call()
    assert nothing.returncode == 2
    assert nothing.stderr.startswith("usage: process-user-data provision-files [options]\n")


@pytest.mark.parametrize("form", [["-t", "1"], ["-t1"], ["-t=1"], ["--user-data-fetch-timeout", "1"]])
def test_every_form_of_the_timeout(machine, form):
    machine.is_cloud("Alibaba Cloud")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        result = machine.run(*form, "-endpoint", f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=10)
    assert_failed(result, "no answer in time")


@pytest.mark.parametrize(
    "options, message",
    [
        (["-t", "0"], "option -user-data-fetch-timeout: 0 is not between 1 and 86400"),
        (["-t", "soon"], 'option -user-data-fetch-timeout: "soon" is no whole number'),
        (["-nothing"], "unknown option -nothing"),
    ],
)
def test_bad_options_are_named(machine, options, message):
    result = machine.run(*options)
    assert result.returncode == 1
    assert message in result.stderr
