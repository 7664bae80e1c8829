"""The commands of the documents, run in a shell beside the real service, in order.

A link becomes one of the test site. An id becomes that of the newest task that an earlier line has made and
that is still there, and has ended; the name of a file that of a finished one; the address of a podcast feed
that of a real one. What a reader has by himself lies in the folder, which is a copy of this checkout in which
all packages are there.
What needs root, another machine or the internet is fenced as `console`. How `make` sets up a machine is
tested in `tests/project/test_setup.py`.
"""

import asyncio
import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.ports import free_port
from tests.service import ROOT, Service, Services, descendants, gone
from tests.site import Site, probe
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
PAGE = "/page?src=/1mb.mp4"
LONG = "/page?kind=video&src=/minutes.mp4&track=/minutes.vtt:en&track=/minutes.vtt:zh"
# What goes on for ever, or as long as a client may wait, is ended after 5 s; all else ends by itself.
ENDLESS = re.compile(r"websockets |curl -N|[?&]wait=")
ENDED_AFTER, ENDS_WITHIN = 5, 120
# What cannot be run here: it needs root, a screen or another machine, or brings something from the internet.
REASONS = re.compile(
    r"useradd|mpv |/srv/|/etc/|/backups/|docker |pipx |pip install|clipwire update|[@/.]example\.org|s3://"
)
AN_ID, A_NAME = "123e4567-e89b-42d3-a456-426614174000", "video_example_abcdefghijklm.mp4"
ANOTHER_ID = "0b2f4a3e-5d1c-4f6a-9b7d-8c2e1f0a3b4c"
A_SUBSCRIPTION = "7b6f6d4c-0a3f-4b39-9a0e-6f3a1f2f6a51"
A_SECRET, A_FEED = "zvCWgLlCJuWpUgPGMnXwRsbCVqsnP5Hnq9bWb2jfPq8", "talks"
AN_EPISODE, A_COVER = "audio_a-talk_7cdlrlwp7ujym.m4a", "cover-1122117d972c.jpg"
_OF_MAKE = ("MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "ARGS")  # `make test ARGS=...` would be heard by theirs
COOKIES = "# Netscape HTTP Cookie File\nexample.org\tFALSE\t/\tFALSE\t4102444800\tsession\tsecret\n"
# What a service may answer that has nothing to do: a task in another stage, no webhook that is due, a remedy
# that this task has no use for, nothing that was fetched, nothing to show yet, no such entry in a list, a
# list that it has.
NOTHING_TO_DO = {
    "wrong_stage", "task_already_final", "delivery_not_found", "remedy_not_offered", "media_not_found",
    "item_not_found", "subscribed",
}  # fmt: skip


def blocks(document: str) -> list[tuple[int, str]]:
    """Line and text of each block of commands."""
    text = (ROOT / document).read_text(encoding="utf-8")
    found = re.finditer(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [(text.count("\n", 0, each.start()) + 2, each[1]) for each in found]


def fences(document: str) -> list[tuple[str, str]]:
    """Language and text of every block, however far it is indented."""
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
    """A copy of this checkout after the first `make`: its packages are links to those that tests run with."""
    for name in CHECKOUT:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    packages = folder / ".venv"
    (packages / "bin").mkdir(parents=True)
    for path in (*Path(sys.prefix).iterdir(), *Path(sys.prefix, "bin").iterdir()):
        target = packages / path.relative_to(sys.prefix)
        if path.name not in (".made", ".run", ".test", "bin", "clipwire"):
            target.symlink_to(path)
    # What `requirements/install.sh` writes after each of its steps.
    made = f"{folder.resolve()} {os.path.realpath(sys.executable)} {platform.python_version()}\n"
    (packages / ".made").write_text(made)
    for name in ("run", "test"):
        lock = (folder / f"requirements/{name}.txt").read_bytes()
        (packages / f".{name}").write_text(hashlib.sha256(lock).hexdigest() + "\n")
    subprocess.run(("make", "install"), cwd=folder, env=variables(), check=True, timeout=60)


def variables(**ours: str) -> dict[str, str]:
    """Those of a reader, who is in no `make`. pip, if it were asked after all, would bring nothing."""
    others = {name: value for name, value in os.environ.items() if name not in _OF_MAKE}
    return {**others, "PIP_NO_INDEX": "1", "PIP_DRY_RUN": "1", **ours}


class Reader:
    """Types what stands in the documents."""

    def __init__(self, service: Service, site: Site, folder: Path) -> None:
        self._service = service
        self._folder = folder
        self._list = site.url("/feed?count=2")
        self._links = {
            r"https://example\.org/(channel|list|feed\.xml)\b": self._list,
            r"(?<=en,zh )https://example\.org/video\b": site.url(LONG),
            r"https://example\.org/video\.mp4|https://download\.blender\.org/[\w/.-]+": site.url(PAGE),
            r"https://example\.org/[a-z]+(\?v=1)?(?=[\s\"'])": site.url(PAGE),
        }
        self._ids: list[str] = []
        self._subscription = ""
        self._feed: str | None = None

    async def types(self, block: str) -> str:
        """What is wrong with it; "" if nothing is."""
        await self._forget_what_is_gone()
        for link, ours in self._links.items():
            block = re.sub(rf"(?<=\s)(?:{link})", f"'{ours}'", block)  # a shell has a use for & and ?
            block = re.sub(link, ours, block)
        block = block.replace("http://127.0.0.1:8080", self._service.url)
        block = block.replace("ws://127.0.0.1:8080", self._service.url.replace("http", "ws"))
        if A_SECRET in block:
            block = await self._with_feed(block)
        if AN_ID in block:
            await self._service.wait(self._ids[-1], "completed", "failed", "cancelled", "paused")
            block = block.replace(AN_ID, self._ids[-1]).replace(ANOTHER_ID, self._ids[0])
        block = block.replace(A_SUBSCRIPTION, self._subscription)
        if A_NAME in block:
            block = block.replace(A_NAME, await self._name_of_a_file())
        status, said, complaint = await self._run(block)
        if " -d " in block or "/process" in block:
            self._ids += [
                each for each in re.findall(r'"task_id":"([0-9a-f-]{36})"', said) if each not in self._ids
            ]
        if made := re.search(r'^{"subscription_id":"([0-9a-f-]{36})"', said):
            self._subscription = made[1]
        refusals = set(re.findall(r'"status":[45]\d\d,.*?"code":"(\w+)"', said)) - NOTHING_TO_DO
        head = re.search(
            r"^HTTP/1.1 (?!409)[45]\d\d", said
        )  # 409: of a task that has ended there is no stream
        if "/chapters/" in block:
            refusals.discard("file_not_found")  # this episode has none
        has_no_picture = head is not None and "404" in head[0] and block.rstrip().endswith("/thumbnail")
        if status == 0 and (not head or has_no_picture) and (not refusals or "nonsense" in block):
            return ""
        return f"{block}\nended with {status}:\n{said[-600:]}{complaint[-600:]}"

    async def makes(self, line: str) -> str:
        """What is wrong with a `make` that serves until Ctrl-C; "" if nothing is."""
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

    async def _run(self, block: str) -> tuple[int, str, str]:
        """0 for what was ended because it is endless."""
        environment = self._variables(self._service.url.rpartition(":")[2])
        process = await asyncio.create_subprocess_exec(
            "bash", "-e", "-c", block, cwd=self._folder, env=environment, start_new_session=True,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        talking = asyncio.ensure_future(process.communicate())
        endless = ENDLESS.search(block)
        ended, _ = await asyncio.wait([talking], timeout=ENDED_AFTER if endless else ENDS_WITHIN)
        if not ended:
            os.killpg(process.pid, signal.SIGTERM)
        said, complaint = await asyncio.wait_for(talking, 30)
        assert process.returncode is not None
        status = 0 if endless and not ended else process.returncode
        return status, said.decode(errors="replace"), complaint.decode(errors="replace")

    async def _forget_what_is_gone(self) -> None:
        if self._ids:
            async with self._service.client.get(f"/api/tasks?ids={','.join(self._ids)}") as answer:
                there = {task["task_id"] for task in (await answer.json())["tasks"]}
            self._ids = [each for each in self._ids if each in there]

    async def _with_feed(self, block: str) -> str:
        """`block` with the address of a feed, and with those of the parts of its newest episode."""
        if self._feed is None:
            asked = {
                "url": self._list,
                "request": {"outputs": ["audio"], "audio_format": "m4a"},
                "backlog": "all",
                "feed": {"name": A_FEED},
            }
            async with self._service.client.post("/api/subscriptions", json=asked) as answer:
                assert answer.status == 201, await answer.text()
                self._feed = (await answer.json())["feed"]["url"]
        async with asyncio.timeout(ENDS_WITHIN):
            while True:
                async with self._service.client.get(self._feed) as answer:
                    text = await answer.text()
                if found := re.search(r"/files/(audio_[^\"]+)", text):
                    break
                await asyncio.sleep(0.2)
        cover = re.search(r"cover-\w+\.jpg", text)
        episode = re.search(r"/pictures/([0-9a-f-]{36})\.jpg", text)
        assert cover
        secret = self._feed.split("/")[-2]
        block = block.replace(A_SECRET, secret).replace(AN_EPISODE, found[1]).replace(A_COVER, cover[0])
        return block.replace(AN_ID, episode[1]) if episode else block

    async def _name_of_a_file(self) -> str:
        async with self._service.client.get("/api/tasks?stage=completed&limit=200") as answer:
            tasks = (await answer.json())["tasks"]
        names = [task["files"]["video"] for task in tasks if "video" in task["files"]]
        return str(names[0]).rpartition("/")[2]


@pytest.fixture
def clone() -> Iterator[Path]:
    """Open to the user that PostgreSQL runs as, which no folder of pytest's is."""
    here = Path(tempfile.mkdtemp(prefix="clipwire-clone-"))
    here.chmod(0o755)
    make_clone(here)
    (here / "cookies.txt").write_text(COOKIES)
    (here / "archive.txt").write_text("youtube aaaaaaaaaaa\n")
    yield here
    shutil.rmtree(here)


@pytest.fixture
def minutes(media: Path) -> None:
    """A film of two and a half minutes, for the clips of the documents, and what is said in it."""
    (media / "minutes.vtt").write_text("WEBVTT\n\n00:00.000 --> 02:30.000\nA tone\n")
    made, film = media / f"minutes-{os.getpid()}.mp4", media / "minutes.mp4"
    command = (FFMPEG, "-v", "error", "-stream_loop", "37", "-i", "video.mp4", "-c", "copy", made.name)
    subprocess.run(command, cwd=media, check=True, stdin=subprocess.DEVNULL, timeout=60)
    made.rename(film)


@pytest.mark.long
@pytest.mark.usefixtures("minutes")
@pytest.mark.parametrize("document", DOCUMENTS)
async def test_what_stands_there_works(
    document: str, services: Services, site: Site, clone: Path, tmp_path: Path
) -> None:
    (library := tmp_path / "library").mkdir()
    wrong = []
    async with services.lend(CLIPWIRE_LIBRARY__PATH=str(library)) as service:
        reader = Reader(service, site, clone)
        for line, block in blocks(document):
            if block.startswith("make "):
                commands = [each for each in block.splitlines() if not each.startswith("make test")]
                said = "".join([await reader.makes(each) for each in commands])
            else:
                said = await reader.types(block)
            if said:
                wrong.append(f"{document}, line {line}: {said}")
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
