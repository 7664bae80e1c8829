"""Subscriptions: links that are checked regularly, and what is known of their entries.

A subscription's *item* is one entry of it, remembered for good; a *check* reads the link. A check is no task:
nobody is told of it on a socket.

Decisions: docs/decisions/library.md
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from importlib import import_module
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError, PydanticKnownError, to_json

from server.core.durations import duration_of, seconds_of
from server.core.film import ListedInfo
from server.core.library import Library
from server.core.process_request import ProcessRequest
from server.core.task import Task
from server.core.values import Frozen, HttpUrl, Stored, Whole, harmless_line
from server.memory.remembering import Fetched, MediaKind
from server.settings import LONGEST_INTERVAL
from server.subscriptions.source import PictureNote, PictureRole, SourceFacts

ItemState = Literal["known", "skipped", "waiting", "queued", "fetched", "failed", "expired"]
STATES: tuple[ItemState, ...] = get_args(ItemState)
HELD, BACKLOG, RETRY, UNCLEAR = "held", "backlog", "retry", "unclear"
"""Why items are `waiting`. In this order: it was found beside too many others; `backlog` asks for it, and its
turn will come; its task failed and is tried again; its own page is to be read, as its list says too little
for the filters.
"""
NOT_LIVE_YET, MEMBERS_ONLY, TOO_YOUNG = "not_live_yet", "members_only", "too_young"
REMOVED, BY_CLIENT, RETENTION = "removed", "by_client", "retention"
SOURCE_GONE, NO_LIST, EMPTY_LIST = "source_gone", "no_list", "empty_list"
NO_MEDIA, IN_MEMORY = "no_media", "in_memory"
WAS_FEED = "was_feed"
"""`Findings.hint` of a feed that is none any more."""
HOST_HELD: Literal["host_held"] = "host_held"
"""`TaskStatus.waiting` of a subscription's task while its host is left alone."""
HOST_PAUSED: Literal["host_paused"] = "host_paused"
"""The same while another task of a subscription has just begun to download from its host."""
HOST_REFUSALS = frozenset(("http_429", "bot_check", "login_required"))
"""Codes after which the host is left alone for a while, but for links that a client sends."""
CODES_OF_GONE_SOURCES = frozenset(("http_404", "http_410", "unavailable", SOURCE_GONE))
AUTO: Literal["auto"] = "auto"
HOUR, DAY = 3600.0, 86_400.0
REFUSED = frozenset(("members_only", "private", "unavailable", "login_required", "bot_check"))
WANTS_LOG_IN = frozenset(("login_required", "bot_check"))
"""Those of `HOST_REFUSALS` that end with new cookies."""
NOT_LIVE = frozenset(("live_rejected", "not_live"))
_NOT_TO_BE_ASKED = ("url", "playlist", "playlist_items", "start_at", "reuse", "library")
MOST_PATTERN = 200  # characters
FEED_NAME = r"[a-z0-9][a-z0-9_-]*"  # nothing that an address has to encode, or a file system confuses


def as_http(url: str) -> str:
    """A link to a feed as browsers and podcast apps hand it on: `feed://`, `itpc://`, or `feed:https://`."""
    url = re.sub(r"^(feed|itpc)://", "http://", url, flags=re.IGNORECASE)
    return re.sub(r"^(feed|itpc):(?=https?://)", "", url, flags=re.IGNORECASE)


def written_interval(interval: int | Literal["auto"]) -> str:
    return duration_of(interval) if isinstance(interval, int) else interval


def _duration(value: object) -> object:
    try:
        seconds = seconds_of(value)
    except ValueError:
        raise PydanticCustomError("duration", "a time like 30m, 1h or 2d is expected") from None
    if seconds > LONGEST_INTERVAL:
        raise PydanticCustomError("duration_most", "at most {most}", {"most": duration_of(LONGEST_INTERVAL)})
    return seconds


def _pattern(value: str) -> str:
    """Check only the syntax of the pattern; a child compiles it, within a time limit.

    To compile 200 characters can take 0.3 s (`(?i)` and many ranges of letters), in which no other request
    would be answered. `re` has no public function that reads a pattern without compiling it: `sre_parse` is
    its parser under a deprecated name.
    """
    try:
        import_module("re._parser").parse(value)
    except (re.error, RecursionError, OverflowError):
        raise PydanticCustomError("pattern_syntax", "not a valid pattern") from None
    return value


