"""A database with a million finished tasks: `python -m tests.bench.rows DATA_DIR COUNT`.

The service makes the table and its index of texts; the rows are what the store itself would have
written, made in bulk.
"""

import asyncio
import sqlite3
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from server.core.film import StoredFile, VideoInfo
from server.core.process_request import ProcessRequest
from server.core.task import Stage, Task, TaskStatus
from server.files.public_names import short_of
from server.storage.sqlite import DATABASE, open_store
from server.storage.task_rows import task_values

COLUMNS = "task_id, request, revision, stage, priority, status, short, search, ended_at"
WORDS = (
    "morning", "river", "engine", "garden", "winter", "concert", "history", "kitchen", "mountain", "signal",
    "示例", "视频", "音乐", "旅行", "新闻", "老师", "城市", "电影", "故事", "科技",
)  # fmt: skip
TEMPLATES = 997
HOST = "media.example.org"
ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


def fill(data_dir: Path, count: int) -> list[str]:
    """Return the ids of the oldest, the middle and the newest task."""
    asyncio.run(make_tables(data_dir))
    with sqlite3.connect(data_dir / DATABASE) as db:
        # Only here: a crash would cost a database that can be made again.
        db.execute("PRAGMA synchronous = OFF")
        db.execute("PRAGMA cache_size = -262144")
        [(trigger,)] = db.execute("SELECT sql FROM sqlite_schema WHERE name = 'tasks_text_insert'")
        # Row by row the index would take minutes; `rebuild` makes the same one in one go.
        db.execute("DROP TRIGGER tasks_text_insert")
        marks = ",".join("?" * len(COLUMNS.split(",")))
        db.executemany(f"INSERT INTO tasks ({COLUMNS}) VALUES ({marks})", rows(count))
        db.execute("INSERT INTO tasks_text (tasks_text) VALUES ('rebuild')")
        db.execute(trigger)
    db.close()
    return [task_id(number) for number in (0, count // 2, count - 1)]


async def make_tables(data_dir: Path) -> None:
    data_dir.mkdir(parents=True, exist_ok=True)
    async with open_store(data_dir / DATABASE, max_queued=1, find_short=short_of):
        pass


def rows(count: int) -> Iterator[tuple[object, ...]]:
    """Real rows of a thousand tasks, told apart by what must differ: id, short name and title."""
    templates = [(task_values(_task(number), short_of), _marks(number)) for number in range(TEMPLATES)]
    for number in range(count):
        row, old = templates[number % TEMPLATES]
        changes = tuple(zip(old, _marks(number), strict=True))
        yield tuple(_replaced(value, changes) if isinstance(value, str) else value for value in row)


def _marks(number: int) -> tuple[str, str, str]:
    return task_id(number), _short(number), f"no{number:07d}"


def _replaced(value: str, changes: tuple[tuple[str, str], ...]) -> str:
    for old, new in changes:
        value = value.replace(old, new)
    return value


def _task(number: int) -> Task:
    began = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=number * 31)
    title = " ".join(WORDS[number * step % len(WORDS)] for step in (1, 3, 7)) + f" no{number:07d}"
    request = ProcessRequest(url=f"https://{HOST}/watch/no{number:07d}")
    status = TaskStatus(
        task_id=task_id(number),
        url=request.url,
        stage=Stage.FAILED if number % 10 == 0 else Stage.COMPLETED,
        revision=12,
        attempt=1,
        progress=0 if number % 10 == 0 else 100,
        created_at=began,
        completed_at=began + timedelta(seconds=20),
        video_info=VideoInfo(
            title=title, duration=240, uploader=f"channel {number % 50}", extractor="generic"
        ),
        files={} if number % 10 == 0 else _files(number),
        error_code="http_404" if number % 10 == 0 else None,
    )
    return Task(request=request, status=status)


def _files(number: int) -> dict[str, StoredFile]:
    return {
        kind: StoredFile(name=f"{kind}_no_{_short(number)}.{ext}", path=f"{kind}.{ext}", size=1_000_000,
                         type=f"{kind}/{ext}")
        for kind, ext in (("video", "mp4"), ("audio", "mp3"))
    }  # fmt: skip


def task_id(number: int) -> str:
    """As scattered as random ones are, yet the same each time."""
    return str(UUID(int=number * 0x9E3779B97F4A7C15_0123456789ABCDEF % (1 << 128), version=4))


def _short(number: int) -> str:
    """13 characters of base32, as the unique part of a file's public name is."""
    text = ""
    for _ in range(13):
        number, digit = divmod(number, 32)
        text = ALPHABET[digit] + text
    return text


if __name__ == "__main__":
    started = time.monotonic()
    fill(Path(sys.argv[1]), int(sys.argv[2]))
    print(f"{sys.argv[2]} tasks in {time.monotonic() - started:.1f} s")
