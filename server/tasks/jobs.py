"""Makes jobs for children out of what was asked for and how the service is set up."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from server.jobs import Job, Wishes
from server.models import InfoRequest, ProcessRequest
from server.settings import DownloadSettings
from server.tasks.tools import Tools

_OF_CHILDREN = {field.name for field in fields(Wishes)}


@dataclass(frozen=True, slots=True)
class JobMaker:
    settings: DownloadSettings
    tools: Tools

    def download(self, request: ProcessRequest, directory: Path, lock: Path) -> Job:
        return self._job("download", request, directory, lock)

    def info(self, wanted: InfoRequest, directory: Path, lock: Path) -> Job:
        return self._job("info", ProcessRequest(url=wanted.url), directory, lock)

    def _job(
        self, kind: Literal["download", "info"], request: ProcessRequest, directory: Path, lock: Path
    ) -> Job:
        return Job(
            kind=kind,
            directory=str(directory),
            lock=str(lock),
            wishes=Wishes(**request.model_dump(include=_OF_CHILDREN)),
            ffmpeg=self.tools.ffmpeg or "ffmpeg",  # which is not there: the child says so where it is needed
            deno=self.tools.deno,
            allowed_private_hosts=tuple(self.settings.allowed_private_hosts),
            proxy=self.settings.proxy,
            rate_limit=self.settings.rate_limit,
            max_filesize=self.settings.max_filesize,
        )
