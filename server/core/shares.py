"""How people share the places to run: the kernel's queues ask here, and the feature `people` answers."""

from collections.abc import Callable, Mapping


class Shares:
    """`most`: how many tasks of a person run at once, by name, of those with this limit. `take_turns`:
    whether anybody was added, so that tasks begin in fair turns. `are_known` is False while the server
    starts: then no task begins.
    """

    def __init__(self, *, are_known: bool = True) -> None:
        self.most: Mapping[str, int] = {}
        self.take_turns = False
        self.are_known = are_known
        self._listeners: list[Callable[[], None]] = []

    def listen(self, changed: Callable[[], None]) -> None:
        self._listeners.append(changed)

    def change(self, most: Mapping[str, int], *, take_turns: bool) -> None:
        """Replace the shares from now on. Running tasks continue."""
        if (most, take_turns) != (self.most, self.take_turns):
            self.most, self.take_turns = most, take_turns
            self._call()

    def are_complete(self) -> None:
        """Note that all features have set their shares, so that tasks may begin."""
        if not self.are_known:
            self.are_known = True
            self._call()

    def _call(self) -> None:
        for changed in self._listeners:
            changed()
