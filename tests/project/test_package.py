"""What `pip install` makes of this checkout: it declares all packages that the service needs, and the wheel
has all files.
"""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.service import ROOT, Service
from tests.site import Site, sha256
from tests.trees import imports

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def plain(name: str) -> str:
    """Return a package's name as indexes compare it, without version and extras (PEP 503)."""
    match = re.match(r"[A-Za-z0-9._-]+", name)
    assert match
    return re.sub(r"[-_.]+", "-", match[0]).lower()


SERVICE = {plain(name) for name in (*PROJECT["dependencies"], *EXTRAS["notify"])}
CLIENT = {
    plain(name)
    for name in tomllib.loads((ROOT / "clients/python/pyproject.toml").read_text())["project"]["dependencies"]
}
TESTS = SERVICE | {plain(name) for name in EXTRAS["test"]}


@pytest.mark.parametrize(
    ("folder", "declared"), [("server", SERVICE), ("tests", TESTS), ("clients/python", CLIENT)]
)
def test_every_package_that_is_imported_is_declared(folder: str, declared: set[str]) -> None:
    known = packages_distributions()
    ours = {"server", "tests", "clipwire_client", *sys.stdlib_module_names}
    full = (name for path in (ROOT / folder).rglob("*.py") for name in imports(path))
    imported = {name.partition(".")[0] for name in full} - ours
    assert not {name for name in imported if declared.isdisjoint(map(plain, known.get(name, ())))}


@pytest.mark.parametrize(("lock", "declared"), [("run.txt", SERVICE), ("test.txt", TESTS)])
def test_the_locks_are_made_from_what_is_declared(lock: str, declared: set[str]) -> None:
    entries = re.split(r"^(?=[a-z0-9])", (ROOT / "requirements" / lock).read_text(), flags=re.MULTILINE)
    assert {plain(entry) for entry in entries if "clipwire (pyproject.toml)" in entry} == declared


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = (sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder))
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60)
    [built] = folder.glob("*.whl")
    return built


def test_the_wheel_holds_the_server_the_page_and_the_client_and_nothing_else(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    server = {f"server/{path}" for path in files(ROOT / "server")}
    page = {f"server/static/{path}" for path in files(ROOT / "static")}
    client = {f"clipwire_client/{path}" for path in files(ROOT / "clients/python/clipwire_client")}
    assert "clipwire_client/py.typed" in client
    assert packed == server | page | client


def test_the_client_is_a_distribution_of_its_own_that_needs_two_packages(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path))
    subprocess.run(
        command, cwd=ROOT / "clients/python", check=True, capture_output=True, text=True, timeout=60
    )
    [built] = tmp_path.glob("clipwire_client-*.whl")
    with ZipFile(built) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == {f"clipwire_client/{path}" for path in files(ROOT / "clients/python/clipwire_client")}
    assert {"aiohttp", "pydantic"} == CLIENT


@pytest.mark.long
async def test_an_installed_wheel_serves_the_page_and_downloads(
    wheel: Path, site: Site, media: Path, tmp_path: Path
) -> None:
    """The environment has only the wheel and the packages that it declares, as with pipx, in empty
    folders.
    """
    folder, here, empty = tmp_path / "installed", tmp_path / "here", tmp_path / "empty"
    venv.create(folder)
    install(wheel, folder)
    lend_packages(folder)
    here.mkdir()
    empty.mkdir()
    look = "import clipwire_client, server.locales; print(clipwire_client.__file__, server.locales.__file__)"
    where = run(here, folder / "bin/python", "-c", look).split()
    assert [Path(path).is_relative_to(folder) for path in where] == [True, True]
    service = Service(tmp_path / "service", CLIPWIRE_STORAGE__DATA_DIR="data")
    service.data = empty / "data"
    service.command, service.cwd = (str(folder / "bin/clipwire"),), empty
    async with service:
        async with service.client.get("/") as answer:
            assert "static/page.js" in await answer.text()
        async with service.client.get("/static/page.js") as answer:
            assert answer.status == 200
        task = await service.submit(site.url("/video.mp4"), outputs=["video"])
        await service.wait(task["task_id"])
        for language, words in (("en", "Completed!"), ("zh", "处理完成！")):
            async with service.client.get(f"/api/status/{task['task_id']}?lang={language}") as answer:
                assert (await answer.json())["message"] == words
        link = site.url("/video.mp4")
        await asyncio.to_thread(run, here, folder / "bin/clipwire", "get", "--server", service.url, link)
        assert sha256(next(here.glob("*.mp4"))) == sha256(media / "video.mp4")
        assert service.complaints() == []
    assert [path.name for path in empty.iterdir()] == ["data"]
    assert [path.name for path in here.iterdir()] == [next(here.glob("*.mp4")).name]


def run(here: Path, *command: str | Path) -> str:
    """Run `command` in a folder where nothing of this checkout can be imported; return its output."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        command, cwd=here, env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout


def files(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.is_file() and path.parent.name != "__pycache__":
            yield path.relative_to(folder).as_posix()


def install(wheel: Path, folder: Path, compiling: str = "--no-compile") -> None:
    python = str(folder / "bin/python")
    options = ("--quiet", "--no-deps", "--no-index", compiling, "--disable-pip-version-check")
    command = (sys.executable, "-m", "pip", "--python", python, "install", *options, str(wheel))
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)


def lend_packages(folder: Path) -> None:
    """Put the packages of the service's lock, as they are installed here, into the environment at
    `folder`.
    """
    target = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)}))
    for line in (ROOT / "requirements/run.txt").read_text().splitlines():
        name, is_entry, _ = line.partition("==")
        if not is_entry:
            continue
        try:
            parts = distribution(name).files or ()
        except PackageNotFoundError:
            continue  # a package for another system or another Python
        for part in parts:
            lend(Path(str(part.locate())), Path(os.path.normpath(target / part)))


def lend(source: Path, target: Path) -> None:
    if source.is_file():  # the record may list compiled modules that this installer has not made
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            target.hardlink_to(source)
        except OSError:  # a hard link cannot cross file systems
            shutil.copy2(source, target)
