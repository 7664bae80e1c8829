"""`clipwire copy`."""

import asyncio

import click

from server.commands.command import command_of
from server.commands.words import word


def make(name: str) -> click.Command:
    def copy(to: str, files: str | None) -> int:
        from server.commands.copy import copy
        from server.settings import load

        return asyncio.run(copy(load(), to, files))

    return command_of(
        name,
        copy,
        click.Option(["--to"], required=True, metavar="postgresql://...", help=word("option.to")),
        click.Option(["--files"], metavar="s3://...", help=word("option.files")),
    )
