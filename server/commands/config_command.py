"""`clipwire config`."""

import click

from server.commands.command import command_of


def make(name: str) -> click.Command:
    def config() -> int:
        from server.commands.config import config
        from server.settings import load

        return config(load())

    return command_of(name, config)
