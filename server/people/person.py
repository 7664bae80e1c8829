"""A person, their tokens, and what a token looks like.

Decisions: docs/decisions/people.md
"""

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from server.core.principal import PersonRole

NAME = r"[a-z0-9._-]{1,64}"
# With no dot at an end: browsers leave `..` out of an address, and folders of the library have no such dots.
# With no `-` first: commands would read it as an option.
NEW_NAME = r"[a-z0-9_]([a-z0-9._-]{0,62}[a-z0-9_-])?"
LABEL = r"[A-Za-z0-9._ -]{1,64}"
FIRST_LABEL = "first"  # of the token that a new person gets
PREFIX = "clipwire_"  # by which scanners for secrets recognise a token
MOST_TOKENS = 50  # of a person
SHORTEST_TOKEN, LONGEST_TOKEN = 60, 10 * 365 * 86_400  # seconds for which a token may be valid
_LAST_INSTANT = datetime.max.replace(tzinfo=UTC).timestamp() - 1

WhatRemains = Literal["keep", "give", "delete"]
"""What becomes of what belongs to a removed person: it is kept as nobody's, given to another, or deleted."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """How a person is being removed. `to`: with `give`, who gets what belongs to them. `at`: when that began,
    in seconds since 1970.
    """

    tasks: WhatRemains
    to: str | None = None
    at: float = 0.0

    @classmethod
    def read(cls, stored: str) -> "Leaving":
        fields = json.loads(stored)
        return cls(fields["tasks"], fields.get("to"), fields.get("at", 0.0))

    def stored(self) -> str:
        return json.dumps({"tasks": self.tasks, "at": self.at} | ({"to": self.to} if self.to else {}))


@dataclass(frozen=True, slots=True)
class Person:
    """Times are seconds since 1970. `password` is its Argon2id hash; `subject`, who this is at the OpenID
    provider; `limits` are those that differ from the settings. `leaving`: the person is being removed,
    and refused already. `adopts`: the person is being given what belongs to nobody.
    """

    name: str
    role: PersonRole
    added_at: float
    password: str | None = field(default=None, repr=False)
    subject: str | None = None
    limits: Mapping[str, float | None] = field(default_factory=dict)
    leaving: Leaving | None = None
    adopts: bool = False


@dataclass(frozen=True, slots=True)
class PersonToken:
    """A token without its secret, of which only the hash is stored. Times are seconds since 1970."""

    token_id: int
    name: str
    label: str
    created_at: float
    expires_at: float | None
    used_at: float | None


def fresh_token() -> str:
    """Return a new token of 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def instant_of(seconds: float) -> str:
    """Return a time in seconds since 1970 as answers have it; one beyond the year 9999 as the last of all."""
    return datetime.fromtimestamp(min(seconds, _LAST_INSTANT), UTC).isoformat()[:19] + "Z"


def name_of_login(login: str) -> str:
    """The name, as people have it here, of somebody whom a proxy or an OpenID provider calls `login`.

    Only ASCII is changed: `lower` would turn the Kelvin sign into a `k`, and one person into another.
    """
    return login.strip().lower() if login.isascii() else login


def hash_of(token: str) -> str:
    """Return the hash that is stored of a token. It needs no salt and no slow hash: nobody can guess 256
    random bits.
    """
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
