"""The QR code of a file's link: it has the link as the client sees it, and is admitted like the file."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from server.api.downloads import SANDBOX_POLICY
from server.api.qr import SVG, drawn
from server.settings import ServerSettings
from tests.inside import Inside, inside

PROXY = ("127.0.0.0/8",)
NAME = "clips.example.org"


async def finished(server: Inside) -> tuple[str, str]:
    """Return the id of a new task, and the link of its film without a prefix."""
    path = await server.finished(b"film")
    async with server.client.get("/api/tasks") as answer:
        [task] = (await answer.json())["tasks"]
    return task["task_id"], path


async def refused(server: Inside, task_id: str, kind: str) -> str:
    async with server.client.get(f"/api/tasks/{task_id}/files/{kind}/qr.svg") as answer:
        problem = await answer.json(content_type=None)
    assert problem["status"] == answer.status
    return str(problem["code"])


@pytest.mark.parametrize(
    ("headers", "trusted", "origin"),
    [
        ({"Host": "192.168.1.5:8080"}, (), "http://192.168.1.5:8080"),
        ({"Host": "127.0.0.1:1", "X-Forwarded-Host": f"{NAME}:8443", "X-Forwarded-Proto": "https"}, PROXY,
         f"https://{NAME}:8443"),
        ({"Host": NAME, "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https"}, (),
         f"http://{NAME}"),
    ],
)  # fmt: skip
async def test_it_leads_where_the_client_believes_to_be(
    tmp_path: Path, headers: dict[str, str], trusted: tuple[str, ...], origin: str
) -> None:
    server_settings = ServerSettings(base_path="/clip", allowed_hosts=(NAME,), trusted_proxies=trusted)
    async with inside(tmp_path, server=server_settings) as server:
        task_id, path = await finished(server)
        link = f"/clip/api/tasks/{task_id}/files/video/qr.svg"
        async with server.client.get(link, headers=headers) as answer:
            assert await answer.read() == drawn(f"{origin}/clip{path}")
            assert (answer.status, answer.content_type) == (200, SVG)
            assert answer.headers["Content-Security-Policy"] == SANDBOX_POLICY
            assert answer.headers["Cache-Control"] == "private, no-cache"


async def test_a_file_that_is_not_there_has_none(tmp_path: Path) -> None:
    async with inside(tmp_path) as server:
        task_id, _ = await finished(server)
        assert await refused(server, task_id, "audio") == "file_not_found"
        assert await refused(server, "nobody", "video") == "task_not_found"


async def test_it_needs_the_token_of_the_file(tmp_path: Path) -> None:
    settings = ServerSettings(tokens=(SecretStr("token"),))
    async with inside(tmp_path, server=settings) as server:
        assert await refused(server, "nobody", "video") == "token_required"


def test_it_is_dark_on_light_with_a_quiet_zone_and_nothing_that_a_policy_would_stop() -> None:
    picture = drawn("http://192.168.1.5:8080/api/download/video_abc.mp4").decode()
    assert picture.startswith("<svg ")
    assert 'fill="#fff"' in picture
    assert 'stroke="#000"' in picture
    assert "M4 4.5h7" in picture  # one of the corners that cameras look for, four modules from the edge
    assert "style" not in picture
    assert "<script" not in picture
