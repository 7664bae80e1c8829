"""What matters of an exception, without what it holds on to: sockets, frames, whole pages.

yt-dlp wraps and chains its errors, and of those that end a download it keeps only the words. So whatever is
met on the way is noted on a `Trail`, where it is found again by its words.
"""

import ssl
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from yt_dlp.networking import exceptions as network

from server.child.source import walls

_REMEMBERED = 100


@dataclass(frozen=True, slots=True)
class Fact:
    """`detail` is what the library says of itself.

    `reading`: an answer had begun to come; `fragment`: it was asked for a part of a stream; `wall`: the
    answer says that only a browser gets another one.
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
                wall = walls.is_marked(error.response)
                return cls(kind, None, error.status, again, loop, fragment=fragment, wall=wall)
            case ssl.SSLError():
                return cls(kind, error.errno, detail=error.reason or "", reading=reading)
            case OSError():
                return cls(kind, error.errno, reading=reading)
            case ValueError():
                return cls(kind, detail=str(error))
        return cls(kind, reading=reading)


class Trail:
    """What a job has met: the link that it began with, and the network's errors, oldest first."""

    def __init__(self, url: str = "") -> None:
        self.url = url
        self._met: deque[tuple[str, tuple[Fact, ...]]] = deque(maxlen=_REMEMBERED)

    def note(self, error: network.RequestError, **known: bool) -> None:
        """`known` are fields of `Fact`. May be called from any thread."""
        self._met.append((str(error), tuple(Fact.of(link, **known) for link in chain(error))))

    def told_in(self, words: str) -> tuple[str, tuple[Fact, ...]]:
        """The last error that is told in `words`: how it is told there, and what is known of it."""
        found = (met for met in reversed(self._met) if met[0] and met[0] in words)
        return next(found, ("", ()))


def chain(error: BaseException) -> Iterator[BaseException]:
    """`error` and all that it wraps or came of, outermost first."""
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
