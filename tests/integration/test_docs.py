# SPDX-License-Identifier: Apache-2.0
"""What docs/ says of programs, options, sockets and files is what the code has."""

import json
import pathlib
import re
import subprocess

from peerpod import paths

ROOT = paths.ROOT
SOURCES = ["adaptor", "peerpodctl", "providers/choice", "vsock-proxy", "lib", "providers/libvirt", "podvm-image"]
PROCESSES = (ROOT / "docs/processes.md").read_text()
# Kernel interfaces and what belongs to nobody.
NOT_FILES = re.compile(r"^/(proc|sys|dev|bin|usr|tmp)\b")


def code() -> str:
    files = [f for folder in SOURCES for f in (ROOT / folder).rglob("*.[ch]")]
    return "\n".join(f.read_text() for f in files)


def test_the_options_are_those_of_the_programs():
    done = subprocess.run(
        [ROOT / "tests/docs/generate", "--check"], capture_output=True, text=True, env={"PEERPOD_BUILD": str(paths.BUILD)}
    )
    assert done.returncode == 0, f"run make docs:\n{done.stdout}{done.stderr}"


def test_every_program_is_in_the_table_of_programs():
    listed = subprocess.run(["make", "-s", "-C", ROOT, "list-programs"], capture_output=True, text=True, check=True)
    table = PROCESSES.split("## Programs")[1].split("##")[0]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", table, re.M)) == set(listed.stdout.split())


def test_every_path_in_the_code_is_documented():
    found = set(re.findall(r'"(/(?:run|var|etc|media)/[^" %\\]*[^" %\\/])', code()))
    missing = {p for p in found if f"`{p}`" not in PROCESSES and f"`{p} " not in PROCESSES}
    # A folder is documented by what is in it.
    missing = {p for p in missing if f"`{p}/" not in PROCESSES}
    assert missing == set()


def test_every_documented_path_is_in_the_code():
    text = code()
    documented = {p.split(" ")[0] for p in re.findall(r"`(/[a-z][^`]*)`", PROCESSES)}
    gone = set()
    for path in documented:
        if NOT_FILES.match(path) or path in ("/startup", "/livez", "/readyz"):
            continue
        name = pathlib.PurePath(path).name
        if f'"{path}' not in text and f'/{name}"' not in text:
            gone.add(path)
    assert gone == set()


def test_the_documented_ports_are_the_defaults():
    text = code()
    assert '"15150"' in text and "TCP 15150" in PROCESSES
    assert "PODNETWORK_VXLAN_PORT 4789" in text and "UDP 4789" in PROCESSES


def ctl(*arguments: str) -> str:
    return subprocess.run([paths.program("peerpodctl"), *arguments], capture_output=True, text=True, check=True).stdout


def test_the_commands_and_options_of_peerpodctl_are_those_of_its_page():
    page = (ROOT / "docs/peerpodctl.md").read_text()
    listed = re.findall(r"^  ((?:[a-z]+ )?[a-z]+(?: [\[A-Z].*?)?)  +(.+)$", ctl("help").split("\n\n")[2], re.M)
    rows = re.findall(r"^\| `([^`]+)` \| (.+) \|$", page.split("| exit status")[0], re.M)
    assert [(name.replace("\\|", "|"), about) for name, about in rows] == listed
    # An option has one row for all verbs that take it; where its meaning differs, each has one.
    documented = set(re.findall(r"^\| `--([a-z-]+)` \| (?:`([A-Z_]+)`)? ?\| (?:`([^`]+)`)? ?\|", page, re.M))
    taken = set()
    for name, _ in listed:
        words = re.findall(r"^[a-z ]+", name)[0].split()
        if words[0] in ("version", "help"):
            continue
        for option, text in re.findall(r"^  -([a-z-]+) [a-z]+\n +(.*)$", ctl("help", *words), re.M):
            variable = re.search(r"\[([A-Z_]+)\]", text)
            default = re.search(r"\(default ([^)]+)\)$", text)
            taken.add((option, variable[1] if variable else "", default[1] if default else ""))
    taken = {t for t in taken if t[0] != "json"}
    assert len(listed) == 12 and len(taken) > 25
    assert documented == taken


def test_the_regions_with_prices_are_those_of_the_files():
    table = (ROOT / "docs/peerpodctl.md").read_text().split("| provider | regions |")[1].split("\n\n")[0]
    documented = {provider: regions.split(", ") for provider, regions in re.findall(r"^\| ([a-z]+) \| (.+) \|$", table, re.M)}
    files = {f.parent.name: sorted(json.loads(f.read_text())["regions"]) for f in (ROOT / "providers").glob("*/prices.json")}
    assert documented == files


def test_links_between_documents_lead_somewhere():
    for document in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            if not target.startswith("http"):
                assert (document.parent / target).exists(), f"{document.relative_to(ROOT)} links to {target}"