MAX_DAY_CHARS = 40  # the most characters of a day, or of a time on it


def _day(value: object) -> object:
    """A day, or the day of a time, as `2026-01-31`."""
    if isinstance(value, str) and len(value) > MAX_DAY_CHARS:
        raise PydanticKnownError("string_too_long", {"max_length": MAX_DAY_CHARS})
    try:
        if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d([Tt].*)?", value, re.ASCII):
            return date.fromisoformat(value[:10]).isoformat()
    except ValueError:
        pass
    raise PydanticCustomError("day", "a day like 2026-01-31 is expected")


Duration = Annotated[
    int,
    BeforeValidator(_duration),
    Field(ge=0),
    PlainSerializer(duration_of, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{1,9}[smhd]$"}),
]
Pattern = Annotated[str, Field(min_length=1, max_length=MOST_PATTERN), AfterValidator(_pattern)]
Day = Annotated[str, BeforeValidator(_day), Field(max_length=MAX_DAY_CHARS)]


class Filters(Frozen):
    """Which entries are wanted; those that are not become `skipped`, with the filter as their reason."""

    model_config = ConfigDict(strict=True)

    title: Pattern | None = Field(default=None, description="a regular expression found in the title")
    not_title: Pattern | None = Field(default=None, description="one that is not found in the title")
    min_duration: Whole | None = Field(default=None, ge=0, le=10_000_000, description="seconds")
    max_duration: Whole | None = Field(default=None, ge=0, le=10_000_000, description="seconds")
    since: Day | None = Field(default=None, description="published on this day or later")
    until: Day | None = Field(default=None, description="published on this day or earlier")
    kinds: tuple[MediaKind, ...] | None = Field(default=None, min_length=1, max_length=3, strict=False)
    members: bool = Field(default=False, description="also what only members may see")
    min_age: Duration | None = Field(default=None, description="wait so long after the publication")

    @field_validator("max_duration")
    @classmethod
    def _longer(cls, longest: int | None, filters: ValidationInfo) -> int | None:
        least = filters.data.get("min_duration")
        if longest is not None and least is not None and longest < least:
            raise PydanticCustomError("duration_order", "must not be less than min_duration")
        return longest

    @field_validator("until")
    @classmethod
    def _later(cls, until: str | None, filters: ValidationInfo) -> str | None:
        since = filters.data.get("since")
        if until is not None and since is not None and until < since:
            raise PydanticCustomError("days_order", "must not be earlier than since")
        return until


class LastOnes(Frozen):
    model_config = ConfigDict(strict=True)

    last: Whole = Field(ge=1, le=100_000, description="the newest n that filters let pass")


class SinceDay(Frozen):
    model_config = ConfigDict(strict=True)

    since: Day


def _backlog(value: object) -> object:
    """Validate the form of backlog that the client meant, so that only errors of this form are reported."""
    if isinstance(value, LastOnes | SinceDay) or value in ("none", "all"):
        return value
    if isinstance(value, dict) and len(value) == 1:
        if "last" in value:
            return LastOnes.model_validate(value)
        if "since" in value:
            return SinceDay.model_validate(value)
    raise PydanticCustomError("backlog", '"none", "all", {"last": 5} or {"since": "2026-01-31"} is expected')


Backlog = Annotated[Literal["none", "all"] | LastOnes | SinceDay, BeforeValidator(_backlog)]


class Keep(Frozen):
    """Retention: files are deleted by whichever of the two rules applies first. Pinned items stay."""

    model_config = ConfigDict(strict=True)

    days: Whole | None = Field(default=None, ge=1, le=100_000, description="since it was fetched")
    last: Whole | None = Field(default=None, ge=1, le=1_000_000, description="the newest n, by publication")


# The categories of Apple's list. It has none for other podcasts, because its purpose is to sort them in
# directories.
FeedCategory = Literal[
    "Arts",
    "Business",
    "Comedy",
    "Education",
    "Fiction",
    "Government",
    "Health & Fitness",
    "History",
    "Kids & Family",
    "Leisure",
    "Music",
    "News",
    "Religion & Spirituality",
    "Science",
    "Society & Culture",
    "Sports",
    "TV & Film",
    "Technology",
    "True Crime",
]


class FeedSettings(Frozen):
    """Makes a podcast feed of what is downloaded: the end of its address, and facts for podcast apps."""

    model_config = ConfigDict(strict=True)

    name: str = Field(
        pattern=f"^{FEED_NAME}$", max_length=64, description="in its address; no other feed has it"
    )
    category: FeedCategory = Field(default="TV & Film", description="one of Apple's")
    explicit: bool = Field(default=False, description="that apps may hide it from children")


def _wishes(value: Any) -> Any:
    if isinstance(value, dict):
        for name in _NOT_TO_BE_ASKED:
            if name in value:
                raise PydanticCustomError(
                    "not_here", "{name} is not for the entries of a list", {"name": name}
                )
    return value


def _interval(value: object) -> object:
    if value == AUTO:
        return value
    seconds = _duration(value)
    if isinstance(seconds, int) and seconds > LONGEST_INTERVAL:
        raise PydanticKnownError("less_than_equal", {"le": LONGEST_INTERVAL})
    return seconds


Interval = Annotated[
    int | Literal["auto"],
    PlainValidator(_interval),
    PlainSerializer(written_interval, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": "^([0-9]{1,9}[smhd]|auto)$"}),
]


class SubscriptionSettings(Frozen):
    """What a client may set, and change, of a subscription."""

    model_config = ConfigDict(strict=True)

    name: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(harmless_line)] | None = Field(
        default=None, description="instead of the title"
    )
    enabled: bool = True
    interval: Interval | None = Field(
        default=None,
        description="between two checks, like 30m or 1h, or auto; default: subscriptions.interval",
    )
    request: Annotated[dict[str, Any], BeforeValidator(_wishes)] = Field(
        default_factory=dict, description="fields of `POST /api/process` for each entry"
    )
    filters: Filters = Field(default=Filters(), strict=False)
    backlog: Backlog = Field(
        default="none", description="what is fetched of the entries that are there already"
    )
    keep: Keep = Field(default=Keep(), strict=False)
    feed: FeedSettings | None = Field(
        default=None, strict=False, description="a podcast feed of what is fetched"
    )
    library: Library | None = Field(
        default=None, strict=False, description="what is fetched goes into the library, too"
    )
    profile: str | None = Field(
        default=None,
        min_length=1,
        max_length=64,
        description="settings of the configuration that hold where the subscription sets nothing itself",
    )
    of_profile: SkipJsonSchema[tuple[Annotated[str, Field(min_length=1)], ...]] = Field(
        default=(), strict=False, description="which settings are its profile's; never set by clients"
    )


class SubscriptionRequest(SubscriptionSettings):
    """The body of `POST /api/subscriptions`."""

    model_config = ConfigDict(strict=True, title="SubscriptionRequest")

    url: HttpUrl = Field(description="of a channel, a playlist, a feed, or another list")


class SubscriptionChange(SubscriptionSettings):
    """The body of `PATCH /api/subscriptions/{subscription_id}`."""

    model_config = ConfigDict(strict=True, title="SubscriptionChange")

    # An empty `url` changes nothing. `HttpUrl | None` would make null a URL, and name both types in errors.
    url: HttpUrl = Field(
        default_factory=str, description="where its source has moved to: what is known of its entries stays"
    )


class ItemsRequest(Frozen):
    """The body of `POST /api/subscriptions/{subscription_id}/items/actions`."""

    model_config = ConfigDict(strict=True)

    action: Literal["fetch", "skip", "pin", "unpin", "forget", "delete", "place"]
    keys: tuple[Annotated[str, Field(min_length=1, max_length=600)], ...] | None = Field(
        default=None, min_length=1, max_length=500, strict=False, description="of items"
    )
    state: ItemState | None = Field(default=None, description="all that are in it")


SubscriptionStage = Literal["seeding", "idle", "checking", "failing", "paused"]
STAGES: tuple[SubscriptionStage, ...] = get_args(SubscriptionStage)


class SubscriptionsRequest(Frozen):
    """The body of `POST /api/subscriptions/actions`."""

    model_config = ConfigDict(strict=True)

    action: Literal["pause", "resume", "check", "profile", "delete"]
    profile: str | None = Field(
        default=None, min_length=1, max_length=64, description="with `profile`: the one that they get"
    )
    ids: tuple[Annotated[str, Field(min_length=1, max_length=64)], ...] | None = Field(
        default=None, min_length=1, max_length=500, strict=False, description="of subscriptions"
    )
    stage: SubscriptionStage | None = Field(default=None, description="all that are in it")


class NamedFeed(Frozen):
    """A feed that a web page names in its head."""

    url: HttpUrl
    title: str | None = None


class Findings(Stored):
    """What checks have found out of a subscription's source."""

    title: str | None = None
    facts: SourceFacts = SourceFacts()
    pictures: dict[PictureRole, PictureNote] = Field(default_factory=dict)
    form: Literal["feed", "list"] | None = None
    checked_at: NonNegativeFloat | None = Field(default=None, description="the end of the last check")
    succeeded_at: NonNegativeFloat | None = None
    failing: int = Field(default=0, description="checks in a row that failed")
    failing_since: NonNegativeFloat | None = None
    error_code: str | None = None
    told_failing: bool = Field(default=False, description="others were told that it fails")
    hint: str | None = None
    etag: str | None = None
    modified: str | None = None
    digest: str | None = Field(default=None, description="of a feed's content")
    seeded: bool = Field(default=False, description="all entries were read once")
    whole_at: NonNegativeFloat | None = Field(default=None, description="when all were read last")
    forgets: int = Field(default=0, description="how often items were forgotten, which are to be read again")
    newest_first: bool = False
    cut: bool = Field(default=False, description="no check has reached the end of the list yet")
    cut_at: NonNegativeFloat | None = Field(
        default=None,
        description="of the first check that was cut before it came to what was known",
    )
    count: int | None = Field(default=None, description="of entries, as the source says")
    notice: Literal["all_new"] | None = Field(
        default=None, description="no entry was known, but not all can be new: they are held"
    )
    moved_to: str | None = Field(default=None, description="where the source says that it is now")
    moved_checks: int = Field(default=0, description="checks in a row at which it has said that")
    moved_taken: bool = Field(default=False, description="another subscription has the same there")
    former_urls: tuple[str, ...] = Field(default=(), description="which the subscription has left")
    key_origin: str | None = Field(
        default=None,
        description="of its first link, which names its entries; None: it has that link still",
    )
    feeds: tuple[NamedFeed, ...] = Field(default=(), description="which the page at its link has named")
    asked_until: NonNegativeFloat | None = Field(
        default=None, description="the source asks not to be checked before (Retry-After, max-age)"
    )


@dataclass(frozen=True, slots=True)
class StoredSubscription:
    """`check_no` counts the checks that began: the fence against one that was taken for lost.

    `wanted` has only the fields that were set. `manner` is that of its tasks (`ProcessRequest.manner`). Times
    are seconds since 1970.
    """

    subscription_id: str
    number: int
    revision: int
    url: str
    source_key: str
    manner: str
    scope: str
    wanted: SubscriptionSettings
    findings: Findings
    next_check_at: float | None
    lease_until: float | None
    check_no: int
    created_at: float
    owner: str | None = None
    created_by: str | None = None

    @property
    def key_origin(self) -> str:
        """What names its entries, and its folder: it outlives the link, so that a source may move."""
        return self.findings.key_origin or self.source_key

    def stage(self, now: float) -> SubscriptionStage:
        if not self.wanted.enabled:
            return "paused"
        if self.lease_until is not None and self.lease_until > now:
            return "checking"
        if self.findings.error_code:
            return "failing"
        return "idle" if self.findings.seeded else "seeding"


@dataclass(frozen=True, slots=True)
class StoredItem:
    """`about` is a JSON object: url, item (its place, if it has no link of its own), title, duration,
    uploader, kind, says, may_pass (that it may replace one that `backlog` asks for). Times are seconds since
    1970; `published_at` is a time in UTC, or a day, in ISO 8601.
    """

    subscription_id: str
    key: str
    number: int
    state: ItemState
    reason: str | None = None
    published_at: str | None = None
    task_id: str | None = None
    manner: str | None = None
    not_before: float | None = None
    tries: int = 0
    pinned: bool = False
    found_at: float = 0.0
    fetched_at: float | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


class FoundEntry(Frozen):
    """An entry as a check's child tells of it; its `id` and `extractor_key` are the extractor's.

    `verdict`: None if it is wanted; else the name of the filter that it does not pass, or why it has to wait.
    `known`: it has a name that was known, and no new ones; `behind`: a quick check would not have come to it.
    `again` is the key of the waiting item that this is another check of.
    """

    model_config = ConfigDict(extra="ignore")

    url: HttpUrl
    item: int | None = Field(default=None, ge=1)
    id: str | None = Field(default=None, max_length=500)
    extractor_key: str | None = Field(default=None, max_length=100)
    guid: str | None = Field(default=None, max_length=1000)
    media: HttpUrl | None = Field(default=None, description="of its file, if it has no link of its own")
    title: str | None = None
    duration: int | None = None
    uploader: str | None = None
    published_at: str | None = Field(
        default=None, pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)?$"
    )
    kind: MediaKind = "video"
    says: ListedInfo | None = None
    verdict: str | None = Field(default=None, max_length=64, pattern="^[a-z0-9_:]+$")
    begins_at: NonNegativeFloat | None = None
    known: bool = False
    behind: bool = False
    again: str | None = Field(default=None, pattern=r"^[^\x00]*$")  # no NUL: PostgreSQL has none in texts


