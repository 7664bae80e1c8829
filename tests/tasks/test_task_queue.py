from datetime import UTC, datetime

from server.core.models import ProcessRequest, Task, TaskStatus
from server.tasks.dispatcher import Queue

NOW = datetime(2024, 1, 1, tzinfo=UTC)


def queued(number: int, priority: int = 0) -> Task:
    request = ProcessRequest(url="http://media.test/a", priority=priority)
    status = TaskStatus.new(request, NOW).model_copy(update={"task_id": str(number), "number": number})
    return Task(request=request, status=status)


def drained(queue: Queue) -> list[str]:
    order = []
    while entry := queue.pop({}, 0):
        order.append(entry[0].status.task_id)
    return order


def test_the_highest_priority_comes_first_then_the_oldest() -> None:
    queue = Queue()
    for task in (queued(1), queued(2, 5), queued(3), queued(4, -5), queued(5, 5)):
        queue.put(task, "h")
    assert drained(queue) == ["2", "5", "1", "3", "4"]


def test_a_changed_priority_moves_a_task() -> None:
    queue = Queue()
    queue.put(queued(1), "h")
    queue.put(queued(2), "h")
    queue.put(queued(2, 1), "h")
    assert drained(queue) == ["2", "1"]


def test_what_was_discarded_does_not_come_back() -> None:
    queue = Queue()
    queue.put(queued(1), "h")
    queue.put(queued(2), "h")
    queue.discard("1")
    assert (len(queue), drained(queue)) == (1, ["2"])


def test_a_busy_host_lets_others_pass_but_keeps_its_place() -> None:
    queue = Queue()
    waits, free = queued(1, 9), queued(2)
    queue.put(waits, "busy")
    queue.put(free, "free")
    assert queue.pop({"busy": 2}, 2) == (free, "free")
    assert queue.pop({"busy": 2}, 2) is None
    assert queue.pop({"busy": 1}, 2) == (waits, "busy")


def test_nothing_is_kept_of_a_host_whose_tasks_are_gone() -> None:
    queue = Queue()
    queue.put(queued(1), "h")
    queue.pop({}, 0)
    assert queue.pop({}, 0) is None
    assert not queue._heaps
