"""The setup of a fresh checkout: its locks, its sample configuration, and no trace of anybody's machine."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

from server.settings import Settings
from tests.tools import without

ROOT = Path(__file__).parent.parent.parent
LOCKS = ("run.txt", "test.txt")
OF_NPM = "requirements/tools/package-lock.json"
BROWSERS = ("firefox-esr", "WebKitWebDriver", "Xvfb")
PROGRAMS = ("ffprobe", "chromium", "squid", "promtool", *BROWSERS, "nginx", "caddy")
OF_THE_PAGE = ("tests/browser", "tests/clients/test_browser_extension.py")
TEXTS = {".py", ".toml", ".md", ".js", ".css", ".html", ".sql", ".txt", ".in", ".sh", ""}
SECRETS = {("server", "tokens"), ("webhooks", "secret"), ("notify", "urls")}


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_package_has_one_version_and_hashes(name: str) -> None:
    packages = locked(name)
    assert packages
    assert all("--hash=sha256:" in entry for entry in packages.values())


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_no_index(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text()
    assert not re.search(r"://|^\s*-(i|f|-index|-extra|-find|-trusted)", text, re.MULTILINE)


def test_the_lock_of_npm_has_hashes_and_no_addresses() -> None:
    text = (ROOT / OF_NPM).read_text()
    packages = json.loads(text)["packages"]
    assert "://" not in text
    assert all(name == "" or entry["integrity"].startswith("sha512-") for name, entry in packages.items())
    wanted = json.loads((ROOT / "requirements/tools/package.json").read_text())["dependencies"]
    assert {name: packages[f"node_modules/{name}"]["version"] for name in wanted} == wanted


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
    assert (shown - {("presets", "podcast")}) ^ (known - SECRETS) == set(), "config.toml"


def test_no_file_speaks_of_the_machine_it_was_made_on() -> None:
    """No file names a home folder or a package registry: each machine has its own settings of where packages
    come from.
    """
    foreign = re.compile(r"/(root|home)/\w|pypi\.|pythonhosted|npmjs|/simple\b")
    assert not [path for path in own_files() if foreign.search(path.read_text())]


def test_no_test_starts_by_its_name_what_may_be_missing() -> None:
    """`tests.tools` knows which programs may be missing."""
    named = re.compile(r'"(ffmpeg|ffprobe|curl|chromium|squid)",\s*"-|"/usr/bin/')
    tests = [path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__)]
    assert not [path for path in tests if named.search(path.read_text())]


@pytest.mark.wide
def test_the_checks_of_the_page_see_faults(tmp_path: Path) -> None:
    shutil.copy(ROOT / "deno.json", tmp_path)
    scripts = tmp_path / "static/js"
    scripts.mkdir(parents=True)
    (scripts / "wrong.js").write_text("debugger; document.frobnicate()\n")
    assert "frobnicate" in deno(tmp_path, "check", "static/js")
    assert "no-debugger" in deno(tmp_path, "lint")
    assert "wrong.js" in deno(tmp_path, "fmt", "--check")


class Machine:
    """A checkout on a machine that has a few programs of the system, a Python, and what a test puts on it.

    Its pip is a stand-in that only checks whether the lock has what pip would want, so nothing is fetched.
    """

    def __init__(self, folder: Path) -> None:
        self.checkout = folder / "checkout"
        self.programs = folder / "programs"
        (self.checkout / "requirements/tools").mkdir(parents=True)
        shutil.copy(ROOT / "requirements/install.sh", self.checkout / "requirements")
        (self.checkout / OF_NPM).write_text("{}")
        for name in LOCKS:
            self.lock(name).write_text("a-package==1.0 --hash=sha256:0\n")
        self.programs.mkdir()
        for name in ("cat", "cp", "dirname", "mkdir", "mktemp", "mv", "rm", "tail"):
            (self.programs / name).symlink_to(shutil.which(name) or name)
        (folder / "pip").mkdir()
        (folder / "pip/__main__.py").write_text(PIP)
        self.pip = f"cp -r {folder}/pip .venv/lib/python3.{sys.version_info.minor}/site-packages"
        self.put("python3", PYTHON.format(python=sys.executable, pip=self.pip))
        self.put("id", "echo 1000")
        self.put("npm", "mkdir -p .venv/tools/node_modules")

    def lock(self, name: str) -> Path:
        return self.checkout / "requirements" / name

    def put(self, name: str, script: str = "") -> None:
        """Add a program to the system, written in the shell's language."""
        put(self.programs / name, script)

    def install(self, what: str, **environment: str) -> str:
        """Run the installation; return its output, which is empty if there was nothing to do. Raises
        `CalledProcessError`.
        """
        return install(self.checkout, what, PATH=str(self.programs), **environment)

    def refuse(self, what: str, **environment: str) -> str:
        """Run an installation that must fail; return what it says."""
        with pytest.raises(subprocess.CalledProcessError) as caught:
            self.install(what, **environment)
        return str(caught.value.stdout)