class Refusal(Frozen):
    """The answer of a host that wants to be left alone: to the check of one entry."""

    model_config = ConfigDict(extra="ignore")

    retry_after: NonNegativeFloat | None = Field(default=None, description="seconds")


class CheckResult(Frozen):
    """What the child of a check reports at its end."""

    model_config = ConfigDict(extra="ignore")

    form: Literal["feed", "list"]
    unchanged: bool = False
    whole: bool = False
    truncated: bool = False
    unfinished: bool = Field(default=False, description="it was cut before it came to what was known")
    newest_first: bool = False
    tail: int = Field(
        default=0, ge=0, description="entries that nobody knew, behind the last one that is known"
    )
    title: str | None = None
    facts: SourceFacts | None = None
    count: int | None = None
    etag: str | None = None
    modified: str | None = None
    digest: str | None = None
    max_age: NonNegativeFloat | None = None
    moved_to: HttpUrl | None = Field(default=None, description="where the source says that it is now")
    moved_by: Literal["redirect", "feed", "page"] | None = Field(
        default=None, description="who says so: a lasting redirect, the feed itself, or a page of its feed"
    )
    is_there: bool = Field(default=True, description="what was to be confirmed was found at `moved_to`")
    feeds: tuple[NamedFeed, ...] = Field(default=(), max_length=10)
    refusal: Refusal | None = None


