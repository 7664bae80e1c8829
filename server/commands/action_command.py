"""`clipwire cancel` and the other actions on tasks by id."""

import asyncio

import click

from server.commands.command import command_of, server_options, task_ids
from server.commands.without_gc import without_gc


def make(name: str) -> click.Command:
    def act(task_ids: tuple[str, ...], server: str | None, insecure: bool) -> int:
        from server.commands.remote import remote

        with without_gc():
            from server.commands.remote_tasks import act

        return asyncio.run(act(remote(server, insecure=insecure), task_ids, name))

    return command_of(name, act, task_ids(), *server_options())
