"""What matters of an exception, without the sockets, frames and whole pages that it references.

yt-dlp wraps and chains its errors, and keeps only the message of those that end a download. So each network
error is noted on a `Trail` when it is met, and found there again by its message.
"""

import ssl
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from yt_dlp.networking import exceptions as network

from server.child.extract import bot_walls
from server.core.codes import PASSING_STATUSES

_REMEMBERED = 100


@dataclass(frozen=True, slots=True)
class Fact:
    """`detail` is the reason that the library gives; `retry_after` is the header as it came.

    `reading`: the response had begun to arrive; `fragment`: the request was for a fragment of a stream;
    `wall`: the response is a bot wall (see `server.child.extract.bot_walls`).
    """

    kind: type[BaseException]
    errno: int | None = None
    status: int | None = None
    retry_after: str | None = None
    detail: str = ""
    reading: bool = False
    fragment: bool = False
    wall: bool = False

    @classmethod
    def of(cls, error: BaseException, *, reading: bool = False, fragment: bool = False) -> "Fact":
        kind = type(error)
        match error:
            case network.HTTPError():
                loop = "redirect loop" if error.redirect_loop else ""
                again = error.response.headers.get("Retry-After")
                wall = bot_walls.is_marked(error.response)
                return cls(kind, None, error.status, again, loop, fragment=fragment, wall=wall)
            case ssl.SSLError():
                return cls(kind, error.errno, detail=error.reason or "", reading=reading)
            case OSError():
                return cls(kind, error.errno, reading=reading)
            case ValueError():
                return cls(kind, detail=str(error))
        return cls(kind, reading=reading)


class Trail:
    """The link that a job began with, and its last `_REMEMBERED` network errors, oldest first.

    `seen` is what the last page says that has no film, see `server.child.extract.seen`.
    """

    def __init__(self, url: str = "") -> None:
        self.url = url
        self.passing = 0
        """How many network errors were met after which another attempt may help."""

        self.seen: str | None = None
        self._met: deque[tuple[str, tuple[Fact, ...]]] = deque(maxlen=_REMEMBERED)

    def note(self, error: network.RequestError, **known: bool) -> None:
        """`known` are fields of `Fact`. May be called from any thread."""
        self._met.append((str(error), tuple(Fact.of(link, **known) for link in chain(error))))
        is_http = isinstance(error, network.HTTPError)
        self.passing += (
            error.status in PASSING_STATUSES if is_http else isinstance(error, network.TransportError)
        )

    def told_in(self, words: str) -> tuple[str, tuple[Fact, ...]]:
        """The last error whose message is in `words`: that message, and the facts; empty if there is none."""
        found = (met for met in reversed(self._met) if met[0] and met[0] in words)
        return next(found, ("", ()))


def chain(error: BaseException) -> Iterator[BaseException]:
    """`error` and all exceptions that it wraps or was caused by, outermost first."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        link = waiting.pop(0)
        if isinstance(link, BaseException) and id(link) not in seen:
            seen.add(id(link))
            yield link
            waiting += _behind(link)


def _behind(link: BaseException) -> Iterator[object]:
    wrapped = getattr(link, "exc_info", None)
    yield from wrapped if isinstance(wrapped, tuple) else ()
    yield from (getattr(link, "cause", None), getattr(link, "reason", None), link.__cause__)
    if not link.__suppress_context__:
        yield link.__context__
    yield from getattr(link, "unexpected_errors", ())
    yield from link.args
