"""What the server's log says of tasks: an error means that a person must act, and no line has a secret."""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from server.child.extract.failures import Trail
from server.child.job import broken_fields
from server.child.process.log import Log
from server.commands.logs import JsonFormatter, TextFormatter
from server.core.errors import StorageFailed
from server.core.events import Broken
from server.core.redaction import MAX_TRACE
from server.files.local import LocalFiles
from server.storage.sqlite import SqliteStore
from server.tasks.faults import fault_of
from server.tasks.job_builder import JobMaker
from tests.inside import Inside, inside
from tests.service import Service
from tests.site import Site

SECRET = "hunter2"
SECRETS = f"http://user:{SECRET}@media.test/v?key={SECRET} Cookie: session={SECRET}"


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Inside]:
    async with inside(tmp_path) as service:
        yield service


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "server.tasks")
    return caplog


@pytest.fixture
def misunderstood(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all jobs be of a kind that no child knows."""
    make: Any = JobMaker.job

    def nonsense(maker: JobMaker, _: str, *what: Any, **more: Any) -> Any:
        return make(maker, "nonsense", *what, **more)

    monkeypatch.setattr(JobMaker, "job", nonsense)


def lines(log: pytest.LogCaptureFixture, task_id: str) -> list[str]:
    """Return level and message of each line of the log about one task, without its id."""
    found = [record for record in log.records if task_id in record.getMessage()]
    return [f"{record.levelname} {record.getMessage().replace(task_id, '<id>')}" for record in found]


async def two_lines(log: pytest.LogCaptureFixture, task_id: str) -> list[str]:
    """Wait for two `lines` and return them: the log is written a little after clients can read the status."""
    while len(lines(log, task_id)) < 2:
        await asyncio.sleep(0.01)
    return lines(log, task_id)


def as_written(log: pytest.LogCaptureFixture) -> str:
    formatters = (TextFormatter(), JsonFormatter())
    return "\n".join(each.format(record) for each in formatters for record in log.records)


async def own_log(service: Inside, task_id: str) -> str:
    async with service.client.get(f"/api/tasks/{task_id}/log") as answer:
        return await answer.text()


async def only_error(log: pytest.LogCaptureFixture) -> logging.LogRecord:
    """Wait for an error in the log and return it; fail if there are more."""
    while not (errors := [record for record in log.records if record.levelno >= logging.ERROR]):
        await asyncio.sleep(0.01)
    [record] = errors
    return record


def id_in(text: str) -> str:
    [found] = re.findall(r"\berror ([0-9a-f]{16})\b", text)
    return str(found)


async def test_a_task_that_completes_begins_and_ends(
    service: Inside, site: Site, log: pytest.LogCaptureFixture
) -> None:
    task_id = await service.submit(url=site.url("/1mb.mp4"), outputs=["video"], auto_start=True)
    await service.reached(task_id, "completed")
    assert await two_lines(log, task_id) == ["INFO attempt 1 of <id> begins", "INFO <id> is completed"]


async def test_a_task_that_fails_for_a_reason_outside_is_a_warning(
    service: Inside, site: Site, log: pytest.LogCaptureFixture
) -> None:
    task_id = await service.submit(url=site.url("/1mb.mp4?status=404"), auto_start=True)
    await service.reached(task_id, "failed")
    assert await two_lines(log, task_id) == ["INFO attempt 1 of <id> begins", "WARNING <id> failed: http_404"]


async def test_a_fault_of_ours_is_an_error_with_a_traceback_and_an_id(
    service: Inside, site: Site, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise LookupError(SECRETS)

    monkeypatch.setattr(LocalFiles, "publish", fail)
    task_id = await service.submit(url=site.url("/1mb.mp4"), outputs=["video"], auto_start=True)
    assert (await service.reached(task_id, "failed"))["error_code"] == "internal"
    error = await only_error(log)
    assert task_id in error.getMessage()
    assert "in fail\n" in as_written(log)
    assert f"error {id_in(error.getMessage())}" in await own_log(service, task_id)
    assert SECRET not in as_written(log) + await own_log(service, task_id)


@pytest.mark.usefixtures("misunderstood")
async def test_a_fault_of_a_child_is_one_too_and_comes_with_its_traceback(
    service: Inside, site: Site, log: pytest.LogCaptureFixture
) -> None:
    task_id = await service.submit(url=site.url("/1mb.mp4"), outputs=["video"], auto_start=True)
    assert (await service.reached(task_id, "failed"))["error_code"] == "internal"
    error = await only_error(log)
    assert "Traceback (most recent call last)" in as_written(log)
    assert "job.py" in as_written(log)
    assert f"error {id_in(error.getMessage())}" in await own_log(service, task_id)


@pytest.mark.usefixtures("misunderstood")
async def test_a_look_at_a_link_that_ends_as_internal_is_an_error(
    service: Inside, site: Site, log: pytest.LogCaptureFixture
) -> None:
    async with service.client.post("/api/info", json={"url": site.url("/1mb.mp4")}) as answer:
        assert (answer.status, (await answer.json(content_type=None))["error_code"]) == (502, "internal")
    assert "job.py" in str((await only_error(log)).__dict__["trace"])


async def test_storage_that_cannot_even_be_read_is_an_error(
    service: Inside, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise StorageFailed from OSError("database disk image is malformed")

    monkeypatch.setattr(SqliteStore, "page", fail)
    async with service.client.get("/api/tasks?status=error") as answer:
        assert (answer.status, (await answer.json(content_type=None))["code"]) == (503, "storage_failed")
    message = (await only_error(log)).getMessage()
    assert message == "GET /api/tasks?status=error: the storage fails: database disk image is malformed"


async def test_what_a_child_says_that_nobody_understands_is_a_fault(
    service: Inside, site: Site, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def babble(_: object) -> bytes:
        return json.dumps({"kind": "progress", "progress": SECRETS}).encode() + b"\n"

    monkeypatch.setattr("server.tasks.children.Child.read_line", babble)
    task_id = await service.submit(url=site.url("/1mb.mp4"), outputs=["video"], auto_start=True)
    await service.reached(task_id, "failed")
    await only_error(log)
    assert "ValidationError" in as_written(log)
    assert SECRET not in as_written(log)


def fail(depth: int) -> None:
    if not depth:
        raise ZeroDivisionError(f"{SECRETS}\n\ud800 \x1b[31mred")
    try:
        fail(depth - 1)
    except Exception as exc:
        raise RuntimeError("again") from exc


def error_with_secrets(depth: int = 0) -> BaseException:
    with pytest.raises((ZeroDivisionError, RuntimeError)) as caught:
        fail(depth)
    return caught.value


@pytest.mark.parametrize("depth", [0, 200])
def test_a_child_describes_a_fault_within_bounds_and_without_secrets(tmp_path: Path, depth: int) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file:
        told = broken_fields(error_with_secrets(depth), Trail(), Log(file.fileno()))
    broken = Broken.model_validate_json(json.dumps(told))
    assert broken.code == "internal"
    assert broken.fault
    assert 0 < len(broken.fault.trace) <= MAX_TRACE
    assert broken.fault.id in path.read_text()
    assert SECRET not in broken.fault.trace + path.read_text()


def test_the_server_describes_a_fault_within_bounds_and_without_secrets() -> None:
    fault = fault_of(error_with_secrets(200))
    assert len(fault.trace) == MAX_TRACE
    assert fault.trace.endswith("again")
    assert SECRET not in fault_of(error_with_secrets()).trace


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_no_line_of_the_log_holds_a_secret(formatter: logging.Formatter) -> None:
    error = error_with_secrets()
    trace = (type(error), error, error.__traceback__)
    record = logging.LogRecord("a", logging.ERROR, __file__, 1, "failed: %s", (SECRETS,), trace)
    text = formatter.format(record)
    assert "ZeroDivisionError" in text
    assert "http://media.test/v" in text
    assert SECRET not in text
    assert "\x1b" not in text


def test_what_a_client_sends_is_no_entry_of_its_own() -> None:
    sent = "a\n2026-01-01 00:00:00,000 INFO    server.people.audit: audit: root: log_in\u2028, from 192.0.2.1"
    record = logging.LogRecord("a", logging.INFO, __file__, 1, "removed %s", (sent,), None)
    assert len(TextFormatter().format(record).splitlines()) == 1
    assert len(JsonFormatter().format(record).splitlines()) == 1


def test_a_trace_from_elsewhere_stands_where_ones_own_would() -> None:
    record = logging.LogRecord("a", logging.ERROR, __file__, 1, "failed", (), None)
    record.trace = f"Traceback\n  {SECRETS}"
    assert TextFormatter().format(record).splitlines()[1] == "Traceback"
    assert json.loads(JsonFormatter().format(record))["exception"].startswith("Traceback\n")
    assert SECRET not in TextFormatter().format(record) + JsonFormatter().format(record)


async def test_an_id_leads_from_a_request_to_its_line_and_to_those_of_its_task(
    tmp_path: Path, site: Site
) -> None:
    async with Service(tmp_path, CLIPWIRE_LOGGING__LEVEL="debug", CLIPWIRE_LOGGING__FORMAT="json") as service:
        async with service.client.get("/api/status/nope?key=s3cret") as answer:
            problem = await answer.json()
        assert problem["request_id"] == answer.headers["X-Request-Id"]
        assert await told(service, problem["request_id"], 1) == ["debug GET /api/status/nope: 404"]
        mine = {"X-Request-Id": "mine-1"}
        body = {"url": site.url("/1mb.mp4?stall=500000&after=1"), "outputs": ["video"]}
        async with service.client.post("/api/process", json=body, headers=mine) as answer:
            task_id = (await answer.json())["task_id"]
        await service.wait(task_id, "download")
        await service.kill()
        await service.start()
        await service.wait(task_id, "download")
        async with service.client.post(f"/api/tasks/{task_id}/cancel", headers={"X-Request-Id": "mine-2"}):
            pass
        assert await told(service, "mine-1", 3) == [
            "debug POST /api/process: 202",
            f"info attempt 1 of {task_id} begins",
            f"info attempt 2 of {task_id} begins",
        ]
        assert await told(service, "mine-2", 2) == [
            f"info {task_id} is cancelled",
            f"debug POST /api/tasks/{task_id}/cancel: 200",
        ]


async def told(service: Service, request_id: str, count: int) -> list[str]:
    """Wait for `count` lines of the server with this request id; return level and message of each. Some lines
    follow the answer.
    """

    def found() -> list[str]:
        entries = [json.loads(line) for line in service.log if line.startswith("{")]
        # asyncio writes lines as well.
        ours = [each for each in entries if each["logger"].startswith("server.")]
        return [f"{each['level']} {each['message']}" for each in ours if each.get("request_id") == request_id]

    while len(found()) < count:
        await asyncio.sleep(0.01)
    return found()


def test_a_line_of_text_ends_with_the_id_of_its_request() -> None:
    record = logging.LogRecord("a", logging.INFO, __file__, 1, "begins", (), None)
    assert TextFormatter().format(record).endswith(" a: begins")
    record.request_id = "mine-1"
    assert TextFormatter().format(record).endswith(" a: begins (request mine-1)")
