"""What the service tells of a task, as frozen models. Fields that a newer service adds are kept."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, PrivateAttr

Stage = Literal["queued", "info", "download", "convert", "paused", "completed", "failed", "cancelled"]


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")

    def __getitem__(self, name: str) -> Any:
        """`task["stage"]`, for those who know the payload; raises `KeyError` for what was not sent."""
        if name not in self.model_fields_set:
            raise KeyError(name)
        return getattr(self, name)

    def __contains__(self, name: str) -> bool:
        return name in self.model_fields_set


class VideoInfo(_Told):
    title: str | None = None
    duration: int | None = None  # seconds
    uploader: str | None = None
    webpage_url: str | None = None
    extractor: str | None = None
    width: int | None = None
    height: int | None = None
    filesize: int | None = None  # bytes
    live: bool | None = None
    cut: bool | None = None
    id: str | None = None
    extractor_key: str | None = None
    channel: str | None = None
    channel_id: str | None = None
    published_at: str | None = None  # a moment in UTC, or a day alone


class FileInfo(_Told):
    size: int  # bytes
    type: str
    sha256: str | None = None
    title: str | None = None
    codec: str | None = None


class Entries(_Told):
    total: int = 0
    completed: int = 0
    failed: int = 0
    truncated: bool = False


class LibraryPlace(_Told):
    state: str  # "waiting" or "placed"
    reason: str | None = None  # "away", "full", "blocked" or "files_gone"
    path: str | None = None  # what blocks
    paths: list[str] = []


class Task(_Told):
    """One status of one task: of two, that with the higher `revision` is the newer one."""

    task_id: str
    status: Literal["processing", "completed", "error"]
    progress: int
    message: str
    created_at: datetime
    completed_at: datetime | None = None
    video_info: VideoInfo
    files: dict[str, str]
    error: str | None = None
    url: str
    stage: str  # one of `Stage`; a newer service may have more
    revision: int
    priority: int = 0
    attempt: int = 0
    downloaded_bytes: int | None = None
    total_bytes: int | None = None
    speed: float | None = None  # bytes a second
    eta: float | None = None  # seconds
    file_info: dict[str, FileInfo] = {}
    number: int = 0
    thumbnail: str | None = None
    waiting: str | None = None
    not_before: datetime | None = None
    playlist_id: str | None = None
    entries: Entries | None = None
    error_code: str | None = None
    hint: str | None = None
    remedies: list[str] = []
    cookies: str | None = None
    rank: int = 0
    started_at: datetime | None = None
    subscription_id: str | None = None
    library: LibraryPlace | None = None
    created_by: str | None = None
    owner: str | None = None
    _raw: str = PrivateAttr("")

    @property
    def raw(self) -> str:
        """The payload as it came, in one line of JSON."""
        return self._raw

    def came_as(self, text: str | bytes) -> None:
        self._raw = text.decode() if isinstance(text, bytes) else text

    @property
    def is_final(self) -> bool:
        """Whether nothing more comes, unless somebody retries the task."""
        return self.status != "processing"

    @property
    def title(self) -> str:
        """What to call it: its title once known, else its link."""
        return self.video_info.title or self.url


class Removed(_Told):
    """Told on the feed of all tasks: there is no such task any more."""

    task_id: str
    removed: Literal[True]
