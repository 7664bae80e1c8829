"""Makes covers of podcast feeds: a child turns any picture into the square one that podcast apps ask for.

Decisions: docs/decisions/library.md
"""

import asyncio
import base64
import binascii
import json
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from uuid import uuid4

from server.core.ports import Workplace
from server.core.process_request import ProcessRequest
from server.tasks.children import child_in_scratch
from server.tasks.fork_servers import ForkServers
from server.tasks.job_builder import JobMaker

log = logging.getLogger(__name__)

COVER_TIMEOUT = 20.0  # seconds; mostly a cover takes a fifth of a second
MAX_PICTURE_BYTES = 20 << 20
MAX_COVER_BYTES = 4 << 20  # bytes; a cover that is nothing but noise has one million
CACHED_COVERS = 16  # covers in memory; that of a photo has 100,000 to 400,000 bytes
FAILED = b""  # cached for a picture of which no cover can be made
NO_PICTURE = "conversion_failed"  # a failure with this code would be repeated by a retry
SOURCE = "source"  # see `server.child.media.cover`
_JPEG = b"\xff\xd8\xff"


class Covers:
    """Makes one cover at a time, since apps rarely ask, and caches the last ones."""

    def __init__(self, fork_server: ForkServers, workplace: Workplace, jobs: JobMaker) -> None:
        self._fork_server = fork_server
        self._workplace = workplace
        self._jobs = jobs
        self._one_at_a_time = asyncio.Lock()
        self._cache: OrderedDict[str, bytes] = OrderedDict()
        self._deadlines: set[asyncio.Timeout] = set()
        self._closing = False

    async def cover(self, name: str, picture: Callable[[], Awaitable[bytes]]) -> bytes | None:
        """Return the cover of a `picture`, a JPEG; None if none can be made. Raises what `picture` raises.

        `name` is unique to the picture. Its cover is cached, and so is that none can be made.
        """
        if name not in self._cache and not self._closing:
            with suppress(TimeoutError):
                async with asyncio.timeout(COVER_TIMEOUT) as deadline:
                    self._deadlines.add(deadline)
                    try:
                        async with self._one_at_a_time:
                            if name not in self._cache:
                                made = await self._make(await picture())
                                if made is not None:
                                    self._cache[name] = made
                                    if len(self._cache) > CACHED_COVERS:
                                        self._cache.popitem(last=False)
                    finally:
                        self._deadlines.discard(deadline)
        if name in self._cache:
            self._cache.move_to_end(name)
        return self._cache.get(name) or None

    def close(self) -> None:
        """End the work that is being done, as the server shuts down."""
        self._closing = True
        for deadline in self._deadlines:
            if not deadline.expired():
                deadline.reschedule(0)

    async def _make(self, picture: bytes) -> bytes | None:
        """Make the cover. Return `FAILED` if the file is no picture; None if a retry may succeed."""
        await self._fork_server.warm()
        folder = self._workplace.scratch / f"cover.{uuid4()}"
        nothing = ProcessRequest(url="http://cover.invalid/")
        job = self._jobs.job("cover", nothing, folder / "work", folder / "lock")
        try:
            async with child_in_scratch(self._fork_server.start, job, folder, {SOURCE: picture}) as child:
                line = await child.read_line()
            match json.loads(line or b'{"code":"worker_lost"}'):
                case {"kind": "covered", "data": str(data)}:
                    cover = base64.b64decode(data, validate=True)
                    if len(cover) <= MAX_COVER_BYTES and cover.startswith(_JPEG):
                        return cover
                    reason = NO_PICTURE
                case {"code": str(code)}:
                    reason = code
                case _:
                    reason = "internal"
        except (OSError, ValueError, binascii.Error) as error:
            reason = str(error)
        finally:
            self._fork_server.ended(folder.name, None)
        log.warning(
            "no cover of a podcast feed could be made of a picture of %s bytes: %s", len(picture), reason
        )
        return FAILED if reason == NO_PICTURE else None
