"""What a fresh checkout is set up from: locks, the sample configuration, and nothing of anybody's machine."""

import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

from server.settings import Settings

ROOT = Path(__file__).parent.parent
LOCKS = ("run.txt", "test.txt")
TEXTS = {".py", ".toml", ".md", ".js", ".css", ".html", ".sql", ".txt", ".in", ".sh", ""}
SECRETS = {("server", "tokens")}


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_one_version_and_hashes(name: str) -> None:
    packages = locked(name)
    assert packages
    assert all("--hash=sha256:" in entry for entry in packages.values())


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_no_index(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text()
    assert not re.search(r"://|^\s*-(i|f|-index|-extra|-find|-trusted)", text, re.MULTILINE)


def test_the_tests_run_on_the_versions_that_the_service_runs_on() -> None:
    service, tests = locked("run.txt"), locked("test.txt")
    assert service.keys() <= tests.keys()
    assert all(version(tests[name]) == version(service[name]) for name in service)


def test_config_toml_as_it_ships_changes_nothing() -> None:
    assert Settings(**tomllib.loads((ROOT / "config.toml").read_text())) == Settings()


def test_every_setting_stands_in_config_toml_with_its_default() -> None:
    shown = Settings(**tomllib.loads(uncommented()))
    for section, values in Settings():
        for name, value in values if section != "presets" else ():
            if (section, name) in SECRETS:
                assert f"# {name}: " in (ROOT / "config.toml").read_text()
            elif value is not None:
                assert getattr(getattr(shown, section), name) == value, f"{section}.{name}"


def test_config_toml_shows_no_setting_that_does_not_exist_and_leaves_none_out() -> None:
    shown = {(section, name) for section, values in tomllib.loads(uncommented()).items() for name in values}
    known = {(section, name) for section, values in Settings() if section != "presets" for name, _ in values}
    assert shown - {("presets", "podcast")} == known - SECRETS


def test_no_file_speaks_of_the_machine_it_was_made_on() -> None:
    """No home folder and no package registry: where packages come from is each machine's own affair."""
    foreign = re.compile(r"/(root|home)/\w|pypi\.|pythonhosted|npmjs|/simple\b")
    assert not [path for path in own_files() if foreign.search(path.read_text())]


def test_the_checks_of_the_page_see_faults(tmp_path: Path) -> None:
    shutil.copy(ROOT / "deno.json", tmp_path)
    scripts = tmp_path / "static/js"
    scripts.mkdir(parents=True)
    (scripts / "wrong.js").write_text("debugger; document.frobnicate()\n")
    assert "frobnicate" in deno(tmp_path, "check", "static/js")
    assert "no-debugger" in deno(tmp_path, "lint")
    assert "wrong.js" in deno(tmp_path, "fmt", "--check")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Set up by the script that `make` calls, for real, but with locks that name no package.

    It begins with what somebody left who was interrupted while making the virtual environment.
    """
    folder = tmp_path_factory.mktemp("setup") / "checkout"
    (folder / "requirements").mkdir(parents=True)
    shutil.copy(ROOT / "requirements/install.sh", folder / "requirements")
    for name in LOCKS:
        (folder / "requirements" / name).write_text("# no package\n")
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/python").symlink_to(sys.executable)
    assert "making .venv" in install(folder, "run")
    return folder


def test_a_second_installation_does_nothing(checkout: Path) -> None:
    assert install(checkout, "run") == ""


def test_what_the_tests_need_is_added_and_covers_what_the_service_needs(checkout: Path) -> None:
    said = install(checkout, "test")
    assert "installing requirements/test.txt" in said
    assert "making" not in said
    assert install(checkout, "run") == install(checkout, "test") == ""


def test_a_changed_lock_is_installed(checkout: Path) -> None:
    lock = checkout / "requirements/run.txt"
    lock.write_text(lock.read_text() + "# changed\n")
    assert "installing requirements/run.txt" in install(checkout, "run")
    assert install(checkout, "run") == ""


def test_an_installation_that_failed_counts_for_nothing(checkout: Path) -> None:
    lock = checkout / "requirements/run.txt"
    sound = lock.read_text()
    lock.write_text("a-package-without-a-hash==1.0\n")
    with pytest.raises(subprocess.CalledProcessError):
        install(checkout, "run")
    lock.write_text(sound)
    assert "installing requirements/run.txt" in install(checkout, "run")


def test_an_environment_that_was_copied_is_made_anew(checkout: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(checkout, tmp_path / "copied", symlinks=True)
    assert "making .venv" in install(copied, "run")
    assert install(copied, "run") == ""


def install(folder: Path, what: str) -> str:
    """What it said; nothing means that nothing was to be done."""
    command = ("sh", "requirements/install.sh", what)
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=60)
    return result.stdout + result.stderr


def deno(folder: Path, *arguments: str) -> str:
    """What it complains of; fails if it finds everything in order."""
    command = (str(Path(sysconfig.get_path("scripts"), "deno")), *arguments)
    environment = {"DENO_DIR": str(folder / "deno"), "NO_COLOR": "1"}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    return result.stdout + result.stderr


def locked(name: str) -> dict[str, str]:
    """Package -> its entry in the lock, markers and hashes with it."""
    text = (ROOT / "requirements" / name).read_text()
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE | re.IGNORECASE)
    return {entry.split("==")[0]: entry for entry in entries if "==" in entry}


def version(entry: str) -> str:
    return re.split(r"[\s;]", entry)[0]


def uncommented() -> str:
    """config.toml with every setting that it shows switched on."""
    text = (ROOT / "config.toml").read_text()
    return re.sub(r"^# (?=\[|\w+ = )", "", text, flags=re.MULTILINE)


def own_files() -> list[Path]:
    """All files of the product that are texts."""
    folders = [ROOT / name for name in ("server", "static", "tests", "docs", "requirements", ".ci")]
    found = [path for folder in folders for path in folder.rglob("*")] + list(ROOT.glob("*"))
    return [path for path in found if path.suffix in TEXTS and path.is_file() and path != Path(__file__)]
