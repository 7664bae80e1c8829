from server.core.task import Queued
from server.tasks.dispatcher import Queue


def queued(number: int, urgency: int = 0, host: str = "h") -> Queued:
    return Queued(task_id=str(number), number=number, urgency=urgency, revision=1, host=host)


def drained(queue: Queue) -> list[str]:
    order = []
    while entry := queue.pop({}, 0):
        order.append(entry.task_id)
    return order


def test_the_highest_priority_comes_first_then_the_oldest() -> None:
    queue = Queue()
    for task in (queued(1), queued(2, 5), queued(3), queued(4, -5), queued(5, 5)):
        queue.put(task)
    assert drained(queue) == ["2", "5", "1", "3", "4"]


def test_a_changed_priority_moves_a_task() -> None:
    queue = Queue()
    queue.put(queued(1))
    queue.put(queued(2))
    queue.put(queued(2, 1))
    assert drained(queue) == ["2", "1"]


def test_what_was_discarded_does_not_come_back() -> None:
    queue = Queue()
    queue.put(queued(1))
    queue.put(queued(2))
    queue.discard("1")
    assert (len(queue), drained(queue)) == (1, ["2"])


def test_a_busy_host_lets_others_pass_but_keeps_its_place() -> None:
    queue = Queue()
    waits, free = queued(1, 9, "busy"), queued(2, 0, "free")
    queue.put(waits)
    queue.put(free)
    assert queue.pop({"busy": 2}, 2) == free
    assert queue.pop({"busy": 2}, 2) is None
    assert queue.pop({"busy": 1}, 2) == waits


def test_nothing_is_kept_of_a_host_whose_tasks_are_gone() -> None:
    queue = Queue()
    queue.put(queued(1))
    queue.pop({}, 0)
    assert queue.pop({}, 0) is None
    assert not queue._heaps
