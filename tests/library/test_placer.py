"""The placer puts the files of tasks into the library, on both databases, in spite of faults."""

import asyncio
import hashlib
import html
import itertools
import json
import os
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast
from xml.etree import ElementTree

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from server.api import keys
from server.core.clock import stopwatch
from server.core.events import Completed, Described, ProducedFile, Resumed, Retried, Started
from server.core.film import VideoInfo
from server.core.task import InLibrary, TaskStatus
from server.library import placer
from server.library.library_folder import MARKER
from server.library.library_names import label_of
from server.library.library_routes import PLACEMENTS
from server.library.placement_columns import DUE_SOONER
from server.library.placements import FileSet
from server.library.placer import Placer
from server.settings import DownloadSettings, LibrarySettings, StorageSettings, WebhookSettings
from server.subscriptions.source import SourcePicture
from server.subscriptions.subscription import CheckResult, Claim, FoundEntry, Pace
from server.subscriptions.subscription_routes import SUBSCRIPTIONS
from server.tasks.service import Tasks
from tests.inside import Inside, inside
from tests.subscriptions.test_subscription_rows import entries

FILM, SOUND, WORDS, PICTURE = b"film" * 5000, b"sound" * 3000, b"WEBVTT", b"\xff\xd8\xffpicture"
INFO = VideoInfo(
    title="A film: part one",
    id="x1",
    extractor="site",
    extractor_key="Site",
    channel="Some Channel",
    channel_id="UC1",
    published_at="2026-03-14T12:00:00Z",
)
NAME = "Some Channel/Season 2026/Some Channel - S2026E031401 - A film： part one [x1]"
KINDS = {
    "video": ("video.mp4", "video/mp4", FILM),
    "audio": ("audio.mp3", "audio/mpeg", SOUND),
    "subtitle.en": ("subtitle-en.vtt", "text/vtt", WORDS),
    "thumbnail": ("thumbnail.jpg", "image/jpeg", PICTURE),
    "chapter.1": ("chapter-001.mp4", "video/mp4", FILM[:5000]),
    "subtitle.EN": ("subtitle-upper.vtt", "text/vtt", WORDS[::-1]),
}
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PLAIN = {"layout": "shows", "nfo": False}
CLAIMS = itertools.count(1)
Open = Callable[..., AbstractAsyncContextManager[Inside]]


@asynccontextmanager
async def holding(folder: Path, **sections: Any) -> AsyncIterator[Inside]:
    """A service with a paused queue: tests complete its tasks. A node of a cluster would start every task
    that it sees queued.
    """
    async with inside(folder, **sections) as server:
        async with server.client.post("/api/queue/pause") as answer:
            assert answer.status == 200
        yield server


# Tests with this mark run on both databases in `make test`: together they execute every line of the library's
# rows. All other tests here run only on PostgreSQL, in `make test-wide`.
DATABASES = ["sqlite", "postgresql"]
ON_BOTH = pytest.mark.parametrize("database", DATABASES, indirect=True)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.wide)])
def database(request: pytest.FixtureRequest) -> str:
    return "sqlite" if request.param == "sqlite" else request.getfixturevalue("clean_database")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "library"
    path.mkdir()
    return path


@pytest.fixture
def open_server(database: str, tmp_path: Path, root: Path) -> Open:
    def opened(**library: Any) -> AbstractAsyncContextManager[Inside]:
        settings = {"path": root, "time_zone": "UTC"} | library
        return holding(
            tmp_path,
            storage=StorageSettings(data_dir=tmp_path / "data", database=database),
            downloads=DownloadSettings(min_free_disk=0, **library.pop("downloads", {})),
            library=LibrarySettings(**settings),
        )

    return opened


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placer, "LOOK_EVERY", 0.2)
    monkeypatch.setattr(placer, "AGAIN", 0.2)
    monkeypatch.setattr(placer, "BUSY", 0.2)


@pytest.fixture
async def server(open_server: Open, root: Path) -> AsyncIterator[Inside]:
    async with open_server() as server:
        await until((root / MARKER).exists)  # the first check writes the mark of a library into the folder
        yield server


async def completed(
    server: Inside,
    task_id: str,
    info: VideoInfo = INFO,
    kinds: tuple[str, ...] = ("video",),
    **contents: bytes,
) -> None:
    """Complete a task as its child would have done, with files of these `kinds`."""
    recorder = server.app[keys.TASKS]._recorder
    await recorder.record(task_id, Resumed())
    await recorder.record(task_id, Started())
    out, files = server.work(task_id) / "out", server.app[keys.FILES]
    out.mkdir(parents=True)
    produced = {}
    for kind in kinds:
        path, media_type, content = KINDS[kind]
        content = contents.get(kind, content)
        (out / path).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        produced[kind] = ProducedFile(path=path, size=len(content), type=media_type, sha256=digest)
    attempt = (await server.app[keys.TASKS].status(task_id)).attempt
    manifest = await files.prepare(task_id, attempt, produced, info)
    await files.publish(task_id, manifest)
    done = Completed(files=manifest.files, video_info=info)
    await recorder.record(task_id, done)


async def submitted(server: Inside, **library: Any) -> str:
    return await server.submit(library=library or PLAIN)


async def placed(server: Inside, task_id: str) -> list[str]:
    """Wait until the task says that its files are placed; return their paths."""
    while (found := (await server.status(task_id))["library"])["state"] != "placed":
        await asyncio.sleep(0.02)
    paths: list[str] = found["paths"]
    return paths


def all_of(root: Path) -> list[str]:
    """Return the paths of all files but the mark; folders may disappear meanwhile."""
    found = (Path(folder, name) for folder, _, names in os.walk(root) for name in names if name != MARKER)
    return sorted(str(path.relative_to(root)) for path in found)


async def waits(server: Inside, task_id: str, reason: str = "") -> dict[str, Any]:
    """Wait until the task's payload says why the library waits; return its field `library`."""
    while True:
        library: dict[str, Any] = (await server.status(task_id))["library"]
        if "reason" in library and library["reason"].startswith(reason):
            return library
        await asyncio.sleep(0.02)


async def until(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0.02)


