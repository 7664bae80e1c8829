"""What the server asks of a child: the first line on its channel, one JSON object.

Plain dataclasses, because children import no pydantic. `server.tasks.jobs` makes them. Both sides have to
agree on every field: a child that does not understand a job must not guess what is wanted of it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """The fields of a `ProcessRequest` that are for children."""

    url: str
    outputs: tuple[str, ...]
    quality: str
    video_format: str
    codec: str
    audio_format: str
    audio_quality: int | None
    audio_language: str | None
    format: str | None
    live: Literal["reject", "record"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """`directory` is the job's own, `lock` the file that tells whether somebody writes there.

    `ffmpeg` and `deno` are paths, `rate_limit` is in bytes a second, `max_filesize` in bytes.
    """

    kind: Literal["download", "info"]
    directory: str
    lock: str
    wishes: Wishes
    ffmpeg: str
    deno: str | None
    allowed_private_hosts: tuple[str, ...]
    proxy: str | None
    rate_limit: int | None
    max_filesize: int | None


def to_message(job: Job) -> dict[str, Any]:
    return asdict(job)


def from_message(message: Mapping[str, Any]) -> Job:
    """Raises `ValueError` if it is not exactly a job: then the other side is of another release."""
    _check(Job, message)
    _check(Wishes, message["wishes"])
    return Job(**_in_tuples(message) | {"wishes": Wishes(**_in_tuples(message["wishes"]))})


def _check(kind: type[Job] | type[Wishes], message: object) -> None:
    known = {field.name for field in fields(kind)}
    if not isinstance(message, Mapping) or message.keys() != known:
        odd = known.symmetric_difference(message) if isinstance(message, Mapping) else ()
        raise ValueError(f"server and child are of different releases: {kind.__name__} {sorted(odd)}")


def _in_tuples(message: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in message.items()}
