"""The memory: each downloaded video is remembered for good, whatever happens to tasks, files and releases.

A row is written in the transaction of the task's end, so it is there if the task is completed, and only then.

Decisions: docs/decisions/library.md
"""

from dataclasses import dataclass
from typing import Any, Literal

from server.core.media_keys import aliases_of, key_of, key_of_link
from server.core.process_request import Output, ProcessRequest
from server.core.task import Stage, TaskStatus

IMPORTED = "*"  # the manner of a video that was imported from an archive: it counts as fetched in any manner
MediaKind = Literal["video", "short", "stream"]
_ABOUT = ("title", "uploader", "duration", "channel", "channel_id", "published_at", "extractor")


@dataclass(frozen=True, slots=True)
class Remembered:
    """A downloaded video; `aliases` are other keys of it that clients may ask for.

    `fetched_at` is in seconds since 1970, `manner` says how it was fetched (`ProcessRequest.manner`), `about`
    is a JSON object: the known ones of the fields that `video_info` has too, `url` and `kind`.
    """

    key: str
    aliases: tuple[str, ...]
    fetched_at: float
    task_id: str | None
    manner: str
    about: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Fetched:
    """A video in the memory. `task_id` is that of a task that exists and is completed."""

    key: str
    fetched_at: float
    task_id: str | None
    manners: frozenset[str]
    about: dict[str, Any]
    subscriptions: tuple[str, ...] = ()


def remembered(request: ProcessRequest | None, status: TaskStatus) -> Remembered | None:
    """Return what to remember of a task that has ended; None if it fetched no film, or only a part of one.

    `request` is that of the task's last attempt.
    """
    is_film = (
        request is not None and request.clip is None and {Output.VIDEO, Output.AUDIO} & {*request.outputs}
    )
    if request is None or status.stage is not Stage.COMPLETED or status.is_list or not is_film:
        return None
    info = status.video_info
    key = key_of_status(status)
    links = [] if status.item is not None else [key_of_link(status.url)]
    # The link of a page with several videos names none of them: so it is no alias of an item.
    if info.webpage_url and status.item is None and not key.startswith("url "):
        links.append(key_of_link(info.webpage_url))
    about = info.model_dump(include={*_ABOUT}, exclude_none=True)
    about |= {
        "url": info.webpage_url or status.url,
        "kind": kind_of(status.url, info.webpage_url, live=info.live),
    }
    ended = status.completed_at or status.created_at
    aliases = aliases_of(key, (*links, *(one for one in status.archive_ids if " " in one)))
    return Remembered(key, aliases, ended.timestamp(), status.task_id, request.manner(), about)


def key_of_status(status: TaskStatus) -> str:
    """Return the key of the video that a task has downloaded."""
    info = status.video_info
    return key_of(info.extractor_key, info.id, status.url, status.item)


def kind_of(*urls: str | None, live: bool | None = None) -> MediaKind:
    if live:
        return "stream"
    return "short" if any(url and "/shorts/" in url for url in urls) else "video"
