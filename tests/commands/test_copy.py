"""`clipwire copy`: an installation on one machine is copied to PostgreSQL and to a bucket."""

import asyncio
import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import aclosing, closing
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from uuid import uuid4

import psycopg
import pytest

from server.assembly import import_postgresql
from server.assembly.export_sqlite import ALIKE, DeliveryRow, PauseRow, Row, SessionRow
from server.cluster.database import open_database
from server.cluster.shared_cookies import SharedCookies
from server.core.film import StoredFile
from server.core.ports import Filter, Idempotency, Stream, Submission, TaskOfKey
from server.core.task import Stage, Task, TaskStatus
from server.core.unusable import DatabaseUnusable
from server.files.cookie_folder import LocalCookies
from server.files.public_names import short_of
from server.files.s3.object_store import S3Files
from server.files.workplace import LocalWorkplace
from server.settings import StorageSettings
from server.storage.postgresql import open_store
from server.storage.sqlite import open_store as open_sqlite
from tests.adding import add
from tests.cluster.postgres import make_tables
from tests.cluster.proxy import Spoiled, open_proxy
from tests.cluster.s3 import BUCKET, S3
from tests.commands.shell import Shell
from tests.commands.test_commands import Command, command, of
from tests.examples import finished, new_task, started
from tests.rooms import HOOKS, rooms
from tests.service import ROOT, Service
from tests.site import Site

__all__ = ["command"]

KEY, SHARED = Idempotency("a key", "its request"), Idempotency("a shared key", "its request")
KNOWN = "url https://example.org/watch"
FILMS = {"video.mp4": b"video" * 1000, "audio.mp3": b"audio", "manifest.json": b"{}"}


@dataclass
class Installation:
    """A stopped installation, and its tasks."""

    data: Path
    queued: Task
    running: Task
    completed: Task
    removed: Task

    @property
    def settings(self) -> dict[str, str]:
        return {"CLIPWIRE_STORAGE__DATA_DIR": str(self.data)}

    @property
    def tasks(self) -> list[Task]:
        return [self.queued, self.running, self.completed]

    def change(self, sql: str, *values: object) -> None:
        with closing(sqlite3.connect(self.data / "clipwire.db")) as db, db:
            db.execute(sql, values)

    def fingerprint(self) -> dict[str, str]:
        files = (path for path in self.data.rglob("*") if path.is_file())
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
async def installation(tmp_path: Path) -> Installation:
    data = tmp_path / "data"
    data.mkdir()
    async with open_sqlite(data / "clipwire.db", max_queued=100, find_short=short_of, hooks=HOOKS) as store:
        queued = await add(store, new_task("https://one.test/"), KEY)
        await store.add([Submission(new_task(), SHARED, instead=queued.status.task_id)])
        running, completed, removed, last = [await add(store, new_task(title="猫咪 🐈 \0")) for _ in range(4)]
        assert await store.save(started(running.status))
        assert await store.save(begun := started(completed.status))
        assert await store.save(done(begun))
        await store.mark_removed(removed.status.task_id)
        await store.mark_removed(last.status.task_id)
        await store.forget(last.status.task_id)
        await store.sessions.begin("a session", "a token")
        queued, running, completed = [
            await store.get(task.status.task_id) for task in (queued, running, completed)
        ]
    put(data / "files" / completed.status.task_id / "1", FILMS)
    put(data / "logs", {f"{task.status.task_id}.log": b"what yt-dlp said" for task in (queued, running)})
    return Installation(data, queued, running, completed, removed)


def done(status: TaskStatus) -> TaskStatus:
    after = finished(status)
    named = {
        kind: stored.model_copy(update={"path": f"1/{stored.path}", "size": len(FILMS[stored.path])})
        for kind, stored in after.files.items()
    }
    return after.model_copy(update={"files": named})


