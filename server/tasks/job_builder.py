"""Makes jobs for children out of requests and settings."""

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Literal

from server.core.jobs import Job, Wishes, wishes_from
from server.core.models import InfoRequest, ProcessRequest, Says
from server.settings import DownloadSettings
from server.tasks.player_cache import Players
from server.tasks.programs_found import Tools, find_tools

_OF_CHILDREN = {one.name for one in fields(Wishes)}


@dataclass(frozen=True, slots=True)
class JobMaker:
    """`tools` are those of this machine, `players` is what earlier jobs have learned for later ones."""

    settings: DownloadSettings
    tools: Tools = field(default_factory=find_tools)
    players: Players = field(default_factory=Players)

    def download(
        self,
        request: ProcessRequest,
        directory: Path,
        lock: Path,
        cookies: str | None = None,
        item: int | None = None,
        says: Says | None = None,
        lists: tuple[str, ...] | None = None,
        title: str | None = None,
        *,
        accept_gaps: bool = False,
    ) -> Job:
        job = self._job("download", request, directory, lock, cookies, item=item, accept_gaps=accept_gaps)
        return replace(job, says=says.model_dump(exclude_none=True) if says else {}, lists=lists, title=title)

    def expand(
        self, request: ProcessRequest, directory: Path, lock: Path, cookies: str | None = None, known: int = 0
    ) -> Job:
        return self._job("expand", request, directory, lock, cookies, known=known)

    def info(self, wanted: InfoRequest, directory: Path, lock: Path, cookies: str | None = None) -> Job:
        most = self.settings.max_playlist
        known, last = min(wanted.passed_over, most), min(wanted.passed_over + wanted.limit, most)
        request = ProcessRequest(url=wanted.url)
        return self._job("info", request, directory, lock, cookies, known=known, most=last)

    def _job(
        self,
        kind: Literal["download", "info", "expand"],
        request: ProcessRequest,
        directory: Path,
        lock: Path,
        cookies: str | None,
        item: int | None = None,
        accept_gaps: bool = False,
        known: int = 0,
        most: int | None = None,
    ) -> Job:
        return Job(
            kind=kind,
            directory=str(directory),
            lock=str(lock),
            wishes=wishes_from(request.model_dump(include=_OF_CHILDREN)),
            ffmpeg=self.tools.ffmpeg or "ffmpeg",  # missing: a child that needs ffmpeg reports that
            deno=self.tools.deno,
            allowed_private_hosts=tuple(self.settings.allowed_private_hosts),
            proxy=self.settings.proxy,
            rate_limit=self.settings.rate_limit,
            max_filesize=self.settings.max_filesize,
            item=item,
            accept_gaps=accept_gaps,
            known=known,
            max_playlist=self.settings.max_playlist if most is None else most,
            cookies=cookies,
            extractor_args=self.settings.extractor_args,
            pot_provider=self.settings.pot_provider,
            sponsorblock_api=self.settings.sponsorblock_api,
            players=self.players.known,
        )
