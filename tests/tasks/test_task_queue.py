from collections import Counter
from typing import Any

from server.core.task import Queued
from server.tasks.dispatcher import Queue


def queued(number: int, urgency: int = 0, host: str = "h", owner: str | None = None) -> Queued:
    return Queued(task_id=str(number), number=number, urgency=urgency, revision=1, host=host, owner=owner)


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


def turns(queue: Queue, running: Counter[str | None], most: dict[str, int]) -> list[str]:
    """Return the order in which tasks begin, if none of them ends."""
    order = []
    while entry := queue.pop({}, 0, running, most):
        order.append(entry.task_id)
        running[entry.owner] += 1
    return order


def test_of_equal_priority_the_person_with_the_fewest_running_tasks_is_next() -> None:
    queue = Queue()
    for number in (1, 2, 3):
        queue.put(queued(number, owner="anna"))
    queue.put(queued(4, owner="bob"))
    queue.put(queued(5, owner="bob"))
    queue.put(queued(6))
    queue.put(queued(7, 1, owner="anna"))
    assert turns(queue, Counter({"anna": 1}), {}) == ["7", "4", "6", "5", "1", "2", "3"]


def test_whoever_has_used_up_their_share_lets_others_pass_whatever_the_priority() -> None:
    queue = Queue()
    queue.put(queued(1, 9, owner="anna"))
    queue.put(queued(2, 9, owner="anna"))
    queue.put(queued(3, owner="bob"))
    assert turns(queue, Counter(), {"anna": 1}) == ["1", "3"]
    assert turns(queue, Counter(), {"anna": 1}) == ["2"]


def test_a_task_that_is_given_away_waits_in_one_line_only() -> None:
    queue = Queue()
    queue.put(queued(1, owner="anna"))
    queue.put(queued(1, owner="bob"))
    assert queue.pop({}, 0, {}, {"bob": 0}) is None
    assert drained(queue) == ["1"]
    assert not queue._heaps


def test_a_choice_looks_at_the_first_of_each_person_alone() -> None:
    looked = list[str]()

    class Counted(dict[str, Any]):
        def get(self, key: str, default: Any = None) -> Any:
            looked.append(key)
            return super().get(key, default)

    queue = Queue()
    for number in range(1000):
        queue.put(queued(number, owner="anna" if number % 2 else "bob"))
    queue._queued = Counted(queue._queued)
    assert queue.pop({}, 0, {"anna": 1}, {}) == queued(0, owner="bob")
    assert set(looked) == {"0", "1"}