PIP = """
import pathlib, sys
assert sys.argv[-3:-1] == ["--require-hashes", "--requirement"]
assert "--hash=" in pathlib.Path(sys.argv[-1]).read_text()
"""

PYTHON = """
case "$*" in
    "-c import ensurepip") ;;
    "-m venv .venv") {python} -m venv --without-pip .venv && {pip} ;;
    *) exec {python} "$@" ;;
esac
"""

WITHOUT_PIP = f"""
case "$*" in
    "-c import ensurepip" | "-m venv .venv") exit 1 ;;
    *) exec {sys.executable} "$@" ;;
esac
"""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine that is set up for running; an interrupted installation was there before."""
    machine = Machine(tmp_path_factory.mktemp("ready"))
    (machine.checkout / ".venv/bin").mkdir(parents=True)
    (machine.checkout / ".venv/bin/python").symlink_to(sys.executable)
    assert "making .venv" in machine.install("run")
    return machine


@pytest.mark.wide
def test_a_second_installation_does_nothing(ready: Machine) -> None:
    ready.install("run")
    assert ready.install("run") == ""


def test_the_command_of_the_checkout_runs_it_from_any_folder(ready: Machine) -> None:
    command = ready.checkout / ".venv/bin/clipwire"
    assert os.access(command, os.X_OK)
    lines = command.read_text().splitlines()
    assert lines[0] == "#!/bin/sh"
    assert f'sys.path[0] = """{ready.checkout}"""' in lines


@pytest.mark.wide
def test_the_python_client_can_be_imported_from_any_folder_also_of_a_checkout_that_was_moved(
    machine: Machine, tmp_path: Path
) -> None:
    client = machine.checkout / "clients/python/clipwire_client"
    client.mkdir(parents=True)
    (client / "__init__.py").touch()
    machine.install("run")
    assert imported_client(machine.checkout) == client / "__init__.py"
    moved = machine.checkout.rename(tmp_path / "moved here")
    assert imported_client(moved) == moved / "clients/python/clipwire_client/__init__.py"


def imported_client(checkout: Path) -> Path:
    program = "import clipwire_client; print(clipwire_client.__file__)"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ran = subprocess.run(
        (checkout / ".venv/bin/python", "-c", program),
        cwd="/", env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return Path(ran.stdout.strip())


@pytest.mark.wide
def test_what_the_tests_need_is_added_and_covers_what_the_service_needs(machine: Machine) -> None:
    machine.install("run")
    said = machine.install("test")
    assert "installing requirements/test.txt" in said
    assert "making" not in said
    assert machine.install("run") == machine.install("test") == ""


def test_a_changed_lock_is_installed(ready: Machine) -> None:
    ready.lock("run.txt").write_text(ready.lock("run.txt").read_text() + "# changed\n")
    assert "installing requirements/run.txt" in ready.install("run")
    assert ready.install("run") == ""


def test_an_installation_that_failed_counts_for_nothing(ready: Machine) -> None:
    sound = ready.lock("run.txt").read_text()
    ready.lock("run.txt").write_text("a-package==1.0\n")
    ready.refuse("run")
    ready.lock("run.txt").write_text(sound)
    assert "installing requirements/run.txt" in ready.install("run")


@pytest.mark.wide
def test_an_environment_that_was_copied_is_made_anew(ready: Machine, tmp_path: Path) -> None:
    copied = shutil.copytree(ready.checkout, tmp_path / "copied", symlinks=True)
    assert "making .venv" in install(copied, "run", PATH=str(ready.programs))
    assert install(copied, "run", PATH=str(ready.programs)) == ""


def test_root_is_brought_the_rest_of_python(machine: Machine) -> None:
    complete = machine.programs / "python3"
    complete.rename(machine.programs / "complete")
    machine.put("python3", WITHOUT_PIP)
    machine.put("id", "echo 0")
    machine.put("apt-get", f"[ $5 = python3-venv ] && cp {machine.programs}/complete {complete}")
    assert "installing the system's package python3-venv" in machine.install("run")
    assert machine.install("run") == ""


@pytest.mark.wide
def test_who_is_not_root_unpacks_pip_from_the_system_s_packages(machine: Machine, tmp_path: Path) -> None:
    """The package lists of the system are missing, as in many containers, and are fetched."""
    with zipfile.ZipFile(tmp_path / "pip.whl", "w") as wheel:
        wheel.writestr("pip/__main__.py", f"import os; assert os.system({machine.pip!r}) == 0")
    machine.put("python3", WITHOUT_PIP)
    machine.put(
        "apt-get",
        """case "$*" in
            "-qq -o Dir::"*" update") >lists/fetched ;;
            "-qq -o Dir::"*" download python3-pip-whl") [ -f lists/fetched ] && >pip.deb ;;
            *) exit 1 ;;
        esac""",
    )
    machine.put(
        "dpkg-deb",
        f"""[ "$*" = "--extract ./pip.deb ." ] && mkdir -p usr/share/python-wheels &&
        cp {tmp_path}/pip.whl usr/share/python-wheels/pip-1-py3-none-any.whl""",
    )
    (tmp_path / "tmp").mkdir()
    assert "fetching pip" in machine.install("run", TMPDIR=str(tmp_path / "tmp"))
    assert machine.install("run") == ""
    assert list((tmp_path / "tmp").iterdir()) == []


def test_who_can_get_no_pip_is_told_what_to_install(machine: Machine) -> None:
    machine.put("python3", WITHOUT_PIP)
    assert "apt-get install python3-venv" in machine.refuse("run")
    assert not (machine.checkout / ".venv/.made").exists()


def test_without_a_python_that_is_new_enough_nothing_is_begun(machine: Machine) -> None:
    machine.put("python3", "exit 1")
    assert "Python 3.11 or newer is needed" in machine.refuse("run")
    assert not (machine.checkout / ".venv").exists()


@pytest.mark.wide
def test_programs_that_are_there_are_not_installed(machine: Machine) -> None:
    machine.install("test")
    for program in (*PROGRAMS, "google-chrome"):
        machine.put(program)
    assert "installing requirements/tools/package-lock.json" in machine.install("tools", CI="true")
    assert machine.install("tools", CI="true") == ""


def test_root_is_brought_the_programs_of_the_tests(machine: Machine) -> None:
    machine.put("id", "echo 0")
    machine.put("apt-get", f"cp $(command -v id) {machine.programs}/$5")
    said = machine.install("tools")
    assert "the system's package ffmpeg" in said
    assert "the system's package chromium-headless-shell" in said
    assert "the system's package squid" in said
    assert "the system's package promtool" in said
    assert "the system's package webkit2gtk-driver" in said


def test_where_there_is_no_shell_of_chromium_all_of_it_is_installed(machine: Machine) -> None:
    machine.put("id", "echo 0")
    for program in set(PROGRAMS) - {"chromium"}:
        machine.put(program)
    machine.put("apt-get", f'[ "$5" = chromium ] && cp $(command -v id) {machine.programs}/$5')
    assert "the system's package chromium " in machine.install("tools", CI="true")


@pytest.mark.wide
def test_who_is_not_root_does_without_them_but_for_ci(ready: Machine) -> None:
    ready.install("test")
    assert "Playwright's Chromium" in ready.install("tools")
    assert ready.install("tools") == "", "it is tried once"
    assert "some need ffprobe: apt-get install ffmpeg" in ready.refuse("tools", CI="true")
    ready.put("ffprobe")
    assert "some need Chromium: apt-get install chromium" in ready.refuse("tools", CI="true")
    ready.put("chromium")
    assert "some need Squid: apt-get install squid" in ready.refuse("tools", CI="true")
    ready.put("squid")
    ready.put("promtool")
    said = ready.refuse("tools", CI="true")
    assert "some need nginx: apt-get install nginx" in said, "not every system has the other browsers"


@pytest.mark.wide
def test_proxies_are_unpacked_and_not_installed(machine: Machine) -> None:
    """Installed proxies would start to serve on this machine."""
    for program in set(PROGRAMS) - {"nginx", "caddy"}:
        machine.put(program)
    machine.install("test")
    machine.put("apt-get", '[ "$1 $2" = "-qq download" ] && >"$3.deb"')
    machine.put(
        "dpkg-deb",
        """[ "$*" = "--extract ./nginx.deb ." ] && at=usr/sbin/nginx || at=usr/bin/caddy
        mkdir -p ${at%/*} && >$at && python3 -c "import os; os.chmod('$at', 0o755)" """,
    )
    said = machine.install("tools", CI="true")
    assert "fetching the system's package nginx" in said
    assert "fetching the system's package caddy" in said
    programs = machine.checkout / ".venv/programs"
    assert {path.relative_to(programs).as_posix() for path in programs.rglob("*") if path.is_file()} == {
        "nginx/usr/sbin/nginx",
        "caddy/usr/bin/caddy",
    }
    assert machine.install("tools", CI="true") == ""


@pytest.mark.wide
def test_what_npm_cannot_bring_is_missed_only_in_ci(machine: Machine) -> None:
    for program in PROGRAMS:
        machine.put(program)
    machine.install("test")
    machine.put("npm", "exit 1")
    assert "package-lock.json" in machine.install("tools")
    assert machine.install("tools") == "", "it is tried once"
    assert "npm could not install what some need" in machine.refuse("tools", CI="true")


@pytest.mark.wide
@pytest.mark.parametrize("status", [0, 127])
def test_a_chromium_of_playwright_counts_if_it_starts(machine: Machine, tmp_path: Path, status: int) -> None:
    machine.install("test")
    for program in set(PROGRAMS) - {"chromium"}:
        machine.put(program)
    put(tmp_path / "shell", f'[ "$1" != --version ] || exit {status}')
    [packages] = machine.checkout.glob(".venv/lib/*/site-packages")
    (packages / "playwright").mkdir()
    (packages / "playwright/__main__.py").write_text(
        "import os, shutil\n"
        "folder = os.environ['PLAYWRIGHT_BROWSERS_PATH'] + '/chromium_headless_shell-1/chrome-linux'\n"
        f"os.makedirs(folder)\nshutil.copy({str(tmp_path / 'shell')!r}, folder + '/headless_shell')\n"
    )
    assert "Playwright's Chromium" in machine.install("tools")
    assert (machine.checkout / ".venv/browsers").exists() == (status == 0)
    if status == 0:
        said = machine.refuse("tools", CI="true")
        assert "some need all of Chromium: apt-get install chromium" in said, "it takes no extensions"


@pytest.mark.wide
def test_root_is_brought_what_the_driver_of_the_browser_wants(machine: Machine) -> None:
    machine.install("test")
    for program in PROGRAMS:
        machine.put(program)
    driver = machine.checkout / ".venv/lib/python3.11/site-packages/playwright/driver"
    driver.mkdir(parents=True)
    put(driver / "node", f"[ -e {machine.programs}/libatomic1 ]")
    assert "some need Playwright's driver: apt-get install libatomic1" in machine.refuse("tools", CI="true")
    machine.put("id", "echo 0")
    machine.put("apt-get", f"cp $(command -v id) {machine.programs}/$5")
    assert "the system's package libatomic1" in machine.install("tools", CI="true")
    assert machine.install("tools", CI="true") == ""


@pytest.mark.wide
@pytest.mark.parametrize("has_chromium", [pytest.param(True, marks=pytest.mark.long), False])
def test_tests_of_the_page_are_skipped_where_what_they_need_is_missing(
    tmp_path: Path, has_chromium: bool
) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if not re.match("PYTEST_|CI$", name)},
        "PLAYWRIGHT_NODEJS_PATH": "/bin/false",
        **({} if has_chromium else {"PATH": str(tmp_path)}),
    }
    command = (sys.executable, "-m", "pytest", "-q", "-rs", "-n", "0", "-m", "not long", *OF_THE_PAGE)
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert re.search(r"^1 passed, \d+ skipped, ", result.stdout, re.MULTILINE), result.stdout
    missing = set(re.findall(r"^SKIPPED .*, for want of (.*)", result.stdout, re.MULTILINE))
    assert missing <= {
        "Chromium: apt-get install chromium",
        "all of Chromium: apt-get install chromium",
        "libatomic.so.1, which Playwright's driver needs: apt-get install libatomic1",
    }


