"""`clipwire subscriptions`: lists subscriptions, and acts on them."""

import asyncio

import click

from server.commands.command import choice_of, command_of, json_option, server_options
from server.commands.without_gc import without_gc
from server.commands.words import word

ACTIONS = ("list", "add", "check", "pause", "resume", "rm", "items", "fetch", "skip", "export", "import")


def make(name: str) -> click.Command:
    def subscriptions(
        action: str,
        what: tuple[str, ...],
        server: str | None,
        insecure: bool,
        search: str | None,
        limit: int,
        backlog: str | None,
        profile: str | None,
        as_json: bool,
    ) -> int:
        from server.commands.remote import remote

        refuse_missing(action, what)
        with without_gc():
            from server.commands.remote_subscriptions import SubscriptionArguments, run

        arguments = SubscriptionArguments(what, search, limit, backlog, profile, as_json)
        return asyncio.run(run(remote(server, insecure=insecure), action, arguments))

    return command_of(
        name,
        subscriptions,
        click.Argument(["action"], type=choice_of(ACTIONS), default="list", metavar="[ACTION]"),
        click.Argument(["what"], nargs=-1, metavar="[URL|ID|FILE]..."),
        click.Option(["--backlog"], metavar="none|all|N|DAY", help=word("option.backlog")),
        click.Option(["--profile"], metavar="NAME", help=word("option.profile")),
        click.Option(["--search"], metavar="TEXT", help=word("option.search_followed")),
        click.Option(
            ["-n", "--limit"], type=click.IntRange(1), default=50, metavar="N", help=word("option.limit")
        ),
        *server_options(),
        json_option(),
    )


def refuse_missing(action: str, what: tuple[str, ...]) -> None:
    """Raise `click.UsageError` if an action has too few arguments, or too many."""
    if action in ("list", "export"):
        if what:
            raise click.UsageError(word("too_much", what=" ".join(what)))
    elif not what or not all(each.strip() for each in what):
        name = {"add": "URL", "import": "FILE"}.get(action, "ID")
        raise click.UsageError(word("missing", name=name))
    elif action in ("items", "import") and len(what) > 1:
        raise click.UsageError(word("too_much", what=" ".join(what[1:])))
    elif action in ("fetch", "skip") and len(what) < len(("ID", "KEY")):
        raise click.UsageError(word("missing", name="KEY"))
