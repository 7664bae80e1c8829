"""`clipwire backup` and `clipwire restore`."""

import asyncio
from pathlib import Path

import click

from server.commands.command import command_of


def make(name: str) -> click.Command:
    def backup(file: Path) -> int:
        from server.commands.backup import backup
        from server.settings import load

        return asyncio.run(backup(load(), file))

    def restore(file: Path) -> int:
        from server.commands.backup import restore
        from server.settings import load

        return asyncio.run(restore(load(), file))

    file = click.Argument(["file"], type=click.Path(path_type=Path), metavar="FILE")
    return command_of(name, backup if name == "backup" else restore, file)
