"""The service with children that check RSS feeds, and can do nothing else.

    python -W default tests/fakes/checking.py               the service
    python -I tests/fakes/checking.py FD CONFIG             its fork server

The children need no yt-dlp, so a server that was killed checks again after a third of the time: for tests
with hundreds of kills. A check reports all entries, also known ones. A check that dies with its server is
taken over after `LEASE` seconds.
"""

import json
import socket
import sys
import urllib.request
from pathlib import Path
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

LEASE, RENEWED_EVERY = 2.0, 0.5  # seconds that a check's lease lasts, and after which it is renewed


def check(channel: socket.socket) -> None:
    lines = channel.makefile("rwb")
    url = json.loads(lines.readline())["wishes"]["url"]
    with urllib.request.urlopen(url, timeout=20) as answer:
        feed = ElementTree.fromstring(answer.read())
    entries = [{"url": item.findtext("link"), "title": item.findtext("title")} for item in feed.iter("item")]
    for event in (
        {"kind": "found_entries", "entries": entries},
        {"kind": "checked", "form": "feed", "whole": True, "newest_first": True, "count": len(entries)},
    ):
        lines.write(json.dumps(event).encode() + b"\n")
        lines.flush()
    channel.shutdown(socket.SHUT_WR)


def serve() -> None:
    from server.child.forkserver import JobForker

    server = JobForker(socket.socket(fileno=int(sys.argv[1])))
    server.serve(check, yt_dlp="2026.10.26", ffmpeg=None, deno=None, landlock=0, unfit=[])


def install() -> None:
    from server.tasks import children, leases

    children.PROGRAM = Path(__file__).resolve()
    leases.LEASE, leases.RENEWED_EVERY = LEASE, RENEWED_EVERY


def main() -> int:
    from server.__main__ import run

    install()
    return run()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        serve()
    else:
        sys.exit(main())
