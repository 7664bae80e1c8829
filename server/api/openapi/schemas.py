"""The answers of the kernel's routes: these models make the JSON, and its schema in the OpenAPI description.

Routes name the models; this module is imported with the first such answer or description. Models of features
are named with their module, as `server.notices.webhook_schemas:WebhookPage`. The model of a task is
`server.api.payload.TaskPayload`, that of an error `server.api.problems.Problem`. Answers with tasks
(`TaskPage`, `Results`, `ActionResults`) are joined from encoded payloads instead: tests compare them with
their models.

Decisions: docs/decisions/http.md
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from server.api.payload import Answer, Bytes, Instant, TaskPayload
from server.api.problems import Problem
from server.core.task import Stage

Seconds = Annotated[float, Field(ge=0, description="seconds")]


class Remedies(Answer):
    remedies: list[str] = Field(description="their names, the likeliest first")
    texts: dict[str, str] = Field(description="name -> what it does, in a sentence for the reader")


class CookieFile(Answer):
    name: str = Field(description="for `cookies` of a request")
    owner: str | None = Field(
        None, description="with `access.separate_lists`, for admins: the [person](#people) whose it is"
    )
    hosts: list[str] = Field(
        description=(
            "whose cookies are in the file, in alphabetical order, at most 100; with more than 20 files "
            "fewer of each, so that all have 2,000 at most, and each has one"
        )
    )
    count: int = Field(ge=0, description="of cookies")
    expired: int = Field(ge=0, description="how many of them have expired")
    expires_at: Instant | None = Field(
        None,
        description=(
            "when the next cookie expires or, if all have expired, when the last one did; absent if none "
            "expires. Where cookies expire at more than 100 times to come, the later ones are told in groups"
        ),
    )


class CookieList(Answer):
    cookies: list[CookieFile]


class TaskPage(Answer):
    tasks: list[TaskPayload]
    next_cursor: str | None = Field(None, description="the last page has none")


class Format(Answer):
    format_id: str | None = Field(None, description="for `format` of POST /api/process")
    ext: str | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    vcodec: str | None = None
    acodec: str | None = None
    language: str | None = Field(None, description="of the sound")
    filesize: Bytes | None = Field(None, description="as the source says it")
    filesize_approx: Bytes | None = Field(
        None, description="an estimate by the bit rate, where `filesize` is not known"
    )
    tbr: float | None = Field(None, description="kbit/s")
    note: str | None = None


class Chapter(Answer):
    title: str | None = None
    start: Seconds | None = None
    end: Seconds | None = None


class Entry(Answer):
    index: int = Field(ge=1, description="its place in the list, for `playlist_items` of POST /api/process")
    title: str | None = None
    url: str | None = Field(None, description="left out if it is found within the list alone")
    duration: int | None = Field(None, ge=0, description="seconds")
    uploader: str | None = None
    published_at: str | None = Field(None, description="UTC; a day alone where no more is known")
    thumbnail: str | None = Field(
        None, description="link of its picture at the source, for POST /api/info/thumbnails"
    )


class EntryThumbnails(Answer):
    thumbnails: dict[str, str] = Field(
        description="link -> JPEG of at most 192 pixels in width as a `data:` URL; without those that failed"
    )


class Info(Answer):
    """What a link offers; formats, languages, chapters and a page of entries are at most 500 each."""

    title: str | None = None
    duration: int | None = Field(None, ge=0, description="whole seconds")
    uploader: str | None = None
    webpage_url: str | None = None
    extractor: str | None = None
    live: bool | None = Field(None, description="`true`: a broadcast that goes on")
    id: str | None = Field(None, description="at its source")
    extractor_key: str | None = None
    channel: str | None = None
    channel_id: str | None = None
    published_at: str | None = Field(None, description="UTC; a day alone where no more is known")
    begins_at: Instant | None = Field(None, description="of a broadcast: when it begins, or began")
    thumbnail: str | None = Field(None, description="a small JPEG as a `data:` URL")
    live_status: Literal["is_live", "is_upcoming", "was_live", "post_live", "not_live"] | None = Field(
        None, description="`post_live`: over, and not ready yet"
    )
    formats: list[Format] | None = None
    subtitles: dict[str, list[str]] | None = Field(None, description="language -> file types")
    automatic_subtitles: dict[str, list[str]] | None = Field(
        None, description="the same for what is recognized or translated by a machine"
    )
    chapters: list[Chapter] | None = None
    total_entries: int | None = Field(
        None, ge=1, description="of a list, where the source says or it was read to its end"
    )
    entries: list[Entry] | None = Field(None, description="one page of a list")
    next_cursor: str | None = Field(None, description="the `cursor` of the next page, if there is one")
    truncated: Literal[True] | None = Field(
        None, description="the list goes on, but `downloads.max_playlist` entries are the most"
    )


class SessionState(Answer):
    login_required: bool = Field(
        description="tokens are set: without a token or a session, no other route is answered"
    )
    logged_in: bool = Field(
        description="the request has the cookie of a valid session; `false` where no log-in is needed"
    )
    needed: Literal[True] | None = Field(None, description="where people were added: as `login_required`")
    there: bool | None = Field(None, description="where people were added: as `logged_in`")
    ways: list[Literal["token", "password", "oidc"]] | None = Field(
        None, description="where people were added: how one can log in"
    )


class LogOutAtProvider(Answer):
    log_out_at: str = Field(description="where the browser logs out at the OpenID provider as well")


class Result(Answer):
    """The result of one of many requests: what this request alone would have been answered."""

    status: int = Field(ge=200, le=599, description="of HTTP")
    task: TaskPayload | None = Field(None, description="if it succeeded and there is something to show")
    problem: Problem | None = Field(None, description="if not")
    task_id: str | None = Field(
        None, description="instead of `task`, where the answer would else be 1 MB larger than its request"
    )


class Results(Answer):
    results: list[Result] = Field(description="in the order of the requests")


class ActionResults(Results):
    more: bool | None = Field(None, description="`true`: more tasks match; repeat the request for them")


class QueueState(Answer):
    paused: bool = Field(description="nothing begins until it is resumed")
    stages: dict[Stage, int] = Field(description="how many tasks are in each")
    asking: int = Field(
        description="how many of the failed ones, without entries of lists, only ask something: "
        "`is_playlist` which entries, `live_rejected` and `not_live` whether to record"
    )


class PresetList(Answer):
    presets: dict[str, dict[str, Any]] = Field(description="name -> fields of POST /api/process")
