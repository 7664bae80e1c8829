"""What a row of the table of tasks holds."""

import json

from server.core.events import Cancelled, Retried, apply
from server.core.models import ProcessRequest, Task, TaskStatus
from server.files.public_names import short_of
from server.storage.task_rows import STATUS, read_task, task_values
from tests.examples import utc_now


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
