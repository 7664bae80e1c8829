"""The commands of the documents, run in a shell beside the real service, in order.

Only the port is replaced, since 8080 may be taken. Links lead to the test site: the service reaches the
internet through a proxy that sends every name there. The commands run in a copy of this checkout with all
packages, and with the files that a reader brings. Commands that need root, another machine or the internet
are fenced as `console`. How `make` sets up a machine is tested in `tests/project/test_setup.py`.
"""

import asyncio
import base64
import hashlib
import itertools
import os
import platform
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest

from tests.between import connected, pass_on, standing
from tests.corpus.tls import make_authority
from tests.ports import free_port
from tests.service import ROOT, Service, Services, descendants, gone
from tests.site import open_site, probe
from tests.tools import FFMPEG

PAGES = sorted(
    path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("README*.md"), *ROOT.glob("docs/**/*.md"))
)
DOCUMENTS = [page for page in PAGES if "```sh\n" in (ROOT / page).read_text(encoding="utf-8")]
CHECKOUT = (
    "Makefile",
    "Procfile",
    "clients",
    "config.toml",
    "docs",
    "requirements",
    "server",
    "static",
    "tests",
)
# A command that never ends, or lasts as long as a client may wait, is stopped after 5 s; all others must end.
ENDLESS = re.compile(r"/ws(\?|$)|/events\?|[?&]wait=", re.MULTILINE)
ENDED_AFTER, ENDS_WITHIN = 5, 120
# Commands that cannot run here: they need root, a screen or another machine, or get something from the
# internet.
REASONS = re.compile(
    r"/api/session/oidc|useradd|mpv |/srv/|/etc/|/backups/|docker |pipx |pip install|clipwire update|[@/.]example\.org|s3://"
)
OF_PEOPLE = re.compile(r"\$(admin|mine)\b")  # tokens in commands that need a service with people
# The `make` of the clone would read these variables from a `make test ARGS=...` around it.
_OF_MAKE = ("MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "ARGS")
COOKIES = "# Netscape HTTP Cookie File\nexample.org\tFALSE\t/\tFALSE\t4102444800\tsession\tsecret\n"
SECRET = f"whsec_{base64.b64encode(bytes(32)).decode()}"
ANSWERED, FAILED, DONE = "curl:", "failed:", "-- done --"


def blocks(document: str) -> list[tuple[int, str]]:
    """Return the line and the text of each block of commands in a document."""
    text = (ROOT / document).read_text(encoding="utf-8")
    found = re.finditer(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [(text.count("\n", 0, each.start()) + 2, each[1]) for each in found]


def fences(document: str) -> list[tuple[str, str]]:
    """Return the language and the text of every block, however far it is indented."""
    found: list[tuple[str, str]] = []
    language = None
    for line in (ROOT / document).read_text(encoding="utf-8").splitlines(keepends=True):
        if not line.lstrip(" >").startswith("```"):
            if language is not None:
                found[-1] = (language, found[-1][1] + line)
        elif language is None:
            language = line.strip(" >`\n")
            found.append((language, ""))
        else:
            language = None
    return found


def make_clone(folder: Path) -> None:
    """Copy this checkout as it is after the first `make`: its packages are links to those that the tests run
    with.
    """
    for name in CHECKOUT:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    packages = folder / ".venv"
    (packages / "bin").mkdir(parents=True)
    for path in (*Path(sys.prefix).iterdir(), *Path(sys.prefix, "bin").iterdir()):
        target = packages / path.relative_to(sys.prefix)
        if path.name not in (".made", ".run", ".test", "bin", "clipwire"):
            target.symlink_to(path)
    # The mark that `requirements/install.sh` leaves after each of its steps.
    made = f"{folder.resolve()} {os.path.realpath(sys.executable)} {platform.python_version()}\n"
    (packages / ".made").write_text(made)
    for name in ("run", "test"):
        lock = (folder / f"requirements/{name}.txt").read_bytes()
        (packages / f".{name}").write_text(hashlib.sha256(lock).hexdigest() + "\n")
    subprocess.run(("make", "install"), cwd=folder, env=variables(), check=True, timeout=60)


def variables(**ours: str) -> dict[str, str]:
    """Return the environment of a reader, without the variables of a `make`. If pip were called after all, it
    would install nothing.
    """
    others = {name: value for name, value in os.environ.items() if name not in _OF_MAKE}
    return {**others, "PIP_NO_INDEX": "1", "PIP_DRY_RUN": "1", **ours}


class Reader:
    """Types the commands of a document, one block after the other, into the same shell."""

    def __init__(self, service: Service, folder: Path) -> None:
        self._service = service
        self._folder = folder
        self._number = itertools.count()
        (folder / ".curlrc").write_text(
            f'write-out = "%{{stderr}}\\n{ANSWERED} %{{response_code}} %{{url}}\\n"\n'
        )

    async def __aenter__(self) -> Self:
        self._shell = await asyncio.create_subprocess_exec(
            "bash", cwd=self._folder, env=self._variables(self._service.url.rpartition(":")[2]),
            start_new_session=True, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE, limit=1 << 24,
        )  # fmt: skip
        await self._enter(f"trap 'echo \"{FAILED} $?: $BASH_COMMAND\" >&2' ERR")
        return self

    async def __aexit__(self, *_: object) -> None:
        started = descendants(self._shell.pid)
        if self._shell.returncode is None:
            os.killpg(self._shell.pid, signal.SIGKILL)
        await self._shell.communicate()
        await gone(started, within=ENDS_WITHIN)

    async def types(self, block: str) -> str:
        """Type a block of commands; return what went wrong, or ""."""
        typed = self._folder / f"block-{next(self._number)}"
        typed.write_text(block.replace("127.0.0.1:8080", self._service.url.rpartition("/")[2]))
        entering = asyncio.ensure_future(self._enter(f". ./{typed.name} </dev/null"))
        endless = ENDLESS.search(block)
        done, _ = await asyncio.wait([entering], timeout=ENDED_AFTER if endless else ENDS_WITHIN)
        if not (done or endless):
            entering.cancel()
            pytest.fail(f"{block}does not end")
        if not done:
            for process in descendants(self._shell.pid):
                process.terminate()
        said, complaint = await asyncio.wait_for(entering, 30)
        wrong: list[str] = []
        if done:
            wrong += re.findall(rf"^(?:{FAILED}|{ANSWERED} (?:[45]\d\d|000)) .*", complaint, re.MULTILINE)
        if "nonsense" not in block:  # that block sends nonsense, and must be refused
            wrong += re.findall(r'"status": ?[45]\d\d\b.*', said)
        return "\n".join([block, *wrong, said[-600:], complaint[-600:]]) if wrong else ""

    async def _enter(self, line: str) -> tuple[str, str]:
        """Type a line into the shell; return what the shell prints until the line is done."""
        assert self._shell.stdin
        assert self._shell.stdout
        assert self._shell.stderr
        self._shell.stdin.write(f"{line}\necho; echo {DONE}; {{ echo; echo {DONE}; }} >&2\n".encode())
        end = f"\n{DONE}\n".encode()
        outputs = (self._shell.stdout.readuntil(end), self._shell.stderr.readuntil(end))
        said, complaint = await asyncio.gather(*outputs)
        return said.decode(errors="replace"), complaint.decode(errors="replace")

    async def makes(self, line: str) -> str:
        """Run a `make` that serves until Ctrl-C; return what went wrong, or ""."""
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", line, cwd=self._folder, env=self._variables(free_port()), start_new_session=True,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        assert process.stdout
        said, started, address = "", [], None
        try:
            async with asyncio.timeout(ENDS_WITHIN):
                while not address and (read := await process.stdout.readline()):
                    said += read.decode(errors="replace")
                    address = re.search(r"http://127\.0\.0\.1:\d+", said)
                if not address:
                    await process.wait()
            if address:
                started = descendants(process.pid)
                async with aiohttp.ClientSession() as client, client.get(f"{address[0]}/healthz") as answer:
                    assert answer.status == 200
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGINT)
            rest, _ = await asyncio.wait_for(process.communicate(), ENDS_WITHIN)
            await gone(started, within=ENDS_WITHIN)
        return "" if address else f"{line}\nended with {process.returncode}:\n{said}{rest.decode()}"

    def _variables(self, port: str | int) -> dict[str, str]:
        return variables(
            PATH=f"{self._folder}/.venv/bin:{os.environ['PATH']}",
            HOME=str(self._folder),
            CLIPWIRE_SERVER__PORT=str(port),
        )


async def listed(service: Service, which: str) -> list[dict[str, Any]]:
    async with service.client.get(f"/api/tasks?{which}&limit=200&lang=en") as answer:
        tasks: list[dict[str, Any]] = (await answer.json())["tasks"]
        return tasks


async def log_in(service: Service, token: str) -> str:
    """Log in as a person who has no other log-in; return the id of the log-in."""
    async with service.client.post("/api/session", json={"token": token}) as answer:
        assert answer.ok
    own = {"Authorization": f"Bearer {token}"}
    async with service.client.get("/api/me/sessions", headers=own) as answer:
        [session] = (await answer.json())["sessions"]
    return str(session["id"])


async def every_source_is_known(service: Service) -> None:
    """Return when every subscription was checked once: a reader who has read on has waited that long."""
    async with asyncio.timeout(ENDS_WITHIN):
        while True:
            async with service.client.get("/api/subscriptions") as answer:
                if all("checked_at" in each for each in (await answer.json())["subscriptions"]):
                    return
            await asyncio.sleep(0.1)


@pytest.fixture
def clone() -> Iterator[Path]:
    """A copy of the checkout that PostgreSQL's user can read, unlike the folders of pytest."""
    here = Path(tempfile.mkdtemp(prefix="clipwire-clone-"))
    here.chmod(0o755)
    make_clone(here)
    (here / "cookies.txt").write_text(COOKIES)
    (here / "archive.txt").write_text("youtube aaaaaaaaaaa\n")
    yield here
    shutil.rmtree(here)


@pytest.fixture
def minutes(media: Path) -> None:
    """Add a film of two and a half minutes, and its subtitles, for the clips in the documents."""
    (media / "minutes.vtt").write_text("WEBVTT\n\n00:00.000 --> 02:30.000\nA tone\n")
    made, film = media / f"minutes-{os.getpid()}.mp4", media / "minutes.mp4"
    command = (FFMPEG, "-v", "error", "-stream_loop", "37", "-i", "video.mp4", "-c", "copy", made.name)
    subprocess.run(command, cwd=media, check=True, stdin=subprocess.DEVNULL, timeout=60)
    made.rename(film)


@pytest.fixture
async def internet(media: Path, tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    """Yield the settings with which a service finds the test site under every name of the internet."""
    authority = make_authority(tmp_path / "authority", "example.org", "download.blender.org")
    async with open_site(media, tls=authority.server) as site:

        async def tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"CONNECT ")
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            async with connected(site.port) as (from_site, to_site):
                await asyncio.gather(pass_on(reader, to_site), pass_on(from_site, writer))

        async with standing(tunnel) as port:
            yield {
                "CLIPWIRE_DOWNLOADS__PROXY": f"http://127.0.0.1:{port}",
                "SSL_CERT_FILE": str(authority.certificate),
            }


@pytest.mark.long
async def test_documented_commands_with_tokens_of_people_work(clone: Path, tmp_path: Path) -> None:
    """The commands use `admin`, a token of the settings; `mine`, the token of a person; `session`, a log-in
    of that person.
    """
    token = secrets.token_urlsafe()
    own = {"Authorization": f"Bearer {token}"}
    async with Service(tmp_path / "service", CLIPWIRE_SERVER__TOKENS=f'["{token}"]') as service:
        for name in ("ben", "carl"):
            async with service.client.post("/api/people", json={"name": name}, headers=own) as answer:
                mine = (await answer.json())["token"]
        async with Reader(service, clone) as reader:
            assert await reader.types(f"admin={token} mine={mine}\n") == ""
            wrong = list[str]()
            for block in [block for _, block in blocks("docs/api.md") if OF_PEOPLE.search(block)]:
                if "$session" in block:
                    wrong.append(await reader.types(f"session={await log_in(service, mine)}\n"))
                wrong.append(await reader.types(block))
    assert len(wrong) > 10
    assert "".join(wrong) == ""


@pytest.mark.long
@pytest.mark.usefixtures("minutes")
@pytest.mark.parametrize("document", DOCUMENTS)
async def test_documented_commands_work(
    document: str, services: Services, internet: dict[str, str], clone: Path, tmp_path: Path
) -> None:
    (library := tmp_path / "library").mkdir()
    settings = {"CLIPWIRE_LIBRARY__PATH": str(library), "CLIPWIRE_WEBHOOKS__SECRET": SECRET}
    wrong = []
    async with services.lend(**settings, **internet) as service:
        async with Reader(service, clone) as reader:
            for line, block in blocks(document):
                if OF_PEOPLE.search(block):
                    continue
                if "/picture" in block:
                    await every_source_is_known(service)
                if block.startswith("make "):
                    commands = [each for each in block.splitlines() if not each.startswith("make test")]
                    said = "".join([await reader.makes(each) for each in commands])
                else:
                    said = await reader.types(block)
                if said:
                    wrong.append(f"{document}, line {line}: {said}")
        async with asyncio.timeout(ENDS_WITHIN):
            while await listed(service, "status=processing"):
                await asyncio.sleep(0.1)
        wrong += [str(task) for task in await listed(service, "stage=failed")]
    assert wrong == [], "\n".join(wrong)
    if document == "docs/command-line.md":
        part = sorted((clone / "part").iterdir(), key=lambda path: path.suffix)
        assert [path.suffix for path in part] == [".mp4", ".srt", ".srt"]
        assert (await probe(part[0])).duration == pytest.approx(60, abs=2)
        assert len(list((clone / "music").glob("*.m4a"))) == 2
        assert "clipwire" in (clone / ".local/share/bash-completion/completions/clipwire").read_text()


def test_every_block_for_a_shell_is_run_or_cannot_be_run_here() -> None:
    written = [(page, *fence) for page in PAGES for fence in fences(page)]
    assert not [each for each in written if each[1] in ("bash", "shell", "zsh", "fish")]
    run = {(document, block) for document in DOCUMENTS for _, block in blocks(document)}
    assert {(page, text) for page, language, text in written if language == "sh"} == run
    left_out = [(page, text) for page, language, text in written if language == "console"]
    assert [each for each in left_out if not REASONS.search(each[1])] == []
