"""Who a stored thing belongs to, as part of its key: for tables whose rows name no owner.

Where lists are not separate, and for what belongs to nobody, keys are as they were before there were people.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OwnerScope:
    """Makes keys of stored things. `owner` is a person's name; `is_separate` is the setting
    `access.separate_lists`.
    """

    owner: str | None = None
    is_separate: bool = False

    @property
    def person(self) -> str | None:
        """The only person who sees the thing; None: everybody does."""
        return self.owner if self.is_separate else None

    def key(self, key: str) -> str:
        """Return the key under which `key` is stored. It begins with the person's name and a space, which no
        name contains and no other key begins with.
        """
        return key if self.person is None else f"@{self.person} {key}"

    def without(self, key: str) -> str:
        """Return the key that is stored as `key`: the reverse of the method `key`."""
        return key if self.person is None else key.removeprefix(f"@{self.person} ")
