"""The schemas of responses, for the OpenAPI description only: nothing is validated with them at run time.

Routes name them, and they are imported when the description is asked for, which most servers never are.
That of a task is `server.api.payload.TaskPayload`, which makes the responses, too.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from server.api.payload import Answer, Bytes, Instant, TaskPayload
from server.core.models import Stage
from server.subscriptions.subscription import ItemState

Seconds = Annotated[float, Field(ge=0, description="seconds")]


class WebhookDelivery(Answer):
    id: str = Field(description="the header `webhook-id` of each try")
    task_id: str
    url: str = Field(description="without a password")
    state: Literal["due", "dead"] = Field(description="`dead`: given up, and sent again only by a retry")
    attempts: int = Field(ge=0, description="tries so far")
    last_error: str | None = Field(
        None, description="`http_<status>`, `timeout`, `blocked_address`, ...: of the last try"
    )
    next_at: Instant | None = Field(None, description="of the next try, while `due`")


class WebhookPage(Answer):
    webhooks: list[WebhookDelivery]
    next_cursor: str | None = Field(None, description="for the next page, if there is one")


class FeedAddress(Answer):
    name: str
    category: str | None = Field(None, description="if it was set")
    explicit: bool | None = Field(None, description="if it was set")
    url: str = Field(
        description="for podcast apps: whoever has it needs no token", json_schema_extra={"format": "uri"}
    )


class FeedAddresses(Answer):
    opml: str | None = Field(
        None,
        description="of all podcast feeds; absent until there was one",
        json_schema_extra={"format": "uri"},
    )


class Subscription(Answer):
    subscription_id: str
    revision: int = Field(ge=1, description="grows with each change of the settings")
    url: str = Field(description="as it was sent, without `user:password@`")
    name: str = Field(description="as it was set, else the title, else the link")
    title: str | None = Field(None, description="as its source says")
    enabled: bool
    stage: Literal["seeding", "idle", "checking", "failing", "paused"]
    checked_at: Instant | None = Field(None, description="the end of the last look, whatever came of it")
    succeeded_at: Instant | None = Field(None, description="the end of the last look that was good")
    next_check_at: Instant | None = None
    items: dict[str, int] = Field(description="how many are in each state")
    error_code: str | None = Field(None, description="why the last look failed")
    error: str | None = Field(None, description="the same in a sentence")
    hint: str | None = Field(None, description="what can be done about it")
    interval: str = Field(description="like `1h`, or `auto`")
    request: dict[str, Any]
    filters: dict[str, Any]
    backlog: Any
    keep: dict[str, Any]
    feed: FeedAddress | None = Field(None, description="its podcast feed, if it has one")
    library: dict[str, Any] | None = Field(None, description="where in the library its files go")


class SubscriptionPage(Answer):
    subscriptions: list[Subscription]
    next_cursor: str | None = Field(None, description="the last page has none")


class Item(Answer):
    key: str = Field(description="names the entry in the library, for ever")
    url: str
    title: str | None = None
    duration: int | None = Field(None, description="seconds")
    uploader: str | None = None
    published_at: str | None = Field(None, description="UTC; a day alone where no more is known")
    state: ItemState
    reason: str | None = Field(None, description="why it is in this state")
    not_before: Instant | None = Field(None, description="while `waiting`: when it is tried again")
    fetched_at: Instant | None = None
    task_id: str | None = None
    paths: list[str] = Field(description="of its files in the library")
    pinned: bool = Field(description="it is kept, whatever `keep` says")


class ItemPage(Answer):
    items: list[Item]
    next_cursor: str | None = Field(None, description="the last page has none")


class ItemResult(Answer):
    status: int = Field(description="that of a response for this item alone")
    item: Item | None = None
    problem: dict[str, Any] | None = None


class ItemResults(Answer):
    results: list[ItemResult]
    more: Literal[True] | None = Field(None, description="there are more in this state")


class SubscriptionResult(Answer):
    url: str
    status: int = Field(description="201, 409 or 422")
    subscription: Subscription | None = None
    problem: dict[str, Any] | None = None


class SubscriptionResults(Answer):
    results: list[SubscriptionResult]


class MediaFetched(Answer):
    fetched_at: Instant = Field(description="last")
    key: str = Field(description="names the video in the library, for ever")
    title: str | None = None
    task_id: str | None = Field(None, description="of the task that fetched it, while there is one")
    subscriptions: list[str] = Field(description="ids of those that have it")


class MediaTaken(Answer):
    taken: int = Field(ge=0, description="videos that are remembered now and were not before")
    known: int = Field(ge=0, description="those that were")
    unreadable: list[int] = Field(description="numbers of lines that name no video, the first 100")
    more: Literal[True] | None = Field(None, description="there are more unreadable lines")


class LibrarySample(Answer):
    title: str
    channel: str | None = None
    playlist: str | None = None
    paths: list[str] = Field(description="below `library.path`: the film, then what lies beside it")


class LibraryPreview(Answer):
    samples: list[LibrarySample]


class LibraryOutcome(Answer):
    count: int = Field(
        ge=0, description="files that are changed, or would be; of `verify` those that are there"
    )
    files: list[dict[str, str]] | None = Field(None, description="the first 100")
    missing: int | None = Field(None, ge=0, description="files that should be there and are not")
    missing_files: list[str] | None = None
    changed: int | None = Field(None, ge=0, description="files of another size than they were placed with")
    changed_files: list[str] | None = None
    unknown: int | None = Field(None, ge=0, description="files that somebody else has put there")
    unknown_files: list[str] | None = None
    adopted: int | None = Field(None, ge=0, description="files that are known now, and were not there before")
    adopted_files: list[dict[str, str]] | None = None


class Remedies(Answer):
    remedies: list[str] = Field(description="their names, the likeliest first")
    texts: dict[str, str] = Field(description="name -> what it does, in a sentence for the reader")


class CookieFile(Answer):
    name: str
    hosts: list[str] = Field(description="in alphabetical order, at most 100; of many files fewer each")
    count: int = Field(ge=0, description="of cookies")
    expired: int = Field(ge=0, description="of them")
    expires_at: Instant | None = Field(None, description="when the next of them expires, or the last did")


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
        None, description="where that is not known: about so many, from what is said of the rate"
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


class Info(Answer):
    """What a link offers; formats, languages, chapters and a page of entries are at most 500 each."""

    title: str | None = None
    duration: int | None = Field(None, ge=0, description="whole seconds")
    uploader: str | None = None
    webpage_url: str | None = None
    extractor: str | None = None
    live: bool | None = Field(None, description="`true`: a broadcast that goes on")
    live_status: Literal["is_live", "is_upcoming", "was_live", "post_live", "not_live"] | None = None
    begins_at: Instant | None = Field(None, description="of a broadcast: when it begins, or began")
    thumbnail: str | None = Field(None, description="a small JPEG as a `data:` URL")
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
    login_required: bool = Field(description="tokens are set: without one nothing else is answered")
    logged_in: bool = Field(description="the cookie that was sent is that of a session")


class Health(Answer):
    status: Literal["ok"]


class CheckReport(Answer):
    ok: bool
    needed: bool = Field(description="without it the service does not work")
    detail: str = Field(description="in the reader's language")
    values: dict[str, int] | None = Field(None, description="the numbers in `detail`, where there are any")


class ReadinessReport(Answer):
    status: Literal["ready", "not ready"]
    checks: dict[str, CheckReport]


class WrongField(Answer):
    field: str = Field(description="`outputs.0`: the first element of `outputs`; empty: the body itself")
    message: str


class Problem(Answer):
    """An error (RFC 9457). Texts are in the reader's language and may change, codes may not."""

    type: str = Field(
        description="leads to the explanation of `code`", json_schema_extra={"format": "uri-reference"}
    )
    title: str
    status: int = Field(ge=400, le=599)
    detail: str
    code: str
    request_id: str = Field(description="`X-Request-Id` of this response")
    errors: list[WrongField] | None = Field(
        None, description="`invalid_request`: what is wrong, of elements and unknown fields the first 20"
    )
    id: str | None = Field(None, description="`internal`: stands in the log beside the cause")
    error_code: str | None = Field(None, description="`source_refused`: what a task would have ended with")
    error: str | None = Field(None, description="`source_refused`: the cause in one short sentence")
    hint: str | None = Field(None, description="`source_refused`: what the reader can do about it")


class Result(Answer):
    """What one of many wishes led to: what it would have been answered with by itself."""

    status: int = Field(ge=200, le=599, description="of HTTP")
    task: TaskPayload | None = Field(None, description="if it succeeded and there is something to show")
    problem: Problem | None = Field(None, description="if not")
    task_id: str | None = Field(
        None, description="instead of `task`, where the answer would else be 1 MB larger than its request"
    )


class Results(Answer):
    results: list[Result] = Field(description="in the order of the wishes")


class ActionResults(Results):
    more: bool | None = Field(None, description="`true`: there are others that fit; ask again for them")


class QueueState(Answer):
    paused: bool = Field(description="nothing begins until it is resumed")
    stages: dict[Stage, int] = Field(description="how many tasks are in each")


class PresetList(Answer):
    presets: dict[str, dict[str, Any]] = Field(description="name -> fields of POST /api/process")
