"""A link opens one file without a token, until it expires or is revoked, on both databases."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr

from server.api import keys
from server.links.link_rows import MAX_OPEN
from server.settings import DownloadSettings, ServerSettings, StorageSettings
from tests.inside import Inside, inside

TOKEN = "right-token-123"
CONTENT = b"0123456789" * 100


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    return "sqlite" if request.param == "sqlite" else request.getfixturevalue("clean_database")


@pytest.fixture
async def server(database: str, tmp_path: Path) -> AsyncIterator[Inside]:
    async with inside(
        tmp_path,
        server=ServerSettings(tokens=(SecretStr(TOKEN),)),
        storage=StorageSettings(data_dir=tmp_path / "data", database=database),
        downloads=DownloadSettings(min_free_disk=0),
    ) as server:
        server.client.headers["Authorization"] = f"Bearer {TOKEN}"
        async with server.client.post("/api/queue/pause"):
            pass
        yield server


@pytest.fixture
async def task_id(server: Inside) -> str:
    task_id = await server.submit()
    await server.finished(CONTENT, task_id)
    return task_id


async def asked(
    server: Inside, method: str, path: str, body: object = None, **headers: str
) -> tuple[int, Any]:
    async with server.client.request(method, path, json=body, headers=headers) as answer:
        return answer.status, await answer.json(content_type=None) if answer.status != 204 else None


async def made(server: Inside, task_id: str, **more: object) -> dict[str, Any]:
    body = {"kind": "video"} | more
    status, link = await asked(server, "POST", f"/api/tasks/{task_id}/links", body)
    assert status == 201, link
    assert isinstance(link, dict)
    return link


async def opened(server: Inside, url: str, **headers: str) -> tuple[int, bytes]:
    """Request a link as somebody who has nothing else."""
    path = urlsplit(url)._replace(scheme="", netloc="").geturl()
    async with server.client.get(path, headers={"Authorization": "", **headers}) as answer:
        return answer.status, await answer.read()


async def test_who_has_the_link_gets_the_file_and_nothing_else(server: Inside, task_id: str) -> None:
    link = await made(server, task_id)
    assert link.keys() == {"id", "url", "expires_at"}
    assert link["url"].startswith(f"http://127.0.0.1:{server.port}/links/{link['id']}/")
    assert await opened(server, link["url"]) == (200, CONTENT)
    assert await opened(server, link["url"], Range="bytes=10-19") == (206, CONTENT[10:20])
    name = (await server.status(task_id))["files"]["video"].rpartition("/")[2]
    async with server.client.get(f"/api/download/{name}", headers={"Authorization": ""}) as answer:
        assert answer.status == 401
    async with server.client.get(f"/api/tasks/{task_id}/links", headers={"Authorization": ""}) as answer:
        assert answer.status == 401


async def test_a_link_lasts_as_long_as_was_asked_for(
    server: Inside, task_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = server.app[keys.CLOCK]
    link, long = await made(server, task_id, expires_in=60), await made(server, task_id, expires_in=604_800)
    ends = datetime.fromisoformat(link["expires_at"])
    assert timedelta(seconds=57) < ends - clock.now() <= timedelta(seconds=60)
    now = clock.now
    monkeypatch.setattr(type(clock), "now", lambda _: now() + timedelta(seconds=61))
    status, body = await opened(server, link["url"])
    assert status == 410
    assert b'"link_gone"' in body
    assert await opened(server, long["url"]) == (200, CONTENT)
    _, listed = await asked(server, "GET", f"/api/tasks/{task_id}/links")
    assert [one["id"] for one in listed["links"]] == [long["id"]]
    await made(server, task_id)  # making a link deletes expired ones
    assert (await opened(server, link["url"]))[0] == 410


async def test_links_that_are_open_are_listed_with_what_they_open(server: Inside, task_id: str) -> None:
    links = [await made(server, task_id) for _ in range(3)]
    assert len({link["url"] for link in links}) == 3
    _, listed = await asked(server, "GET", f"/api/tasks/{task_id}/links")
    assert listed == {"links": [{**link, "kind": "video"} for link in links]}


async def test_a_revoked_link_is_gone_and_the_others_stay(server: Inside, task_id: str) -> None:
    first, second = await made(server, task_id), await made(server, task_id)
    assert await asked(server, "DELETE", f"/api/links/{first['id']}") == (204, None)
    assert (await opened(server, first["url"]))[0] == 410
    assert (await opened(server, second["url"]))[0] == 200
    status, problem = await asked(server, "DELETE", f"/api/links/{first['id']}")
    assert (status, problem["code"]) == (404, "link_not_found")


async def test_an_address_that_was_made_up_is_unknown(server: Inside, task_id: str) -> None:
    url = (await made(server, task_id))["url"]
    other = url[:-1] + ("A" if url[-1] != "A" else "B")
    for wrong in (other, url.replace("/links/", "/links/x"), url.rpartition("/")[0] + "/%ff"):
        status, body = await opened(server, wrong)
        assert (status, b'"link_not_found"' in body) == (404, True)


async def test_a_link_ends_with_its_file(server: Inside, task_id: str) -> None:
    link = await made(server, task_id)
    assert await asked(server, "DELETE", f"/api/tasks/{task_id}") == (204, None)
    assert (await opened(server, link["url"]))[0] == 410
    status, problem = await asked(server, "GET", f"/api/tasks/{task_id}/links")
    assert (status, problem["code"]) == (404, "task_not_found")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"kind": "audio"}, 404, "file_not_found"),
        ({"kind": "video", "expires_in": 59}, 422, "invalid_request"),
        ({"kind": "video", "expires_in": 604_801}, 422, "invalid_request"),
        ({"kind": "video", "expires_in": "60"}, 422, "invalid_request"),
        ({"kind": "video", "more": 1}, 422, "invalid_request"),
        ({}, 422, "invalid_request"),
    ],
)
async def test_what_cannot_be_is_refused(
    server: Inside, task_id: str, body: object, status: int, code: str
) -> None:
    found, problem = await asked(server, "POST", f"/api/tasks/{task_id}/links", body)
    assert (found, problem["code"]) == (status, code)


async def test_a_task_has_so_many_open_links_at_most(server: Inside, task_id: str) -> None:
    for _ in range(MAX_OPEN):
        last = await made(server, task_id)
    status, problem = await asked(server, "POST", f"/api/tasks/{task_id}/links", {"kind": "video"})
    assert (status, problem["code"]) == (409, "too_many_links")
    await asked(server, "DELETE", f"/api/links/{last['id']}")
    await made(server, task_id)


async def test_a_phone_reads_the_link_from_a_code(server: Inside, task_id: str) -> None:
    link = await made(server, task_id)
    async with server.client.get(f"/api/links/{link['id']}/qr.svg") as answer:
        assert answer.status == 200
        assert answer.content_type == "image/svg+xml"
        assert b"<svg" in await answer.read()


async def test_no_log_line_has_the_signature(
    server: Inside, task_id: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    url = (await made(server, task_id))["url"]
    await opened(server, url)
    await opened(server, url + "x")
    assert url.rpartition("/")[2][:20] not in caplog.text
