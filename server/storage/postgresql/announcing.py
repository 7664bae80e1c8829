"""Announcements between nodes (NOTIFY): a task has changed or is removed, a session has ended, the queue is
paused or resumed, or a feature gives a signal (`server.storage.statements.Signals`).

An announcement holds ids and revisions only; a node that needs the content reads the row. It is sent within
the transaction of the change and delivered after its COMMIT, in the order of commits.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from psycopg import AsyncConnection

CHANNEL = "clipwire"
LONGEST = 7900  # bytes of a payload; PostgreSQL refuses 8000
_SIGNS = {"deliveries": "$", "looks": "@"}  # how earlier releases write these two signals
_SEND = b"""
    SELECT pg_current_xact_id()::text,
        (SELECT count(pg_notify(%s, payload)) FROM unnest(%s::text[]) AS payload)"""


@dataclass(frozen=True, slots=True)
class Changed:
    task_id: str
    revision: int

    def __str__(self) -> str:
        return f"{self.task_id} {self.revision}"


@dataclass(frozen=True, slots=True)
class Gone:
    """A task that is removed."""

    task_id: str

    def __str__(self) -> str:
        return f"- {self.task_id}"


@dataclass(frozen=True, slots=True)
class LoggedOut:
    """A session that has ended."""

    session_id: str

    def __str__(self) -> str:
        return f"! {self.session_id}"


@dataclass(frozen=True, slots=True)
class QueueChanged:
    """The queue was paused or resumed."""

    def __str__(self) -> str:
        return "~ queue"


@dataclass(frozen=True, slots=True)
class Signal:
    """See `server.storage.statements.Signals`."""

    name: str

    def __str__(self) -> str:
        return f"{_SIGNS.get(self.name, '+')} {self.name}"


@dataclass(frozen=True, slots=True)
class ActedOnList:
    """A client has acted on a list: all its entries may show something new."""

    playlist_id: str

    def __str__(self) -> str:
        return f"& {self.playlist_id}"


@dataclass(frozen=True, slots=True)
class Hello:
    """Sent by a node to itself, to test whether announcements arrive."""

    def __str__(self) -> str:
        return "? hello"


News = Changed | Gone | LoggedOut | QueueChanged | Signal | ActedOnList | Hello


async def announce(db: AsyncConnection, sender: str, news: Iterable[News]) -> str:
    """Send `news` with the COMMIT of the transaction open on `db`; return the transaction's number."""
    row = await (await db.execute(_SEND, (CHANNEL, list(pack(sender, news))), prepare=True)).fetchone()
    assert row
    return str(row[0])


def pack(sender: str, news: Iterable[News]) -> Iterator[str]:
    """Yield payloads of at most `LONGEST` bytes: a line for the sender, then a line for each of its news."""
    lines: list[str] = []
    size = 0
    for line in map(str, news):
        needed = len(line.encode()) + 1
        if lines and size + needed > LONGEST:
            yield "\n".join(lines)
            lines = []
        if not lines:
            lines, size = [sender], len(sender.encode())
        lines.append(line)
        size += needed
    if lines:
        yield "\n".join(lines)


def unpack(payload: str) -> tuple[str, list[News]]:
    """Return the sender and the news; skip lines that only the next release understands."""
    sender, *lines = payload.split("\n")
    news: list[News] = []
    for line in lines:
        first, _, rest = line.partition(" ")
        match first:
            case "-":
                news.append(Gone(rest))
            case "!":
                news.append(LoggedOut(rest))
            case "~":
                news.append(QueueChanged())
            case "$" | "@" | "+":
                news.append(Signal(rest))
            case "&":
                news.append(ActedOnList(rest))
            case "?":
                news.append(Hello())
            case _ if rest.isdecimal():
                news.append(Changed(first, int(rest)))
    return sender, news
