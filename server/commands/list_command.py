"""`clipwire list`."""

import asyncio

import click

from server.commands.command import choice_of, command_of, json_option, server_options
from server.commands.without_gc import without_gc
from server.commands.words import word

STAGES = ("queued", "info", "download", "convert", "paused", "completed", "failed", "cancelled")


def make(name: str) -> click.Command:
    def list_tasks(
        server: str | None,
        insecure: bool,
        stage: list[str] | None,
        search: str | None,
        limit: int,
        as_json: bool,
    ) -> int:
        from server.commands.remote import remote

        with without_gc():
            from server.commands.remote_tasks import list_tasks

        asked = remote(server, insecure=insecure)
        return asyncio.run(list_tasks(asked, stages=stage or (), query=search, limit=limit, as_json=as_json))

    return command_of(
        name,
        list_tasks,
        click.Option(["--stage"], type=choice_of(STAGES, several=True), help=word("option.stage")),
        click.Option(["--search"], metavar="TEXT", help=word("option.search")),
        click.Option(
            ["-n", "--limit"], type=click.IntRange(1), default=50, metavar="N", help=word("option.limit")
        ),
        *server_options(),
        json_option(),
    )
