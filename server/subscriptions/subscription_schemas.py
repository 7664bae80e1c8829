"""What the routes of subscriptions answer; imported when one of them is asked, or their description."""

from typing import Any, Literal

from pydantic import Field

from server.api.payload import Answer, Instant, LibraryPlace
from server.api.problems import Problem
from server.core.library import Layout
from server.memory.remembering import MediaKind
from server.subscriptions.subscription import ItemState, LastOnes, SinceDay, SubscriptionStage


class FeedAddress(Answer):
    name: str
    category: str | None = Field(None, description="if it was set")
    explicit: bool | None = Field(None, description="if it was set")
    url: str = Field(
        description="for podcast apps: whoever has it needs no token", json_schema_extra={"format": "uri"}
    )


class SubscriptionFilters(Answer):
    title: str | None = Field(None, description="a regular expression found in the title")
    not_title: str | None = Field(None, description="one that is not found in the title")
    min_duration: int | None = Field(None, description="seconds")
    max_duration: int | None = Field(None, description="seconds")
    since: str | None = Field(None, description="published on this day or later")
    until: str | None = Field(None, description="published on this day or earlier")
    kinds: list[MediaKind] | None = None
    members: bool = Field(description="also what only members may see")
    min_age: str | None = Field(None, description="wait so long after the publication, like `2h`")


class SubscriptionKeep(Answer):
    days: int | None = Field(None, description="since it was fetched")
    last: int | None = Field(None, description="the newest n, by publication")


class SubscriptionLibrary(Answer):
    layout: Layout | None = Field(None, description="if it was set, as all of these")
    folder: str | None = None
    name: str | None = None
    nfo: bool | None = None
    artwork: bool | None = None
    keep_task: bool | None = None


class FeedOfPage(Answer):
    url: str
    title: str | None = None


class Subscription(Answer):
    subscription_id: str
    revision: int = Field(ge=1, description="grows with each change of the settings")
    url: str = Field(
        description="as it was sent, or where its source has moved to since, without `user:password@`"
    )
    name: str = Field(description="as it was set, else the title, else the link")
    title: str | None = Field(None, description="as its source says")
    description: str | None = Field(None, description="of itself, by its source; not in lists")
    author: str | None = Field(None, description="as its source says")
    picture: str | None = Field(
        None,
        description="once there is one: link to the [picture](#get-apisubscriptionssubscription_idpicture)"
        " of its source",
    )
    enabled: bool
    stage: SubscriptionStage
    checked_at: Instant | None = Field(None, description="the end of the last check, whatever came of it")
    succeeded_at: Instant | None = Field(None, description="the end of the last check that was good")
    waiting: Literal["host_held"] | None = Field(
        None, description="its host has refused a request, and is left alone until `next_check_at`"
    )
    next_check_at: Instant | None = None
    items: dict[str, int] = Field(description="how many are in each state")
    held: int | None = Field(
        None, description="how many of those that wait do so until a client fetches or skips them, if any"
    )
    last_fetched_at: Instant | None = Field(
        None, description="when the newest of the entries that are `fetched` was"
    )
    error_code: str | None = Field(None, description="why the last check failed")
    error: str | None = Field(None, description="the same in a sentence")
    hint: str | None = Field(None, description="what can be done about it")
    notice: Literal["all_new", "already_subscribed"] | None = Field(
        None,
        description="`all_new`: the last check knew no entry, but not all can be new, and they are held; "
        "`already_subscribed`: where its source has moved another subscription wants the same",
    )
    moved_to: str | None = Field(
        None, description="where its source says that it is now: `url` after three checks in a row"
    )
    feeds: list[FeedOfPage] | None = Field(
        None, description="those that the page at the link named; the first is followed where it is no list"
    )
    interval: str = Field(description="like `1h`, or `auto`")
    request: dict[str, Any] = Field(
        title="Entry request", description="the fields of `POST /api/process` that were set for each entry"
    )
    filters: SubscriptionFilters
    backlog: Literal["none", "all"] | LastOnes | SinceDay
    keep: SubscriptionKeep
    library: SubscriptionLibrary | None = Field(None, description="where in the library its files go")
    profile: str | None = Field(None, description="whose settings it has where it sets nothing itself")
    feed: FeedAddress | None = Field(None, description="its podcast feed, if it has one")
    created_by: str | None = Field(None, description="the [person](#people) who has made it")
    owner: str | None = Field(
        None, description="with `access.separate_lists`, where an admin reads it: whose it is"
    )


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
    thumbnail: str | None = Field(
        None,
        description="of one that is or was fetched: link to its task's"
        " [thumbnail](#get-apitaskstask_idthumbnail)",
    )
    library: LibraryPlace | None = Field(None, description="of one that goes there, as of a task")
    paths: list[str] = Field(description="of its files in the library")
    pinned: bool = Field(description="it is kept, whatever `keep` says")


class ItemPage(Answer):
    items: list[Item]
    next_cursor: str | None = Field(None, description="the last page has none")


class ItemResult(Answer):
    status: int = Field(description="that of a response for this item alone")
    item: Item | None = None
    problem: Problem | None = None


class ItemResults(Answer):
    results: list[ItemResult]
    more: Literal[True] | None = Field(None, description="there are more in this state")


class SubscriptionResult(Answer):
    url: str
    status: int = Field(description="201, 409 or 422")
    subscription: Subscription | None = None
    problem: Problem | None = None


class SubscriptionResults(Answer):
    results: list[SubscriptionResult]


class SubscriptionActionResult(Answer):
    status: int = Field(description="that of a response for this subscription alone; 204: it is gone")
    subscription: Subscription | None = None
    problem: Problem | None = None


class SubscriptionActionResults(Answer):
    results: list[SubscriptionActionResult]
    more: Literal[True] | None = Field(None, description="there are more in this stage")


class ProfileList(Answer):
    profiles: dict[str, dict[str, Any]] = Field(
        description="name -> settings of `POST /api/subscriptions` that it gives"
    )
    default: str | None = Field(None, description="the one of new subscriptions that name none")
