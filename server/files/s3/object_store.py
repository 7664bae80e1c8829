"""Finished files in a bucket, beside the place where children of this machine work.

files/<task_id>/<attempt>/    finished files and, last of all, their manifest
files/<task_id>/thumbnail-<hash>.jpg    in two sizes
logs/<task_id>                a copy of the task's log, some seconds old

The attempt in a key keeps two workers from ever writing the same key. Readers take keys from rows only: an
object that no row names is waste, and is deleted.

Decisions: docs/decisions/files.md
"""

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial

from pydantic import ValidationError

from server.core.errors import FileNotFound, StorageAway
from server.core.events import ProducedFile
from server.core.film import Manifest, StoredFile, Thumbnail, VideoInfo
from server.core.long_work import compute
from server.core.ports import Stream, TellAway
from server.core.shielding import open_shielded, to_the_end
from server.core.task import TaskStatus
from server.files.orphans import Sweep, TaskLookup
from server.files.public_names import folder_of, name_files
from server.files.publishing import MANIFEST, UnsafeFile, check_out, open_out, pictures_of
from server.files.s3.bucket import Bucket
from server.files.s3.bucket_sweeper import BucketSweeper, folder_of_task
from server.files.workplace import LocalWorkplace, checked_task_id

log = logging.getLogger(__name__)

TRY_UPLOADS_FOR = 300.0  # seconds
TRY_MANIFEST_FOR = 20.0  # seconds: a client's cancel waits until this is over
FIRST_PAUSE, LAST_PAUSE = 1.0, 15.0  # seconds between tries, doubled each time
PING_EVERY = 2.5  # seconds, while something is uploaded
SHARE_EVERY = 4.0  # seconds
LAST_SHARE_WITHIN = 10.0  # seconds
END_WITHIN = 0.8  # seconds for the cleanup after a cancel, since a client waits for the cancel
MAX_SHARED = 512 << 10  # bytes of a log, which consists of the child's lines and some of the server's

Disposition = Callable[..., str]
"""Of a public name, the film's title and, of a chapter that has one, its own."""


