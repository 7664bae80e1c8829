"""`clipwire check`."""

import asyncio

import click

from server.commands.command import command_of


def make(name: str) -> click.Command:
    def check() -> int:
        from server.commands.check import check
        from server.settings import load

        return asyncio.run(check(load()))

    return command_of(name, check)
