"""Example tasks and statuses for tests."""

from datetime import UTC, datetime, timedelta
from typing import Any

from server.core.events import Completed, DownloadStarted, Started, apply
from server.core.film import StoredFile, VideoInfo
from server.core.process_request import ProcessRequest
from server.core.task import Task, TaskStatus
from server.files.public_names import new_short, public_name


def utc_now() -> datetime:
    return datetime.now(UTC)


def new_task(
    url: str = "https://example.org/watch",
    *,
    title: str | None = None,
    uploader: str | None = None,
    priority: int = 0,
    **fields: Any,
) -> Task:
    request = ProcessRequest(url=url, priority=priority, **fields)
    known = VideoInfo(title=title, uploader=uploader)
    status = TaskStatus.new(request, utc_now()).model_copy(update={"video_info": known})
    return Task(request=request, status=status)


def started(status: TaskStatus) -> TaskStatus:
    return apply(status, Started(), utc_now())


def downloading(status: TaskStatus) -> TaskStatus:
    return apply(status, DownloadStarted(), utc_now())


def finished(status: TaskStatus, *, hours_ago: float = 0, title: str | None = None) -> TaskStatus:
    """Return `status` as completed, with a video and an audio file whose names no other task has."""
    short = new_short()
    files = {
        kind: StoredFile(
            name=public_name(kind, title or status.video_info.title, short, extension),
            path=f"{kind}.{extension}",
            size=1,
            type=mime,
        )
        for kind, extension, mime in (("video", "mp4", "video/mp4"), ("audio", "mp3", "audio/mpeg"))
    }
    event = Completed(files=files, video_info=VideoInfo(title=title))
    return apply(status, event, utc_now() - timedelta(hours=hours_ago))
