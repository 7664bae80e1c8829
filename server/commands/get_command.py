"""`clipwire get` and `clipwire watch`, which both follow tasks and save their files."""

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import click

from server.commands.command import command_of, json_option, server_options, task_ids
from server.commands.without_gc import without_gc
from server.commands.words import word

if TYPE_CHECKING:
    from server.commands.progress_display import Display
    from server.commands.saving import Saving


def make(name: str) -> click.Command:
    following = [
        click.Option(["-o", "--save-to"], metavar="PATH", help=word("option.save_to")),
        *server_options(),
        click.Option(["--cancel"], is_flag=True, help=word("option.cancel")),
        json_option(),
        click.Option(["-q", "--quiet"], is_flag=True, help=word("option.quiet")),
    ]
    if name == "watch":
        return command_of(name, _watch, task_ids(required=False), *following)
    from server.commands.request_options import request_options

    urls = click.Argument(["urls"], nargs=-1, required=True, metavar="URL...")
    return command_of(name, _get, urls, *following, *request_options())


def _get(urls: tuple[str, ...], server: str | None, insecure: bool, cancel: bool, **rest: Any) -> int:
    from server.commands.own_server import begin
    from server.commands.remote import remote
    from server.commands.request_options import wishes_of

    try:
        links = [link for url in urls for link in (_from_input() if url == "-" else (url,))]
        "".join(links).encode()
    except UnicodeError:
        raise click.UsageError(word("not_unicode")) from None
    if not links:
        raise click.UsageError(word("no_links"))
    wishes = wishes_of(rest)
    several = len(links) > 1 or len(wishes.get("outputs", "")) > 1 or bool(wishes.get("playlist"))
    configured = remote(server, insecure=insecure)
    saving, display = _saving_and_display(rest, several=several)
    needs_own = not configured.is_named and configured.refuses_connections()
    used = begin() if needs_own else configured
    # Import the client while our own server starts: the import takes half as long as that start.
    with without_gc():
        from server.commands.get import get
    return asyncio.run(get(used, links, wishes, saving, display, cancel=cancel))


def _from_input() -> list[str]:
    """Return links from standard input, one a line; skip empty lines and comments (`#`)."""
    # `sys.stdin` is None if it is closed.
    lines = (line.removeprefix("\ufeff").strip() for line in sys.stdin or ())
    return [line for line in lines if line and not line.startswith("#")]


def _watch(task_ids: tuple[str, ...], server: str | None, insecure: bool, cancel: bool, **rest: Any) -> int:
    with without_gc():
        from server.commands.get import watch
    from server.commands.remote import remote

    saving, display = _saving_and_display(rest, several=len(task_ids) > 1, saves=bool(task_ids))
    watched = remote(server, insecure=insecure)
    return asyncio.run(watch(watched, task_ids, saving, display, cancel=cancel))


def _saving_and_display(
    options: dict[str, Any], *, several: bool, saves: bool = True
) -> "tuple[Saving, Display]":
    from server.commands.progress_display import display_for
    from server.commands.saving import Saving

    saving = Saving(options["save_to"], several)
    if saves and (refusal := saving.refusal()):
        raise click.ClickException(refusal)
    return saving, display_for(as_json=options["as_json"], quiet=options["quiet"])
