"""The Python client with the real service, and with faulty networks and servers."""

import asyncio
import hashlib
import os
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import AsyncGeneratorType

import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer
from clipwire_client import (
    Client,
    ClipwireError,
    Entries,
    FileInfo,
    LibraryPlace,
    Removed,
    ServerUnreachable,
    Task,
    TransferFailed,
    VideoInfo,
    models,
    wishes,
)
from pydantic import BaseModel

from server.api import payload, tasks
from server.core import film
from server.core.library import Library
from server.subscriptions import subscription, subscription_schemas
from tests.between import connected, pass_on, standing
from tests.commands.shell import Shell
from tests.service import Service, Services
from tests.site import Site
from tests.site.followed import Film, Followed

CONTENT = bytes(range(256)) * 4096  # 1 MiB
UNKNOWN = "00000000-0000-4000-8000-000000000000"


@pytest.mark.parametrize(
    ("ours", "told"),
    [
        (Task, payload.TaskPayload),
        (VideoInfo, film.VideoInfo),
        (FileInfo, payload.FileInfo),
        (Entries, payload.EntryCounts),
        (LibraryPlace, payload.LibraryPlace),
        (models.Subscription, subscription_schemas.Subscription),
        (models.Item, subscription_schemas.Item),
        (models.Filters, subscription_schemas.SubscriptionFilters),
        (models.Keep, subscription_schemas.SubscriptionKeep),
        (models.LibrarySettings, subscription_schemas.SubscriptionLibrary),
        (models.FeedAddress, subscription_schemas.FeedAddress),
        (models.FeedOfPage, subscription_schemas.FeedOfPage),
    ],
)
def test_every_field_that_the_service_tells_is_known(ours: type[BaseModel], told: type[BaseModel]) -> None:
    names = ours.model_fields.keys() ^ told.model_fields.keys()
    assert names == set(), f"`{ours.__name__}` in clients/python/clipwire_client/models.py"


@pytest.mark.parametrize(
    ("ours", "asked"),
    [
        (wishes.SubscriptionWishes, subscription.SubscriptionSettings),
        (wishes.FilterWishes, subscription.Filters),
        (wishes.KeepWish, subscription.Keep),
        (wishes.FeedWish, subscription.FeedSettings),
        (wishes.LibraryWish, Library),
    ],
)
def test_every_setting_that_the_service_takes_is_known(ours: type, asked: type[BaseModel]) -> None:
    names = ours.__annotations__.keys() ^ (asked.model_fields.keys() - {"of_profile", "url"})
    assert names == set(), f"`{ours.__name__}` in clients/python/clipwire_client/wishes.py"


def test_every_filter_of_the_list_is_named_by_the_client() -> None:
    [listing] = [
        route for route in tasks.ROUTES if (route.definition.method, route.path) == ("GET", "/api/tasks")
    ]
    parameters = [each for operation in listing.operations.values() for each in operation.parameters]
    filters = {each.name for each in parameters if each.place == "query"} - {"limit", "cursor", "lang"}
    named = re.findall(r"`(\w+)`", Client.tasks.__doc__ or "")
    assert filters - set(named) == set(), "the docstring of `Client.tasks`"


async def test_the_main_job_is_six_lines(service: Service, site: Site, tmp_path: Path) -> None:
    async with Client(service.url, language="en") as client:
        task = await client.submit(site.url("/1mb.mp4"), outputs=["video"], priority=3)
        seen = [each async for each in client.follow(task.task_id)]
        saved = await client.download(seen[-1], tmp_path / "film.mp4")
    assert (saved, saved.stat().st_size) == (tmp_path / "film.mp4", 1_000_000)
    assert hashlib.sha256(saved.read_bytes()).hexdigest() == seen[-1].file_info["video"].sha256
    assert [each.revision for each in seen] == sorted({each.revision for each in seen})
    assert (seen[-1].status, seen[-1]["stage"], seen[-1].priority) == ("completed", "completed", 3)
    assert "error" not in seen[-1]


