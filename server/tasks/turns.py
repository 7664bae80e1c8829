"""The `Turns` of one server process: a lock for each task on which an action is under way."""

import asyncio
from weakref import WeakValueDictionary


class LocalTurns:
    def __init__(self) -> None:
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def turn(self, task_id: str) -> asyncio.Lock:
        return self._turns.setdefault(task_id, asyncio.Lock())
