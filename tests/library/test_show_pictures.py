"""The folder of a show has the pictures and the description of its channel, on both databases."""

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from server.api import keys
from server.core.film import VideoInfo
from server.library import placer
from server.library.library_folder import MARKER
from server.settings import DownloadSettings, LibrarySettings, StorageSettings
from server.subscriptions.source import SourceFacts, SourcePicture
from server.subscriptions.subscription_routes import SUBSCRIPTIONS
from tests.inside import Inside
from tests.library.test_placer import (
    DATABASES,
    PICTURE,
    all_of,
    completed,
    film,
    found,
    holding,
    placed,
    subscribed,
    until,
)

JPEG = b"\xff\xd8\xff"
CHANNEL = SourceFacts(id="UC1", author="Somebody", description="All about\nfilms")
SHOWS = {"layout": "shows"}
FILMED = ("video", "thumbnail")


@pytest.fixture(autouse=True)
def looks_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop all checks, since the tests say what checks find, and let the placer work at once."""

    async def never(*_: Any, **__: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("server.subscriptions.subscription_checker.SubscriptionChecker.run", never)
    for name in ("LOOK_EVERY", "AGAIN", "BUSY"):
        monkeypatch.setattr(placer, name, 0.2)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "library"
    path.mkdir()
    return path


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.wide)])
async def server(request: pytest.FixtureRequest, tmp_path: Path, root: Path) -> AsyncIterator[Inside]:
    is_lite = request.param == "sqlite"
    database = "sqlite" if is_lite else request.getfixturevalue("clean_database")
    opened = holding(
        tmp_path,
        storage=StorageSettings(data_dir=tmp_path / "data", database=database),
        downloads=DownloadSettings(min_free_disk=0),
        library=LibrarySettings(path=root, time_zone="UTC"),
    )
    async with opened as server:
        await until((root / MARKER).exists)
        yield server


def pictured(role: str, content: bytes, url: str = "https://a.test/a.jpg") -> SourcePicture:
    data = base64.b64encode(JPEG + content).decode()
    return SourcePicture.model_validate({"role": role, "url": url, "data": data})


AVATAR, BANNER = pictured("picture", b"avatar"), pictured("banner", b"banner")


async def fetched(server: Inside, mine: str, *numbers: int, **source: Any) -> list[str]:
    """Let a check find these entries and `source`, what the source says of itself; complete the tasks."""
    tasks = await found(server, mine, *numbers, **source)
    for number, task_id in zip(numbers, tasks, strict=True):
        if (await server.status(task_id))["stage"] != "completed":
            await completed(server, task_id, film(number), FILMED)
        await placed(server, task_id)
    return tasks


def show_of(root: Path) -> ElementTree.Element:
    return ElementTree.fromstring((root / "Some Channel" / "tvshow.nfo").read_bytes())


def picture_of(root: Path, name: str = "Some Channel/poster.jpg") -> bytes:
    path = root / name
    return path.read_bytes() if path.exists() else b""


async def test_a_show_has_the_pictures_and_the_text_of_its_channel(server: Inside, root: Path) -> None:
    mine = await subscribed(server, "a", backlog="all", library=SHOWS)
    await fetched(server, mine, 1, facts=CHANNEL, pictures=[AVATAR, BANNER], title="Some Channel - Videos")
    assert picture_of(root) == JPEG + b"avatar"
    assert picture_of(root, "Some Channel/fanart.jpg") == JPEG + b"banner"
    assert picture_of(root, "Some Channel/season2026-poster.jpg") == PICTURE, "of the first film"
    show = show_of(root)
    told = {name: show.findtext(name) for name in ("title", "plot", "studio")}
    assert told == {"title": "Some Channel", "plot": "All about\nfilms", "studio": "Somebody"}


@pytest.mark.wide
@pytest.mark.parametrize("server", DATABASES, indirect=True)
async def test_they_follow_their_channel_and_replace_what_a_film_had_lent(server: Inside, root: Path) -> None:
    mine = await subscribed(server, "a", backlog="all", library=SHOWS)
    [task_id] = await fetched(server, mine, 1)
    assert picture_of(root) == PICTURE, "without a channel's own that of the first film"
    assert show_of(root).findtext("plot") is None
    await found(server, mine, 1, facts=CHANNEL, pictures=[AVATAR])
    await until(lambda: picture_of(root) == JPEG + b"avatar")
    await until(lambda: show_of(root).findtext("plot") == "All about\nfilms")
    anew = pictured("picture", b"anew", "https://a.test/b.jpg")
    await found(server, mine, 1, facts=CHANNEL.model_copy(update={"description": "Anew"}), pictures=[anew])
    await until(lambda: picture_of(root) == JPEG + b"anew")
    await until(lambda: show_of(root).findtext("plot") == "Anew")
    lost = SourcePicture(role="picture", url="https://a.test/c.jpg")
    await found(server, mine, 1, facts=CHANNEL, pictures=[lost])
    await until(lambda: show_of(root).findtext("plot") == "All about\nfilms")
    assert picture_of(root) == JPEG + b"anew", "a picture that is lost costs nothing"
    await placed(server, task_id)


@pytest.mark.wide
async def test_a_picture_that_its_owner_has_put_there_stays(server: Inside, root: Path) -> None:
    mine = await subscribed(server, "a", backlog="all", library=SHOWS)
    await fetched(server, mine, 1)
    (root / "Some Channel" / "poster.jpg").write_bytes(b"mine")
    (root / "Some Channel" / "tvshow.nfo").write_bytes(b"mine, too")
    await fetched(server, mine, 2, 1, facts=CHANNEL, pictures=[AVATAR, BANNER])
    await until(lambda: picture_of(root, "Some Channel/fanart.jpg") == JPEG + b"banner")
    assert picture_of(root) == b"mine"
    assert (root / "Some Channel" / "tvshow.nfo").read_bytes() == b"mine, too"


@pytest.mark.wide
async def test_a_picture_of_a_film_in_another_form_makes_room(
    server: Inside, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.library import test_placer

    webp = ("thumbnail.webp", "image/webp", b"RIFF....WEBP")
    monkeypatch.setitem(test_placer.KINDS, "thumbnail", webp)
    mine = await subscribed(server, "a", backlog="all", library=SHOWS)
    await fetched(server, mine, 1)
    assert (root / "Some Channel" / "poster.webp").exists()
    await fetched(server, mine, 2, 1, facts=CHANNEL, pictures=[AVATAR])
    await until(lambda: picture_of(root) == JPEG + b"avatar")
    await until(lambda: not (root / "Some Channel" / "poster.webp").exists())


@pytest.mark.wide
@pytest.mark.parametrize("title", ["Best of", "Some Channel"])
async def test_a_playlist_gives_its_picture_to_no_channel_but_to_folders_of_its_own(
    server: Inside, root: Path, title: str
) -> None:
    mine = await subscribed(server, "a", backlog="all", library=SHOWS)
    listed = {"facts": SourceFacts(id="PL1", channel="Some Channel"), "pictures": [AVATAR], "title": title}
    await fetched(server, mine, 1, **listed)
    assert picture_of(root) == PICTURE
    own = await subscribed(
        server, "b", backlog="all", library={"layout": "music", "name": "{channel}/{playlist}/{title} [{id}]"}
    )
    await fetched(server, own, 1, **listed)
    await until(lambda: picture_of(root, f"Some Channel/{title}/cover.jpg") == JPEG + b"avatar")


@pytest.mark.wide
async def test_a_podcast_is_known_by_the_cover_of_its_feed(server: Inside, root: Path) -> None:
    mine = await subscribed(server, "a", backlog="all", library={"layout": "podcast"})
    of_link = VideoInfo(title="Sound", webpage_url="http://a.test/1.mp3")
    listed = [one.model_copy(update={"extractor_key": None, "id": None}) for one in _entries()]
    await found(server, mine, listed=listed, facts=SourceFacts(), pictures=[AVATAR], title="Pods")
    items, _ = await server.app[SUBSCRIPTIONS].items.page(mine, None, None, 9)
    [task_id] = [item.task_id or "" for item in items]
    await completed(server, task_id, of_link, ("audio", "thumbnail"))
    await placed(server, task_id)
    assert picture_of(root, "Pods/cover.jpg") == JPEG + b"avatar"


def _entries() -> list[Any]:
    from tests.subscriptions.test_subscription_rows import entries

    return entries(1)


@pytest.mark.wide
@pytest.mark.parametrize("server", DATABASES, indirect=True)
async def test_they_move_with_a_rename_which_finds_nothing_afterwards(server: Inside, root: Path) -> None:
    mine = await subscribed(server, "a", backlog="all", library=SHOWS)
    await fetched(server, mine, 2, 1, facts=CHANNEL, pictures=[AVATAR, BANNER])
    async with server.client.patch(
        f"/api/subscriptions/{mine}", json={"library": SHOWS | {"folder": "TV"}}
    ) as answer:
        assert answer.status == 200
    assert await renamed(server) > 0
    await until(lambda: picture_of(root, "TV/Some Channel/poster.jpg") == JPEG + b"avatar")
    await until(lambda: picture_of(root, "TV/Some Channel/fanart.jpg") == JPEG + b"banner")
    await until(lambda: not (root / "Some Channel").exists())
    names = {path.rpartition("/")[2] for path in all_of(root)}
    assert {"poster.jpg", "fanart.jpg", "tvshow.nfo", "season2026-poster.jpg"} <= names
    assert await renamed(server) == 0


async def renamed(server: Inside) -> int:
    """Rename the files once an earlier renaming has ended; return how many files are renamed."""
    while True:
        async with server.client.post("/api/library/actions", json={"action": "rename"}) as answer:
            if answer.status != 409:
                assert answer.status == 200, await answer.text()
                count: int = (await answer.json())["count"]
                return count
        await asyncio.sleep(0.05)


@pytest.mark.wide
@pytest.mark.parametrize("server", DATABASES, indirect=True)
async def test_they_go_with_the_last_film_and_the_picture_with_its_subscription(
    server: Inside, root: Path
) -> None:
    mine = await subscribed(server, "a", backlog="all", library=SHOWS)
    tasks = await fetched(server, mine, 2, 1, facts=CHANNEL, pictures=[AVATAR, BANNER])
    async with server.client.get(f"/api/subscriptions/{mine}/picture") as answer:
        assert (answer.status, await answer.read()) == (200, JPEG + b"avatar")
    for number, task_id in enumerate(tasks):
        assert b"" not in (picture_of(root), picture_of(root, "Some Channel/fanart.jpg")), number
        async with server.client.delete(f"/api/tasks/{task_id}?library=delete") as answer:
            assert answer.status == 204
        if not number:
            await until(lambda: len([path for path in all_of(root) if path.endswith(".mp4")]) == 1)
    await until(lambda: all_of(root) == [])
    async with server.client.delete(f"/api/subscriptions/{mine}") as answer:
        assert answer.status == 204
    store: Any = server.app[keys.TASKS]._store
    rows = await store.transactions.read(lambda tables: tables.fetch("SELECT 1 FROM source_pictures"))
    assert rows == []
