"""`clipwire people`: on the server's own machine, changes who may use the service."""

import asyncio
from typing import TYPE_CHECKING, Any

import click

from server.commands.command import TranslatedCommand, choice_of, command_of, json_option
from server.commands.words import word

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


def make(name: str) -> click.Command:
    return _group(
        name,
        _command(
            f"{name} add",
            "add",
            _name(),
            click.Option(
                ["--role"], type=choice_of(("admin", "user")), default="user", help=word("option.role")
            ),
        ),
        _command(f"{name} list", "show", json_option()),
        _command(f"{name} set-role", "set_role", _name(), _role()),
        _command(
            f"{name} remove",
            "remove",
            _name(),
            click.Option(["--keep"], is_flag=True, help=word("option.keep")),
            click.Option(["--give-to"], metavar="NAME", help=word("option.give_to")),
            click.Option(["--delete"], is_flag=True, help=word("option.delete")),
        ),
        _command(f"{name} adopt", "adopt", _name()),
        _group(
            f"{name} token",
            _command(
                f"{name} token add",
                "add_token",
                _name(),
                _label(),
                click.Option(["--expires"], metavar="90d", help=word("option.expires")),
            ),
            _command(f"{name} token list", "show_tokens", _name(), json_option()),
            _command(f"{name} token revoke", "revoke_token", _name(), _label()),
        ),
    )


class _Subcommands(TranslatedCommand, click.Group):
    """A command that has only subcommands, such as `people token`."""


def _group(path: str, *commands: click.Command) -> click.Group:
    named = {command.name: command for command in commands if command.name}
    return _Subcommands(path.rpartition(" ")[2], commands=named, help=word(f"{path}.help"))


def _command(path: str, function: str, *parameters: click.Parameter) -> click.Command:
    def run(**arguments: object) -> int:
        from server.commands import people
        from server.settings import load

        act: Callable[..., Coroutine[Any, Any, int]] = getattr(people, function)
        return asyncio.run(people.run_and_report(act(load(), **arguments)))

    command = command_of(path, run, *parameters)
    command.name = path.rpartition(" ")[2]
    command.short_help = word(f"{path}.help")
    return command


def _name() -> click.Argument:
    return click.Argument(["name"], metavar="NAME")


def _label() -> click.Argument:
    return click.Argument(["label"], metavar="LABEL")


def _role() -> click.Argument:
    return click.Argument(["role"], type=choice_of(("admin", "user")), metavar="ROLE")
