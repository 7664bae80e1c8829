"""`clipwire serve`; `clipwire` without a command does the same."""

import gc

import click

from server.commands.command import command_of


def run() -> int:
    gc.disable()  # no collection until the service listens: it would take a tenth of that time
    from server.commands.head_start import launch_early
    from server.settings import load

    settings = load()
    launched = launch_early(settings)
    try:
        from server.commands.serve import serve

        return serve(settings, launched)
    finally:
        gc.enable()
        if launched:
            launched.end()


def make(name: str) -> click.Command:
    return command_of(name, run)
