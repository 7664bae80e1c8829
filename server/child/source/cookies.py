"""The job's cookies: yt-dlp has them in memory, and what sources change of them goes back to the server.

They are never written to a file here: the job's directory outlives the job.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from server.child.process.channel import Channel
from server.child.process.log import Log
from server.child.source.engine import Engine
from server.jobs import MOST_COOKIES


@contextmanager
def given_back(engine: Engine, link: Channel, log: Log) -> Iterator[None]:
    """Tell the server after each look at the source, and at the end, if they have changed.

    More than a file may hold nobody would store.
    """
    said = written(engine)

    def tell() -> None:
        nonlocal said
        text, before = written(engine), said
        said = text
        if len(text.encode(errors="replace")) > MOST_COOKIES:
            log.write("the source sets more cookies than can be stored: those that it has renewed are lost")
        elif text != before:
            link.send("renewed", cookies=text)

    engine.on_look = tell
    try:
        yield
    finally:
        tell()


def written(engine: Engine) -> str:
    """All cookies that `engine` has, as a file of them.

    yt-dlp's own `save` makes those of a session look expired, and then does not send them any more.
    """
    lines = "".join(filter(None, map(_line, engine.cookiejar)))
    return f"# Netscape HTTP Cookie File\n{lines}"


def _line(cookie: Any) -> str | None:
    """None for one that such a file cannot hold."""
    flags = {True: "TRUE", False: "FALSE"}
    name, value = (cookie.name, cookie.value) if cookie.value is not None else ("", cookie.name)
    below = flags[cookie.domain.startswith(".")]
    fields = (
        cookie.domain,
        below,
        cookie.path,
        flags[bool(cookie.secure)],
        str(cookie.expires or 0),
        name,
        value,
    )
    return None if any(re.search(r"[\x00-\x1f\x7f]", field) for field in fields) else "\t".join(fields) + "\n"
