"""The first values of a new task."""

from datetime import UTC, datetime
from uuid import RFC_4122, UUID

from server.core.process_request import ProcessRequest
from server.core.task import TaskStatus


def test_each_new_task_has_a_random_uuid_of_its_own() -> None:
    request, now = ProcessRequest(url="http://media.test/v"), datetime.now(UTC)
    ids = [TaskStatus.new(request, now).task_id for _ in range(200)]
    uuids = [UUID(task_id) for task_id in ids]
    assert [str(each) for each in uuids] == ids
    assert {(each.version, each.variant) for each in uuids} == {(4, RFC_4122)}
    assert len(set(ids)) == 200
    # Each of the 122 random bits takes both values.
    in_all, in_any = (1 << 128) - 1, 0
    for each in uuids:
        in_all, in_any = in_all & each.int, in_any | each.int
    assert (in_all ^ in_any).bit_count() == 122