class S3Files:
    """`disposition` makes the `Content-Disposition` that the bucket sends to clients who fetch from it.

    Every method may raise `StorageAway`, unless it says otherwise.
    """

    def __init__(
        self, workplace: LocalWorkplace, bucket: Bucket, disposition: Disposition, *, redirect: bool
    ) -> None:
        self._workplace = workplace
        self._bucket = bucket
        self._disposition = disposition
        self._redirect = redirect
        self._sweeper = BucketSweeper(bucket)
        self._shared: set[str] = set()  # tasks whose log grows on this machine

    async def prepare(
        self,
        task_id: str,
        attempt: int,
        produced: dict[str, ProducedFile],
        video_info: VideoInfo,
        away: TellAway | None = None,
    ) -> Manifest:
        """Upload the child's files; retry each upload for `TRY_UPLOADS_FOR` seconds while the bucket is away.

        After an error or a cancel the uploads are deleted. Raises `UnsafeFile`, and `OSError` of this disk.
        """
        files = name_files(produced, attempt, video_info.title)
        manifest = Manifest(attempt=attempt, files=files, video_info=video_info)
        await asyncio.to_thread(check_out, self._workplace.work(task_id), manifest)

        async def give_up() -> None:
            """Delete what was uploaded, within `END_WITHIN`; the rest is left to `BucketSweeper`."""
            with suppress(StorageAway, TimeoutError):
                async with asyncio.timeout(END_WITHIN):
                    await self._sweeper.clear(task_id, attempt)

        async def upload(stored: StoredFile) -> None:
            described = self._disposition(stored.name, video_info.title, *filter(None, [stored.title]))
            attributes = {"Content-Type": stored.type, "Content-Disposition": described}
            with await open_shielded(
                asyncio.to_thread(open_out, self._workplace.work(task_id), stored)
            ) as file:
                await self._bucket.upload(self._key(task_id, stored.path), file, stored.size, attributes)

        try:
            # After the restore of a backup, attempt numbers repeat.
            await self._patiently(partial(self._sweeper.clear, task_id, attempt), TRY_UPLOADS_FOR, away)
            for stored in files.values():
                await self._patiently(partial(upload, stored), TRY_UPLOADS_FOR, away)
        except BaseException:
            await to_the_end(give_up())
            raise
        return manifest

    async def publish(self, task_id: str, manifest: Manifest, away: TellAway | None = None) -> None:
        """Write the manifest, by which a worker that takes over the task sees that the attempt is
        complete.
        """
        key = self._key(task_id, f"{folder_of(manifest.attempt)}/{MANIFEST}")
        content = manifest.model_dump_json().encode()

        async def create() -> None:
            try:
                await self._bucket.create(key, content)
            except FileExistsError:
                if await self._bucket.get(key) != content:  # if it is equal, an earlier try has written it
                    raise UnsafeFile(f"{key} is of another worker") from None

        await self._patiently(create, TRY_MANIFEST_FOR, away)

    async def find_published(self, task_id: str, attempt: int) -> Manifest | None:
        """The manifest that `publish` stored for exactly this attempt before the server died, or None."""
        try:
            found = await self._bucket.get(self._key(task_id, f"{folder_of(attempt)}/{MANIFEST}"))
            manifest = Manifest.model_validate_json(found)
            for stored in manifest.files.values():
                await self.open(task_id, stored)
        except (FileNotFoundError, FileNotFound, ValidationError):
            return None
        return manifest if manifest.attempt == attempt else None

    async def open(self, task_id: str, stored: StoredFile) -> Stream:
        """Open a published file. Raises `FileNotFound`, also if its size has changed since."""
        key = self._key(task_id, stored.path)
        with suppress(FileNotFoundError):
            if await self._bucket.size(key) == stored.size:
                return _Object(self._bucket, key)
        raise FileNotFound

    async def link(self, task_id: str, stored: StoredFile) -> str | None:
        """A presigned URL of the file, valid for some minutes; None if the settings allow no redirect."""
        return await self._bucket.link(self._key(task_id, stored.path)) if self._redirect else None

    async def publish_thumbnail(self, task_id: str) -> Thumbnail | None:
        """Publish the child's thumbnail, also while the child runs; None if that fails."""
        try:
            thumbnail, pictures = await asyncio.to_thread(pictures_of, self._workplace.work(task_id))
            for path, picture in pictures.items():
                await self._bucket.put(self._key(task_id, path), picture, thumbnail.type)
        except StorageAway:
            return None
        except (UnsafeFile, OSError) as exc:
            log.warning("the thumbnail of task %s could not be published: %s", task_id, exc)
            return None
        return thumbnail

    async def thumbnail(self, status: TaskStatus) -> Thumbnail | None:
        return status.thumbnail

    async def read_log(self, task_id: str, limit: int) -> bytes:
        """The log itself if the task runs on this machine, else the bucket's copy, some seconds old."""
        if task_id not in self._shared:
            with suppress(FileNotFoundError):
                return (await self._bucket.get(_log_of(task_id)))[:limit]
        return await compute(self._workplace.read_log, task_id, limit)

    @asynccontextmanager
    async def share(self, task_id: str, attempt: int) -> AsyncIterator[None]:
        """While the block runs, copy the task's log to the bucket every few seconds, and at the end."""
        if attempt > 1:
            await self._go_on_with_log(task_id, attempt)
        shared = _SharedLog(self._workplace, self._bucket, task_id)
        sharing = asyncio.create_task(shared.keep_up(), name=f"log of {task_id}")
        self._shared.add(task_id)
        last_within = LAST_SHARE_WITHIN
        try:
            yield
        except asyncio.CancelledError:
            last_within = END_WITHIN
            raise
        finally:
            sharing.cancel()
            await to_the_end(asyncio.wait([sharing]))
            await to_the_end(shared.update(last_within))
            self._sweeper.look_after(task_id)
            self._shared.discard(task_id)

    async def _go_on_with_log(self, task_id: str, attempt: int) -> None:
        """Take over the log of the attempt before, which may have run on another machine. Raises nothing."""
        last = b""
        with suppress(FileNotFoundError, StorageAway):
            last = await self._bucket.get(_log_of(task_id))
        own = await compute(self._workplace.read_log, task_id, MAX_SHARED)
        if own and own.startswith(last):
            return
        with suppress(OSError):  # the disk is full
            await asyncio.to_thread(self._workplace.replace_log, task_id, last)
        if not await asyncio.to_thread(self._workplace.work(task_id).exists):
            anew = (
                f"attempt {attempt} has none of the partial files of the last one: the download begins anew"
            )
            await self._workplace.note(task_id, f"{anew} on this machine")

    async def tidy_up(self, status: TaskStatus) -> None:
        """Delete files that the newest `status` does not name; with `needs_no_child`, also the work folder.

        What cannot be deleted now is left to `BucketSweeper` and to the next sweep. Raises nothing.
        """
        try:
            if not status.needs_no_child:
                await self._sweeper.keep_named(status)
                return
            with await open_shielded(asyncio.to_thread(self._workplace.claim, status.task_id)) as lock:
                if lock.held:
                    await self.finish(status)
        except StorageAway:
            pass
        except OSError as exc:  # the task stays published even if this fails
            log.warning("leftovers of task %s could not be deleted: %s", status.task_id, exc)

    async def finish(self, status: TaskStatus) -> None:
        """Delete the work directory last: while it exists, the next sweep sees that there is more to do."""
        await self._sweeper.keep_named(status)
        await asyncio.to_thread(self._workplace.finish, status.task_id)

    async def remove(self, task_id: str) -> None:
        """Delete everything of a task. Idempotent."""
        await self._sweeper.remove(checked_task_id(task_id))
        await asyncio.to_thread(self._workplace.remove, task_id)

    async def ping(self) -> None:
        """Check the bucket. Raises `StorageAway` if it does not answer, or does not exist."""
        with suppress(FileNotFoundError):
            await self._bucket.get("probe")

    async def sweep(self, tasks: TaskLookup) -> None:
        """Delete what belongs to no task: on this disk once, in the bucket until cancelled."""
        workplace = self._workplace
        await Sweep(self, workplace, tasks).sweep_directories(workplace.works, workplace.logs)
        await self._sweeper.keep(tasks)

    async def look_after_ends(self, tasks: TaskLookup, ended: Sequence[str]) -> None:
        """For a node that runs no tasks: late attempts may write objects of tasks that it has removed.

        Also looks after tasks that `ended` shortly before. Runs until cancelled.
        """
        await self._sweeper.keep(tasks, sweeps=False, ended=ended)

    async def sweep_here(self, tasks: TaskLookup, ended: Sequence[str]) -> None:
        """`sweep` for one node of a cluster: orphans in the bucket are left to `remove_orphans`."""
        workplace = self._workplace
        await Sweep(self, workplace, tasks).sweep_directories(workplace.works, workplace.logs)
        await self._sweeper.keep(tasks, sweeps=False, ended=ended)

    async def remove_orphans(self, tasks: TaskLookup) -> None:
        """Delete orphans in the bucket: one node does that for the whole cluster."""
        await self._sweeper.sweep(tasks)

    async def _patiently(
        self, work: Callable[[], Awaitable[None]], patience: float, away: TellAway | None
    ) -> None:
        """Retry `work` while the bucket is away; raise `StorageAway` if that lasts for `patience` seconds.

        The time that `work` took before it first failed does not count: an upload may take longer than that.
        """
        loop, pause, give_up_at = asyncio.get_running_loop(), FIRST_PAUSE, math.inf
        while True:
            looking = asyncio.create_task(self._report_silence(away), name="bucket") if away else None
            try:
                await work()
            except StorageAway:
                give_up_at = min(give_up_at, loop.time() + patience)
                if loop.time() + pause > give_up_at:
                    raise
            else:
                if away:
                    await away(False)
                return
            finally:
                if looking:
                    looking.cancel()
                    await asyncio.wait([looking])
            if away:
                await away(True)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_PAUSE)

    async def _report_silence(self, away: TellAway) -> None:
        """Call `away` as soon as the bucket is silent: an upload notices that only after minutes."""
        while True:
            await asyncio.sleep(PING_EVERY)
            try:
                await self.ping()
            except StorageAway:
                await away(True)

    def _key(self, task_id: str, path: str) -> str:
        return folder_of_task(checked_task_id(task_id)) + path


