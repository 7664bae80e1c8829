"""The base classes of the models of requests, statuses and events: immutable values."""

from typing import Self

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """An immutable value; unknown fields are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Stored(Frozen):
    """A value that is stored, where a server of the next release may have written fields unknown here.

    Unknown fields are kept when the value is changed and stored again (docs/decisions/storage.md).
    """

    model_config = ConfigDict(extra="allow")

    def as_known(self) -> Self:
        """The value without fields that are unknown here, which no client is told."""
        if not self.model_extra:
            return self
        known = self.model_copy()
        object.__setattr__(known, "__pydantic_extra__", {})
        return known
