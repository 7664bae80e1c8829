"""Sends the cookies that sources have changed back to the server.

They are never written to a file here, because the job's directory outlives the job.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from server.child.extract.youtube_dl import Engine
from server.child.process.channel import Channel
from server.child.process.log import Log
from server.core.jobs import MOST_COOKIES


@contextmanager
def send_changed_cookies(engine: Engine, link: Channel, log: Log) -> Iterator[None]:
    """While the block runs, send the cookies after each extraction, and at its end, if they have changed.

    More than `MOST_COOKIES` bytes are not sent: the server would not store them.
    """
    last_sent = cookie_file(engine)

    def send_changes() -> None:
        nonlocal last_sent
        text, before = cookie_file(engine), last_sent
        last_sent = text
        if len(text.encode(errors="replace")) > MOST_COOKIES:
            log.write("the source sets more cookies than can be stored: its changes are lost")
        elif text != before:
            link.send("renewed", cookies=text)

    engine.on_extracted = send_changes
    try:
        yield
    finally:
        send_changes()


def cookie_file(engine: Engine) -> str:
    """Return all cookies of `engine`, as the text of a Netscape cookie file.

    yt-dlp's own `save` sets `expires` of session cookies to 0 in the jar, which then no longer sends them.
    """
    lines, flags = ["# Netscape HTTP Cookie File"], {True: "TRUE", False: "FALSE"}
    for cookie in engine.cookiejar:
        name, value = (cookie.name, cookie.value) if cookie.value is not None else ("", cookie.name)
        fields = (
            cookie.domain,
            flags[cookie.domain.startswith(".")],
            cookie.path,
            flags[bool(cookie.secure)],
            str(cookie.expires or 0),
            name,
            value,
        )
        # The file format cannot express these cookies.
        if not any(re.search(r"[\x00-\x1f\x7f]", field) for field in fields):
            lines.append("\t".join(fields))
    return "\n".join([*lines, ""])
