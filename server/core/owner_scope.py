"""Who a stored thing belongs to, as part of its key: for tables whose rows name no owner.

Where lists are not separate, and for what belongs to nobody, keys are as they were before there were people.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OwnerScope:
    """`owner` is a person's name; `is_separate` the setting `access.separate_lists`."""

    owner: str | None = None
    is_separate: bool = False

    @property
    def person(self) -> str | None:
        """The only person who sees it; None: all share it."""
        return self.owner if self.is_separate else None

    def key(self, key: str) -> str:
        """The key under which `key` is stored. No person's name has a space, and no other key begins so."""
        return key if self.person is None else f"@{self.person} {key}"

    def without(self, key: str) -> str:
        """The reverse of `key`."""
        return key if self.person is None else key.removeprefix(f"@{self.person} ")
