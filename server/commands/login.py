"""What `clipwire login` and `clipwire whoami` do."""

import json
import sys
from dataclasses import replace
from typing import Any

import click
from clipwire_client import ClipwireError

from server.commands.kept_tokens import forget_token, keep_token, tokens_file
from server.commands.remote import Remote, is_token, say
from server.commands.remote_client import client_of, explain
from server.commands.words import word


async def log_in(server: Remote) -> int:
    """Ask for a token, or read it from the input; store it if the server accepts it."""
    if sys.stdin and sys.stdin.isatty():
        token = click.prompt(word("token_of", url=server.url), hide_input=True, err=True)
    else:
        token = sys.stdin.readline().strip() if sys.stdin else ""
    if not token or not is_token(token):
        say(word("token_expected"))
        return 1
    server = replace(server, token=token)
    me = await _me(server)
    if me is None:
        return 1
    if me.get("way") == "open":
        say(word("no_log_in_needed", url=server.url))
        return 0
    try:
        where = keep_token(server.url, token)
    except OSError as error:
        say(word("token_not_kept", why=str(error)))
        return 1
    kept = word("kept_in_keyring") if where == "keyring" else word("kept_in_file", path=str(tokens_file()))
    say(f"{_shown(me)}: {kept}")
    return 0


def forget_login(server: Remote) -> int:
    try:
        found = forget_token(server.url)
    except OSError as error:
        say(word("token_not_kept", why=str(error)))
        return 1
    if not found:
        say(word("nothing_kept", url=server.url))
    return 0 if found else 1


async def tell_who(server: Remote, *, as_json: bool) -> int:
    """Print the name of the user, or what stands for one, and the role."""
    me = await _me(server)
    if me is None:
        return 1
    print(json.dumps(me, ensure_ascii=False) if as_json else _shown(me))
    return 0


async def _me(server: Remote) -> dict[str, Any] | None:
    """Return the answer of `GET /api/me`; None if the server refused, after printing why."""
    async with client_of(server) as client:
        try:
            return await client.me()
        except ClipwireError as error:
            explain(error, server)
            return None


def _shown(me: dict[str, object]) -> str:
    name = me.get("name") or (word("everybody") if me.get("way") == "open" else "-")
    return f"{name} ({me.get('role')})"
