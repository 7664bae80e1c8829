"""The class of commands: click's, in the reader's language; and options that several commands share.

A command's own options stand in `<name>_command.py`. Neither this module nor those import what a command
needs before it runs: so `--help` and completion are quick.
"""

from collections.abc import Callable, Sequence
from typing import Any

import click

from server.commands.words import word


class _Formatter(click.HelpFormatter):
    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        super().write_usage(prog, args, word("usage") + " ")

    def write_heading(self, heading: str) -> None:
        super().write_heading(
            {"Options": word("options"), "Commands": word("commands")}.get(heading, heading)
        )


class _Context(click.Context):
    formatter_class = _Formatter


class TranslatedCommand(click.Command):
    """A command, or a group of commands, whose help is in the reader's language."""

    context_class = _Context

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        option = super().get_help_option(ctx)
        if option:
            option.help = word("option.help")
        return option


class _Command(TranslatedCommand):
    """A click command that rejects extra arguments by name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.allow_extra_args = True
        extra = super().parse_args(ctx, args)
        if extra and not ctx.resilient_parsing:
            raise click.UsageError(word("too_much", what=" ".join(extra)), ctx)
        return extra


def command_of(name: str, callback: Callable[..., int], *parameters: click.Parameter) -> click.Command:
    """Make the command `name`; `callback` runs it and returns the exit status."""
    return _Command(name, callback=callback, params=list(parameters), help=word(f"{name}.help"))


def choice_of(choices: Sequence[str], *, several: bool = False) -> click.ParamType[Any]:
    from server.commands.choices import Choice

    return Choice(choices, several=several)


def server_options() -> list[click.Parameter]:
    """Return the options that say which server a command talks to."""
    return [
        click.Option(["--server"], metavar="URL", help=word("option.server")),
        click.Option(["--insecure"], is_flag=True, help=word("option.insecure")),
    ]


def json_option() -> click.Parameter:
    return click.Option(["--json", "as_json"], is_flag=True, help=word("option.json"))


def task_ids(*, required: bool = True) -> click.Argument:
    def none_empty(ctx: click.Context, _: click.Parameter, ids: tuple[str, ...]) -> tuple[str, ...]:
        if not all(each.strip() for each in ids):  # such as an unset variable of a shell
            raise click.UsageError(word("missing", name="ID"), ctx)
        return ids

    return click.Argument(["task_ids"], nargs=-1, required=required, metavar="ID...", callback=none_empty)
