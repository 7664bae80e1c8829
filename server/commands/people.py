"""`clipwire people`: changes of people, made directly in the database.

What is printed on standard output is for programs: a new token and nothing else, or a table.
"""

import json
import re
import sys
import time
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, cast

import click

from server.assembly import DatabaseUnusable, DataDirUnusable
from server.assembly.people_outside import people_transaction
from server.commands.words import language, one_line, word
from server.core.durations import seconds_of
from server.core.errors import AppError
from server.locales import LANGUAGES
from server.people import people_rows as rows
from server.people.audit_rows import add_command
from server.people.person import (
    FIRST_LABEL,
    LABEL,
    LONGEST_TOKEN,
    NEW_NAME,
    SHORTEST_TOKEN,
    Leaving,
    Person,
    WhatRemains,
    fresh_token,
    hash_of,
    instant_of,
)
from server.settings import Settings

if TYPE_CHECKING:
    from server.core.principal import PersonRole


async def run_and_report(work: Coroutine[Any, Any, int]) -> int:
    """Return the exit status of `work`; print an error in one line."""
    try:
        return await work
    except AppError as error:
        title, detail = LANGUAGES[language()].problem(error.code, error.values)
        print(f"clipwire: {one_line(f'{title}: {detail}')}", file=sys.stderr)
    except (DatabaseUnusable, DataDirUnusable) as error:
        print(f"clipwire: {one_line(str(error))}", file=sys.stderr)
    return 1


async def add(settings: Settings, name: str, role: str) -> int:
    """Add a person; print the person's first token, and nothing else."""
    _check(name, NEW_NAME, "bad_name")
    token, now = fresh_token(), time.time()
    async with people_transaction(settings) as tables:
        await rows.add_person(tables, name, cast("PersonRole", role), now)
        await rows.add_token(tables, name, FIRST_LABEL, hash_of(token), now)
        await add_command(tables, "person_added", f"{name} {role}")
    print(token)
    return 0


async def show(settings: Settings, *, as_json: bool) -> int:
    async with people_transaction(settings, changes=False) as tables:
        people = await rows.read_people(tables)
        tokens = await rows.read_tokens(tables)
    for person in people:
        of_person = [token for token in tokens if token.name == person.name]
        used_at = max((token.used_at for token in of_person if token.used_at), default=None)
        if as_json:
            print(
                json.dumps(
                    {
                        "name": person.name,
                        "role": person.role,
                        "added_at": instant_of(person.added_at),
                        "tokens": len(of_person),
                        "has_password": person.password is not None,
                    }
                    | ({"used_at": instant_of(used_at)} if used_at else {})
                    | ({"is_leaving": True} if person.leaving else {})
                )
            )
        else:
            state = word("people_leaving") if person.leaving else person.role
            last_use = instant_of(used_at) if used_at else "-"
            print(f"{person.name:20}  {state:8}  {len(of_person):3}  {last_use}")
    return 0


async def set_role(settings: Settings, name: str, role: str) -> int:
    async with people_transaction(settings) as tables:
        await rows.set_role(tables, name, cast("PersonRole", role))
        await add_command(tables, "role_changed", f"{name} {role}")
        people = await rows.read_people(tables)
    _warn_without_admin(settings, people)
    return 0


async def remove(settings: Settings, name: str, *, keep: bool, give_to: str | None, delete: bool) -> int:
    """Remove a person. Asks what to do with the person's tasks, unless an option says it."""
    if keep + (give_to is not None) + delete > 1:
        raise click.UsageError(word("people_one_of"))
    what: WhatRemains = "keep" if keep else "delete" if delete else "give"
    if not keep and not delete and give_to is None:
        what, give_to = _ask(name)
    if give_to == name:
        raise click.UsageError(word("people_to_self"))
    async with people_transaction(settings) as tables:
        await rows.leave(tables, name, Leaving(what, give_to, time.time()))
        await add_command(tables, "person_removed", f"{name}: {what}{f' to {give_to}' if give_to else ''}")
        people = await rows.read_people(tables)
    _warn_without_admin(settings, people)
    return 0


async def adopt(settings: Settings, name: str) -> int:
    """Have the server give the person all that belongs to nobody, now or at its next start."""
    async with people_transaction(settings) as tables:
        await rows.adopt(tables, name)
        await add_command(tables, "person_adopts", name)
    return 0


async def add_token(settings: Settings, name: str, label: str, expires: str | None) -> int:
    """Add a token; print it, and nothing else."""
    _check(label, LABEL, "bad_label")
    token, now = fresh_token(), time.time()
    expires_at = None if expires is None else now + _valid_for(expires)
    async with people_transaction(settings) as tables:
        await rows.add_token(tables, name, label, hash_of(token), now, expires_at)
        await add_command(tables, "token_added", f"{name} {label}")
    print(token)
    return 0


def _valid_for(expires: str) -> int:
    """Return the seconds for which a new token is valid. Raises `UsageError`."""
    try:
        seconds = seconds_of(expires)
    except ValueError:
        raise click.UsageError(word("bad_expiry", value=expires)) from None
    if not SHORTEST_TOKEN <= seconds <= LONGEST_TOKEN:
        raise click.UsageError(word("bad_expiry", value=expires))
    return seconds


async def show_tokens(settings: Settings, name: str, *, as_json: bool) -> int:
    async with people_transaction(settings, changes=False) as tables:
        await rows.find_person(tables, name)
        tokens = await rows.read_tokens(tables, name)
    for token in tokens:
        times = {"created_at": token.created_at, "expires_at": token.expires_at, "used_at": token.used_at}
        shown = {key: instant_of(at) for key, at in times.items() if at is not None}
        if as_json:
            print(json.dumps({"label": token.label} | shown))
        else:
            print("  ".join((f"{token.label:20}", *(shown.get(key, f"{'-':20}") for key in times))).rstrip())
    return 0


async def revoke_token(settings: Settings, name: str, label: str) -> int:
    async with people_transaction(settings) as tables:
        await rows.revoke_token(tables, name, label)
        await add_command(tables, "token_revoked", f"{name} {label}")
    return 0


def _ask(name: str) -> tuple[WhatRemains, str | None]:
    if not (sys.stdin and sys.stdin.isatty()):
        raise click.UsageError(word("people_one_of"))
    choices: dict[str, WhatRemains] = {"keep": "keep", "give": "give", "delete": "delete"}
    answer = click.prompt(word("people_ask", name=name), type=click.Choice([*choices]), err=True)
    to = click.prompt(word("people_ask_to"), err=True) if answer == "give" else None
    return choices[answer], to


def _check(value: str, pattern: str, error: str) -> None:
    if not re.fullmatch(pattern, value):
        raise click.UsageError(word(error, value=value))


def _warn_without_admin(settings: Settings, people: list[Person]) -> None:
    """Warn if no admin or nobody is left. It is allowed: whoever runs this command can add an admin again."""
    remaining = [person for person in people if not person.leaving]
    if settings.server.tokens:
        return
    if not remaining and not settings.access.user_header and not settings.access.oidc.issuer:
        print(f"clipwire: {word('people_nobody_left')}", file=sys.stderr)
    elif not any(person.role == "admin" for person in remaining):
        print(f"clipwire: {word('people_no_admin')}", file=sys.stderr)
