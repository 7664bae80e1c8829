"""The image and its configuration, as checked by a linter, by a parser, and against the server's own
settings.

The tests need no container engine, and use none.
"""

import fnmatch
import re
import shutil
import subprocess
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from compose_spec import PyOptions

from server.settings import Settings
from tests.service import ROOT
from tests.tools import without

ALONE, CLUSTER = ROOT / "compose.yaml", ROOT / "docs" / "compose.cluster.yaml"
FILES = (ALONE, CLUSTER)
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
IGNORED = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
NGINX = (ROOT / "docs" / "nginx.cluster.conf").read_text(encoding="utf-8")
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
STOP_TAKES = 5  # most seconds that a stop takes

Service = dict[str, Any]


def parsed(file: Path) -> dict[str, Any]:
    options = PyOptions()
    options.apply_merge = True
    found = options.from_yaml(file.read_text(encoding="utf-8"))
    found.validate()
    return found.to_dict()


def services(file: Path) -> dict[str, Service]:
    found: dict[str, Service] = parsed(file)["services"]
    return found


def ours(file: Path) -> dict[str, Service]:
    return {name: service for name, service in services(file).items() if service.get("image") == "clipwire"}


def of_a_role(role: str) -> list[Service]:
    wanted = f'["{role}"]'
    return [one for one in ours(CLUSTER).values() if one["environment"]["CLIPWIRE_SERVER__ROLES"] == wanted]


# --- the image ---


def test_the_linter_has_nothing_to_say_of_the_image() -> None:
    linter = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([str(linter), "Dockerfile"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_image_runs_as_somebody_without_rights_and_stops_politely() -> None:
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert "\nUSER 10001:10001\n" in last
    assert "\nSTOPSIGNAL SIGTERM\n" in last
    assert "\nHEALTHCHECK " in last
    assert '\nENTRYPOINT ["python", "-m", "server"]' in last, "no shell that would keep the signal"


def test_what_the_image_is_made_of_is_there_and_not_ignored() -> None:
    copied = re.findall(r"^COPY (?!--)(\S+) ", DOCKERFILE, re.MULTILINE)
    assert {"requirements/run.txt", "clients/python/clipwire_client", "server", "static"} == set(copied)
    assert IGNORED[1] == "*"
    assert {f"!{path}" for path in copied} <= set(IGNORED)


@pytest.mark.parametrize(
    "path", ["data/clipwire.db", ".venv/bin/python", ".git/config", "tests/site", "config.toml"]
)
def test_nothing_else_gets_into_the_image(path: str) -> None:
    kept = [rule.removeprefix("!") for rule in IGNORED if rule.startswith("!")]
    assert not any(fnmatch.fnmatch(path, rule) or path.startswith(rule + "/") for rule in kept)


# --- the services ---


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_settings_are_those_that_the_server_knows(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for service in ours(file).values():
        for name, value in service["environment"].items():
            if name.startswith("CLIPWIRE_"):
                monkeypatch.setenv(name, re.sub(r"\$\{\w+:-(.*)\}", r"\1", value))
        Settings()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_secret_stands_in_a_file(file: Path) -> None:
    for service in services(file).values():
        for name, value in (service.get("environment") or {}).items():
            if re.search("PASSWORD|KEY|TOKEN|SECRET", name):
                assert re.fullmatch(r"\$\{\w+:[?-].*\}", value), name
    assert not re.search(r"://[^/\s@]+:[^/\s@]+@", file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_nodes_have_no_rights_and_the_time_to_stop(file: Path) -> None:
    for name, service in ours(file).items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["init"] is True, name
        assert int(service["stop_grace_period"].removesuffix("s")) > STOP_TAKES, name
        places = [str(place).partition(":")[0] for place in service["tmpfs"]]
        mounts = [str(volume).rpartition(":")[2] for volume in service.get("volumes") or ()]
        assert {"/tmp", "/data"} <= {*places, *mounts}, name


def test_two_of_each_role_are_behind_the_proxy_and_no_two_workers_share_a_volume() -> None:
    assert (len(of_a_role("web")), len(of_a_role("worker"))) == (2, 2)
    volumes = [volume for worker in of_a_role("worker") for volume in worker["volumes"]]
    assert len(set(volumes)) == 2
    assert {str(volume).partition(":")[0] for volume in volumes} <= set(parsed(CLUSTER)["volumes"])
    assert set(re.findall(r"server ([\w-]+):8080;", NGINX)) == {
        name for name, service in ours(CLUSTER).items() if service in of_a_role("web")
    }


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_what_a_file_names_is_where_it_says(file: Path) -> None:
    for name, service in services(file).items():
        if "build" in service:
            assert (file.parent / service["build"] / "Dockerfile").exists(), name
        for volume in service.get("volumes") or ():
            place = str(volume).partition(":")[0]
            known = place in parsed(file)["volumes"]
            assert known or (file.parent / place).is_file(), f"{name}: {volume}"


def test_all_nodes_have_the_same_settings_but_for_their_role() -> None:
    settings = [
        {name: value for name, value in service["environment"].items() if not name.endswith("__ROLES")}
        for service in ours(CLUSTER).values()
    ]
    assert all(one == settings[0] for one in settings)


def test_the_proxy_passes_on_what_the_documents_say() -> None:
    [snippet] = re.findall(r"```nginx\n(.*?)```", CONFIGURATION, re.DOTALL)
    wanted = re.findall(r"^ *((?:proxy_(?!pass)|client_)\w+ [^;]+;)", snippet, re.MULTILINE)
    assert wanted
    assert set(wanted) <= set(re.findall(r"(?:proxy|client)_\w+ [^;]+;", NGINX))


def test_what_the_proxy_names_keeps_its_address_which_nobody_else_can_get() -> None:
    """nginx resolves the name only when it starts."""
    [pool] = parsed(CLUSTER)["networks"]["default"]["ipam"]["config"]
    names = re.findall(r"^ *server ([\w-]+):\d+;", NGINX, re.MULTILINE)
    assert len(names) == 2
    for name in names:
        address = ip_address(services(CLUSTER)[name]["networks"]["default"]["ipv4_address"])
        assert address in ip_network(pool["subnet"])
        assert address not in ip_network(pool["ip_range"])


# --- the unit of systemd ---


def test_the_unit_for_systemd_may_do_little() -> None:
    analyze = shutil.which("systemd-analyze") or without("systemd-analyze", "apt-get install systemd")
    command = (analyze, "security", "--offline=yes", "--threshold=20", "--no-pager", "clipwire.service")
    done = subprocess.run(command, cwd=ROOT / "docs", capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-200:]
    unit = (ROOT / "docs/clipwire.service").read_text()
    assert "\nRestartPreventExitStatus=2 3\n" in unit
    assert int(re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)[0]) > STOP_TAKES
    # The limits that children set for themselves: see `server.child.process.sandbox`.
    assert not re.search(r"^(SystemCallFilter=~.*@resources|MemoryDenyWriteExecute)", unit, re.MULTILINE)
