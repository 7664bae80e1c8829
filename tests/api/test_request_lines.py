"""The one line of a request in the log, by which a problem leads to what happened."""

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from server.app import create_app
from server.settings import Settings, StorageSettings


async def test_the_line_of_a_request_has_the_id_of_its_problem_and_no_query(
    aiohttp_client: Callable[[web.Application], Awaitable[TestClient[web.Request, web.Application]]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = await aiohttp_client(create_app(Settings(storage=StorageSettings(data_dir=tmp_path / "data"))))
    caplog.set_level(logging.DEBUG, "server.api.middleware")
    answer = await client.get("/api/status/nope?key=s3cret")
    problem = await answer.json()
    assert problem["request_id"] == answer.headers["X-Request-Id"]
    lines = [record.getMessage() for record in caplog.records if record.name == "server.api.middleware"]
    assert lines == [f"GET /api/status/nope: 404, request {problem['request_id']}"]
