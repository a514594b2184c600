# SPDX-License-Identifier: Apache-2.0
"""The tunnel's TLS with OpenSSL's own programs at the other end.

tls-peer is lib/tls as a program. What its peer shows and accepts is made by openssl(1), so that certificates and
settings are judged by code that is not ours.
"""

import contextlib
import os
import re
import select
import signal
import socket
import subprocess

import pytest

from peerpod import paths

NAME = "podvm-web-0123abcd"


def openssl(*arguments, folder=None, text=None):
    done = subprocess.run(
        ["openssl", *map(str, arguments)], capture_output=True, text=True, cwd=folder, input=text, timeout=30
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Our certificates, and others to be refused."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run([paths.program("tls-peer"), "issue", str(folder), NAME], check=True)
    others = tmp_path_factory.mktemp("others")
    subprocess.run([paths.program("tls-peer"), "issue", str(others), NAME], check=True)
    for kind in ("ca", "server", "client"):
        for end in ("pem", "key"):
            (folder / f"foreign-{kind}.{end}").write_bytes((others / f"{kind}.{end}").read_bytes())
    for name, san, eku, start, end in [
        ("expired", NAME, "serverAuth", "20200101000000Z", "20210101000000Z"),
        ("misnamed", "podvm-db-9", "serverAuth", "20200101000000Z", "20990101000000Z"),
        ("nameless", None, "serverAuth", "20200101000000Z", "20990101000000Z"),
        ("clientish", NAME, "clientAuth", "20200101000000Z", "20990101000000Z"),
    ]:
        issue_with_openssl(folder, name, san, eku, start, end)
    return folder


def issue_with_openssl(folder, name, san, eku, start, end):
    """A server certificate signed by our CA, with the dates that only openssl-ca sets."""
    (folder / "index.txt").write_text("")
    (folder / "index.txt.attr").write_text("unique_subject = no\n")
    (folder / f"{name}.cnf").write_text(
        f"""[ca]
default_ca = ours
[ours]
database = {folder}/index.txt
new_certs_dir = {folder}
certificate = {folder}/ca.pem
private_key = {folder}/ca.key
default_md = sha256
rand_serial = yes
policy = anything
x509_extensions = extensions
[anything]
organizationName = optional
commonName = optional
[extensions]
extendedKeyUsage = {eku}
{"subjectAltName = DNS:" + san if san else ""}
"""
    )
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={NAME}",
            "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.csr")  # fmt: skip
    openssl("ca", "-batch", "-notext", "-config", folder / f"{name}.cnf", "-in", folder / f"{name}.csr", "-out",
            folder / f"{name}.pem", "-startdate", start, "-enddate", end)  # fmt: skip


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def s_server(folder, *options, cert="server", ca="client.pem"):
    """openssl s_server that wants a client certificate and sends lines back reversed."""
    port = free_port()
    command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", f"{cert}.pem", "-key", f"{cert}.key",
               "-CAfile", ca, "-Verify", "1", "-verify_return_error", "-rev", "-naccept", "1", *options]  # fmt: skip
    with subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            for line in process.stdout:
                if line.startswith("ACCEPT"):
                    break
            yield port
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=10)


