"""Deliveries: messages to webhooks and people about the end of a task.

A delivery is stored in the transaction of the task's final status, so it is neither lost nor made up. It has
that status: a retry of the task, or a later count of a list's entries, does not change what is told.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal
from urllib.parse import urlsplit

from server.core.addresses import DEFAULT_PORTS, plain
from server.core.process_request import ProcessRequest
from server.core.task import Stage, TaskStatus
from server.core.values import Frozen

LONGEST_WAIT = 14 * 3600.0  # seconds between two tries
# Seconds after a task's end by which all its deliveries have succeeded or were given up.
TOLD_WITHIN = timedelta(days=2)
LIBRARY_WITHIN = 600.0  # seconds that the end of a task waits for its files to be in the library
AT_ONCE = 4  # most tries at once for one receiver, on all nodes together
LEASE = 60.0  # seconds that a node has for a claimed delivery; then it is due again, on any node


Kind = Literal["webhook", "default", "notify"]


@dataclass(frozen=True, slots=True)
class Addressee:
    """`webhook`: the task's own, `target` is its URL. `default`: the address in the configuration, as it is
    when it is told. `notify`: a person, `target` is a hash of the address.

    Of all that are told by one `receiver`, only a few are told at once.
    """

    kind: Kind
    target: str = field(default="", repr=False)
    receiver: str = field(default="", compare=False)


Others = Sequence[Addressee]
"""Who is told of all that is told."""
Tells = Callable[[ProcessRequest | None, TaskStatus], Sequence[Addressee]]
"""Who is told of the end of the task with this request and final status."""


class SubscriptionNotice(Frozen):
    """A message about a subscription that fails, or works again; times are seconds since 1970."""

    type: Literal["subscription_failing", "subscription_works"]
    subscription_id: str
    name: str
    url: str
    since: float
    error_code: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """`task_id` is empty if a subscription is told of. `attempts` counts all tries, `step` those since the
    plan began. `next_at` is None once given up.
    """

    delivery_id: str
    number: int
    task_id: str
    addressee: Addressee
    status: TaskStatus | SubscriptionNotice
    attempts: int = 0
    step: int = 0
    last_error: str | None = None
    next_at: datetime | None = None

    @property
    def about(self) -> str:
        """The id of the task or the subscription."""
        if isinstance(self.status, SubscriptionNotice):
            return self.status.subscription_id
        return self.task_id


def waits_for_library(status: TaskStatus) -> bool:
    """Whether the files of a completed task are still to be placed: whoever is told of its end can use them
    only then.
    """
    waits = status.library is not None and status.library.state == "waiting"
    return waits and status.stage is Stage.COMPLETED and not status.is_list


def receiver_of(url: str) -> str:
    """Return the host and port of a webhook; an empty text if `url` is none."""
    try:
        parts = urlsplit(url)
        return f"{plain(parts.hostname or '')}:{parts.port or DEFAULT_PORTS[parts.scheme.lower()]}"
    except (ValueError, KeyError):
        return ""


def others_of(*, default: str | None = None, notify: Sequence[str] = ()) -> Others:
    """The `default` webhook if there is one, and the people in `notify`."""
    return (
        *([Addressee("default", receiver=receiver_of(default))] if default else []),
        *(Addressee("notify", name, name) for name in notify),
    )


def tells_of(*, default: str | None = None, notify: Sequence[str] = ()) -> Tells:
    """Writes deliveries to the task's own webhook, and to `others_of` all tasks.

    Not of an entry: its list is told of, once, when all entries have ended.
    """
    others = others_of(default=default, notify=notify)

    def tells(request: ProcessRequest | None, status: TaskStatus) -> Sequence[Addressee]:
        if status.playlist_id is not None:
            return ()
        own = request.webhook if request else None
        return (Addressee("webhook", own, receiver_of(own)), *others) if own else others

    return tells
