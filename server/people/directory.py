"""Who is admitted: all people and the hashes of their tokens, in memory, so that requests read no rows.

A change is in effect at once on the node that makes it, and on others when its announcement arrives. In case
one is lost, nodes of a cluster read the version of the rows each second, once there are people. A node that
could not do so for `TRUSTED_FOR` seconds reads it before it admits anybody. A node reads it as well before it
refuses what another node may have made just now: a token, a person, a password.

Decisions: docs/decisions/people.md
"""

import asyncio
import logging
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from aiohttp import web

from server.api.security import DOORS
from server.api.session import MAX_WRONG, Minute
from server.core.errors import PersonExists, StoreUnavailable, TokenRequired, TooManyRequests
from server.core.ports import Session, Sessions
from server.core.principal import Principal, Way, person_of_scope, scope_of_person
from server.people.audit import PERSON_ADDED, Audit
from server.people.passwords import Passwords
from server.people.people_rows import PEOPLE_CHANGED, AdmittedPeople, PeopleRows, add_person
from server.people.person import NEW_NAME, PREFIX, Person, hash_of, name_of_login
from server.settings import AccessSettings
from server.storage.statements import Result, Signals, Statements

log = logging.getLogger(__name__)

COMPARED_EVERY = 1.0  # seconds
TRUSTED_FOR = 2.0  # seconds without a comparison
USED_EVERY = 60.0  # seconds; a token that is used all the time is noted this often
_WAYS: dict[str, Way] = {"token": "token", "password": "password", "proxy": "proxy", "oidc": "oidc"}