async def test_what_the_service_refuses_is_an_error_with_its_code(service: Service) -> None:
    async with Client(service.url, language="en") as client:
        for ask in (client.status, client.cancel, client.retry, client.delete):
            with pytest.raises(ClipwireError) as caught:
                await ask(UNKNOWN)
            assert (caught.value.code, caught.value.status) == ("task_not_found", 404)
        with pytest.raises(ClipwireError) as caught:
            await client.submit("ftp://media.test/", quality="720")
        assert (caught.value.code, caught.value.errors[0][0]) == ("invalid_request", "url")
        with pytest.raises(ClipwireError, match="No task has this id") as caught:
            [each async for each in client.follow(UNKNOWN)]
        assert caught.value.code == "task_not_found"


async def test_the_end_of_following_a_task_that_is_deleted_is_told(service: Service, site: Site) -> None:
    async with Client(service.url) as client:
        task = await client.submit(site.url("/1mb.mp4"), auto_start=False)
        following = client.follow(task.task_id)
        await anext(following)
        await client.delete(task.task_id)
        with pytest.raises(ClipwireError) as caught:
            await anext(following)
        assert caught.value.code == "task_not_found"


@pytest.mark.wide
async def test_all_tasks_are_followed_over_a_restart_without_a_gap(services: Services, site: Site) -> None:
    async with services.lend() as service, Client(service.url) as client:
        first = await client.submit(site.url("/1mb.mp4"), auto_start=False)
        feed = client.follow_all()
        told = asyncio.ensure_future(anext(feed))
        while not told.done():  # until the client is connected, it misses new tasks
            second = await client.submit(site.url("/1mb.mp4"), auto_start=False)
            await asyncio.wait([told], timeout=0.2)
        seen: dict[str, Task | Removed] = {told.result().task_id: told.result()}
        assert first.task_id not in seen
        await service.stop()
        await service.start()
        third = (await service.submit(site.url("/1mb.mp4"), auto_start=False))["task_id"]
        await client.delete(second.task_id)
        while third not in seen or not isinstance(seen.get(second.task_id), Removed):
            news = await anext(feed)
            seen[news.task_id] = news


async def test_what_is_known_of_all_tasks_does_not_grow_with_those_that_have_ended(
    service: Service, site: Site
) -> None:
    async with Client(service.url) as client:
        feed = client.follow_all()
        assert isinstance(feed, AsyncGeneratorType)
        told = asyncio.ensure_future(anext(feed))
        ended: set[str] = set()
        while not told.done():  # until the client is connected, it misses new tasks
            last = await client.submit(site.url("/1mb.mp4"), auto_start=False)
            await asyncio.wait([told], timeout=0.2)
            ended.add(last.task_id)
        for task_id in ended:
            await client.cancel(task_id)
        while ended:
            news = await anext(feed)
            if isinstance(news, Task) and news.is_final:
                ended.discard(news.task_id)
        assert feed.ag_frame is not None
        assert feed.ag_frame.f_locals["revisions"] == {}
        await feed.aclose()


async def test_a_server_that_never_answers_is_given_up_after_one_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipwire_client.client.ANSWER_WITHIN", 0.4)
    monkeypatch.setattr("clipwire_client.client.FIRST_PATIENCE", 0.2)
    asked, left = 0, asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        await reader.read()
        writer.close()
        await writer.wait_closed()
        left.set()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    async with server, Client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
        with pytest.raises(ServerUnreachable, match="no answer"):
            await client.submit("http://media.test/")
    await left.wait()
    assert asked == 1


async def test_nobody_at_the_address_is_told_at_once() -> None:
    async with Client("http://127.0.0.1:1") as client:
        with pytest.raises(ServerUnreachable) as caught:
            await client.submit("https://media.test/")
        assert caught.value.refused
        with pytest.raises(ServerUnreachable):
            await anext(client.follow(UNKNOWN))


# --- faulty networks ---


