"""What the sweeper deletes in a bucket, and what it never deletes."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from obstore.store import MemoryStore

from server.core.film import StoredFile, Thumbnail
from server.core.task import Stage, TaskStatus
from server.files.s3 import bucket_sweeper
from server.files.s3.bucket import Bucket
from server.files.s3.bucket_sweeper import BucketSweeper
from server.files.s3.object_store import S3Files
from server.files.workplace import LocalWorkplace
from tests.examples import utc_now

TASK, OTHER = "123e4567-e89b-42d3-a456-426614174000", "123e4567-e89b-42d3-a456-426614174001"
THUMBNAIL = Thumbnail(name="thumbnail-a.jpg", path="thumbnail-a.jpg", size=1, type="image/jpeg")


@pytest.fixture
def bucket() -> Bucket:
    return Bucket(MemoryStore())


class Known:
    """A store that knows only these tasks."""

    def __init__(self, *known: TaskStatus) -> None:
        self._known = {status.task_id: status for status in known}

    async def stages(self, task_ids: Sequence[str]) -> dict[str, Stage]:
        return {task_id: self._known[task_id].stage for task_id in task_ids if task_id in self._known}

    async def statuses(self, task_ids: Sequence[str]) -> list[TaskStatus]:
        return [self._known[task_id] for task_id in task_ids if task_id in self._known]


def at(stage: Stage, attempt: int, task_id: str = TASK) -> TaskStatus:
    """Return a task whose second attempt has published a video and a thumbnail."""
    video = StoredFile(name="v", path="2/video.mp4", size=1, type="video/mp4")
    return TaskStatus(
        task_id=task_id, url="http://a/", stage=stage, attempt=attempt, created_at=utc_now(),
        files={"video": video}, thumbnail=THUMBNAIL,
    )  # fmt: skip


async def put(bucket: Bucket, *keys: str) -> None:
    for key in keys:
        await bucket.put(key, b"x", "text/plain")


async def left(bucket: Bucket) -> set[str]:
    return {found.key for kind in ("files", "logs") async for found in bucket.keys(kind)}


OF_ATTEMPTS = [
    f"files/{TASK}/{path}" for path in ("1/video.mp4", "2/video.mp4", "3/video.mp4", "4/video.mp4")
]


@pytest.mark.parametrize(
    ("status", "kept"),
    [
        (at(Stage.COMPLETED, 2), {"2", "3", "4"}),
        (at(Stage.DOWNLOAD, 3), {"2", "3", "4"}),
        (at(Stage.QUEUED, 3), {"2", "3", "4"}),
        (at(Stage.CANCELLED, 3), {"2", "4"}),
        (at(Stage.FAILED, 3), {"2", "4"}),
    ],
    ids=lambda value: value.stage if isinstance(value, TaskStatus) else None,
)
async def test_of_attempts_stays_what_is_named_and_what_may_still_be_written(
    bucket: Bucket, status: TaskStatus, kept: set[str]
) -> None:
    """Files of an attempt later than the one in the status stay, too."""
    await put(bucket, *OF_ATTEMPTS)
    await BucketSweeper(bucket).keep_named(status)
    assert {key.split("/")[2] for key in await left(bucket)} == kept


async def test_of_thumbnails_stays_the_one_that_is_named(bucket: Bucket) -> None:
    place = f"files/{TASK}"
    await put(bucket, f"{place}/thumbnail-a.jpg", f"{place}/thumbnail-b.jpg")
    await BucketSweeper(bucket).keep_named(at(Stage.DOWNLOAD, 2))
    assert await left(bucket) == {f"{place}/thumbnail-a.jpg"}


async def test_a_task_whose_id_begins_like_another_s_keeps_its_files(bucket: Bucket) -> None:
    await put(bucket, f"files/{TASK}/1/v", f"files/{TASK}2/1/v", f"files/{OTHER}/1/v", f"files/{OTHER}/12/v")
    await BucketSweeper(bucket).remove(TASK)
    await BucketSweeper(bucket).clear(OTHER, 1)
    assert await left(bucket) == {f"files/{TASK}2/1/v", f"files/{OTHER}/12/v"}


async def test_what_a_late_attempt_wrote_after_the_end_is_gone_within_a_minute(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bucket_sweeper.LATE_WRITES_WITHIN + bucket_sweeper.LOOK_EVERY < 60
    monkeypatch.setattr(bucket_sweeper, "LATE_WRITES_WITHIN", 0.1)
    monkeypatch.setattr(bucket_sweeper, "LOOK_EVERY", 0.01)
    ended, keeper = at(Stage.COMPLETED, 2), BucketSweeper(bucket)
    await keeper.keep_named(ended)
    await put(bucket, *OF_ATTEMPTS[:2])
    keeping = asyncio.create_task(keeper.keep(Known(ended)))
    while await left(bucket) != {OF_ATTEMPTS[1]}:
        await asyncio.sleep(0.01)
    keeping.cancel()


async def test_a_node_that_starts_looks_after_what_ended_shortly_before(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node on which the task ended may have died before its second sweep."""
    monkeypatch.setattr(bucket_sweeper, "LATE_WRITES_WITHIN", 0.1)
    monkeypatch.setattr(bucket_sweeper, "LOOK_EVERY", 0.01)
    await put(bucket, *OF_ATTEMPTS[:2])
    keeping = asyncio.create_task(
        BucketSweeper(bucket).keep(Known(at(Stage.COMPLETED, 2)), sweeps=False, ended=[TASK])
    )
    while await left(bucket) != {OF_ATTEMPTS[1]}:
        await asyncio.sleep(0.01)
    keeping.cancel()


