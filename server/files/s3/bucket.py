"""A bucket, or a prefix of one. Each request has a time limit, after which `StorageAway` is raised.

Objects are read as a stream that is resumed where it broke off, and written as multipart uploads: an object
is visible only once it is complete.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import BinaryIO, Final
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import MemoryStore, S3Store

from server.core.errors import StorageAway

log = logging.getLogger(__name__)

ANSWER_WITHIN = 4.5  # seconds: a request of a client needs two answers at most
CHUNK_WITHIN = 60.0  # seconds
PART_WITHIN = 120.0  # seconds for the upload of one part
FIRST_PIECE: Final = 256 << 10  # bytes
CHUNK: Final = 1 << 20
PART: Final = 5 << 20  # bytes, the least that S3 allows: each upload has three parts in memory
PARTS_AT_ONCE: Final = 2
MAX_PARTS: Final = 9_000  # S3 allows 10,000 parts
READ: Final = 1 << 20
LINK_LASTS = timedelta(minutes=5)
DELETED_AT_ONCE: Final = 500
LONGEST_REASON: Final = 200  # characters of a reason that are logged
NO_BUCKET: Final = "<Code>NoSuchBucket</Code>"  # in the answer to a GET; a HEAD's answer has no body
OUTAGE_OVER_AFTER: Final = 45.0  # seconds without an error, after which the next answer ends an outage


@dataclass(frozen=True, slots=True)
class BucketObject:
    key: str
    size: int
    changed_at: datetime


class Bucket:
    """Keys are relative to the prefix of the store. Every method may raise `StorageAway`.

    An outage is logged here, with one line when it begins and one when it is over, so callers need not log
    it. With `logs_outages` False, as for the probe at a start, the caller reports errors.
    """

    def __init__(self, store: S3Store | MemoryStore, *, logs_outages: bool = True) -> None:
        self._store = store
        self._logs_outages = logs_outages
        self._away_since: float | None = None
        self._failed_at = 0.0

    async def size(self, key: str) -> int:
        """The object's size in bytes. Raises `FileNotFoundError`."""
        with self._as_bucket_errors(may_lack=True):
            async with asyncio.timeout(ANSWER_WITHIN):
                return (await obstore.head_async(self._store, key))["size"]

    async def get(self, key: str) -> bytes:
        """The content of a small object. Raises `FileNotFoundError`."""
        with self._as_bucket_errors(may_lack=True):
            async with asyncio.timeout(ANSWER_WITHIN):
                result = await obstore.get_async(self._store, key)
                return bytes(await result.bytes_async())

    async def read(self, key: str, part: range) -> AsyncGenerator[memoryview, None]:
        """Yield all of `part`. A stream that breaks off is resumed there.

        So the bucket may close a connection that a slow client has kept idle. Raises `StorageAway` after a
        time-out, or if the stream breaks off twice at the same byte.
        """
        failed_at = -1
        while part:
            try:
                async with aclosing(self._chunks(key, part)) as chunks:
                    async for chunk in chunks:
                        part = part[len(chunk) :]
                        yield chunk
            except StorageAway as exc:
                if failed_at == part.start or isinstance(exc.__cause__, TimeoutError):
                    raise
                failed_at = part.start

    async def put(self, key: str, content: bytes, media_type: str) -> None:
        """Write a small object, or replace it."""
        with self._as_bucket_errors():
            async with asyncio.timeout(ANSWER_WITHIN):
                attributes = {"Content-Type": media_type}
                await obstore.put_async(self._store, key, content, attributes=attributes, use_multipart=False)

    async def create(self, key: str, content: bytes) -> None:
        """Write a small object that must not exist yet. Raises `FileExistsError`.

        Not for a large object: a conditional write is one request, with all of the content in memory.
        """
        with self._as_bucket_errors():
            async with asyncio.timeout(ANSWER_WITHIN):
                await obstore.put_async(self._store, key, content, mode="create")

    async def upload(self, key: str, file: BinaryIO, size: int, attributes: dict[str, str]) -> None:
        """Upload `size` bytes of `file`, all or nothing. Afterwards the bucket is asked for the object's
        size.

        Raises `OSError` if `file` cannot be read or is shorter.
        """
        part = max(PART, -(-size // MAX_PARTS))
        writer = obstore.open_writer_async(
            self._store, key, attributes=attributes, buffer_size=part, max_concurrency=PARTS_AT_ONCE
        )
        left = size
        try:
            with self._as_bucket_errors():
                async with writer:  # an error within the block leaves no object
                    while left:
                        chunk = await _read_piece(file, min(READ, left))
                        left -= len(chunk)
                        async with asyncio.timeout(PART_WITHIN):
                            await writer.write(chunk)
        except _Unreadable as exc:
            raise OSError(f"cannot be read to its end: {key}") from exc.__cause__
        try:
            stored = await self.size(key)
        except FileNotFoundError:
            stored = None
        if stored != size:
            lost = OSError(f"of {key} it has {stored or 0} bytes of {size}, after an upload that succeeded")
            self.failed(lost)
            raise StorageAway from lost

    async def keys(self, prefix: str) -> AsyncIterator[BucketObject]:
        """Yield all objects below `prefix/`, in the order of their keys."""
        batches = obstore.list(self._store, prefix=prefix, chunk_size=1000)
        while True:
            with self._as_bucket_errors():
                async with asyncio.timeout(CHUNK_WITHIN):
                    batch = await anext(batches, None)
            if batch is None:
                return
            for each in batch:
                yield BucketObject(each["path"], each["size"], each["last_modified"])

    async def delete(self, keys: Iterable[str]) -> None:
        """Delete these objects. Idempotent."""
        left = list(keys)
        while left:
            batch, left = left[:DELETED_AT_ONCE], left[DELETED_AT_ONCE:]
            with self._as_bucket_errors():
                async with asyncio.timeout(CHUNK_WITHIN):
                    await obstore.delete_async(self._store, batch)

    async def link(self, key: str) -> str:
        """Return a presigned URL: whoever has it can read the object for `LINK_LASTS`."""
        assert isinstance(self._store, S3Store), "other stores have no door of their own"
        with self._as_bucket_errors():
            return await obstore.sign_async(self._store, "GET", key, LINK_LASTS)

    def failed(self, error: BaseException) -> None:
        """Note that a request failed, or took too long."""
        self._failed_at = time.monotonic()
        if self._away_since is None and self._logs_outages:
            self._away_since = self._failed_at
            said = str(error).strip().splitlines() or [type(error).__name__]
            log.warning("the bucket is away: %s", said[0].strip()[:LONGEST_REASON])

    def _answered(self) -> None:
        """Note an answer. It ends an outage only some time after the last error: uploads alone may fail."""
        now = time.monotonic()
        if self._away_since is not None and now - self._failed_at > OUTAGE_OVER_AFTER:
            log.info("the bucket answers again, after %.0f s", now - self._away_since)
            self._away_since = None

    @contextmanager
    def _as_bucket_errors(self, *, may_lack: bool = False) -> Iterator[None]:
        """Turn errors of obstore into `FileExistsError`, or into `StorageAway` if a retry may help.

        `may_lack`: raise `FileNotFoundError` if there is no such object. Without it "not found" is about the
        bucket itself, or about an upload whose parts it has lost: a retry may help.
        """
        try:
            yield
        except AlreadyExistsError as exc:
            self._answered()
            raise FileExistsError from exc
        except FileNotFoundError as exc:
            if not may_lack or NO_BUCKET in str(exc):
                self.failed(exc)
                raise StorageAway from exc
            self._answered()
            raise
        except (BaseError, OSError) as exc:  # a time-out is an OSError, and so is what a writer raises
            self.failed(exc)
            raise StorageAway from exc
        else:
            self._answered()

    async def _chunks(self, key: str, part: range) -> AsyncGenerator[memoryview, None]:
        """Yield a small range first, so that a slow bucket answers in time, then the rest.

        Raises `StorageAway` if the stream ends too soon.
        """
        for within, piece in ((ANSWER_WITHIN, part[:FIRST_PIECE]), (CHUNK_WITHIN, part[FIRST_PIECE:])):
            if piece:
                with self._as_bucket_errors(may_lack=True):
                    async with asyncio.timeout(within):
                        options: obstore.GetOptions = {"range": (piece.start, piece.stop)}
                        got = await obstore.get_async(self._store, key, options=options)
                chunks = aiter(got.stream(min_chunk_size=CHUNK))
                while piece:
                    with self._as_bucket_errors():
                        async with asyncio.timeout(within):
                            chunk = memoryview(await anext(chunks, b""))
                    if not chunk:
                        raise StorageAway
                    piece = piece[len(chunk) :]
                    yield chunk


def open_bucket(url: str, endpoint: str | None, *, logs_outages: bool = True) -> Bucket:
    """Open the bucket at `s3://bucket/prefix`; keys, region and the like come from `AWS_*` of the
    environment.
    """
    parts = urlsplit(url)
    store = S3Store(
        parts.netloc,
        prefix=parts.path.strip("/") or None,
        config={"endpoint": endpoint} if endpoint else {},
        client_options={
            "allow_http": True,
            "connect_timeout": timedelta(seconds=3),
            "timeout": timedelta(seconds=PART_WITHIN),
        },
        retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=ANSWER_WITHIN)},
    )
    return Bucket(store, logs_outages=logs_outages)


class _Unreadable(Exception):
    """Raised if a file on this machine failed, not the bucket."""


async def _read_piece(file: BinaryIO, size: int) -> bytes:
    try:
        chunk = await asyncio.to_thread(file.read, size)
    except OSError as exc:
        raise _Unreadable from exc
    if not chunk:
        raise _Unreadable
    return chunk