@asynccontextmanager
async def proxy(
    service: Service, treat: Callable[[bytes, int], Awaitable[bytes | None]]
) -> AsyncIterator[str]:
    """Yield the address of a proxy. `treat` gets each piece that the service sends, and how many bytes came
    before it.

    It returns what is passed on, or None to cut the connection.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with connected(int(service.url.rpartition(":")[2])) as (from_service, to_service):
            asking, done = asyncio.create_task(pass_on(reader, to_service)), 0
            try:
                with suppress(OSError):
                    while some := await from_service.read(65536):
                        passed = await treat(some, done)
                        if passed is None:
                            writer.transport.abort()
                            break
                        done += len(some)
                        writer.write(passed)
                        await writer.drain()
            finally:
                asking.cancel()
                await asyncio.wait([asking])

    async with standing(serve) as port:
        yield f"http://127.0.0.1:{port}"


async def test_a_transfer_that_breaks_goes_on_where_it_broke(
    service: Service, site: Site, tmp_path: Path
) -> None:
    cuts = 0

    async def cut(some: bytes, done: int) -> bytes | None:
        nonlocal cuts
        if cuts < 3 and done > 200_000:
            cuts += 1
            return None
        return some

    task = await service.submit(site.url("/1mb.mp4"), outputs=["video"])
    await service.wait(task["task_id"])
    asked: list[tuple[int, int | None]] = []
    async with proxy(service, cut) as url, Client(url) as client:
        path = await client.download(
            task["task_id"], f"{tmp_path}/", progress=lambda *told: asked.append(told)
        )
    assert (cuts, path.name, path.stat().st_size) == (3, "1mb.mp4", 1_000_000)
    assert [done for done, _ in asked] == sorted(done for done, _ in asked), "nothing was fetched twice"


async def test_where_no_socket_is_let_through_a_task_is_followed_by_long_polls(
    service: Service, site: Site
) -> None:
    async def refuse(some: bytes, done: int) -> bytes:
        if some.startswith(b"HTTP/1.1 101"):
            return b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        return some

    async with proxy(service, refuse) as url, Client(url) as client:
        task = await client.submit(site.url("/1mb.mp4?rate=2000000"), outputs=["video"])
        seen = [each async for each in client.follow(task.task_id)]
    assert seen[-1].status == "completed"
    assert [each.revision for each in seen] == sorted({each.revision for each in seen})


# --- a server that sends wrong contents ---


@asynccontextmanager
async def liar(sha256: str, contents: list[bytes]) -> AsyncIterator[str]:
    """Start a server with one finished task; each download gives the next of `contents`."""

    async def status(request: web.Request) -> web.Response:
        told = {"size": len(CONTENT), "type": "video/mp4", "sha256": sha256}
        return web.json_response(
            {
                "task_id": "1", "status": "completed", "progress": 100, "message": "", "video_info": {},
                "created_at": "2026-01-31T08:00:00Z", "files": {"video": "/f/film_x.mp4"}, "url": "x",
                "stage": "completed", "revision": 9, "file_info": {"video": told},
            }
        )  # fmt: skip

    async def file(request: web.Request) -> web.Response:
        content = contents.pop(0)
        names = {"Content-Disposition": "attachment; filename*=UTF-8''..%2F..%2Fetc%0Apasswd.mp4"}
        if found := request.headers.get("Range"):
            start = int(found[6:-1])
            names["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            return web.Response(body=content[start:], status=206, headers=names)
        return web.Response(body=content, headers=names)

    app = web.Application()
    app.add_routes([web.get("/api/status/1", status), web.get("/f/film_x.mp4", file)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_wrong_content_is_not_saved(tmp_path: Path) -> None:
    async with liar("0" * 64, [CONTENT]) as url, Client(url) as client:
        with pytest.raises(TransferFailed) as caught:
            await client.download("1", f"{tmp_path}/")
    assert (caught.value.code, list(tmp_path.iterdir())) == ("wrong_sha256", [])


async def test_more_than_the_file_is_wrong_content_as_well(tmp_path: Path) -> None:
    async with (
        liar(hashlib.sha256(CONTENT).hexdigest(), [CONTENT + b"appended"]) as url,
        Client(url) as client,
    ):
        with pytest.raises(TransferFailed) as caught:
            await client.download("1", f"{tmp_path}/")
    assert (caught.value.code, list(tmp_path.iterdir())) == ("wrong_sha256", [])


TOLD = {
    "task_id": "1",
    "status": "completed",
    "progress": 100,
    "message": "m",
    "created_at": "2026-01-31T08:00:00Z",
    "video_info": {},
    "files": {"video": "/f/film_x.mp4"},
    "url": "http://media.test/",
    "stage": "completed",
    "revision": 1,
    "file_info": {"video": {"size": len(CONTENT), "type": "video/mp4", "sha256": "0" * 64}},
}
RUNS = TOLD | {"status": "processing", "stage": "paused", "progress": 20, "files": {}, "file_info": {}}


class Passing:
    """Stands for `asyncio` in the code that waits: its time passes only while somebody waits."""

    def __init__(self) -> None:
        self._now = 0.0

    def get_running_loop(self) -> "Passing":
        return self

    def time(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        self._now += seconds


@pytest.mark.parametrize("path", ["/ws/1", "/ws"])
async def test_a_socket_that_ends_at_once_is_tried_ever_less_often_and_given_up(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr("clipwire_client.patience.asyncio", Passing())
    tries = 0

    async def ends_at_once(request: web.Request) -> web.WebSocketResponse:
        nonlocal tries
        tries += 1
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if path == "/ws/1":
            await socket.send_json(RUNS)
        return socket

    async def none(_: web.Request) -> web.Response:
        return web.json_response({"tasks": []})

    app = web.Application()
    app.add_routes([web.get(path, ends_at_once), web.get("/api/tasks", none)])
    async with TestServer(app) as server, Client(str(server.make_url(""))) as client:
        client.patience = 2.0
        with pytest.raises(ServerUnreachable):
            [each async for each in (client.follow("1") if path == "/ws/1" else client.follow_all())]
    assert 3 <= tries <= 9


async def test_where_a_proxy_drops_etags_a_task_is_asked_for_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("clipwire_client.client.POLL_EVERY", 0.1)
    polls, ends = 0, asyncio.Event()

    async def status(_: web.Request) -> web.Response:
        nonlocal polls
        polls += 1
        return web.json_response(TOLD | {"revision": 2} if ends.is_set() else RUNS)

    app = web.Application()
    app.add_routes([web.get("/api/status/1", status)])
    async with TestServer(app) as server, Client(str(server.make_url(""))) as client:
        following = client.follow("1")
        assert (await anext(following)).revision == 1
        asyncio.get_running_loop().call_later(1.0, ends.set)
        assert (await anext(following)).is_final
    assert polls <= 12


async def test_a_page_that_always_comes_in_place_of_a_file_is_given_up(tmp_path: Path) -> None:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text="log in first")

    app = web.Application()
    app.add_routes([web.get("/f/film_x.mp4", page)])
    async with TestServer(app) as server, Client(str(server.make_url(""))) as client:
        client.patience = 1.0
        with pytest.raises(TransferFailed, match="ended after 12 of"):
            await client.download(Task.model_validate(TOLD), f"{tmp_path}/")


async def test_a_list_of_no_tasks_is_not_all_of_them(service: Service, site: Site) -> None:
    async with Client(service.url) as client:
        task = await client.submit(site.url("/1mb.mp4"), auto_start=False)

        async def found(**filters: str | list[str] | None) -> list[str]:
            return [each.task_id async for each in client.tasks(**filters)]  # type: ignore[arg-type]

        assert await found(ids=[]) == await found(stage=[]) == await found(ids=[UNKNOWN]) == []
        for empty in ("ids", "playlist_id", "stage", "status"):
            with pytest.raises(ClipwireError) as caught:
                await found(**{empty: ""})
            assert caught.value.code == "invalid_query"
        assert await found() == await found(q="") == await found(stage=None, ids=None) == [task.task_id]


async def test_what_is_left_of_other_content_is_fetched_anew_and_a_name_stays_in_its_folder(
    tmp_path: Path,
) -> None:
    (tmp_path / "film_x.mp4.part").write_bytes(b"something else" * 100)
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    async with liar(sha256, [CONTENT, CONTENT]) as url, Client(url) as client:
        path = await client.download("1", f"{tmp_path}/")
    assert path.read_bytes() == CONTENT
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    assert path.parent == tmp_path


@pytest.mark.parametrize(
    "plant",
    [Path.symlink_to, Path.hardlink_to, lambda path, _: os.mkfifo(path)],
    ids=["link", "hard", "pipe"],
)
async def test_what_somebody_has_planted_in_place_of_a_partial_file_is_left_as_it_is(
    tmp_path: Path, plant: Callable[[Path, Path], None]
) -> None:
    """A link in this place would let the download overwrite a file outside of the folder, or a finished
    one.
    """
    mine, films = tmp_path / "mine", tmp_path / "films"
    mine.write_bytes(b"precious")
    films.mkdir()
    for name in ("film_x.mp4.part", "film_x.mp4.2.part"):
        plant(films / name, mine)
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    async with liar(sha256, [CONTENT, CONTENT]) as url, Client(url) as client:
        for target in (f"{films}/", films / "named.mp4"):
            path = await client.download("1", target)
            assert (path.is_symlink(), path.read_bytes() == CONTENT) == (False, True)
    assert mine.read_bytes() == b"precious"


async def test_a_folder_that_cannot_be_written_is_a_clear_word(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    async with liar("0" * 64, [CONTENT]) as url, Client(url) as client:
        with pytest.raises(TransferFailed) as caught:
            await client.download("1", tmp_path / "taken" / "film.mp4")
    assert (caught.value.code, "taken" in str(caught.value)) == ("not_writable", True)


# --- https ---


@pytest.mark.wide
async def test_a_server_with_a_certificate_of_ones_own_authority_is_reached(
    services: Services, site: Site, tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(ours)
    async with services.lend() as service:

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            async with connected(int(service.url.rpartition(":")[2])) as (back, forth):
                await asyncio.gather(pass_on(reader, forth), pass_on(back, writer))

        async with standing(serve, ssl=ours) as port:
            url = f"https://127.0.0.1:{port}"
            trusting = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
            async with Client(url, ssl=trusting) as client:
                task = await client.submit(site.url("/1mb.mp4"), auto_start=False)
            here = tmp_path / "here"
            here.mkdir()
            shell = Shell(here)
            ran = await shell.run("get", site.url("/1mb.mp4"), "--server", url)
            assert (ran.status, "SSL_CERT_FILE" in ran.err, ran.err.count("\n")) == (1, True, 1), ran
            shell.environment["SSL_CERT_FILE"] = str(tmp_path / "ca.pem")
            ran = await shell.run("get", site.url("/1mb.mp4"), "--server", url)
            assert (ran.status, set(shell.files())) == (0, {"1mb.mp4"}), ran
        assert (await service.status(task.task_id))["stage"] == "paused"


# --- subscriptions ---


@pytest.fixture
async def following(services: Services) -> AsyncIterator[Service]:
    async with services.lend(CLIPWIRE_SUBSCRIPTIONS__PAUSE="0s") as service:
        yield service
        async with Client(service.url) as client:
            async for each in client.subscriptions.all():
                await client.subscriptions.delete(each.subscription_id)


async def test_a_channel_is_followed_and_its_entries_are_chosen(following: Service, site: Site) -> None:
    site.followed["c"] = Followed(
        [Film(f"f{n}", f"Film {n}", f"/video.mp4?times={n}", at=1.7e9 + n, guid=f"g{n}") for n in (3, 2, 1)]
    )
    async with Client(following.url, language="en") as client:
        subscriptions = client.subscriptions
        made = await subscriptions.add(
            site.url("/followed/c.rss"), name="Mine", request={"outputs": ["video"], "video_format": "any"}
        )
        mine = made.subscription_id
        assert (made.stage, made.items, made.backlog, made.keep.last) == ("seeding", {}, "none", None)
        async for each in subscriptions.follow(mine):
            if each.stage == "idle":
                break
        assert (each.title, each.items) == ("Followed", {"known": 3})
        assert [one.title async for one in subscriptions.items(mine, q="film 2")] == ["Film 2"]
        newest, *others = [one async for one in subscriptions.items(mine, sort="newest", limit=2)]
        assert (newest.title, newest.state, len(others)) == ("Film 3", "known", 1)
        queued, unknown = await subscriptions.act_on_items(mine, "fetch", [newest.key, "no such key"])
        assert isinstance(queued, models.Item)
        assert queued.task_id
        assert isinstance(unknown, ClipwireError)
        assert (unknown.code, unknown.status) == ("item_not_found", 404)
        *_, task = [each async for each in client.follow(queued.task_id)]
        assert (task.status, task.subscription_id) == ("completed", mine)
        skipped = await subscriptions.act_on_items(mine, "skip", state="known")
        assert {one.state for one in skipped if isinstance(one, models.Item)} == {"skipped"}
        changed = await subscriptions.change(mine, keep={"last": 2}, filters={"min_duration": 60})
        assert (changed.keep.last, changed.filters.min_duration, changed.revision) == (2, 60, 2)
        changed = await subscriptions.change(mine, filters=None)
        assert changed.filters.min_duration is None
        with pytest.raises(ClipwireError) as caught:
            await subscriptions.add(
                site.url("/followed/c.rss"), request={"outputs": ["video"], "video_format": "any"}
            )
        assert (caught.value.code, caught.value.status) == ("subscribed", 409)
        await subscriptions.delete(mine, files="delete")
        with pytest.raises(ClipwireError, match="No subscription") as caught:
            await subscriptions.get(mine)
        assert caught.value.code == "subscription_not_found"


async def test_many_are_acted_on_at_once_and_travel_as_opml(following: Service) -> None:
    async with Client(following.url, language="en") as client:
        subscriptions = client.subscriptions
        made = [
            await subscriptions.add(f"http://127.0.0.9:9/{n}", enabled=False, interval="6h", name=f"No. {n}")
            for n in range(3)
        ]
        assert [one.name async for one in subscriptions.all()] == ["No. 2", "No. 1", "No. 0"]
        assert [one.name async for one in subscriptions.all(sort="name", limit=2)] == ["No. 0", "No. 1"]
        text = await subscriptions.export_opml()
        again = await subscriptions.import_opml(text)
        codes = [one.outcome.code for one in again if isinstance(one.outcome, ClipwireError)]
        assert codes == ["subscribed"] * 3, "they are there"
        ids = [one.subscription_id for one in made]
        refused = await subscriptions.act("profile", ids[:1], profile="unknown")
        assert isinstance(refused[0], ClipwireError)
        assert refused[0].errors[0][0] == "profile"
        assert await subscriptions.act("delete", [*ids[:2], UNKNOWN]) == [None, None, refusal()]
        assert await subscriptions.act("delete", stage="paused") == [None]
        taken = await subscriptions.import_opml(text)
        assert [one.outcome.interval for one in taken if isinstance(one.outcome, models.Subscription)] == [
            "6h"
        ] * 3
        with pytest.raises(ClipwireError) as caught:
            await subscriptions.import_opml(b"<opml")
        assert caught.value.code == "invalid_opml"


class refusal:  # noqa: N801  it stands for a value
    """Equals every refusal that says: there is no such subscription."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClipwireError) and other.code == "subscription_not_found"

    __hash__ = object.__hash__