def connect(folder, port, *settings, name=NAME):
    done = subprocess.run(
        [paths.program("tls-peer"), "connect", str(folder), name, str(port), *settings],
        capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    assert "Sanitizer" not in done.stderr, done.stderr
    return done.stdout.splitlines()[-1]


@contextlib.contextmanager
def accept(folder, *settings):
    """tls-peer as server; yields its port and a function that gives its last line."""
    command = [paths.program("tls-peer"), "accept", str(folder), *settings]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            port = int(process.stdout.readline().split()[1])

            def last_line():
                out, _ = process.communicate(timeout=10)
                return out.splitlines()[-1]

            yield port, last_line
        finally:
            process.kill()


def s_client(folder, port, *options, cert="client"):
    """openssl s_client that says hello; (what it printed, whether it got the line back)."""
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", NAME, "-CAfile", "ca.pem",
               "-verify_return_error", "-verify_hostname", NAME, *options]  # fmt: skip
    if cert:
        command += ["-cert", f"{cert}.pem", "-key", f"{cert}.key"]
    with subprocess.Popen(
        command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(b"hello\n")
            process.stdin.flush()
        # Its input stays open until the answer is there: it hangs up when its input ends.
        printed = b""
        while select.select([process.stdout], [], [], 10)[0]:
            some = os.read(process.stdout.fileno(), 65536)
            printed += some
            if not some or re.search(rb"^hello$", printed, re.M):
                break
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        process.wait(10)
    return printed.decode(errors="replace"), bool(re.search(rb"^hello$", printed, re.M))


# ---- as client ---------------------------------------------------------------------------------


def test_tls_13_with_openssl(folder):
    with s_server(folder) as port:
        assert re.fullmatch(r"ok TLSv1.3 TLS_\w+", connect(folder, port))


@pytest.mark.parametrize(
    "iana, ours",
    [
        ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
        ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"),
        ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"),
        ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", "ECDHE-ECDSA-CHACHA20-POLY1305"),
        ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", "ECDHE-ECDSA-AES128-SHA"),
        ("TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", "ECDHE-ECDSA-AES256-SHA"),
        ("TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", "ECDHE-ECDSA-AES128-SHA256"),
    ],
)
def test_every_suite_for_our_keys_can_be_agreed_on(folder, iana, ours):
    with s_server(folder, "-tls1_2") as port:
        assert connect(folder, port, f"suites={iana}") == f"ok TLSv1.2 {ours}"


def test_suites_restrict_tls_12_only(folder):
    with s_server(folder) as port:
        assert connect(folder, port, "suites=TLS_RSA_WITH_RC4_128_SHA").startswith("ok TLSv1.3")
    with s_server(folder, "-tls1_2") as port:
        assert connect(folder, port, "suites=TLS_RSA_WITH_RC4_128_SHA") == (
            "denied: handshake: the peer speaks no TLS version that we accept (alert: protocol version); compare "
            "tls-min-version of both ends"
        )


def test_minimum_version(folder):
    with s_server(folder, "-tls1_2") as port:
        assert connect(folder, port, "min=VersionTLS13") == (
            "denied: handshake: the peer speaks no TLS version that we accept (alert: protocol version); compare "
            "tls-min-version of both ends"
        )


SERVERS = {
    "expired": (
        {"cert": "expired"},
        [],
        "the certificate of the pod VM expired on 2021-01-01 00:00:00Z; check the clocks of both ends, or make the pod "
        "anew",
    ),
    "misnamed": (
        {"cert": "misnamed"},
        [],
        f'the certificate of the pod VM is for "podvm-db-9", not for "{NAME}"; another machine answers at this address',
    ),
    "nameless": (
        {"cert": "nameless"},
        [],
        f'the certificate of the pod VM is for no DNS name, not for "{NAME}"; another machine answers at this address',
    ),
    "foreign": (
        {"cert": "foreign-server"},
        [],
        "the certificate of the pod VM is foreign: not signed by the CA that this end trusts (its issuer is "
        "O=agent-protocol-forwarder)",
    ),
    "not for servers": (
        {"cert": "clientish"},
        [],
        "the certificate of the pod VM is not meant for TLS servers (extended key usage)",
    ),
    "pinned otherwise": (
        {},
        ["pin=misnamed.pem"],
        "the pod VM shows another certificate than the one issued for it; another machine answers at this address",
    ),
}


@pytest.mark.parametrize("case", SERVERS)
def test_servers_that_are_not_the_pod_vm(folder, case):
    server, settings, message = SERVERS[case]
    with s_server(folder, **server) as port:
        assert connect(folder, port, *settings) == f"denied: handshake: {message}"


def test_the_pinned_server_is_the_pod_vm(folder):
    with s_server(folder) as port:
        assert connect(folder, port, "pin=server.pem").startswith("ok ")


@pytest.mark.parametrize("version, doing", [("-tls1_2", "handshake"), ("-tls1_3", "talk")])
def test_a_server_that_refuses_our_certificate(folder, version, doing):
    with s_server(folder, version, ca="foreign-client.pem") as port:
        assert re.match(rf"denied: {doing}: the peer .* our certificate \(alert: unknown CA\)", connect(folder, port))
    with s_server(folder, version) as port:
        assert re.match(
            rf"denied: {doing}: the peer (wants a client certificate|found no common)",
            connect(folder, port, "cert=none", "key=none"),
        )


def test_what_is_no_tls_is_told_apart(folder):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [paths.program("tls-peer"), "connect", str(folder), NAME, str(listener.getsockname()[1])]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            peer, _ = listener.accept()
            with peer:
                peer.sendall(b"\0\0\0\x0aplain ttrpc")
                peer.recv(4096)
                out, _ = process.communicate(timeout=10)
    assert out.strip() == "denied: handshake: the peer does not speak TLS; was one end started with -disable-tls?"


def test_nobody_there_may_be_tried_again(folder):
    assert connect(folder, free_port()) == "retry: connect: Connection refused"


# ---- as server ---------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_openssl_is_let_in_with_the_certificate_that_is_the_anchor(folder, version):
    with accept(folder) as (port, last_line):
        printed, answered = s_client(folder, port, "-" + version.lower().replace(".", "_").replace("tlsv", "tls"))
        assert answered, printed
        assert last_line().startswith(f"ok {version} ")
    assert "Verify return code: 0 (ok)" in printed
    # What Go's client needs to choose its certificate, and what keys of ours sign with.
    assert re.search(r"Acceptable client certificate CA names\nO = cloud-api-adaptor\n", printed)
    assert re.search(r"Requested Signature Algorithms: \S*ECDSA\+SHA256", printed)
    assert "Compression: NONE" in printed
    assert "New Session Ticket" not in printed


CLIENTS = {
    "none": (None, "the client showed no certificate"),
    "foreign": (
        "foreign-client",
        "the certificate of the client is foreign: not signed by the CA that this end trusts (its issuer is "
        "O=cloud-api-adaptor)",
    ),
    "not of the anchor": (
        "server",
        "the certificate of the client is foreign: not signed by the CA that this end trusts (its issuer is "
        "O=agent-protocol-forwarder)",
    ),
}


@pytest.mark.parametrize("case", CLIENTS)
def test_clients_that_are_not_let_in(folder, case):
    cert, message = CLIENTS[case]
    with accept(folder) as (port, last_line):
        _, answered = s_client(folder, port, cert=cert)
        assert not answered
        assert last_line() == f"denied: handshake: {message}"


def test_a_client_that_refuses_us_is_told(folder):
    with accept(folder, "cert=foreign-server.pem", "key=foreign-server.key") as (port, last_line):
        _, answered = s_client(folder, port)
        assert not answered
        assert last_line() == (
            "denied: handshake: the peer does not trust the issuer of our certificate (alert: unknown CA)"
        )


def test_an_old_client_is_told(folder):
    with accept(folder, "min=VersionTLS13") as (port, last_line):
        printed, answered = s_client(folder, port, "-tls1_2")
        assert not answered
        assert "alert protocol version" in printed
        assert last_line() == (
            "denied: handshake: the peer speaks no TLS version that we accept; compare tls-min-version of both ends"
        )


def test_renegotiation_is_refused(folder):
    with accept(folder) as (port, last_line):
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_2", "-CAfile", "ca.pem", "-cert",
                   "client.pem", "-key", "client.key"]  # fmt: skip
        done = subprocess.run(command, cwd=folder, input="R\n", capture_output=True, text=True, timeout=20)
        assert "no renegotiation" in done.stderr
        assert not last_line().startswith("ok")


# ---- certificates as openssl(1) sees them -------------------------------------------------------


def test_certificates_verify_with_openssl(folder):
    openssl("verify", "-CAfile", folder / "ca.pem", "-purpose", "sslserver", "-verify_hostname", NAME,
            folder / "server.pem")  # fmt: skip
    openssl("verify", "-CAfile", folder / "client.pem", "-purpose", "sslclient", folder / "client.pem")
    text = openssl("x509", "-in", folder / "server.pem", "-noout", "-text")
    assert re.search(r"X509v3 Subject Alternative Name: \n +DNS:" + NAME + "\n", text)
    key = openssl("pkey", "-in", folder / "server.key", "-noout", "-text")
    assert "prime256v1" in key
    assert (folder / "server.key").read_text().startswith("-----BEGIN PRIVATE KEY-----\n")
