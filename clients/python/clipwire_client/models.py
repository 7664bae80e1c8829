"""The payloads of the service, as frozen models. Fields that a newer service adds are kept."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, PrivateAttr

Stage = Literal["queued", "info", "download", "convert", "paused", "completed", "failed", "cancelled"]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")

    def __getitem__(self, name: str) -> Any:
        """Return a field as `task["stage"]`, for those who know the payload; raise `KeyError` if it was not
        sent.
        """
        if name not in self.model_fields_set:
            raise KeyError(name)
        return getattr(self, name)

    def __contains__(self, name: str) -> bool:
        return name in self.model_fields_set


class VideoInfo(_Answer):
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
    published_at: str | None = None  # a time in UTC, or only a day


class FileInfo(_Answer):
    size: int  # bytes
    type: str
    sha256: str | None = None
    title: str | None = None
    codec: str | None = None


class Entries(_Answer):
    total: int = 0
    completed: int = 0
    failed: int = 0
    truncated: bool = False


class LibraryPlace(_Answer):
    state: str  # "waiting" or "placed"
    reason: str | None = None  # "away", "full", "blocked" or "files_gone"
    path: str | None = None  # the path of the file that is in the way
    paths: list[str] = []


class Task(_Answer):
    """One status of one task: of two statuses, the one with the higher `revision` is newer."""

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
        """Return the payload as it came, in one line of JSON."""
        return self._raw

    def came_as(self, text: str | bytes) -> None:
        self._raw = text.decode() if isinstance(text, bytes) else text

    @property
    def is_final(self) -> bool:
        """Return whether this status is the last, unless somebody retries the task."""
        return self.status != "processing"

    @property
    def title(self) -> str:
        """Return the title, or the link as long as no title is known."""
        return self.video_info.title or self.url


class Filters(_Answer):
    """The filters of a subscription, which say what entries are wanted."""

    title: str | None = None  # a regular expression that matches somewhere in the title
    not_title: str | None = None
    min_duration: int | None = None  # seconds
    max_duration: int | None = None
    since: str | None = None  # a day
    until: str | None = None
    kinds: list[str] | None = None  # "video", "short", "stream"
    members: bool = False
    min_age: str | None = None  # like "2h"


class Keep(_Answer):
    """The retention of a subscription: fetched files are kept for some days, or only the newest."""

    days: int | None = None
    last: int | None = None


class LibrarySettings(_Answer):
    layout: str | None = None
    folder: str | None = None
    name: str | None = None
    nfo: bool | None = None
    artwork: bool | None = None
    keep_task: bool | None = None


class FeedAddress(_Answer):
    """The podcast feed of a subscription. Its `url` has a secret, so no token is needed."""

    name: str
    category: str | None = None
    explicit: bool | None = None
    url: str


class FeedOfPage(_Answer):
    url: str
    title: str | None = None


class Subscription(_Answer):
    """A link that the service checks regularly. `items` counts its entries by their states."""

    subscription_id: str
    revision: int
    url: str
    name: str
    title: str | None = None
    description: str | None = None
    author: str | None = None
    picture: str | None = None
    enabled: bool = True
    stage: str  # "seeding", "idle", "checking", "failing" or "paused"
    checked_at: datetime | None = None
    succeeded_at: datetime | None = None
    waiting: str | None = None
    next_check_at: datetime | None = None
    items: dict[str, int] = {}
    held: int = 0
    last_fetched_at: datetime | None = None
    error_code: str | None = None
    error: str | None = None
    hint: str | None = None
    notice: str | None = None
    moved_to: str | None = None
    created_by: str | None = None
    owner: str | None = None
    feeds: list[FeedOfPage] | None = None
    interval: str = ""
    request: dict[str, Any] = {}
    filters: Filters = Filters()
    backlog: str | dict[str, Any] = "none"
    keep: Keep = Keep()
    library: LibrarySettings | None = None
    profile: str | None = None
    feed: FeedAddress | None = None


class Item(_Answer):
    """One entry of a subscription, remembered for good."""

    key: str
    url: str
    title: str | None = None
    duration: int | None = None  # seconds
    uploader: str | None = None
    published_at: str | None = None  # a time in UTC, or only a day
    state: str  # "known", "skipped", "waiting", "queued", "fetched", "failed" or "expired"
    reason: str | None = None
    not_before: datetime | None = None
    fetched_at: datetime | None = None
    task_id: str | None = None
    thumbnail: str | None = None
    library: LibraryPlace | None = None
    paths: list[str] = []
    pinned: bool = False


class Removed(_Answer):
    """An event of the feed of all tasks: the task was removed."""

    task_id: str
    removed: Literal[True]