def put(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def rows(url: str, sql: str = "SELECT number FROM tasks ORDER BY number") -> list[tuple[object, ...]]:
    with psycopg.connect(url) as db:
        return db.execute(sql.encode()).fetchall()


# --- rows ---


async def test_tasks_keep_their_ids_numbers_and_keys(
    installation: Installation, empty_database: str, command: Command
) -> None:
    status, out, err = await asyncio.to_thread(
        command, "copy", "--to", empty_database, **installation.settings
    )
    assert (status, err) == (0, "")
    assert "tasks: 4, each compared\n" in out
    async with open_store(empty_database, max_queued=100, find_short=short_of, hooks=HOOKS) as store:
        assert [await store.get(task.status.task_id) for task in installation.tasks] == installation.tasks
        assert await store.find_by_key(KEY) == TaskOfKey(installation.queued)
        assert await store.find_by_key(SHARED) == TaskOfKey(installation.queued, is_shared=True)
        assert await store.ids_removed() == [installation.removed.status.task_id]
        assert (await add(store, new_task())).status.number == 6, "5 was given once, and is not given again"
    assert rows(empty_database, "SELECT host FROM tasks WHERE number = 1") == [("one.test",)]
    assert rows(empty_database, "SELECT queue FROM backlog") == [("all",)], "nobody overtakes what was queued"


@pytest.mark.wide
async def test_what_was_fetched_is_remembered_elsewhere(
    installation: Installation, empty_database: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        installation.change(
            "INSERT INTO aliases VALUES (?, 'url https://example.org/watch')", f"old {number}"
        )
    for module in ("export_sqlite", "import_postgresql"):
        monkeypatch.setattr(f"server.assembly.{module}.BATCH", 2)
    copying = ("copy", "--to", empty_database)
    assert (await asyncio.to_thread(command, *copying, **installation.settings))[0] == 0
    async with open_store(empty_database, max_queued=100, find_short=short_of, hooks=HOOKS) as store:
        found = await rooms(store).media.find(["old 3"])
        assert found
        assert found.task_id == installation.completed.status.task_id
    installation.change("UPDATE media SET fetched_at = 1")
    status, _, err = await asyncio.to_thread(command, *copying, **installation.settings)
    assert (status, "media" in err) == (1, True), "a copy that is repeated finds the difference"


@pytest.mark.wide
async def test_finished_tasks_are_found_by_their_text(
    installation: Installation, empty_database: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(command, "copy", "--to", empty_database, **installation.settings)
    # A larger result than this is looked up in the index of texts.
    monkeypatch.setattr("server.storage.postgresql.pages.WINDOW", 1)
    async with open_store(empty_database, max_queued=100, find_short=short_of, hooks=HOOKS) as store:
        found = await store.page(Filter(text="example.org", stages=(Stage.COMPLETED,)), None, 10)
        assert [status.number for status in found.tasks] == [3]
    assert rows(empty_database, "SELECT indexname FROM pg_indexes WHERE indexname = 'tasks_grams'")


@pytest.mark.wide
async def test_log_ins_go_on(installation: Installation, empty_database: str, command: Command) -> None:
    _, out, _ = await asyncio.to_thread(command, "copy", "--to", empty_database, **installation.settings)
    assert "log-ins: 1, which go on" in out
    async with open_store(empty_database, max_queued=100, find_short=short_of, hooks=HOOKS) as store:
        found = await store.sessions.get("a session")
        assert found is not None
        assert found.scope == "a token"
        await store.sessions.begin("another", "a token")


@pytest.mark.wide
def test_a_paused_queue_stays_paused(
    installation: Installation, empty_database: str, command: Command
) -> None:
    installation.change("INSERT INTO pauses VALUES ('all')")
    assert command("copy", "--to", empty_database, **installation.settings)[0] == 0
    assert rows(empty_database, "SELECT queue FROM pauses") == [("all",)]


@pytest.mark.wide
async def test_stored_cookies_go_along(
    installation: Installation, empty_database: str, command: Command
) -> None:
    cookies = LocalCookies(installation.data / "cookies")
    await cookies.put("media", "# Netscape HTTP Cookie File\n")
    stored = await cookies.get("media")
    _, out, _ = await asyncio.to_thread(command, "copy", "--to", empty_database, **installation.settings)
    assert "cookies: 1, each compared" in out
    async with open_database(empty_database, 1) as database:
        assert await SharedCookies(database).get("media") == stored


@pytest.mark.wide
def test_not_a_byte_of_the_source_is_changed(
    installation: Installation, empty_database: str, command: Command
) -> None:
    before = installation.fingerprint()
    assert command("copy", "--to", empty_database, **installation.settings)[0] == 0
    assert {path: digest for path, digest in installation.fingerprint().items() if path in before} == before
    assert {Path(path).name for path in installation.fingerprint().keys() - before.keys()} == {
        "clipwire.lock"
    }


async def test_a_running_service_is_named_and_left_alone(
    service: Service, empty_database: str, command: Command
) -> None:
    status, out, err = await asyncio.to_thread(command, "copy", "--to", empty_database, **of(service))
    assert (status, out) == (3, "")
    assert f"process id {service.pid}" in err
    assert rows(empty_database, "SELECT to_regclass('tasks')") == [(None,)]


@pytest.mark.long
async def test_what_a_killed_service_has_committed_is_copied(tmp_path: Path, empty_database: str) -> None:
    async with Service(tmp_path) as service:
        task = await service.submit("http://127.0.0.1:1/film.mp4", auto_start=False)
        await service.kill()
        status, _, err = await Shell(ROOT, **of(service)).run("copy", "--to", empty_database)
    assert (status, err) == (0, "")
    assert rows(empty_database, "SELECT task_id, stage FROM tasks") == [(task["task_id"], "paused")]


@pytest.mark.wide
@pytest.mark.parametrize(
    "other",
    [
        "INSERT INTO sessions (session_id, scope, ends_at) VALUES ('x', 'y', now())",
        "INSERT INTO cookies (name, put, content) VALUES ('x', 'y', '')",
        "INSERT INTO pauses VALUES ('all')",
        "UPDATE tasks SET revision = revision + 1 WHERE number = 3",
        "UPDATE tasks SET ended_at = ended_at + interval '1 s' WHERE number = 3",
        "DELETE FROM tasks WHERE number = 4",
        "DELETE FROM shared_keys",
    ],
)
def test_other_rows_in_the_database_are_refused_and_kept(
    installation: Installation, empty_database: str, command: Command, other: str
) -> None:
    assert command("copy", "--to", empty_database, **installation.settings)[0] == 0
    rows(empty_database, other + " RETURNING 1")
    before = rows(empty_database, "SELECT number, revision, ended_at FROM tasks ORDER BY number")
    status, out, err = command("copy", "--to", empty_database, **installation.settings)
    assert (status, out) == (1, "")
    assert "holds other rows than those that are copied" in err
    assert err.count("\n") == 1
    assert rows(empty_database, "SELECT number, revision, ended_at FROM tasks ORDER BY number") == before


@pytest.mark.wide
def test_a_copy_can_be_repeated(installation: Installation, empty_database: str, command: Command) -> None:
    for said in ("each compared\n", "each compared (all were there already)\n"):
        status, out, _ = command("copy", "--to", empty_database, **installation.settings)
        assert status == 0
        assert f"tasks: 4, {said}" in out
    assert rows(empty_database) == [(1,), (2,), (3,), (4,)]


@pytest.mark.wide
def test_a_copy_that_is_killed_leaves_no_rows_and_can_be_repeated(
    installation: Installation, empty_database: str, command: Command
) -> None:
    asyncio.run(make_tables(empty_database))
    with psycopg.connect(empty_database) as other:
        # Holds the copy up: it writes the rows of tasks before those of log-ins.
        other.execute("LOCK TABLE sessions IN SHARE MODE")
        killed = begin(installation, empty_database)
        wait_until_it_waits(other)
        killed.send_signal(signal.SIGKILL)
        killed.wait(60)
    assert rows(empty_database) == []
    assert command("copy", "--to", empty_database, **installation.settings)[0] == 0
    assert rows(empty_database) == [(1,), (2,), (3,), (4,)]


def begin(installation: Installation, url: str) -> "subprocess.Popen[bytes]":
    environment = {"PATH": os.environ["PATH"], **installation.settings}
    return subprocess.Popen([sys.executable, "-m", "server", "copy", "--to", url], cwd=ROOT, env=environment)


def wait_until_it_waits(db: psycopg.Connection) -> None:
    sql = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'sessions'::regclass"
    for _ in range(600):
        if db.execute(sql).fetchone() != (0,):
            return
        db.execute("SELECT pg_sleep(0.1)")
    raise TimeoutError


# Columns of tasks that only nodes need; a new column belongs into both databases, or here.
OF_A_CLUSTER = {"host", "node", "job_id", "finish_asked", "withdrawn_at"}


def test_all_tables_travel_with_all_columns(installation: Installation, clean_database: str) -> None:
    tables = "SELECT name FROM sqlite_schema WHERE type = 'table'"
    tables += " AND (name NOT GLOB '*_*' OR name IN ("
    tables += "'source_hosts', 'file_sets', 'shared_keys', 'list_actions', 'source_pictures'))"
    travel = {
        "tasks": Row._fields,
        "sessions": SessionRow._fields,
        "pauses": PauseRow._fields,
        "deliveries": DeliveryRow._fields,
        **{table: columns for table, (_, columns) in ALIKE.items()},
    }
    with closing(sqlite3.connect(installation.data / "clipwire.db")) as db:
        assert {name for (name,) in db.execute(tables)} == set(travel)
        for table, columns in travel.items():
            found = tuple(name for _, name, *_ in db.execute(f"PRAGMA table_info({table})"))
            assert found == columns, f"{table} in server/assembly/export_sqlite.py, or a script of SQLite"
    there = "SELECT column_name FROM information_schema.columns WHERE table_name = %s"
    with psycopg.connect(clean_database) as nodes:
        for table, columns in travel.items():
            differ = {name for (name,) in nodes.execute(there, [table])} ^ set(columns)
            assert differ == (OF_A_CLUSTER if table == "tasks" else set()), (
                f"{table}: in one database alone, see `OF_A_CLUSTER`"
            )


@pytest.mark.wide
def test_rows_that_did_not_arrive_as_they_are_undo_the_copy(
    installation: Installation, empty_database: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        import_postgresql, "_INSERT", import_postgresql._INSERT.replace("removed = 1", "false")
    )
    status, _, err = command("copy", "--to", empty_database, **installation.settings)
    assert status == 1
    assert "task number 4" in err
    assert rows(empty_database) == []


@pytest.mark.wide
def test_many_rows_are_copied_in_batches(
    installation: Installation, empty_database: str, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("export_sqlite", "import_postgresql"):
        monkeypatch.setattr(f"server.assembly.{module}.BATCH", 2)
    assert command("copy", "--to", empty_database, **installation.settings)[0] == 0
    assert rows(empty_database) == [(1,), (2,), (3,), (4,)]


@pytest.mark.wide
def test_damaged_rows_and_those_of_a_newer_release_are_kept_as_they_are_and_said(
    installation: Installation, empty_database: str, command: Command
) -> None:
    damaged, newer = "{no JSON", '{"url": "https://one.test/", "hologram": {"eyes": 3}}'
    installation.change("UPDATE tasks SET status = ? WHERE number = 1", damaged)
    installation.change("UPDATE tasks SET request = ? WHERE number = 2", newer.replace("url", "urls"))
    installation.change("UPDATE tasks SET search = CAST(x'FFFE' AS TEXT) WHERE number = 3")
    status, out, _ = command("copy", "--to", empty_database, **installation.settings)
    assert status == 0
    assert "warn  tasks: 1 damaged, kept as they are: number 1\n" in out
    assert "warn  tasks: 1 of a newer release, kept as they are: number 2\n" in out
    assert "warn  tasks: 1 held what is not text, replaced by U+FFFD: number 3\n" in out
    assert rows(empty_database, "SELECT status, host FROM tasks WHERE number = 1") == [(damaged, "")]
    assert rows(empty_database, "SELECT request FROM tasks WHERE number = 2") == [
        (newer.replace("url", "urls"),)
    ]


# --- what is refused before anything is done ---


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--to", "postgresql://clipwire:secret@db.test/clipwire"), "set PGPASSWORD instead"),
        (("--to", "postgresql://db.test/clipwire?user=a&password=secret"), "set PGPASSWORD instead"),
        (("--to", "mysql://db.test/clipwire"), "an address like postgresql://"),
        (("--to", "postgresql:clipwire"), "an address like postgresql://"),
        (("--to", "postgresql://db.test/a", "--files", "gs://bucket"), "a bucket like s3://"),
        (("--files", "gs://bucket", "--to", "postgresql://db.test/a"), "a bucket like s3://"),
    ],
)
def test_wrong_places_get_one_line_and_status_2(
    installation: Installation, command: Command, arguments: tuple[str, ...], said: str
) -> None:
    status, out, err = command("copy", *arguments, **installation.settings)
    assert (status, out) == (2, "")
    assert said in err
    assert "secret" not in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("setting", "environment", "used"),
    [
        ("postgresql://a:secret@db.test/b", {}, "postgresql://a:secret@db.test/b"),
        ("postgresql://a:secret@db.test/other", {}, "postgresql://a@db.test/b"),
        ("postgresql://a:secret@db.test/b", {"PGPASSWORD": "it"}, "postgresql://a@db.test/b"),
    ],
)
def test_the_password_may_come_from_the_environments_setting_of_the_same_database(
    command: Command, monkeypatch: pytest.MonkeyPatch, setting: str, environment: dict[str, str], used: str
) -> None:
    asked = []

    async def note(_: StorageSettings, url: str) -> NoReturn:
        asked.append(url)
        raise DatabaseUnusable("it", "is not needed")

    monkeypatch.setattr("server.commands.copy.copy_all", note)
    command("copy", "--to", "postgresql://a@db.test/b", CLIPWIRE_STORAGE__DATABASE=setting, **environment)
    assert asked == [used]


def test_where_nothing_is_there_is_nothing_to_copy(tmp_path: Path, command: Command) -> None:
    there = tmp_path / "nowhere"
    status, _, err = command("copy", "--to", "postgresql://db.test/a", CLIPWIRE_STORAGE__DATA_DIR=str(there))
    assert (status, "is not there" in err) == (1, True)
    assert not there.exists()


def test_a_database_that_cannot_be_reached_gets_one_line(
    installation: Installation, command: Command
) -> None:
    status, _, err = command("copy", "--to", "postgresql://a@127.0.0.1:1/a", **installation.settings)
    assert (status, err.count("\n")) == (1, 1)
    assert err.startswith("clipwire: --to cannot be reached"), "no setting names it"


def test_the_database_of_an_older_release_is_to_be_brought_up_to_date_first(
    installation: Installation, empty_database: str, command: Command
) -> None:
    installation.change("PRAGMA user_version = 1")
    status, _, err = command("copy", "--to", empty_database, **installation.settings)
    assert (status, "start this server on it once" in err) == (1, True)


# --- files ---


@dataclass
class Place:
    """A place in the bucket that no other test uses."""

    s3: S3
    name: str

    @property
    def url(self) -> str:
        return f"s3://{BUCKET}/{self.name}"

    def settings(self, endpoint: str = "") -> dict[str, str]:
        found = self.s3.settings(self.name, endpoint)
        return {name: value for name, value in found.items() if name != "CLIPWIRE_STORAGE__FILES"}


@pytest.fixture
def place(s3: S3) -> Place:
    return Place(s3, f"copy-{uuid4()}")


Copied = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def copied(command: Command, installation: Installation, empty_database: str, place: Place) -> Copied:
    """Copy the whole installation to the database and the bucket, which may be reached at another
    `endpoint`.
    """
    arguments = ("copy", "--to", empty_database, "--files", place.url)

    def copied(endpoint: str = "") -> Awaitable[tuple[int, str, str]]:
        return asyncio.to_thread(command, *arguments, **installation.settings, **place.settings(endpoint))

    return copied


async def content(files: S3Files, task: Task, stored: StoredFile) -> bytes:
    file = await files.open(task.status.task_id, stored)
    assert isinstance(file, Stream)
    async with aclosing(file.read(range(stored.size))) as pieces:
        return b"".join([bytes(piece) async for piece in pieces])


@pytest.mark.wide
async def test_files_and_logs_are_in_the_bucket_as_if_they_had_been_published_there(
    installation: Installation, place: Place, copied: Copied, tmp_path: Path
) -> None:
    before = installation.fingerprint()
    status, out, err = await copied()
    assert (status, err) == (0, "")
    assert f"files: 2 of 5005 bytes are in {place.url}, each compared (3 sent)" in out
    bucket, task = place.s3.bucket(place.name), installation.completed
    files = S3Files(LocalWorkplace(tmp_path / "elsewhere"), bucket, lambda name, _: name, redirect=False)
    assert await content(files, task, task.status.files["video"]) == FILMS["video.mp4"]
    assert await content(files, task, task.status.files["audio"]) == FILMS["audio.mp3"]
    assert await files.read_log(installation.queued.status.task_id, 100) == b"what yt-dlp said"
    assert {path: digest for path, digest in installation.fingerprint().items() if path in before} == before


@pytest.mark.wide
async def test_what_is_there_is_not_sent_again_and_what_is_wrong_is(
    installation: Installation, place: Place, copied: Copied
) -> None:
    assert (await copied())[0] == 0
    bucket, key = place.s3.bucket(place.name), f"files/{installation.completed.status.task_id}/1/audio.mp3"
    await bucket.put(key, b"wrong", "audio/mpeg")
    status, out, _ = await copied()
    assert (status, "(1 sent)" in out, await bucket.get(key)) == (0, True, b"audio")


@pytest.mark.wide
async def test_while_the_bucket_is_away_no_task_is_copied(
    empty_database: str, place: Place, copied: Copied
) -> None:
    async with open_proxy(place.s3.endpoint) as proxy:
        proxy.spoil = lambda request: Spoiled(status=503) if "video.mp4" in request.path else None
        status, out, err = await copied(proxy.url)
        assert (status, out, err.count("\n")) == (1, "", 1)
        assert err.startswith("clipwire: --files s3://")
        assert "repeat the command" in err
        assert rows(empty_database) == []
        proxy.spoil = lambda _: None
        assert (await copied(proxy.url))[0] == 0


@pytest.mark.wide
@pytest.mark.parametrize("is_bucket", [False, True])
async def test_files_that_were_missing_before_are_counted(
    installation: Installation, empty_database: str, place: Place, command: Command, is_bucket: bool
) -> None:
    (installation.data / "files" / installation.completed.status.task_id / "1" / "audio.mp3").unlink()
    there = ["--files", place.url] if is_bucket else []
    settings = installation.settings | place.settings()
    status, out, _ = await asyncio.to_thread(command, "copy", "--to", empty_database, *there, **settings)
    assert status == 0
    assert "files: 1 of 5000 bytes" in out
    assert "warn  files: 1 that tasks name were not there before" in out


# --- the whole service ---


@pytest.mark.long
async def test_the_service_goes_on_elsewhere_from_where_it_was(
    site: Site, media: Path, empty_database: str, place: Place, tmp_path: Path
) -> None:
    async with Service(tmp_path / "old", CLIPWIRE_SERVER__TOKENS='["a token"]') as old:
        cookie = await log_in(old)
        done = await old.submit(site.url("/video.mp4"), outputs=["video"])
        done = await old.wait(done["task_id"])
        paused = await old.submit(site.url("/1mb.mp4"), outputs=["video"], auto_start=False)
        running = await old.submit(site.url("/8mb.mp4?rate=2000000"), outputs=["video"])
        await old.wait(running["task_id"], "download")
        await old.stop()
        shell = Shell(ROOT, **of(old), **place.settings())
        status, _, err = await shell.run("copy", "--to", empty_database, "--files", place.url)
        assert (status, err) == (0, "")
    async with Service(tmp_path / "new", **node(empty_database, place)) as new:
        new.client.headers["Cookie"] = cookie
        async with new.client.get("/api/tasks") as answer:
            assert answer.status == 200
        # With a cookie alone, only the page may change things.
        new.client.headers["Authorization"] = "Bearer a token"
        assert await new.status(done["task_id"]) == done
        file = await new.fetch(done["files"]["video"], tmp_path / "file")
        assert file.read_bytes() == (media / "video.mp4").read_bytes()
        await new.wait(running["task_id"])
        async with new.client.post(f"/api/tasks/{paused['task_id']}/resume") as answer:
            assert answer.status == 200
        await new.wait(paused["task_id"])
        later = await new.submit(site.url("/video.mp4"), auto_start=False)
        assert later["number"] > running["number"]


async def log_in(service: Service) -> str:
    """Log in, and use the token from now on; return the cookie that a browser would keep."""
    async with service.client.post("/api/session", json={"token": "a token"}) as answer:
        assert answer.status == 204
    service.client.headers["Authorization"] = "Bearer a token"
    return answer.headers["Set-Cookie"].partition(";")[0]


def node(url: str, place: Place) -> dict[str, str]:
    return {
        "CLIPWIRE_SERVER__TOKENS": '["a token"]',
        "CLIPWIRE_STORAGE__DATABASE": url,
        "CLIPWIRE_STORAGE__FILES": place.url,
        "CLIPWIRE_WORKERS__HEARTBEAT": "0.5",
        "CLIPWIRE_WORKERS__LOST_AFTER": "1",
        **place.settings(),
    }


@pytest.mark.wide
async def test_what_is_still_to_be_told_is_told_by_the_new_installation(
    installation: Installation, empty_database: str, command: Command
) -> None:
    path = installation.data / "clipwire.db"
    async with open_sqlite(path, max_queued=100, find_short=short_of, hooks=HOOKS) as store:
        task = await add(store, new_task(webhook="https://hooks.test/"))
        assert await store.save(finished(task.status))
    status, *_ = await asyncio.to_thread(command, "copy", "--to", empty_database, **installation.settings)
    assert status == 0
    async with open_store(empty_database, max_queued=100, find_short=short_of, hooks=HOOKS) as moved:
        [delivery] = await rooms(moved).outbox.claim(["webhook"], 10)
    assert delivery.task_id == task.status.task_id
