"""Fetches each source with both programs and the same request; each program has its own site, which behaves
the same.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp

from tests.corpus import command_line, live
from tests.corpus.films import Looks
from tests.corpus.sources import Source
from tests.corpus.tls import Authority
from tests.corpus.verdict import Outcome, Verdict, judge
from tests.jobs import ROOT, download_job, run_by_exec
from tests.site import Site, open_site
from tests.tools import FFMPEG, FFPROBE

AT_ONCE: Final = 4
_PATIENCE: Final = 90.0  # seconds that a source may take
_FINAL: Final = ("completed", "failed")
_LIKE_OURS: Final = (
    *("--ignore-config", "--no-cache-dir", "--no-progress", "--color", "never"),
    *("--compat-options", "no-certifi", "--format", "bv*+ba/b"),
    *("--output", "%(id).20B-%(autonumber)s.%(ext)s"),
)
_NO_FILMS: Final = ("said", "cookies.txt")
_COOKIE: Final = "# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\t{}\n"
_WISHES: Final[dict[str, Any]] = {
    "outputs": ["video", "audio"],
    "video_format": "any",
    "audio_format": "best",
}


@dataclass(frozen=True, slots=True)
class Row:
    source: Source
    theirs: Outcome
    ours: Outcome

    @property
    def verdict(self) -> Verdict:
        return judge(self.source, self.theirs, self.ours)


@dataclass(frozen=True, slots=True)
class Sites:
    media: Path
    plain: Site
    secure: Site

    @asynccontextmanager
    async def showing(self, source: Source, name: str) -> AsyncIterator[str]:
        """Yield the link of `source`; no other source uses `name`."""
        if not source.sent:
            yield self._url(source)
            return
        async with live.sending(self.media / "more" / name) as manifest:
            yield self.plain.url(f"/more/{name}/{manifest}")

    def _url(self, source: Source) -> str:
        if source.parts:
            return self.plain.url("/told/it?" + urlencode([("part", part) for part in source.parts]))
        return (self.secure if source.secure else self.plain).url(source.path)


@asynccontextmanager
async def _open_sites(media: Path, authority: Authority) -> AsyncIterator[Sites]:
    async with open_site(media) as plain, open_site(media, tls=authority.server) as secure:
        yield Sites(media, plain, secure)


async def compare(
    sources: Iterable[Source], media: Path, folder: Path, authority: Authority, client: aiohttp.ClientSession
) -> list[Row]:
    """Run `sources` with both programs. `client` is one of a service that trusts `authority` and may fetch
    from 127.0.0.1.
    """
    turns, looks = asyncio.Semaphore(AT_ONCE), Looks()
    with ProcessPoolExecutor(2, get_context("spawn"), initializer=command_line.warm) as workers:
        async with _open_sites(media, authority) as theirs, _open_sites(media, authority) as ours:
            them = CommandLine(workers, folder, theirs, authority, looks)
            us = Clipwire(client, folder, ours, looks)

            async def run(number: int, source: Source) -> Row:
                async with turns:
                    return Row(source, await them.run(number, source), await us.run(number, source))

            return await asyncio.gather(*(run(*each) for each in enumerate(sources)))


class CommandLine:
    def __init__(
        self,
        workers: ProcessPoolExecutor,
        folder: Path,
        sites: Sites,
        authority: Authority,
        looks: Looks,
    ) -> None:
        self._workers = workers
        self._looks = looks
        self._folder = folder
        self._sites = sites
        self._always = (*_LIKE_OURS, "--ffmpeg-location", str(_tools(folder / "tools")))
        self._environment = {"SSL_CERT_FILE": str(authority.certificate)}

    async def run(self, number: int, source: Source) -> Outcome:
        folder = self._folder / f"theirs-{number}"
        folder.mkdir()
        wishes = [*self._always, *self._wishes(source, folder)]
        async with self._sites.showing(source, folder.name) as url:
            work = partial(command_line.run, str(folder), [*wishes, url], self._environment, _PATIENCE)
            status = await asyncio.get_running_loop().run_in_executor(self._workers, work)
        said = (folder / "said").read_text(errors="replace")
        found = sorted(path for path in folder.iterdir() if _is_finished(path))
        if status == 0 and found:
            return Outcome(await self._looks.at(found[0]))
        errors = re.findall(r"^ERROR: (.*)$", said, re.MULTILINE)
        reason = errors[0] if errors else f"status {status}, and no file"
        return Outcome(None, reason[:160], crashed="Traceback (most recent call last)" in said)

    def _wishes(self, source: Source, folder: Path) -> list[str]:
        if source.cookies:
            (folder / "cookies.txt").write_text(_COOKIE.format(source.cookies))
            return ["--playlist-items", "1", "--cookies", "cookies.txt"]
        return [] if source.parts else ["--playlist-items", "1"]


def _tools(folder: Path) -> Path:
    """Yield the ffmpeg of both programs, and an ffprobe if there is one: without it the command line joins no
    parts.
    """
    folder.mkdir()
    for name, program in (("ffmpeg", FFMPEG), ("ffprobe", FFPROBE)):
        if program:
            (folder / name).symlink_to(program)
    return folder


def _is_finished(path: Path) -> bool:
    return path.is_file() and path.name not in _NO_FILMS and not re.search(r"\.(part|ytdl|temp)\b", path.name)


class Clipwire:
    """Fetches sources with the service behind `client`. A source that needs the extractor of the tests is
    fetched by a child alone.
    """

    def __init__(self, client: aiohttp.ClientSession, folder: Path, sites: Sites, looks: Looks) -> None:
        self._client = client
        self._looks = looks
        self._folder = folder
        self._sites = sites

    async def run(self, number: int, source: Source) -> Outcome:
        folder = self._folder / f"ours-{number}"
        if source.parts:
            return await self._run_alone(folder, source)
        wishes: dict[str, Any] = {**_WISHES, "live": "record"} if source.live else dict(_WISHES)
        if source.cookies:
            wishes["cookies"] = await self._put_cookies(source.cookies)
        if source.list:
            wishes |= {"playlist": True, "playlist_items": "1"}
        async with self._sites.showing(source, folder.name) as url:
            payload = await self._last_of(url, wishes)
        if source.list:
            payload = await self._only_entry(payload["task_id"])
        if payload["stage"] != "completed":
            return Outcome(None, payload["error_code"])
        folder.mkdir()
        return await self._seen(
            {kind: await self._fetch(link, folder) for kind, link in payload["files"].items()}
        )

    async def _run_alone(self, folder: Path, source: Source) -> Outcome:
        async with self._sites.showing(source, folder.name) as url:
            job = download_job(folder, url, **_WISHES)
        outcome = await run_by_exec(ROOT / "tests/fakes/told.py", folder, job)
        if outcome.last["kind"] != "produced":
            return Outcome(None, outcome.last["code"])
        return await self._seen({kind: outcome.file(kind) for kind in outcome.last["files"]})

    async def _put_cookies(self, name: str) -> str:
        async with self._client.put(
            f"/api/cookies/{name}", data=_COOKIE.format(name), headers={"Content-Type": "text/plain"}
        ) as answer:
            assert answer.status == 204, await answer.text()
        return name

    async def _last_of(self, url: str, wishes: dict[str, Any]) -> dict[str, Any]:
        async with self._client.post("/api/process", json={"url": url, **wishes}) as answer:
            assert answer.status == 202, await answer.text()
            payload: dict[str, Any] = await answer.json()
        async with asyncio.timeout(_PATIENCE):
            while payload["stage"] not in _FINAL:
                await asyncio.sleep(0.05)
                async with self._client.get(f"/api/status/{payload['task_id']}") as answer:
                    payload = await answer.json()
        return payload

    async def _only_entry(self, playlist_id: str) -> dict[str, Any]:
        async with self._client.get(f"/api/tasks?playlist_id={playlist_id}") as answer:
            [payload] = (await answer.json())["tasks"]
        return dict(payload)

    async def _fetch(self, link: str, folder: Path) -> Path:
        path = folder / link.rpartition("/")[2]
        async with self._client.get(link) as answer:
            assert answer.status == 200, await answer.text()
            path.write_bytes(await answer.read())
        return path

    async def _seen(self, files: dict[str, Path]) -> Outcome:
        """Return the decoded film, or the sound if there is no film."""
        aside = await self._looks.at(files["audio"]) if "audio" in files else None
        return Outcome(await self._looks.at(files["video"]) if "video" in files else aside, aside=aside)
