"""The preview of paths in the library, which a client gets before anything is fetched."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from server.app import create_app
from server.settings import DownloadSettings, Settings, StorageSettings
from tests.library import media_servers

Client = TestClient[web.Request, web.Application]
Connect = Callable[[web.Application], Awaitable[Client]]


@pytest.fixture
async def client(aiohttp_client: Connect, tmp_path: Path) -> Client:
    storage = StorageSettings(data_dir=tmp_path / "data")
    return await aiohttp_client(
        create_app(Settings(storage=storage, downloads=DownloadSettings(min_free_disk=0)))
    )


async def _samples(client: Client, body: dict[str, Any]) -> list[dict[str, Any]]:
    response = await client.post("/api/library/preview", json=body)
    assert response.status == 200, await response.text()
    samples: list[dict[str, Any]] = (await response.json())["samples"]
    return samples


async def test_a_layout_is_shown_with_what_lies_beside_the_film(client: Client) -> None:
    usual, of_a_list, bare = await _samples(client, {"folder": "YouTube"})
    base = "YouTube/Some Channel/Season 2026/Some Channel - S2026E031401 - A walk by the sea [dQw4w9WgXcQ]"
    assert usual["paths"] == [
        f"{base}.mp4",
        f"{base}.en.srt",
        f"{base}.nfo",
        f"{base}-thumb.jpg",
        "YouTube/Some Channel/poster.jpg",
        "YouTube/Some Channel/season2026-poster.jpg",
        "YouTube/Some Channel/tvshow.nfo",
    ]
    assert len(media_servers.episodes(of_a_list["paths"][0])) == 1
    assert "channel" not in bare
    assert bare["paths"][0].startswith("YouTube/generic/Season 2026/")


async def test_a_template_alone_has_just_the_files(client: Client) -> None:
    usual, of_a_list, _ = await _samples(client, {"name": "{playlist}/{playlist_index} {title}"})
    assert usual["paths"] == ["A walk by the sea [dQw4w9WgXcQ].mp4", "A walk by the sea [dQw4w9WgXcQ].en.srt"]
    assert of_a_list["paths"][0] == "Numbers/07 What is 1⧸2？ S01E02： 答案 [0123456789a].mp4"


async def test_music_has_a_cover_for_all_of_its_folder(client: Client) -> None:
    _, of_a_list, _ = await _samples(client, {"layout": "music"})
    assert of_a_list["paths"][1] == "Some Channel/Numbers/cover.jpg"
    assert of_a_list["paths"][0].endswith(".mp3")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "{nothing}"}, "name"),
        ({"name": "../{title}"}, "name"),
        ({"name": 1}, "name"),
        ({"folder": "/etc"}, "folder"),
        ({"folder": "Shorts"}, "folder"),
        ({"layout": "series"}, "layout"),
        ({"url": "http://a.test/"}, "url"),
    ],
)
async def test_what_is_wrong_is_told_of_its_field(client: Client, body: dict[str, Any], field: str) -> None:
    response = await client.post("/api/library/preview", json=body)
    problem = await response.json(content_type=None)
    assert (response.status, problem["code"]) == (422, "invalid_request")
    assert [error["field"] for error in problem["errors"]] == [field]


async def test_the_library_itself_is_no_show_and_has_no_poster(client: Client) -> None:
    [usual, *_] = await _samples(client, {"layout": "shows", "name": "{title}"})
    base = "A walk by the sea [dQw4w9WgXcQ]"
    assert usual["paths"] == [f"{base}.mp4", f"{base}.en.srt", f"{base}.nfo", f"{base}-thumb.jpg"]
