"""What nodes tell each other: that a task has changed, is gone, or that a session has ended.

An announcement names, it does not show: whoever wants to know reads. It is sent within the transaction of the
change and delivered after its COMMIT, in the order of commits.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from psycopg import AsyncConnection

CHANNEL = "clipwire"
LONGEST = 7900  # bytes; PostgreSQL refuses 8000
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
class Hello:
    """Which a node sends to itself."""

    def __str__(self) -> str:
        return "? hello"


News = Changed | Gone | LoggedOut | Hello


async def announce(db: AsyncConnection, sender: str, news: Iterable[News]) -> str:
    """With the COMMIT of the transaction that is open on `db`; return by which number it is known."""
    row = await (await db.execute(_SEND, (CHANNEL, list(packed(sender, news))), prepare=True)).fetchone()
    assert row
    return str(row[0])


def packed(sender: str, news: Iterable[News]) -> Iterator[str]:
    """As few payloads as they fit in: a line for the sender, and one for each of the news."""
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


def unpacked(payload: str) -> tuple[str, list[News]]:
    """The sender, and the news."""
    sender, *lines = payload.split("\n")
    return sender, list(_read(lines))


def _read(lines: Iterable[str]) -> Iterator[News]:
    """What a neighbour of the next release says in another way is passed over."""
    for line in lines:
        first, _, rest = line.partition(" ")
        match first:
            case "-":
                yield Gone(rest)
            case "!":
                yield LoggedOut(rest)
            case "?":
                yield Hello()
            case _ if rest.isdecimal():
                yield Changed(first, int(rest))
