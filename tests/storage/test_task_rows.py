"""The columns of a row in the table of tasks."""

import json
from typing import Any

from server.core import stored
from server.core.events import Cancelled, Retried, apply
from server.core.process_request import ProcessRequest
from server.core.task import Task, TaskStatus
from server.files.public_names import short_of
from server.storage.task_rows import STATUS, read_task, task_values, to_be_stored
from tests.examples import finished, new_task, started, utc_now


def test_a_row_holds_what_was_set_and_is_read_as_it_was() -> None:
    request = ProcessRequest(url="http://a.test/", quality="best")
    status = TaskStatus.new(request, utc_now())
    again = apply(apply(status, Cancelled(), utc_now()), Retried(), utc_now())
    for each in (status, again):
        _, asked, *values = task_values(Task(request, each), short_of)
        assert json.loads(str(asked)) == {"url": "http://a.test/", "quality": "best"}
        assert read_task(0, str(asked), str(values[STATUS])) == Task(request, each)
    _, _, *values = task_values(Task(request, status), short_of)
    assert json.loads(str(values[STATUS])).keys() == {"task_id", "url", "stage", "priority", "created_at"}


def test_what_is_stored_is_what_pydantic_would_write() -> None:
    wishes: dict[str, Any] = {
        "clip": {"start": 1, "end": 2.5},
        "subtitles": {"languages": ["en", "de"]},
        "start_at": "2099-01-01T00:00:00Z",
        "outputs": ["audio", "video"],
    }
    task = new_task(title="A 片", **wishes)
    ended = finished(started(task.status))
    newer = stored.read_status(
        '{"task_id": "a", "url": "http://a.test/", "stage": "completed", "created_at": "2026-01-01T00:00Z",'
        '"video_info": {"title": "t", "depth": {"of": [1, null]}}, "mood": "new", "shades": {"red": 1}}'
    )
    for each in (task.request, task.status, ended, newer):
        assert each
        written = each.model_dump_json(exclude_none=True, exclude_unset=True)
        assert json.loads(to_be_stored(each)) == json.loads(written)