def test_what_cannot_be_tested_is_skipped_but_for_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="NOT TESTED, for want of wings: buy some"):
        without("wings", "buy some")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="for want of wings"):
        without("wings", "buy some")


def put(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def install(folder: Path, what: str, **environment: str) -> str:
    command = ("/bin/sh", "requirements/install.sh", what)
    result = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
        timeout=60,
    )
    return result.stdout


def deno(folder: Path, *arguments: str) -> str:
    """Run deno, which must complain; return its complaints."""
    command = (str(Path(sysconfig.get_path("scripts"), "deno")), *arguments)
    environment = {"DENO_DIR": str(folder / "deno"), "NO_COLOR": "1"}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)
    assert result.returncode == 1
    return result.stdout + result.stderr


def locked(name: str) -> dict[str, str]:
    """Return the packages of a lock with their entries, markers and hashes included."""
    text = (ROOT / "requirements" / name).read_text()
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE | re.IGNORECASE)
    return {entry.split("==")[0]: entry for entry in entries if "==" in entry}


def version(entry: str) -> str:
    return re.split(r"[\s;]", entry)[0]


def uncommented() -> str:
    """Return config.toml with every setting in it uncommented."""
    text = (ROOT / "config.toml").read_text()
    return re.sub(r"^# (?=\[|\w+ = )", "", text, flags=re.MULTILINE)


def own_files() -> list[Path]:
    """Return all text files of the product."""
    folders = [ROOT / name for name in ("server", "static", "tests", "docs", "requirements", ".ci")]
    found = [path for folder in folders for path in folder.rglob("*")] + list(ROOT.glob("*"))
    return [path for path in found if path.suffix in TEXTS and path.is_file() and path != Path(__file__)]