class _Object(Stream):
    def __init__(self, bucket: Bucket, key: str) -> None:
        self._bucket = bucket
        self._key = key

    async def read(self, part: range) -> AsyncGenerator[bytes | memoryview, None]:
        try:
            async with aclosing(self._bucket.read(self._key, part)) as pieces:
                async for piece in pieces:
                    yield piece
        except FileNotFoundError as exc:  # the object was deleted meanwhile
            raise FileNotFound from exc


class _SharedLog:
    def __init__(self, workplace: LocalWorkplace, bucket: Bucket, task_id: str) -> None:
        self._workplace = workplace
        self._bucket = bucket
        self._task_id = task_id
        self._known = b""

    async def keep_up(self) -> None:
        while True:
            await asyncio.sleep(SHARE_EVERY)
            await self.update(SHARE_EVERY)

    async def update(self, within: float) -> None:
        """Upload the log if it has changed; the next update makes up for one that fails. Raises nothing."""
        text = await compute(self._workplace.read_log, self._task_id, MAX_SHARED)
        if text == self._known:
            return
        try:
            async with asyncio.timeout(within):
                await self._bucket.put(_log_of(self._task_id), text, "text/plain; charset=utf-8")
        except StorageAway:
            pass
        except TimeoutError as exc:
            self._bucket.failed(exc)
        else:
            self._known = text


def _log_of(task_id: str) -> str:
    return f"logs/{checked_task_id(task_id)}"