async def test_old_news_of_one_set_does_not_replace_those_of_another(
    server: Inside, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task hears of its first set only after it has heard of both."""
    tell, is_held, go_on = Tasks.tell_of_library, asyncio.Event(), asyncio.Event()
    told = list[InLibrary | None]()

    async def tell_late(tasks: Tasks, task_id: str, library: InLibrary | None) -> None:
        if library and library.state == "placed" and not is_held.is_set():
            is_held.set()
            await go_on.wait()
        await tell(tasks, task_id, library)
        told.append(library)

    monkeypatch.setattr(Tasks, "tell_of_library", tell_late)
    task_id = await submitted(server)
    await completed(server, task_id)
    async with asyncio.timeout(50):
        await is_held.wait()
        second = {"library": PLAIN | {"folder": "Second"}}
        async with server.client.post(f"/api/tasks/{task_id}/place", json=second) as answer:
            assert answer.status == 202, await answer.text()
        both = await placed(server, task_id)
        assert both == all_of(root)
        before = len(told)
        go_on.set()
        await until(lambda: len(told) > before + 1)
        assert await placed(server, task_id) == both


async def test_what_is_fetched_is_placed_and_the_task_says_where(server: Inside, root: Path) -> None:
    task_id = await submitted(server, layout="shows")
    assert (await server.status(task_id))["library"] == {"state": "waiting", "paths": []}
    await completed(server, task_id, kinds=("video", "audio", "subtitle.en", "thumbnail"))
    paths = await placed(server, task_id)
    assert paths[:2] == [f"{NAME}.mp3", f"{NAME}.mp4"], "films first"
    of_the_show = [f"Some Channel/{name}" for name in ("poster.jpg", "season2026-poster.jpg", "tvshow.nfo")]
    assert sorted([*paths, *of_the_show]) == all_of(root)
    assert (root / f"{NAME}.mp4").read_bytes() == FILM
    assert (root / f"{NAME}.en.vtt").read_bytes() == WORDS
    assert (root / f"{NAME}-thumb.jpg").read_bytes() == PICTURE
    episode = ElementTree.fromstring((root / f"{NAME}.nfo").read_bytes())
    told = [episode.findtext(name) for name in ("title", "season", "episode", "uniqueid")]
    assert told == ["A film: part one", "2026", "31401", "x1"]
    show = ElementTree.fromstring((root / "Some Channel" / "tvshow.nfo").read_bytes())
    assert show.findtext("title") == "Some Channel"
    status = await server.status(task_id)
    async with server.client.get(status["files"]["video"]) as answer:
        assert await answer.read() == FILM, "its own files stay"


@pytest.mark.parametrize(
    ("library", "outputs"),
    [
        ({"layout": "music"}, ["audio"]),
        ({"layout": "podcast"}, ["audio"]),
        ({"layout": "movies"}, ["video"]),
        ({"folder": "Shows"}, ["video"]),
        ({"name": "{title} [{id}]"}, ["video", "audio"]),
    ],
)
@pytest.mark.usefixtures("nobody_looks")
async def test_a_layout_chooses_the_outputs_where_none_are_given(
    server: Inside, library: dict[str, Any], outputs: list[str]
) -> None:
    store = server.app[keys.TASKS]._store
    plain, asked = (
        await server.submit(library=library),
        await server.submit(library=library, outputs=["audio"]),
    )
    mine = await subscribed(server, "a", backlog="all", library=library)
    [of_subscription] = await found(server, mine, 1)
    for task_id, expected in ((plain, outputs), (asked, ["audio"]), (of_subscription, outputs)):
        request = (await store.get(task_id)).request
        assert request
        assert [output.value for output in request.outputs] == expected


async def test_without_a_library_the_field_is_unknown(tmp_path: Path) -> None:
    async with inside(tmp_path) as server:
        body = {"url": "http://127.0.0.9:9/v.mp4", "library": {"layout": "shows"}}
        for path in ("process", "subscriptions"):
            async with server.client.post(f"/api/{path}", json=body) as answer:
                assert answer.status == 422
                assert [each["field"] for each in (await answer.json())["errors"]] == ["library"]


@ON_BOTH
async def test_somebodys_file_stays_and_ours_gets_another_name(server: Inside, root: Path) -> None:
    (root / f"{NAME}.mp4").parent.mkdir(parents=True)
    (root / f"{NAME}.mp4").write_text("mine")
    task_id = await submitted(server)
    await completed(server, task_id, kinds=("video", "subtitle.en"))
    paths = await placed(server, task_id)
    second = NAME.replace(" [x1]", " (2) [x1]")
    assert paths == [f"{second}.mp4", f"{second}.en.vtt"], "all of a set has one name"
    assert (root / f"{NAME}.mp4").read_text() == "mine"
    assert all_of(root) == sorted([*paths, f"{NAME}.mp4"])


@pytest.mark.wide
async def test_two_films_of_a_day_have_two_numbers_and_keep_them(server: Inside, root: Path) -> None:
    for number in (1, 2, 3):
        task_id = await submitted(server)
        await completed(server, task_id, INFO.model_copy(update={"id": f"x{number}"}))
        [path] = await placed(server, task_id)
        assert f"S2026E03140{number}" in path


@pytest.mark.wide
async def test_a_renamed_channel_keeps_its_folder(server: Inside, root: Path) -> None:
    first, second = await submitted(server), await submitted(server)
    await completed(server, first)
    await placed(server, first)
    await completed(server, second, INFO.model_copy(update={"id": "x2", "channel": "New Name"}))
    [path] = await placed(server, second)
    assert path.startswith("Some Channel/Season 2026/New Name - S2026E031402")


@pytest.mark.wide
async def test_what_is_fetched_anew_takes_the_place_of_the_earlier_file(server: Inside, root: Path) -> None:
    task_id = await submitted(server)
    await completed(server, task_id)
    await placed(server, task_id)
    tasks = server.app[keys.TASKS]
    await tasks._recorder.record(task_id, Retried())
    await completed(server, task_id, video=FILM[::-1])
    assert await placed(server, task_id) == [f"{NAME}.mp4"]
    assert (root / f"{NAME}.mp4").read_bytes() == FILM[::-1]
    assert all_of(root) == [f"{NAME}.mp4"]


async def test_the_same_video_again_is_placed_once(server: Inside, root: Path) -> None:
    for _ in range(2):
        task_id = await submitted(server)
        await completed(server, task_id)
        assert await placed(server, task_id) == [f"{NAME}.mp4"]
    assert all_of(root) == [f"{NAME}.mp4"]


@pytest.mark.wide
async def test_both_tasks_of_one_video_are_told_where_it_is(server: Inside, root: Path) -> None:
    # Without the library, both tasks end before the video is placed.
    away = root.rename(root.with_name("away"))
    tasks = [await submitted(server) for _ in range(2)]
    for task_id in tasks:
        await completed(server, task_id)
    away.rename(root)
    assert [await placed(server, task_id) for task_id in tasks] == [[f"{NAME}.mp4"]] * 2
    async with server.client.delete(f"/api/tasks/{tasks[1]}?library=delete") as answer:
        assert answer.status == 204
    await until(lambda: all_of(root) == [])
    while "library" in await server.status(tasks[0]):
        await asyncio.sleep(0.02)


async def test_an_earlier_task_waits_for_the_library_like_the_later_one_of_the_same_video(
    server: Inside, root: Path
) -> None:
    root.rename(root.with_name("away"))
    earlier, later = [await submitted(server) for _ in range(2)]
    await completed(server, earlier)
    store = server.app[PLACEMENTS]
    [file_set] = [one for one in await store.waiting_without("full", 0.0) if one.task_id == earlier]
    # The second task completes after the placer has read the set, and before it reports to tasks.
    await completed(server, later)
    for task_id in (earlier, later):
        library = (await store.of_task(task_id, file_set.set_id)).library
        assert library is not None
        assert library.state == "waiting"


async def test_a_task_that_is_not_kept_is_deleted_once_it_is_placed(server: Inside, root: Path) -> None:
    task_id = await submitted(server, **PLAIN, keep_task=False)
    await completed(server, task_id)
    while True:
        async with server.client.get(f"/api/status/{task_id}") as answer:
            if answer.status == 404:
                break
        await asyncio.sleep(0.02)
    assert (root / f"{NAME}.mp4").read_bytes() == FILM
    data = root.parent / "data"
    await until(lambda: not list((data / "files").iterdir()))


@ON_BOTH
async def test_of_two_equal_tasks_that_are_not_kept_none_is_left(
    server: Inside, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_tell, tell = asyncio.Event(), Placer._report_to_tasks

    async def told_later(self: Placer, one: FileSet) -> None:
        await may_tell.wait()
        await tell(self, one)

    monkeypatch.setattr(Placer, "_report_to_tasks", told_later)
    tasks = [await submitted(server, **PLAIN, keep_task=False) for _ in range(2)]
    for task_id in tasks:  # the second task completes before the first one is told
        await completed(server, task_id)
    may_tell.set()
    while await (await server.client.get(f"/api/tasks?ids={','.join(tasks)}")).json() != {"tasks": []}:
        await asyncio.sleep(0.02)
    assert all_of(root) == [f"{NAME}.mp4"]


@pytest.mark.parametrize(
    ("wanted", "kinds", "left"),
    [
        (PLAIN, ("video", "chapter.1"), 1),
        ({"name": "{title} [{id}]"}, ("video", "thumbnail"), 1),
        ({"name": "{title} [{id}]"}, ("thumbnail",), 0),
    ],
)
async def test_a_task_stays_while_it_has_files_that_the_library_has_not(
    server: Inside, root: Path, wanted: dict[str, Any], kinds: tuple[str, ...], left: int
) -> None:
    task_id = await submitted(server, **wanted, keep_task=False)
    await completed(server, task_id, kinds=kinds)
    assert len(await placed(server, task_id)) == left
    while await busy(server):
        await asyncio.sleep(0.02)
    assert set((await server.status(task_id))["files"]) == set(kinds)
    assert len(all_of(root)) == left


@pytest.mark.wide
@ON_BOTH
async def test_a_task_that_is_not_kept_stays_until_its_end_was_told(
    database: str, tmp_path: Path, root: Path
) -> None:
    settings = {
        "storage": StorageSettings(data_dir=tmp_path / "data", database=database),
        "downloads": DownloadSettings(min_free_disk=0),
        "library": LibrarySettings(path=root, time_zone="UTC"),
        "webhooks": WebhookSettings(secret=SECRET),
    }
    async with holding(tmp_path, **settings) as server:
        wanted = PLAIN | {"keep_task": False}
        task_id = await server.submit(library=wanted, webhook="http://127.0.0.9:9/refused")
        await completed(server, task_id)
        await placed(server, task_id)
        await asyncio.sleep(0.6)
        async with server.client.get("/api/webhooks") as answer:
            assert [each["task_id"] for each in (await answer.json())["webhooks"]] == [task_id]
        store: Any = server.app[PLACEMENTS]
        while not (await store.of_task(task_id)).is_untold:
            await asyncio.sleep(0.02)
        assert (await server.status(task_id))["stage"] == "completed"

        async def forget(tables: Any) -> None:
            await tables.run("DELETE FROM deliveries")

        await store._transactions.write(forget)
        while await busy(server):
            await asyncio.sleep(0.02)
        async with server.client.get(f"/api/status/{task_id}") as answer:
            assert answer.status == 404
        assert all_of(root) == [f"{NAME}.mp4"]


class Told:
    """A receiver of webhooks, with the payloads that it got."""

    def __init__(self) -> None:
        self.got: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        app = web.Application()
        app.router.add_post("/told", self._take)
        self.server = TestServer(app)

    async def _take(self, request: web.Request) -> web.Response:
        self.got.put_nowait(await request.json())
        return web.Response(status=204)

    async def next(self) -> dict[str, Any]:
        return await self.got.get()


@pytest.fixture
async def told() -> AsyncIterator[Told]:
    told = Told()
    async with told.server:
        yield told


@asynccontextmanager
async def telling(database: str, tmp_path: Path, root: Path, told: Told) -> AsyncIterator[Inside]:
    """A server whose tasks end with a webhook to `told`."""
    async with holding(
        tmp_path,
        storage=StorageSettings(data_dir=tmp_path / "data", database=database),
        downloads=DownloadSettings(min_free_disk=0),
        library=LibrarySettings(path=root, time_zone="UTC"),
        webhooks=WebhookSettings(
            secret=SECRET, default=str(told.server.make_url("/told")), allowed_private_hosts=("127.0.0.1",)
        ),
    ) as server:
        yield server


@pytest.mark.wide
async def test_an_end_is_told_once_the_files_are_in_the_library(
    database: str, tmp_path: Path, root: Path, told: Told
) -> None:
    async with telling(database, tmp_path, root, told) as server:
        (root / "Some Channel").symlink_to(tmp_path, target_is_directory=True)
        task_id, other = (
            await submitted(server, layout="shows", nfo=False, keep_task=False),
            await server.submit(),
        )
        await completed(server, task_id)
        await waits(server, task_id)
        await server.finished(b"not for the library", other)
        assert (await told.next())["task_id"] == other, "this one waits for nothing"
        (root / "Some Channel").unlink()
        payload = await told.next()
        assert payload["task_id"] == task_id
        assert payload["library"] == {"state": "placed", "paths": [f"{NAME}.mp4"]}
        assert told.got.empty()


@pytest.mark.wide
async def test_after_ten_minutes_an_end_is_told_with_what_keeps_the_files_from_the_library(
    database: str, tmp_path: Path, root: Path, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with telling(database, tmp_path, root, told) as server:
        (root / "Some Channel").symlink_to(tmp_path, target_is_directory=True)
        task_id, ended = await submitted(server), time.time()
        await completed(server, task_id)
        await waits(server, task_id)
        async with server.client.get("/api/webhooks") as answer:
            [delivery] = (await answer.json())["webhooks"]
        due = datetime.fromisoformat(delivery["next_at"]).timestamp()
        assert delivery["attempts"] == 0
        assert due - ended == pytest.approx(600, abs=60)
        # As if these ten minutes had passed.
        store: Any = server.app[PLACEMENTS]

        async def is_due(tables: Any) -> None:
            value = tables.dialect.moment.format("?")
            await tables.run(f"UPDATE deliveries SET next_at = {value}", (ended,))
            tables.wake("deliveries")

        await store._transactions.write(is_due)
        payload = await told.next()
        assert payload["library"] == {
            "state": "waiting", "reason": "blocked", "path": "Some Channel", "paths": []
        }  # fmt: skip
        (root / "Some Channel").unlink()
        await placed(server, task_id)
        assert told.got.empty(), "it is told once"


async def test_languages_that_differ_in_case_are_one_file(server: Inside, root: Path) -> None:
    task_id = await submitted(server)
    await completed(server, task_id, kinds=("video", "subtitle.en", "subtitle.EN"))
    await placed(server, task_id)
    assert all_of(root) == [f"{NAME}.en.vtt", f"{NAME}.mp4"]


class Folding:
    """`os` on a file system that folds the case of names, as Windows shares do."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def found(self, name: Any, at: int | None) -> Any:
        """Return the name in the folder that differs in case only."""
        there = os.listdir(at) if at is not None and "/" not in str(name) else []
        return next((each for each in there if each.casefold() == str(name).casefold()), name)

    def open(self, name: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        return os.open(self.found(name, dir_fd), flags, mode, dir_fd=dir_fd)

    def stat(self, name: Any, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> os.stat_result:
        return os.stat(self.found(name, dir_fd), dir_fd=dir_fd, follow_symlinks=follow_symlinks)

    def unlink(self, name: Any, *, dir_fd: int | None = None) -> None:
        os.unlink(self.found(name, dir_fd), dir_fd=dir_fd)

    def rename(self, name: Any, new: Any, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        there = self.found(new, dst_dir_fd)
        to = new if there == name else there
        os.rename(name, to, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    def link(self, name: Any, new: Any, *, dst_dir_fd: int, **more: Any) -> None:
        os.link(name, self.found(new, dst_dir_fd), dst_dir_fd=dst_dir_fd, **more)


@pytest.mark.wide
@pytest.mark.parametrize("is_folding", [True, False])
async def test_a_film_stays_when_its_title_has_another_case_later(
    server: Inside, root: Path, monkeypatch: pytest.MonkeyPatch, *, is_folding: bool
) -> None:
    if is_folding:
        monkeypatch.setattr("server.library.library_folder.os", Folding())
    task_id = await submitted(server)
    await completed(server, task_id)
    await placed(server, task_id)
    await server.app[keys.TASKS]._recorder.record(task_id, Retried())
    await completed(server, task_id, INFO.model_copy(update={"title": "A FILM: part one"}))
    [path] = await placed(server, task_id)
    assert path == f"{NAME}.mp4".replace("A film", "A FILM")
    [there] = all_of(root)
    assert (root / there).read_bytes() == FILM
    assert there.casefold() == path.casefold()
    assert (there == path) != is_folding


async def test_what_a_killed_server_was_building_for_a_show_is_cleared(server: Inside, root: Path) -> None:
    (root / "Some Channel").mkdir()
    (root / "Some Channel" / f".{NAME.rpartition('/')[2]}.77.part").write_text("half a poster")
    task_id = await submitted(server)
    await completed(server, task_id, kinds=("video", "thumbnail"))
    await placed(server, task_id)
    assert not [path for path in all_of(root) if path.endswith(".part")]


async def test_a_deleted_task_leaves_the_library_as_it_is(server: Inside, root: Path) -> None:
    task_id = await submitted(server)
    await completed(server, task_id)
    await placed(server, task_id)
    async with server.client.delete(f"/api/tasks/{task_id}") as answer:
        assert answer.status == 204
    assert all_of(root) == [f"{NAME}.mp4"]


async def test_with_a_word_a_deleted_task_takes_what_it_placed_with_it(server: Inside, root: Path) -> None:
    task_id = await submitted(server)
    await completed(server, task_id, kinds=("video", "subtitle.en"))
    await placed(server, task_id)
    (root / f"{NAME}.en.vtt").write_text("corrected by hand")
    async with server.client.delete(f"/api/tasks/{task_id}?library=delet") as answer:
        assert answer.status == 422
    async with server.client.delete(f"/api/tasks/{task_id}?library=delete") as answer:
        assert answer.status == 204
    await until(lambda: all_of(root) == [f"{NAME}.en.vtt"])
    (root / f"{NAME}.en.vtt").unlink()


@pytest.mark.wide
@pytest.mark.parametrize(("layout", "picture"), [("shows", "poster.jpg"), ("podcast", "cover.jpg")])
async def test_a_folder_has_the_picture_of_its_first_film_until_the_last_has_gone(
    server: Inside, root: Path, layout: str, picture: str
) -> None:
    tasks = []
    for name, content in (("x1", PICTURE), ("x2", PICTURE[::-1])):
        task_id = await submitted(server, layout=layout, nfo=False)
        info = INFO.model_copy(update={"id": name})
        await completed(server, task_id, info, kinds=("video", "thumbnail"), thumbnail=content)
        await placed(server, task_id)
        tasks.append(task_id)
    common = root / "Some Channel" / picture
    assert common.read_bytes() == PICTURE
    for task_id, is_left in zip(tasks, (True, False), strict=True):
        async with server.client.delete(f"/api/tasks/{task_id}?library=delete") as answer:
            assert answer.status == 204
        if is_left:
            await until(lambda: not [path for path in all_of(root) if "[x1]" in path])
            assert common.read_bytes() == PICTURE
    await until(lambda: all_of(root) == [])


@pytest.mark.wide
@ON_BOTH
async def test_the_poster_of_a_season_goes_with_its_last_film(server: Inside, root: Path) -> None:
    tasks = []
    for name, day in (("x1", "2025-03-14"), ("x2", "2025-03-15"), ("x3", "2026-03-14")):
        tasks.append(await submitted(server, layout="shows", nfo=False))
        info = INFO.model_copy(update={"id": name, "published_at": day})
        await completed(server, tasks[-1], info, kinds=("video", "thumbnail"))
        await placed(server, tasks[-1])

    def posters() -> list[str]:
        return sorted(path.name for path in (root / "Some Channel").glob("*poster*"))

    assert posters() == ["poster.jpg", "season2025-poster.jpg", "season2026-poster.jpg"]
    for task_id, left in zip(tasks[:2], (3, 2), strict=True):
        async with server.client.delete(f"/api/tasks/{task_id}?library=delete") as answer:
            assert answer.status == 204
        while await busy(server):
            await asyncio.sleep(0.02)
        assert len(posters()) == left
    assert posters() == ["poster.jpg", "season2026-poster.jpg"]


@pytest.mark.wide
async def test_the_last_ones_of_a_folder_take_its_files_with_them_also_at_once(
    server: Inside, root: Path
) -> None:
    tasks = []
    for name in ("x1", "x2"):
        tasks.append(await submitted(server, layout="shows"))
        await completed(server, tasks[-1], INFO.model_copy(update={"id": name}), kinds=("video", "thumbnail"))
        await placed(server, tasks[-1])
    while await busy(server):
        await asyncio.sleep(0.02)
    store: Any = server.app[PLACEMENTS]

    async def leave(tables: Any) -> None:
        await tables.run("UPDATE file_sets SET state = 'leaving', not_before = 0")

    await store._transactions.write(leave)
    await until(lambda: [each.name for each in root.iterdir()] == [MARKER])


@pytest.mark.wide
async def test_a_mount_that_is_away_is_waited_for_and_nothing_is_written_into_its_place(
    server: Inside, root: Path
) -> None:
    first = await submitted(server)
    await completed(server, first)
    await placed(server, first)
    away = root.rename(root.with_name("away"))
    root.mkdir()  # an empty mount point
    second = await submitted(server)
    await completed(server, second, INFO.model_copy(update={"id": "x2"}))
    assert (await waits(server, second))["reason"] == "away"
    assert list(root.iterdir()) == []
    store, ahead = server.app[PLACEMENTS], time.time() + 400 * 86400.0
    assert await store.claim(9, 60.0, ahead)
    due = await store.due_in(time.time())
    assert due is not None
    assert due <= 0, "a clock that was ahead puts nothing off for ever"
    async with server.client.get("/readyz?lang=en") as answer:
        check = (await answer.json())["checks"]["library"]
        assert (check["ok"], check["needed"]) == (False, False)
        assert MARKER in check["detail"]
        assert str(root) not in json.dumps(check)
    root.rmdir()
    away.rename(root)
    await placed(server, second)
    assert len(all_of(root)) == 2


@pytest.mark.wide
@ON_BOTH
async def test_a_link_out_of_the_library_is_not_followed(server: Inside, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "Some Channel").symlink_to(outside, target_is_directory=True)
    task_id = await submitted(server)
    await completed(server, task_id)
    told = {"state": "waiting", "reason": "blocked", "path": "Some Channel", "paths": []}
    assert await waits(server, task_id) == told
    assert list(outside.iterdir()) == []
    async with server.client.get("/readyz?lang=en") as answer:
        check = (await answer.json())["checks"]["library"]
    assert (check["ok"], check["needed"], check["values"]) == (False, False, {"count": 1})
    assert "Channel" not in check["detail"], "everybody may read it"
    (root / "Some Channel").unlink()
    await placed(server, task_id)
    assert "reason" not in (await server.status(task_id))["library"]


async def test_a_file_in_place_of_a_folder_is_named(server: Inside, root: Path) -> None:
    (root / "Some Channel").mkdir()
    (root / "Some Channel" / "Season 2026").write_bytes(b"a file")
    task_id = await submitted(server)
    await completed(server, task_id)
    told = await waits(server, task_id)
    assert (told["reason"], told["path"]) == ("blocked", "Some Channel/Season 2026")


async def test_files_that_are_gone_are_told(server: Inside, root: Path) -> None:
    away = root.rename(root.with_name("away"))
    task_id = await submitted(server)
    await completed(server, task_id)
    await waits(server, task_id)
    for film in server.app[keys.SETTINGS].storage.data_dir.rglob("video*.mp4"):
        film.unlink()
    away.rename(root)
    assert (await waits(server, task_id, "files_gone"))["state"] == "waiting"


@ON_BOTH
@pytest.mark.parametrize("is_of_task", [True, False])
async def test_a_row_that_cannot_be_read_keeps_nothing_else_from_being_placed(
    server: Inside,
    root: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_of_task: bool,
) -> None:
    away = root.rename(root.with_name("away"))  # without the library, nothing is placed yet
    odd, sound = await submitted(server), await submitted(server)
    for number, task_id in enumerate((odd, sound)):
        await completed(server, task_id, film(number))
    tasks, store = server.app[keys.TASKS], cast("Any", server.app[PLACEMENTS])
    if is_of_task:
        read = tasks.status

        async def status(task_id: str) -> TaskStatus:
            if task_id == odd:
                raise ValueError("damaged")
            return await read(task_id)

        monkeypatch.setattr(tasks, "status", status)
    else:
        newer = """UPDATE file_sets SET wanted = '{"layout": "dreams"}' WHERE task_id = ?"""
        await store._transactions.write(lambda tables: tables.run(newer, (odd,)))
    away.rename(root)
    await until(lambda: all_of(root) == [f"{NAME.rpartition(' - ')[0]} - Film 1 [1].mp4"])
    await until(lambda: "cannot be read" in caplog.text)
    assert "ended unexpectedly" not in caplog.text


@pytest.mark.wide
async def test_a_library_that_is_full_is_tried_again(
    server: Inside, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from server.library import library_folder

    tries = 0

    def full(*_: Any, **__: Any) -> Any:
        nonlocal tries
        tries += 1
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(library_folder.UnfinishedFile, "clone", full)
        task_id = await submitted(server)
        await completed(server, task_id)
        await until(lambda: tries > 1)
        status = await server.status(task_id)
        assert (status["stage"], status["library"]["state"]) == ("completed", "waiting")
        await until(lambda: all_of(root) == [])  # the placer has removed what an interrupted try left
    await placed(server, task_id)
    assert all_of(root) == [f"{NAME}.mp4"]


STEPS = (
    *("store_about", "assign_place", "reserve", "settle", "of_task", "mark_placed"),
    *("clear", "put", "tell_of_library"),
)


@pytest.mark.wide
@pytest.mark.parametrize("is_after", [False, True])
@pytest.mark.parametrize("step", STEPS)
async def test_a_set_is_placed_once_whatever_step_the_server_dies_at(
    open_server: Open, database: str, root: Path, step: str, is_after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The placer hangs for ever before or after a step; the next server goes on."""
    from server.library.placement_rows import PlacementRows
    from server.library.placing import PlacedFiles
    from server.tasks.service import Tasks

    owner = next(one for one in (PlacementRows, PlacedFiles, Tasks) if hasattr(one, step))
    original, reached = getattr(owner, step), asyncio.Event()

    async def dies(self: Any, *arguments: Any, **more: Any) -> Any:
        if is_after:
            await original(self, *arguments, **more)
        reached.set()
        await asyncio.Event().wait()

    async with open_server() as server:
        with monkeypatch.context() as patch:
            patch.setattr(owner, step, dies)
            task_id = await submitted(server)
            await completed(server, task_id, kinds=("video", "subtitle.en"))
            await reached.wait()
        film = root / f"{NAME}.mp4"
        assert not film.exists() or film.read_bytes() == FILM
    async with open_server() as server:
        await end_leases(server, database)
        assert await placed(server, task_id) == [f"{NAME}.mp4", f"{NAME}.en.vtt"]
        assert all_of(root) == sorted([f"{NAME}.mp4", f"{NAME}.en.vtt"])


class Held:
    """Holds the first call of a method of the library's folder, which runs in a thread, until `go_on` is
    called.
    """

    def __init__(self, patch: pytest.MonkeyPatch, owner: Any, method: str) -> None:
        self.began, self._goes_on = asyncio.Event(), threading.Event()
        original, loop = getattr(owner, method), asyncio.get_running_loop()
        calls = itertools.count()

        def held(*arguments: Any, **more: Any) -> Any:
            if next(calls) == 0:
                loop.call_soon_threadsafe(self.began.set)
                assert self._goes_on.wait(60)
            return original(*arguments, **more)

        patch.setattr(owner, method, held)

    def go_on(self) -> None:
        self._goes_on.set()


@pytest.fixture
def let_go() -> Iterator[list[Held]]:
    """Let all held calls go on in the end, even if the test fails."""
    held: list[Held] = []
    yield held
    for one in held:
        one.go_on()


@pytest.mark.wide
async def test_the_same_film_that_is_wanted_while_it_is_placed_keeps_its_file(
    server: Inside, root: Path, let_go: list[Held], monkeypatch: pytest.MonkeyPatch
) -> None:
    from server.library.library_folder import UnfinishedFile
    from server.library.placement_rows import PlacementRows

    original, checks = PlacementRows.due_in, asyncio.Queue[None]()

    async def due_in(self: PlacementRows, now: float) -> float | None:
        found = await original(self, now)
        checks.put_nowait(None)
        return found

    let_go.append(put := Held(monkeypatch, UnfinishedFile, "put"))
    first = await submitted(server)
    await completed(server, first)
    await put.began.wait()
    second = await submitted(server)
    await completed(server, second)
    monkeypatch.setattr(PlacementRows, "due_in", due_in)
    for _ in range(3):  # after three looks, every placer that might place the file as well has seen it
        await checks.get()
    put.go_on()
    for task_id in (first, second):
        assert await placed(server, task_id) == [f"{NAME}.mp4"]
    assert all_of(root) == [f"{NAME}.mp4"]


@pytest.mark.wide
@pytest.mark.parametrize("step", ["is_there", "tidy"])
async def test_a_server_that_stood_still_deletes_nothing_that_another_has_placed_since(
    server: Inside, root: Path, step: str, let_go: list[Held], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first server resumes a deletion after its lease has ended; meanwhile the film was dropped by a
    second server, and placed anew.
    """
    from server.library.library_folder import Root
    from server.tasks import leases

    task_id = await submitted(server)
    await completed(server, task_id, kinds=("video", "subtitle.en"))
    await placed(server, task_id)
    let_go.append(held := Held(monkeypatch, Root, step))
    original, ended = placer.Placer._work, asyncio.Queue[None]()

    async def work(*arguments: Any) -> None:
        try:
            await original(*arguments)
        finally:
            ended.put_nowait(None)

    monkeypatch.setattr(placer.Placer, "_work", work)
    async with server.client.delete(f"/api/tasks/{task_id}?library=delete") as answer:
        assert answer.status == 204
    await held.began.wait()
    for module in (leases, placer):
        monkeypatch.setattr(module, "stopwatch", lambda: stopwatch() + leases.LEASE)
    await server.app[PLACEMENTS].release_all()  # ends the leases of the server that hung
    await ended.get()  # a second server has dropped the film
    again = await submitted(server)
    await completed(server, again, kinds=("video", "subtitle.en"))
    both = [f"{NAME}.mp4", f"{NAME}.en.vtt"]
    assert await placed(server, again) == both
    for _ in ("placed", "told"):
        await ended.get()
    held.go_on()
    await ended.get()
    assert all_of(root) == sorted(both)


async def end_leases(server: Inside, database: str) -> None:
    """End the leases of a server that is gone; they would last a minute.

    On one machine, the next server does so when it starts: later it would end its own leases.
    """
    if database != "sqlite":
        await server.app[PLACEMENTS].release_all()


async def subscribed(server: Inside, name: str, **wanted: Any) -> str:
    body = {"url": f"http://{name}.test/list", "request": {"auto_start": False}, **wanted}
    async with server.client.post("/api/subscriptions", json=body) as answer:
        assert answer.status == 201, await answer.text()
        subscription_id: str = (await answer.json())["subscription_id"]
        return subscription_id


async def found(
    server: Inside,
    subscription_id: str,
    *numbers: int,
    listed: Sequence[FoundEntry] = (),
    pictures: Sequence[SourcePicture] = (),
    **source: Any,
) -> list[str]:
    """Let a check find these entries, the first being the newest; return the ids of their tasks."""
    store, checks = server.app[SUBSCRIPTIONS].store, server.app[SUBSCRIPTIONS].checks
    now = server.app[keys.CLOCK].now().timestamp()
    subscription = await store.get(subscription_id)

    async def claim() -> Claim:
        while True:
            await server.app[SUBSCRIPTIONS].check(subscription_id)
            later = now + 100.0 * next(CLAIMS)  # a time at which all leases have ended
            for each in await checks.claim(9, 60.0, later):
                if each.subscription.subscription_id == subscription.subscription_id:
                    return each
            await asyncio.sleep(0.05)

    result = CheckResult(form="list", whole=True, **source)
    pace = Pace(interval=3600, min_interval=300, pause=0, max_new=50)
    noticed = [*entries(*numbers), *listed]
    settled = await checks.settle(await claim(), noticed, result, pace, now, pictures)
    for task in settled.tasks:
        server.app[keys.TASKS].take_on(task)
    items, _ = await server.app[SUBSCRIPTIONS].items.page(subscription_id, None, None, 100)
    by_key = {item.key: item.task_id or "" for item in items}
    return [by_key[f"site {number}"] for number in numbers]


async def items_of(server: Inside, subscription_id: str) -> dict[str, dict[str, Any]]:
    async with server.client.get(f"/api/subscriptions/{subscription_id}/items") as answer:
        return {item["key"]: item for item in (await answer.json())["items"]}


def film(number: int) -> VideoInfo:
    return INFO.model_copy(update={"id": str(number), "title": f"Film {number}"})


@pytest.fixture
def nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop all checks: the tests say what checks find."""

    async def never(*_: Any, **__: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("server.subscriptions.subscription_checker.SubscriptionChecker.run", never)


@pytest.mark.wide
@pytest.mark.usefixtures("nobody_looks")
async def test_a_film_of_two_subscriptions_is_one_task_and_placed_for_each(
    server: Inside, root: Path
) -> None:
    here = await subscribed(server, "a", backlog="all", library=PLAIN | {"folder": "One"})
    there = await subscribed(server, "b", backlog="all", library=PLAIN | {"folder": "Two"})
    [task_id] = await found(server, here, 1)
    assert await found(server, there, 1) == [task_id]
    await completed(server, task_id, film(1))
    paths = await placed(server, task_id)
    assert [path.partition("/")[0] for path in paths] == ["One", "Two"]
    one, two = (root / path for path in paths)
    assert one.stat().st_ino == two.stat().st_ino, "hard links of one file"
    items = await items_of(server, there)
    assert items["site 1"]["paths"] == [paths[1]]


@pytest.mark.wide
@pytest.mark.usefixtures("nobody_looks")
async def test_two_subscriptions_for_one_folder_share_a_file_until_the_last_lets_it_go(
    server: Inside, root: Path
) -> None:
    ids = [await subscribed(server, name, backlog="all", library=PLAIN | {"folder": "All"}) for name in "ab"]
    [task_id] = await found(server, ids[0], 1)
    assert await found(server, ids[1], 1) == [task_id]
    await completed(server, task_id, film(1))
    [path] = await placed(server, task_id)
    assert [(await items_of(server, each))["site 1"]["paths"] for each in ids] == [[path], [path]]
    for number, subscription_id in enumerate(ids):
        async with server.client.delete(f"/api/subscriptions/{subscription_id}?files=delete") as answer:
            assert answer.status == 204
        if number == 0:
            await asyncio.sleep(0.6)
            assert all_of(root) == [path]
    await until(lambda: [each.name for each in root.iterdir()] == [MARKER])  # empty folders are removed, too


@pytest.mark.wide
@ON_BOTH
@pytest.mark.usefixtures("nobody_looks")
@pytest.mark.parametrize("is_first", [True, False])
async def test_a_shared_file_goes_when_all_let_it_go_at_once(
    server: Inside, root: Path, *, is_first: bool
) -> None:
    ids = [await subscribed(server, name, backlog="all", library=PLAIN | {"folder": "All"}) for name in "ab"]
    [task_id] = await found(server, ids[0], 1)
    await found(server, ids[1], 1)
    await completed(server, task_id, film(1))
    await placed(server, task_id)
    store: Any = server.app[PLACEMENTS]

    async def reorder(tables: Any) -> None:
        """Let the set with the files come first, or last, of the two that are claimed."""
        owner, heir = ("00", "01") if is_first else ("01", "00")
        [(before,)] = await tables.fetch("SELECT set_id FROM file_sets WHERE shares IS NULL")
        await tables.run("UPDATE file_sets SET set_id = ? WHERE shares IS NOT NULL", (heir,))
        await tables.run("UPDATE file_sets SET set_id = ? WHERE shares IS NULL", (owner,))
        await tables.run("UPDATE file_sets SET shares = ? WHERE shares IS NOT NULL", (owner,))
        await tables.run("UPDATE placed SET set_id = ? WHERE set_id = ?", (owner, before))

    async with asyncio.timeout(20):
        while await busy(server):
            await asyncio.sleep(0.02)
    await store._transactions.write(reorder)
    async with server.client.delete(f"/api/tasks/{task_id}?library=delete") as answer:
        assert answer.status == 204
    await until(lambda: all_of(root) == [])


@pytest.mark.wide
@pytest.mark.usefixtures("nobody_looks")
async def test_files_go_with_their_subscription_at_once_however_many_are_shared(
    server: Inside, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placer, "LOOK_EVERY", 3600.0)  # the placer looks only when it is woken
    ids = [await subscribed(server, name, backlog="all", library=PLAIN | {"folder": "All"}) for name in "ab"]
    for task_id in await found(server, ids[0], 3, 2, 1):
        await completed(server, task_id, film(int((await server.status(task_id))["url"][-1])))
        await placed(server, task_id)
    await found(server, ids[1], 3, 2, 1)
    store: Any = server.app[PLACEMENTS]
    async with asyncio.timeout(20):
        while await busy(server):
            store._transactions.signals.give(DUE_SOONER)
            await asyncio.sleep(0.05)
    assert len(all_of(root)) == 3
    for mine in ids:
        async with server.client.delete(f"/api/subscriptions/{mine}?files=delete") as answer:
            assert answer.status == 204
    await until(lambda: all_of(root) == [])


@pytest.mark.wide
@pytest.mark.usefixtures("nobody_looks")
async def test_a_film_that_tells_no_day_has_that_of_its_entry(server: Inside, root: Path) -> None:
    mine = await subscribed(server, "a", backlog="all", library=PLAIN)
    listed = entries(1, published_at="2025-11-24T20:00:00Z")
    await found(server, mine, listed=listed)
    [task_id] = [item["task_id"] for item in (await items_of(server, mine)).values()]
    await completed(server, task_id, film(1).model_copy(update={"published_at": None}))
    [path] = await placed(server, task_id)
    assert "S2025E112401" in path


@pytest.mark.wide
@pytest.mark.usefixtures("nobody_looks")
@pytest.mark.parametrize("is_told", [True, False])
async def test_episodes_of_a_day_are_numbered_as_they_were_published_whichever_is_fetched_first(
    server: Inside, root: Path, *, is_told: bool
) -> None:
    """`is_told`: the list has the times of publication; otherwise the tasks learn them when they run."""
    mine = await subscribed(server, "a", backlog="all", library=PLAIN)
    hours = {number: f"2026-03-14T{number:02}:00:00Z" for number in (8, 12, 18)}
    listed = [
        entry
        for number in (18, 12, 8)
        for entry in entries(number, **({"published_at": hours[number]} if is_told else {}))
    ]
    await found(server, mine, listed=listed)
    tasks = {key: item["task_id"] for key, item in (await items_of(server, mine)).items()}
    recorder = server.app[keys.TASKS]._recorder
    infos = {n: film(n).model_copy(update={"published_at": hours[n]}) for n in hours}
    if not is_told:
        for number in hours:
            await recorder.record(tasks[f"site {number}"], Resumed())
            await recorder.record(tasks[f"site {number}"], Started())
            await recorder.record(tasks[f"site {number}"], Described(video_info=infos[number]))
    numbers = {}
    for number in (18, 8, 12):
        await completed(server, tasks[f"site {number}"], infos[number])
        [path] = await placed(server, tasks[f"site {number}"])
        numbers[number] = path.partition(" - S")[2].partition(" - ")[0]
    assert numbers == {8: "2026E031401", 12: "2026E031402", 18: "2026E031403"}


@pytest.mark.wide
@pytest.mark.usefixtures("nobody_looks")
async def test_what_is_not_kept_goes_as_a_whole_and_only_if_it_is_ours(server: Inside, root: Path) -> None:
    mine = await subscribed(server, "a", backlog="all", library=PLAIN, keep={"last": 1})
    tasks = await found(server, mine, 2, 1)
    for number, task_id in zip((2, 1), tasks, strict=True):
        await completed(server, task_id, film(number), ("video", "subtitle.en"))
        await placed(server, task_id)
    paths = {key: item["paths"] for key, item in (await items_of(server, mine)).items()}
    changed = root / paths["site 1"][1]
    changed.write_text("corrected by hand")
    gone = await server.app[SUBSCRIPTIONS].items.expire(server.app[keys.CLOCK].now().timestamp())
    assert gone == [tasks[1]]
    await until(lambda: len(all_of(root)) == 3)
    assert set(all_of(root)) == {*paths["site 2"], paths["site 1"][1]}
    assert (await items_of(server, mine))["site 1"]["state"] == "expired"


@pytest.mark.usefixtures("nobody_looks")
async def test_a_subscription_that_keeps_no_tasks_keeps_that_of_a_clients_own_link(
    server: Inside, root: Path
) -> None:
    own = await server.submit(url="https://a.test/1", auto_start=False, outputs=["video"])
    await completed(server, own, film(1))
    library = PLAIN | {"keep_task": False}
    mine = await subscribed(server, "a", backlog="all", library=library)
    assert await found(server, mine, 1) == [own]
    async with asyncio.timeout(20):
        while not all_of(root) or await busy(server):
            await asyncio.sleep(0.02)
    assert (await server.status(own))["library"] == {"state": "placed", "paths": all_of(root)}


@pytest.mark.wide
@pytest.mark.usefixtures("nobody_looks")
async def test_a_file_that_its_owner_deletes_is_never_fetched_or_placed_again(
    server: Inside, root: Path
) -> None:
    mine = await subscribed(server, "a", backlog="all", library=PLAIN)
    [task_id] = await found(server, mine, 1)
    await completed(server, task_id, film(1))
    [path] = await placed(server, task_id)
    (root / path).unlink()
    assert await found(server, mine, 1) == [task_id]
    await asyncio.sleep(0.6)
    assert all_of(root) == []
    assert (await items_of(server, mine))["site 1"]["state"] == "fetched"


@pytest.mark.usefixtures("nobody_looks")
async def test_a_placed_copy_lets_retention_take_the_task_and_one_that_waits_does_not(
    server: Inside, root: Path
) -> None:
    with_library = await subscribed(server, "a", backlog="all", library=PLAIN)
    without = await subscribed(server, "b", backlog="all", request={"auto_start": False, "quality": "720"})
    [first], [second] = await found(server, with_library, 1), await found(server, without, 2)
    away = root.rename(root.with_name("away"))
    for number, task_id in ((1, first), (2, second)):
        await completed(server, task_id, film(number))
    store, later = server.app[keys.TASKS]._store, server.app[keys.CLOCK].now() + timedelta(hours=1)
    assert await store.mark_expired(later, 10) == [], "it is the only copy"
    away.rename(root)
    await placed(server, first)
    async with asyncio.timeout(20):
        while await busy(server):
            await asyncio.sleep(0.02)
    assert await store.mark_expired(later, 10) == [first]
    items = await items_of(server, with_library)
    assert (items["site 1"]["state"], len(items["site 1"]["paths"])) == ("fetched", 1)


async def act(server: Inside, action: str, **more: Any) -> dict[str, Any]:
    async with server.client.post("/api/library/actions", json={"action": action, **more}) as answer:
        assert answer.status == 200, await answer.text()
        outcome: dict[str, Any] = await answer.json()
        return outcome


@pytest.mark.wide
@ON_BOTH
async def test_after_a_renamed_channel_rename_moves_all_that_its_films_have(
    server: Inside, root: Path
) -> None:
    first, second = await submitted(server, layout="shows"), await submitted(server, layout="shows")
    await completed(server, first, kinds=("video", "subtitle.en", "thumbnail"))
    await placed(server, first)
    later = {"id": "x2", "channel": "New Name", "published_at": "2026-03-15T00:00:00Z"}
    await completed(server, second, INFO.model_copy(update=later))
    await placed(server, second)
    before = all_of(root)
    planned = await act(server, "rename", dry_run=True)
    assert (planned["count"], all_of(root)) == (6, before)
    assert await act(server, "rename") == planned
    await until(lambda: all(path.startswith("New Name/") for path in all_of(root)))
    moves = {each["from"]: each["to"] for each in planned["files"]}
    expected = {moves.get(path, path.replace("Some Channel/", "New Name/")) for path in before}
    pictures = {"New Name/poster.jpg", "New Name/season2026-poster.jpg"}
    assert {"New Name/tvshow.nfo", *pictures} < expected
    await until(lambda: set(all_of(root)) == expected)
    await placed(server, first)
    await quiet(server)
    assert (await act(server, "rename", dry_run=True))["count"] == 0
    assert set((await server.status(first))["library"]["paths"]) <= expected
    assert (await act(server, "verify"))["missing"] == 0


def shows_told(root: Path) -> set[str | None]:
    """Return the names of the show in all NFO files below `root`."""
    told = set[str | None]()
    for path in root.rglob("*.nfo"):
        tree = ElementTree.parse(path)
        told.add(tree.findtext("title" if path.name == "tvshow.nfo" else "showtitle"))
    return told


@pytest.mark.wide
async def test_after_a_rename_folder_names_and_nfo_files_agree_and_nothing_is_left_to_do(
    server: Inside, root: Path
) -> None:
    for number in range(4):
        task_id = await submitted(server, layout="shows")
        later = {"id": f"x{number}", "published_at": f"2026-03-1{number}"}
        later |= {"channel": "New Name"} if number == 3 else {}
        await completed(server, task_id, INFO.model_copy(update=later))
        await placed(server, task_id)
    assert shows_told(root) == {"Some Channel", "New Name"}
    planned = await act(server, "rename", dry_run=True)
    assert await act(server, "rename") == planned
    await quiet(server)
    assert not [path for path in all_of(root) if "Some Channel" in path]
    assert {each["to"] for each in planned["files"]} == {*all_of(root)} - {"New Name/tvshow.nfo"}
    assert shows_told(root) == {"New Name"}
    assert (await act(server, "rename", dry_run=True)) == {"count": 0, "files": []}


@pytest.mark.wide
async def test_what_a_dry_run_says_is_what_the_run_does_also_where_somebody_has_the_name(
    server: Inside, root: Path
) -> None:
    task_id = await submitted(server)
    await completed(server, task_id, kinds=("video", "subtitle.en"))
    await placed(server, task_id)
    await called_otherwise(server, "New Name")
    name = NAME.replace("Some Channel", "New Name")
    film = root / f"{name}.mp4"
    film.parent.mkdir(parents=True)
    film.write_text("somebody's")
    planned = await act(server, "rename", dry_run=True)
    number = name.replace(" [", " (2) [")
    assert [each["to"] for each in planned["files"]] == [f"{number}.en.vtt", f"{number}.mp4"]
    assert await act(server, "rename") == planned
    await quiet(server)
    assert all_of(root) == sorted([f"{name}.mp4", f"{number}.mp4", f"{number}.en.vtt"])
    assert (await act(server, "rename", dry_run=True))["count"] == 0


@pytest.mark.wide
async def test_while_one_rename_moves_files_another_one_is_refused(
    server: Inside, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from server.library.library_folder import Root

    task_id = await submitted(server)
    await completed(server, task_id)
    await placed(server, task_id)
    await called_otherwise(server, "New Name")
    held = Held(monkeypatch, Root, "move")
    await act(server, "rename")
    await held.began.wait()
    for action in ("rename", "rewrite_nfo", "verify"):
        async with server.client.post("/api/library/actions", json={"action": action}) as answer:
            assert (answer.status, (await answer.json())["code"]) == (409, "library_busy")
    held.go_on()
    await quiet(server)
    assert (await act(server, "rename"))["count"] == 0


async def quiet(server: Inside) -> None:
    """Return when the library has nothing left to do."""
    while await busy(server):
        await asyncio.sleep(0.05)


@ON_BOTH
async def test_a_folder_that_its_owner_has_renamed_is_the_shows_from_then_on(
    server: Inside, root: Path
) -> None:
    tasks = [await submitted(server, layout="shows") for _ in range(3)]
    for number, task_id in enumerate(tasks[:2]):
        await completed(server, task_id, film(number), kinds=("video", "thumbnail"))
        await placed(server, task_id)
    (root / "Some Channel").rename(root / "Mine")
    told = await act(server, "verify")
    assert (told["missing"], told["unknown"]) == (0, 0)
    await quiet(server)
    paths = (await server.status(tasks[0]))["library"]["paths"]
    assert {path.partition("/")[0] for path in paths} == {"Mine"}
    await completed(server, tasks[2], film(2).model_copy(update={"channel": "New Name"}))
    assert (await placed(server, tasks[2]))[0].startswith("Mine/Season 2026/New Name - ")
    await act(server, "rename")
    await quiet(server)
    assert {path.partition("/")[0] for path in all_of(root)} == {"Mine"}
    assert {"Mine/tvshow.nfo", "Mine/poster.jpg"} < set(all_of(root))
    assert shows_told(root) == {"New Name"}
    told = await act(server, "verify")
    assert (told["missing"], told["unknown"], told["adopted"]) == (0, 0, 0)


@pytest.mark.wide
@ON_BOTH
async def test_what_verify_misses_is_no_path_of_a_task_until_it_is_there_again(
    server: Inside, root: Path
) -> None:
    task_id = await submitted(server)
    await completed(server, task_id, kinds=("video", "subtitle.en"))
    film, words = await placed(server, task_id)
    (root / film).rename(root / "aside.mp4")
    await act(server, "verify", dry_run=True)
    assert (await server.status(task_id))["library"]["paths"] == [film, words]
    for there in ([words], [film, words]):
        await act(server, "verify")
        while (await server.status(task_id))["library"]["paths"] != there:
            await asyncio.sleep(0.05)
        if (root / "aside.mp4").exists():
            (root / "aside.mp4").rename(root / film)


async def called_otherwise(server: Inside, channel: str, **more: str) -> None:
    """Rename the channel of everything that is placed."""
    known = INFO.model_dump(include={"title", "id", "extractor", "channel_id", "published_at"})
    store: Any = server.app[PLACEMENTS]

    async def change(tables: Any) -> None:
        about = json.dumps({**known, "channel": channel, **more}, default=str)
        await tables.run("UPDATE file_sets SET about = ?", (about,))

    await store._transactions.write(change)


@pytest.mark.wide
@pytest.mark.parametrize("is_folding", [True, False])
async def test_what_differs_in_case_alone_is_renamed_and_gets_no_number(
    server: Inside, root: Path, monkeypatch: pytest.MonkeyPatch, *, is_folding: bool
) -> None:
    if is_folding:
        monkeypatch.setattr("server.library.library_folder.os", Folding())
    task_id = await submitted(server, layout="shows")
    await completed(server, task_id, kinds=("video", "subtitle.en"))
    await placed(server, task_id)
    before = all_of(root)
    await called_otherwise(server, "Some CHANNEL", title="A FILM: part one")
    await act(server, "rename")
    while await busy(server):
        await asyncio.sleep(0.02)
    name = NAME.replace("Some Channel", "Some CHANNEL").replace("A film", "A FILM")
    assert await placed(server, task_id) == [f"{name}.mp4", f"{name}.en.vtt", f"{name}.nfo"]
    there = all_of(root)
    assert sorted(map(str.casefold, there)) == sorted(map(str.casefold, before))
    assert {Path(path).name for path in there} >= {Path(f"{name}{end}").name for end in (".mp4", ".en.vtt")}
    assert "A FILM" in next(root.glob("*/*.nfo" if name.count("/") == 1 else "*/*/*.nfo")).read_text()
    assert (await act(server, "verify"))["missing"] == 0


@pytest.mark.wide
async def test_somebodys_file_that_appears_while_ours_are_moved_stays(
    server: Inside, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from server.library.placing import PlacedFiles

    task_id = await submitted(server, layout="shows")
    await completed(server, task_id, kinds=("video", "subtitle.en"))
    await placed(server, task_id)
    name = NAME.replace("Some Channel", "New Name")
    original = PlacedFiles.move

    async def move(self: Any, file: Any, path: str) -> Any:
        if path == f"{name}.mp4":
            (root / path).write_text("somebody's")
        return await original(self, file, path)

    await called_otherwise(server, "New Name")
    monkeypatch.setattr(PlacedFiles, "move", move)
    await act(server, "rename")
    while await busy(server):
        await asyncio.sleep(0.02)
    paths = await placed(server, task_id)
    other = name.replace(" [x1]", " (2) [x1]")
    expected = [f"{other}.mp4", f"{other}.en.vtt", f"{other}.nfo"]
    assert paths[0] == expected[0]
    assert set(all_of(root)) == {*expected, f"{name}.mp4", "New Name/tvshow.nfo"}
    assert (root / f"{name}.mp4").read_text() == "somebody's"


@pytest.mark.wide
@pytest.mark.parametrize("step", ["reserve", "move", "settle"])
@pytest.mark.parametrize("is_after", [False, True])
async def test_films_get_their_new_names_whatever_step_the_server_dies_at(
    open_server: Open,
    database: str,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    *,
    is_after: bool,
) -> None:
    from server.library.placement_rows import PlacementRows
    from server.library.placing import PlacedFiles

    owner = next(one for one in (PlacementRows, PlacedFiles) if hasattr(one, step))
    original, reached = getattr(owner, step), asyncio.Event()

    async def dies(self: Any, *arguments: Any, **more: Any) -> Any:
        if is_after:
            await original(self, *arguments, **more)
        reached.set()
        await asyncio.Event().wait()

    async with open_server() as server:
        task_id = await submitted(server)
        await completed(server, task_id, kinds=("video", "subtitle.en"))
        await placed(server, task_id)
        await called_otherwise(server, "New Name")
        with monkeypatch.context() as patch:
            patch.setattr(owner, step, dies)
            await act(server, "rename")
            await reached.wait()
    async with open_server() as server:
        await end_leases(server, database)
        name = NAME.replace("Some Channel", "New Name")
        await until(lambda: all_of(root) == sorted([f"{name}.mp4", f"{name}.en.vtt"]))
        while await busy(server):
            await asyncio.sleep(0.02)
        assert await placed(server, task_id) == [f"{name}.mp4", f"{name}.en.vtt"]


async def busy(server: Inside) -> bool:
    return await server.app[PLACEMENTS].due_in(0.0) is not None


@pytest.mark.wide
async def test_verify_finds_what_is_missing_changed_or_elsewhere_by_name_and_size(
    server: Inside, root: Path
) -> None:
    tasks = [await submitted(server) for _ in range(3)]
    for number, task_id in enumerate(tasks):
        await completed(server, task_id, film(number))
    paths = [(await placed(server, task_id))[0] for task_id in tasks]
    (root / paths[0]).unlink()
    (root / paths[1]).write_text("edited")
    moved = root / "Zoo" / (root / paths[2]).name
    moved.parent.mkdir()
    (root / paths[2]).rename(moved)
    (root / "own.mp4").touch()
    there = str(moved.relative_to(root))
    for dry_run in (True, False):
        told = await act(server, "verify", dry_run=dry_run)
        assert told["missing_files"] == [paths[0]]
        assert told["changed_files"] == [paths[1]]
        assert told["unknown_files"] == ["own.mp4"]
        assert told["adopted_files"] == [{"from": paths[2], "path": there}]
    after = await act(server, "verify")
    assert (after["count"], after["missing"], after["adopted"], after["unknown"]) == (2, 1, 0, 1)


@pytest.mark.usefixtures("nobody_looks")
async def test_after_an_older_backup_what_lies_there_is_known_and_not_fetched(
    server: Inside, root: Path
) -> None:
    """The name of one film tells which video it is, of the other its NFO does; no check has found the second
    film yet.
    """
    mine = await subscribed(server, "a", library=PLAIN)
    await found(server, mine, 1)
    assert (await items_of(server, mine))["site 1"]["state"] == "known"
    (root / "S").mkdir()
    (root / "S" / "Film 1 [1].mp4").write_bytes(FILM)
    (root / "S" / "Film 2 [2].mkv").write_bytes(FILM)
    (root / "S" / "Film 2 [2].nfo").write_text(
        '<movie><uniqueid type="Site" default="true">2</uniqueid></movie>'
    )
    (root / "S" / "Film 3 [3].mkv").write_bytes(FILM)
    told = await act(server, "verify", dry_run=True)
    assert {each["key"] for each in told["adopted_files"]} == {"site 1", "site 2"}
    assert (await items_of(server, mine))["site 1"]["state"] == "known"
    assert await act(server, "verify") == told
    await found(server, mine, 2, 1)
    states = {key: item["state"] for key, item in (await items_of(server, mine)).items()}
    assert states == {"site 1": "fetched", "site 2": "fetched"}
    assert (await act(server, "verify"))["adopted"] == 0


@ON_BOTH
@pytest.mark.usefixtures("nobody_looks")
async def test_after_an_older_backup_films_that_only_their_link_identifies_are_known_too(
    server: Inside, root: Path
) -> None:
    """Of one film the label in its name has the key of the item, of the other the NFO has the link."""
    mine = await subscribed(server, "a", library=PLAIN)
    links = [f"http://a.test/{number}.mp3?a=1&b=2" for number in range(3)]
    listed = [FoundEntry(url=link, title="Episode") for link in links]
    await found(server, mine, listed=listed[:1])
    named = [root / f"Episode [{label_of(f'url https{link[4:]}')}].mp3" for link in links]
    for path in named[:2]:
        path.write_bytes(SOUND)
    (root / "Other [0123456789ab].mp3").write_bytes(SOUND)
    told_of = html.escape(links[1])
    for path, link in ((named[1], told_of), (root / "Other [0123456789ab].mp3", html.escape(links[2]))):
        path.with_suffix(".nfo").write_text(
            f'<movie><uniqueid type="link" default="true">{link}</uniqueid></movie>'
        )
    told = await act(server, "verify", dry_run=True)
    assert {each["path"] for each in told["adopted_files"]} == {path.name for path in named[:2]}
    assert await act(server, "verify") == told
    await found(server, mine, listed=listed[::-1])
    states = {key[-13]: item["state"] for key, item in (await items_of(server, mine)).items()}
    assert states == {"0": "fetched", "1": "fetched", "2": "queued"}


@pytest.mark.wide
@pytest.mark.usefixtures("nobody_looks")
async def test_episodes_of_a_podcast_lie_in_its_folder_also_when_it_is_called_otherwise(
    server: Inside, root: Path
) -> None:
    """Only the feed describes the files; its author is no reliable name for the folder."""
    mine = await subscribed(server, "a", backlog="all", library={"layout": "shows"})
    other = await subscribed(server, "b", backlog="all", library={"layout": "podcast", "folder": "P"})
    said = VideoInfo(extractor="generic", extractor_key="Generic", id="e", uploader="A Network")

    async def episode(subscription_id: str, number: int, title: str) -> str:
        link = f"https://a.test/{number}.mp3"
        await found(server, subscription_id, listed=[FoundEntry(url=link)], title=title)
        told = await items_of(server, subscription_id)
        task_id: str = told[f"url {link}"]["task_id"]
        info = said.model_copy(update={"title": f"Part {number}", "published_at": f"2026-03-0{number}"})
        await completed(server, task_id, info)
        return (await placed(server, task_id))[0]

    for number, title in ((1, "My Pod"), (2, "My New Name")):
        path = await episode(mine, number, title)
        assert path.startswith(f"My Pod/Season 2026/{title} - S2026E030{number}01 - Part {number} [")
    assert (await episode(other, 3, "Another")).startswith("P/Another/2026-03-03 Part 3 [")
    assert "<title>My Pod</title>" in (root / "My Pod" / "tvshow.nfo").read_text()
    await act(server, "rename")
    await until(lambda: not (root / "My Pod").exists())
    assert len(all_of(root / "My New Name")) == 5


@pytest.mark.parametrize("action", ["rewrite_nfo", "rename"])
async def test_nothing_is_written_beside_a_film_that_its_owner_has_deleted(
    server: Inside, root: Path, action: str
) -> None:
    task_id = await submitted(server, layout="shows")
    await completed(server, task_id)
    await placed(server, task_id)
    shutil.rmtree(root / "Some Channel")
    await called_otherwise(server, "New Name")
    assert (await act(server, action))["count"]
    while await busy(server):
        await asyncio.sleep(0.02)
    assert all_of(root) == []


@pytest.mark.wide
async def test_nfo_files_are_written_anew_but_not_what_somebody_has_edited(
    server: Inside, root: Path
) -> None:
    first, second = await submitted(server, layout="shows"), await submitted(server, layout="shows")
    await completed(server, first)
    await placed(server, first)
    await completed(server, second, INFO.model_copy(update={"id": "x2"}))
    await placed(server, second)
    nfos = [root / path for path in all_of(root) if path.endswith("].nfo")]
    nfos[0].unlink()
    nfos[1].write_text("edited")
    assert (await act(server, "rewrite_nfo", dry_run=True))["count"] == 2
    assert not nfos[0].exists()
    await act(server, "rewrite_nfo")
    await until(nfos[0].exists)
    while await busy(server):
        await asyncio.sleep(0.05)
    assert nfos[1].read_text() == "edited"
    assert len(all_of(root)) == 5


async def test_a_library_that_is_away_is_said_to_be(server: Inside, root: Path) -> None:
    root.rename(root.with_name("away"))
    async with server.client.post("/api/library/actions", json={"action": "verify"}) as answer:
        assert (answer.status, (await answer.json())["code"]) == (503, "library_away")
    async with server.client.post("/api/library/actions", json={"action": "burn"}) as answer:
        assert answer.status == 422


async def test_two_nodes_place_each_film_once(clean_database: str, tmp_path: Path, root: Path) -> None:
    def node() -> AbstractAsyncContextManager[Inside]:
        return holding(
            tmp_path,
            storage=StorageSettings(data_dir=tmp_path / "data", database=clean_database),
            downloads=DownloadSettings(min_free_disk=0),
            library=LibrarySettings(path=root, method="copy", time_zone="UTC"),
        )

    async with node() as one, node() as other:
        tasks = [await submitted(one) for _ in range(20)]
        await asyncio.gather(*(completed(one, task_id, film(number)) for number, task_id in enumerate(tasks)))
        paths = [path for task_id in tasks for path in await placed(other, task_id)]
        assert sorted(paths) == all_of(root)
        assert len(set(paths)) == len(tasks)
        numbers = {path.partition("S2026E")[2][:6] for path in paths}
        assert numbers == {f"0314{number:02}" for number in range(1, 21)}, "none is given twice"