async def test_what_a_late_attempt_wrote_after_a_removal_is_gone_within_a_minute(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_sweeper, "LATE_WRITES_WITHIN", 0.1)
    monkeypatch.setattr(bucket_sweeper, "LOOK_EVERY", 0.01)
    keeper = BucketSweeper(bucket)
    await keeper.remove(TASK)
    await put(bucket, f"logs/{TASK}", f"files/{TASK}/1/video.mp4", f"logs/{OTHER}")
    keeping = asyncio.create_task(keeper.keep(Known(), sweeps=False))
    while await left(bucket) != {f"logs/{OTHER}"}:
        await asyncio.sleep(0.01)
    keeping.cancel()


async def test_what_an_attempt_wrote_in_its_last_moments_of_a_removed_task_is_gone_soon(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another node has removed the task, and may be gone before its own second sweep."""
    monkeypatch.setattr(bucket_sweeper, "LOOK_EVERY", 0.01)
    workplace = LocalWorkplace(tmp_path)
    workplace.data.make()
    files = S3Files(workplace, bucket, lambda name, _: name, redirect=False)
    async with files.share(TASK, 1):
        await workplace.note(TASK, "so far")
        await BucketSweeper(bucket).remove(TASK)
    assert await left(bucket) == {f"logs/{TASK}"}
    keeping = asyncio.create_task(files.look_after_ends(Known(), []))
    while await left(bucket):
        await asyncio.sleep(0.01)
    keeping.cancel()


async def swept(bucket: Bucket, known: Known, until: set[str]) -> None:
    keeping = asyncio.create_task(BucketSweeper(bucket).keep(known))
    while await left(bucket) != until:
        await asyncio.sleep(0.01)
    keeping.cancel()


async def test_what_belongs_to_no_task_goes_after_a_day_and_nothing_else(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_sweeper, "ORPHANED_FOR", timedelta(0))
    monkeypatch.setattr(bucket_sweeper, "AT_ONCE", 3)
    gone = [str(uuid4()) for _ in range(10)]
    await put(bucket, *(f"{place}/{task_id}" for task_id in gone for place in ("logs", "files")))
    await put(bucket, *(f"files/{task_id}/1/video.mp4" for task_id in gone))
    foreign = {"files/README", "files/holiday/1/video.mp4", "logs/syslog"}
    ours = {f"files/{TASK}/2/video.mp4", f"files/{OTHER}/3/video.mp4", f"logs/{TASK}"}
    await put(bucket, *foreign, *ours, f"files/{TASK}/1/video.mp4")
    known = Known(at(Stage.COMPLETED, 2), at(Stage.DOWNLOAD, 3, OTHER))
    await swept(bucket, known, until=foreign | ours)


async def test_what_is_younger_than_a_day_may_get_a_row_yet(bucket: Bucket) -> None:
    await put(bucket, f"files/{TASK}/1/video.mp4", f"logs/{TASK}")
    keeper, before = BucketSweeper(bucket), await left(bucket)
    await keeper.sweep(Known())
    assert await left(bucket) == before
