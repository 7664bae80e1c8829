"""The principal of a request: who has sent it.

Where nobody was added and no setting of `access` asks for a log-in, everybody is `EVERYBODY`.

Decisions: docs/decisions/people.md
"""

from dataclasses import dataclass
from typing import Literal

PersonRole = Literal["admin", "user"]
Way = Literal["open", "token", "password", "proxy", "oidc"]
OF_PERSON = "@"  # a person's scope begins with this; the scope of a token of `server.tokens` is hexadecimal


@dataclass(frozen=True, slots=True)
class Principal:
    """`name` is None for the tokens of `server.tokens`, and where no log-in is needed.

    `scope` names the owner of idempotency keys and shared tasks. `credential` names what the request was
    authenticated by, and `token_id` the token behind it, if any: the one that it sent, or that began its
    session. `ends_at` is a time of `time.monotonic()`; None: it does not end by itself.
    """

    name: str | None
    role: PersonRole
    way: Way
    scope: str = ""
    credential: str = ""
    token_id: int | None = None
    ends_at: float | None = None

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"


EVERYBODY = Principal(None, "admin", "open")


def scope_of_person(name: str) -> str:
    return OF_PERSON + name


def person_of_scope(scope: str) -> str | None:
    """The name of the person whose scope this is; None if it is that of a token of `server.tokens`."""
    return scope.removeprefix(OF_PERSON) if scope.startswith(OF_PERSON) else None
