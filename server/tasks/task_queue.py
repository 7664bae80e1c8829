"""Which task is next: the most urgent, then the oldest, among hosts that have a free place."""

import heapq
from collections import defaultdict
from collections.abc import Iterable, Mapping

from server.core.models import Task

Place = tuple[int, int, str]  # (-urgency, number, task_id): sorts in queue order


class Queue:
    """One heap a host, so that a long queue for a busy host costs the others nothing."""

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}
        self._tasks: dict[str, Task] = {}
        self._heaps: defaultdict[str, list[Place]] = defaultdict(list)

    def __len__(self) -> int:
        return len(self._places)

    def put(self, task: Task, host: str) -> None:
        """Put `task` in, or move it to where it now belongs."""
        place = (-task.status.urgency, task.status.number, task.status.task_id)
        self._places[task.status.task_id] = place
        self._tasks[task.status.task_id] = task
        heapq.heappush(self._heaps[host], place)

    def discard(self, task_id: str) -> None:
        self._places.pop(task_id, None)  # what is left in its heap is stale and skipped
        self._tasks.pop(task_id, None)

    def pop(self, running: Mapping[str, int], limit: int) -> tuple[Task, str] | None:
        """The next task, and its host, of a host with fewer than `limit` running (0: no limit), or None."""
        free = [host for host in list(self._heaps) if not limit or running.get(host, 0) < limit]
        heads = [(place, host) for host in free if (place := self._head(host))]
        if not heads:
            return None
        place, host = min(heads)
        heapq.heappop(self._heaps[host])
        task = self._tasks[place[2]]
        self.discard(place[2])
        return task, host

    def next_of(self, hosts: Iterable[str]) -> list[Task]:
        """The next task of each of `hosts` that has one."""
        heads = [self._head(host) for host in hosts if host in self._heaps]
        return [self._tasks[head[2]] for head in heads if head]

    def _head(self, host: str) -> Place | None:
        heap = self._heaps[host]
        while heap and self._places.get(heap[0][2]) != heap[0]:
            heapq.heappop(heap)
        if not heap:
            del self._heaps[host]
            return None
        return heap[0]
