"""`clipwire update`."""

import asyncio

import click

from server.commands.command import command_of
from server.commands.words import word


def make(name: str) -> click.Command:
    def update(*, again: bool) -> int:
        from server.commands.update import update
        from server.settings import load

        settings = load()
        data_dir, downloads = settings.storage.data_dir, settings.downloads
        return asyncio.run(update(data_dir, downloads.min_free_disk, downloads.ffmpeg, again=again))

    return command_of(name, update, click.Option(["--again"], is_flag=True, help=word("option.again")))
