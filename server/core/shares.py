"""How many tasks of a person run at once: the kernel's queues ask here, and the feature `people` answers."""

from collections.abc import Callable, Mapping


class Shares:
    """`most` has the people with a limit, by name; nobody has one where nobody was added."""

    def __init__(self) -> None:
        self.most: Mapping[str, int] = {}
        self._listeners: list[Callable[[], None]] = []

    def listen(self, changed: Callable[[], None]) -> None:
        self._listeners.append(changed)

    def change(self, most: Mapping[str, int]) -> None:
        """Let these limits hold from now on. What runs goes on."""
        if most != self.most:
            self.most = most
            for changed in self._listeners:
                changed()