class PeopleDirectory:
    """See `server.api.session.Directory`. `is_alone`: no other server has the database."""

    def __init__(
        self,
        rows: PeopleRows,
        signals: Signals,
        access: AccessSettings,
        audit: Audit | None = None,
        *,
        is_alone: bool,
        sessions: Sessions | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rows = rows
        self._access = access
        self.is_alone = is_alone
        self._sessions = sessions
        self._has_ended_sessions = False  # a new password ended some whose sockets may still be open
        self.changed: list[Callable[[], None]] = []  # called after each change
        self._admitted = AdmittedPeople(0, {}, {}, {})
        self._is_needed_by_settings = bool(access.user_header or access.oidc.issuer)
        self.is_needed = self._is_needed_by_settings
        self._clock = clock
        self._compared_at = clock()
        self._comparing = asyncio.Lock()
        self._woken = asyncio.Event()
        self.passwords = Passwords()
        self.audit = audit
        self.wrong = Minute(clock)  # passwords, by the name for which they were tried
        self.wrong_from = Minute(clock, is_extended=True)  # passwords, by address
        self._being_compared = Counter[str]()  # passwords, by address
        self._uses_to_store: dict[int, float] = {}
        self._noted_at: dict[int, float] = {}  # when the use of each token was last stored
        # By the hash of a token, each with the token's id and expiry. Made once, as making one costs half as
        # much as the rest of a request's admission.
        self._principals: dict[bytes, tuple[Principal, int, float | None]] = {}
        self._ended: Callable[[Callable[[Principal], bool]], None] = lambda _: None
        signals.listen(PEOPLE_CHANGED, self._woken.set)

    def knows(self, name: str) -> bool:
        """Whether there is such a person, who is not being removed."""
        person = self.people.get(name)
        return person is not None and person.leaving is None

    def has(self, name: str) -> bool:
        """Whether there is such a person, perhaps one who is being removed and still owns something."""
        return name in self.people

    @property
    def people(self) -> Mapping[str, Person]:
        """By name, also those who are being removed."""
        return self._admitted.people

    @property
    def is_stale(self) -> bool:
        return not self.is_alone and bool(self.people) and self._clock() - self._compared_at > TRUSTED_FOR

    async def refresh(self) -> None:
        """Make sure that all changes until now are known. Raises `StoreUnavailable`."""
        async with self._comparing:
            if self.is_stale:  # else another request has already refreshed, while this one waited
                await self._compare()

    def is_known_here_alone(self, token: str) -> bool:
        return self.is_alone or not token.startswith(PREFIX)

    async def look_again(self) -> None:
        """Read what other nodes have changed until now. Those who ask meanwhile share one reading.

        Raises `StoreUnavailable`.
        """
        if self.is_alone:
            return
        asked_at = self._clock()
        async with self._comparing:
            if self._compared_at <= asked_at:
                await self._compare()

    async def change(self, change: Callable[[Statements], Awaitable[Result]]) -> Result:
        """Make a change of who is admitted, one of those in `people_rows`. Then it is in effect on this node.

        Raises what `change` does, and `StoreUnavailable`.
        """
        result, admitted = await self._rows.change(change)
        self.take(admitted)
        return result

    def take(self, admitted: AdmittedPeople) -> None:
        """Admit these from now on, and end the sockets and long polls of all others."""
        if admitted.version <= self._admitted.version:
            return
        before, self._admitted = self._admitted.people, admitted
        self._principals.clear()
        if any(name in before and before[name].password != one.password for name, one in self.people.items()):
            self._has_ended_sessions = True
            self._woken.set()
        self.is_needed = self._is_needed_by_settings or bool(admitted.people)
        self._noted_at = {token: at for token, at in self._noted_at.items() if token in admitted.expiries}
        self._ended(self._is_admitted)
        for on_change in self.changed:
            on_change()

    def of_token(self, token_hash: bytes) -> Principal | None:
        found = self._principals.get(token_hash) or self._find(token_hash)
        if found is None:
            return None
        principal, token_id, expires_at = found
        now = time.time()
        if expires_at is not None and expires_at <= now:
            return None
        if now - self._noted_at.get(token_id, 0.0) >= USED_EVERY:
            if not self._uses_to_store:
                asyncio.get_running_loop().call_later(USED_EVERY, self._woken.set)
            self._uses_to_store[token_id] = self._noted_at[token_id] = now
        return principal

    def _find(self, token_hash: bytes) -> tuple[Principal, int, float | None] | None:
        token = self._admitted.tokens.get(token_hash.hex())
        if token is None:
            return None
        token_id, name, expires_at = token
        ends_at = None if expires_at is None else time.monotonic() + expires_at - time.time()
        principal = self._principal(name, "token", f"token {token_id}", token_id, ends_at)
        if principal is None:
            return None
        self._principals[token_hash] = principal, token_id, expires_at
        return self._principals[token_hash]

    async def of_header(self, request: web.Request) -> Principal | None:
        """Return the person whom a trusted proxy names. Raises `StoreUnavailable`."""
        header = self._access.user_header
        if not header or header not in request.headers:
            return None
        names = request.headers.getall(header)
        if not request.app[DOORS].is_trusted(request.remote) or len(names) > 1:
            return None
        name = name_of_login(names[0])
        if name not in self.people:
            await self.look_again()
        if name not in self.people and self._access.create_people and re.fullmatch(NEW_NAME, name):
            with suppress(PersonExists):  # another request has added them meanwhile
                await self.change(lambda tables: add_person(tables, name, "user", time.time()))
                if self.audit:
                    await self.audit.record_of(request, [(PERSON_ADDED, f"{name} user")], name)
        return self._principal(name, "proxy", f"proxy {name}", None, None)

    async def of_password(self, name: str, password: str, address: str) -> Principal:
        """Check a password. A refused caller learns nothing about which people exist.

        Raises `TokenRequired`, `TooManyRequests`.
        """
        person = self.people.get(name)
        stored = person.password if person else None
        if await self._matches(stored, password, address, name):
            # While the hash was computed, the person may have been removed, or the password changed.
            now = self.people.get(name)
            principal = self._principal(name, "password", _by_password(stored), None, None)
            if principal and now and now.password == stored:
                return principal
        self.refused(address, name if person else "")
        self.wrong_from.count(address)
        if self.wrong.count(name) > MAX_WRONG:
            raise TooManyRequests(self.wrong.left(name))
        raise TokenRequired

    async def _matches(self, stored: str | None, password: str, address: str, name: str) -> bool:
        # Passwords that are being compared count as wrong: else a hundred of a flood would have their turn
        # before the first is known to be wrong.
        count = self.wrong_from.so_far(address) + self._being_compared[address]
        self._being_compared[address] += 1
        try:
            return await self.passwords.matches(
                stored, password, (address, name), is_suspect=count >= MAX_WRONG
            )
        finally:
            self._being_compared[address] -= 1
            if not self._being_compared[address]:
                del self._being_compared[address]

    def admits(self, principal: Principal) -> bool:
        if principal.way == "password":
            person = self.people.get(principal.name or "")
            if person is None or principal.credential != _by_password(person.password):
                return False
        return self._is_admitted(principal)

    def refused(self, address: str, name: str = "") -> None:
        """Record a refused log-in from `address`; `name` is the person for whom it was tried, if such a
        person exists.
        """
        if self.audit and self.is_needed:
            self.audit.refused(address, name)

    @property
    def creates_people(self) -> bool:
        return self._access.create_people

    def of_subject(self, subject: str) -> Person | None:
        """Return the person with this `sub` of the provider, unless they are being removed."""
        found = (one for one in self.people.values() if one.subject == subject and not one.leaving)
        return next(found, None)

    def principal_at_provider(self, name: str) -> Principal:
        """Return a person who has logged in at the provider. Raises `TokenRequired` if they were removed."""
        if principal := self._principal(name, "oidc", "", None, None):
            return principal
        raise TokenRequired

    @property
    def ways(self) -> list[str]:
        has_passwords = any(person.password for person in self.people.values())
        return [*(["password"] if has_passwords else []), *(["oidc"] if self._access.oidc.issuer else [])]

    def of_session(self, session: Session) -> Principal | None:
        name = person_of_scope(session.scope)
        if name is None or not self._has_token(session.token_id):
            return None
        way = _WAYS.get(session.way, "token")
        return self._principal(name, way, session.session_id, session.token_id, session.ends_at)

    def _principal(
        self, name: str, way: Way, credential: str, token_id: int | None, ends_at: float | None
    ) -> Principal | None:
        person = self.people.get(name)
        if person is None or person.leaving:
            return None
        return Principal(name, person.role, way, scope_of_person(name), credential, token_id, ends_at)

    def _has_token(self, token_id: int | None) -> bool:
        """Whether this token exists and has not expired; True for None: the log-in was by another way."""
        if token_id is None:
            return True
        expires_at = self._admitted.expiries.get(token_id, 0.0)
        return expires_at is None or expires_at > time.time()

    def _is_admitted(self, principal: Principal) -> bool:
        """Return whether a person may still be logged in: they have the same credentials and role as
        before.
        """
        person = self.people.get(principal.name or "")
        is_same = person is not None and not person.leaving and person.role == principal.role
        return is_same and self._has_token(principal.token_id)

    def listen(self, ended: Callable[[Callable[[Principal], bool]], None]) -> None:
        self._ended = ended

    async def follow(self) -> None:
        """Until cancelled, read what has changed, and note when tokens were used."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(COMPARED_EVERY if self.people and not self.is_alone else None):
                    await self._woken.wait()
            self._woken.clear()
            try:
                await self.compare()
                await self._catch_up()
                await self.note_uses()
            except StoreUnavailable as error:
                log.debug("who is admitted cannot be read: %s", error)
                self._woken.set()
                await asyncio.sleep(COMPARED_EVERY)
            except Exception:  # outermost: a fault now must not keep this node from later changes
                log.exception("who is admitted cannot be read")
                self._woken.set()
                await asyncio.sleep(COMPARED_EVERY)

    async def compare(self) -> None:
        """Read what has changed. Raises `StoreUnavailable`."""
        async with self._comparing:
            await self._compare()

    async def _catch_up(self) -> None:
        if self._sessions and self._has_ended_sessions:
            self._has_ended_sessions = False
            try:
                await self._sessions.catch_up()
            except StoreUnavailable:
                self._has_ended_sessions = True
                raise

    async def note_uses(self) -> None:
        """Store when tokens were used. Raises `StoreUnavailable`."""
        if self._uses_to_store:
            uses, self._uses_to_store = self._uses_to_store, {}
            await self._rows.note_uses(uses)

    async def _compare(self) -> None:
        began = self._clock()
        if await self._rows.version() != self._admitted.version:
            self.take(await self._rows.admitted())
        self._compared_at = began


def _by_password(stored: str | None) -> str:
    """Return the credential of a log-in by password; `stored` is the hash of the password."""
    return f"password {hash_of(stored or '')}"
