"""The payload of a task, encoded once for each revision and language.

Polls, WebSockets, lists and the response to a submit all send the same bytes. The API contract sets the order
of the fields; fields that do not apply are left out.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic_core import to_json

from server.core.models import Entries, Stage, StoredFile, TaskStatus, VideoInfo
from server.locales import LANGUAGES, Catalogue
from server.tasks.announced import NOT_LIVE_YET
from server.tasks.remedies import offered

_INFO = set(VideoInfo.model_fields)  # without unknown fields, which a newer release may have stored
MAX_KEPT = 1024  # cached payloads, of two kilobytes each with their frames


@dataclass(slots=True)
class Payload:
    revision: int
    body: bytes
    etag: str
    is_last: bool  # the task has ended
    _frame: bytes = b""

    @property
    def frame(self) -> bytes:
        """`body` as a WebSocket text message, made on first use."""
        if not self._frame:
            self._frame = text_frame(self.body)
        return self._frame


class Encoder:
    """Encodes statuses as payloads, with a cache; links to files begin with `base_path`."""

    def __init__(self, base_path: str = "") -> None:
        self._base_path = base_path
        base = hashlib.sha256(base_path.encode()).hexdigest()[:4] if base_path else ""
        self._tags = {name: f"{name}-{catalogue.tag}{base}" for name, catalogue in LANGUAGES.items()}
        self._kept: dict[tuple[str, str], Payload] = {}
        self._latest: dict[str, tuple[TaskStatus, Payload]] = {}

    def shared(self, status: TaskStatus, language: str) -> Payload:
        """Like `encode`, but faster when thousands of WebSockets ask for the same status in a row."""
        latest = self._latest.get(language)
        if latest is None or latest[0] is not status:
            latest = self._latest[language] = status, self.encode(status, language)
        return latest[1]

    def encode(self, status: TaskStatus, language: str) -> Payload:
        key = (status.task_id, language)
        kept = self._kept.get(key)
        if kept is not None and kept.revision == status.revision:
            return kept
        if kept is None and len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        body = dumps(present(status, LANGUAGES[language], self._base_path))
        etag = f'"{status.revision}-{self._tags[language]}"'
        payload = Payload(status.revision, body, etag, status.stage.is_final)
        self._kept[key] = payload
        return payload


def dumps(value: object) -> bytes:
    """Compact JSON in UTF-8, without escapes for non-ASCII characters."""
    return to_json(value)


def text_frame(body: bytes) -> bytes:
    """`body` as an unmasked WebSocket text message in one frame (RFC 6455, section 5.2)."""
    size = len(body)
    if size < 126:
        return b"\x81" + size.to_bytes(1, "big") + body
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2, "big") + body
    return b"\x81\x7f" + size.to_bytes(8, "big") + body


def present(status: TaskStatus, words: Catalogue, base_path: str = "") -> dict[str, Any]:
    """The fields of the payload of `status`, with texts in the language of `words`."""
    waits = _waits(status)
    fields: dict[str, Any] = {
        "task_id": status.task_id,
        "status": status.stage.status,
        "progress": status.progress,
        "message": _message(status, words),
        "created_at": _instant(status.created_at),
        # Never before `created_at`, which may come from another server whose clock was ahead.
        "completed_at": _instant(status.completed_at and max(status.completed_at, status.created_at)),
        "video_info": status.video_info.model_dump(include=_INFO, exclude_none=True),
        "files": {kind: link_to(file, base_path) for kind, file in status.files.items()},
        "error": words.error(status.error_code) if status.error_code else None,
        "url": status.url,
        "stage": status.stage,
        "revision": status.revision,
        "priority": status.priority,
        "attempt": status.attempt,
        "downloaded_bytes": status.downloaded_bytes,
        "total_bytes": status.total_bytes,
        "speed": status.speed,
        "eta": status.eta,
        "file_info": {kind: _file_info(file) for kind, file in status.files.items()},
        "number": status.number,
        "thumbnail": f"{base_path}/api/tasks/{status.task_id}/thumbnail" if status.thumbnail else None,
        "waiting": status.waiting if waits else None,
        "not_before": _instant(_begins(status)) if waits else None,
        "playlist_id": status.playlist_id,
        "entries": _entries(status.entries) if status.entries else None,
        "error_code": status.error_code,
        "hint": _hint(status, words),
        "remedies": offered(status) or None,
        "cookies": status.cookies,
        "rank": status.rank or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _hint(status: TaskStatus, words: Catalogue) -> str | None:
    """With an error what can be done about it; of a completed task what was left out."""
    key = status.hint or status.error_code
    if not key or not (status.error_code or status.stage is Stage.COMPLETED):
        return None
    return words.hint(key, status.cookies)


def link_to(file: StoredFile, base: str) -> str:
    """The download link of `file`; `base` is the proxy's prefix, after the origin for an absolute link."""
    return f"{base}/api/download/{file.name}"


def _begins(status: TaskStatus) -> datetime | None:
    """When the wait ends: for a broadcast its announced beginning, not the next look at its source."""
    return status.begins_at if status.waiting == NOT_LIVE_YET else status.not_before


def _file_info(file: StoredFile) -> dict[str, Any]:
    info = {"size": file.size, "type": file.type, "sha256": file.sha256, "title": file.title}
    return {name: value for name, value in info.items() if value is not None}


def _entries(entries: Entries) -> dict[str, Any]:
    told: dict[str, Any] = entries.model_dump(include={"total", "completed", "failed"})
    return told | {"truncated": True} if entries.truncated else told


def _message(status: TaskStatus, words: Catalogue) -> str:
    if status.stage is Stage.FAILED:
        return words.failed(status.error_code or "internal")
    if status.waiting and _waits(status):
        return words.waiting(status.waiting) or words.stage(status.stage)
    return words.stage(status.stage)


def _waits(status: TaskStatus) -> bool:
    return status.stage is Stage.QUEUED or status.is_held or status.awaits_storage


def _instant(moment: datetime | None) -> str | None:
    return moment.isoformat()[:19] + "Z" if moment else None  # ten times as fast as strftime