def wish_of(manner: str, wanted: SubscriptionSettings) -> str:
    """A hash of what is wanted of a source: two subscriptions with the same are one, also if a client has
    said of one what it gets anyway, or has said it in another order.
    """
    told = wanted.model_dump(mode="json", include={"filters", "library"}, exclude_defaults=True)
    if kinds := told.get("filters", {}).get("kinds"):
        told["filters"]["kinds"] = sorted({*kinds})
    asked = ProcessRequest.model_validate_json(to_json({**wanted.request, "url": "http://list.invalid/"}))
    request = asked.model_dump(mode="json", exclude_defaults=True, exclude={"url"})
    if "priority" in wanted.request:
        # Also the default one: without a priority, a subscription's tasks have another.
        request["priority"] = asked.priority
    if request:
        told["request"] = dict(sorted(request.items()))
    return hashlib.sha256(to_json([manner, dict(sorted(told.items()))])).hexdigest()


@dataclass(frozen=True, slots=True)
class Claim:
    """A check that this server is to do: nobody else does it before `subscription.lease_until`.

    `known` are keys and aliases of the newest items, `since_cut` those of items that were found since
    `Findings.cut_at`; `again` are items that wait for a check of their own.
    """

    subscription: StoredSubscription
    known: Sequence[str] = ()
    since_cut: Sequence[str] = ()
    again: Sequence[StoredItem] = ()


@dataclass(frozen=True, slots=True)
class CheckOutcome:
    """What came of a check: tasks that are stored now, and items whose failed tasks are to be retried.

    `is_late`: another check has begun since; nothing was changed. `held_until`: the host refuses, and is left
    alone until then.
    """

    tasks: Sequence[Task] = ()
    retry: Sequence[StoredItem] = ()
    is_late: bool = False
    held_until: float | None = None


@dataclass(frozen=True, slots=True)
class Pace:
    """Settings that checks go by; all but `max_new` in seconds."""

    interval: int
    min_interval: int
    pause: float
    max_new: int


def day_in_seconds(day: str) -> float:
    return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()


def moment_of(published_at: str | None) -> float | None:
    """Return the seconds since 1970 of a time, or of the beginning of a day; None if `text` is neither."""
    try:
        found = datetime.fromisoformat(published_at or "")
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def is_known_media(fetched: Fetched | None, manner: str) -> bool:
    """Return whether the media were downloaded in this manner, or by another program."""
    return fetched is not None and ("*" in fetched.manners or manner in fetched.manners)
