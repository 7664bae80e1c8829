"""The frame of the command line: the list of commands, and the errors of wrong usage.

A command's options stand in a module of its own, which is imported when the command is asked for.

Decisions: docs/decisions/command-line.md
"""

import codecs
import errno
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path

import click

from server import __version__
from server.commands.command import TranslatedCommand, choice_of
from server.commands.words import one_line, word

COMMANDS = {
    "serve": "serve_command",
    "get": "get_command",
    "list": "list_command",
    "watch": "get_command",
    "cancel": "action_command",
    "pause": "action_command",
    "resume": "action_command",
    "retry": "action_command",
    "place": "action_command",
    "rm": "action_command",
    "subscriptions": "subscriptions_command",
    "login": "login_command",
    "whoami": "login_command",
    "check": "check_command",
    "config": "config_command",
    "backup": "backup_command",
    "restore": "backup_command",
    "copy": "copy_command",
    "update": "update_command",
    "people": "people_command",
}
"""Name -> the module in this folder whose `make(name)` returns the command."""
WRONG_USAGE = 2
INTERRUPTED = 130
SHELLS = ("bash", "zsh", "fish")
# Errors of the disk to which our output is redirected.
_OUTPUT_ENDS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def run(arguments: Sequence[str], name: str) -> int:
    """Run a command. Exit status: 0 fine, 1 failed, 2 wrong usage or configuration, 3 the data is in use, 130
    Ctrl-C.
    """
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:  # the stream was closed when this process was started
            setattr(sys, stream, Path(os.devnull).open("w"))  # noqa: SIM115
    codecs.register_error("escaped", _escaped)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="escaped")
    try:
        status = _commands().main(list(arguments), prog_name=name, standalone_mode=False)
        sys.stdout.flush()
        return int(status or 0)
    except click.UsageError as error:
        _explain(error, name)
        return WRONG_USAGE
    except click.ClickException as error:
        print(f"clipwire: {one_line(error.format_message())}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except SystemExit as error:  # raised by click when a shell asks for completions
        return int(error.code or 0)
    except BrokenPipeError:  # the reader of our output has left, as `head` does
        _say_no_more()
        return 1
    except OSError as error:
        if error.errno not in _OUTPUT_ENDS:
            raise
        print(f"clipwire: {one_line(str(error))}", file=sys.stderr)
        _say_no_more()
        return 1
    except Exception as error:
        # Compare the name of the class: to import the class costs as much as to import all settings, which
        # only some commands do.
        if type(error).__name__ != "ConfigurationError":
            raise
        print(f"clipwire: configuration: {error}", file=sys.stderr)
        return WRONG_USAGE


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """Encode characters that the terminal lacks as JSON does, so that the output of `--json` stays JSON."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2)), error.end


def _say_no_more() -> None:
    """Drop buffered output, which Python would try to write again at the end of the process."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _explain(error: click.UsageError, name: str) -> None:
    """Return one sentence that suggests what was meant, and names the help."""
    like: Sequence[str] = ()
    match error:
        case click.NoSuchOption():
            text, like = word("no_such_option", name=error.option_name), error.possibilities or ()
        case click.exceptions.NoSuchCommand():
            text = word("no_such_command", name=error.command_name)
            like = get_close_matches(error.command_name, COMMANDS, n=1)
        case click.MissingParameter() if error.param and error.ctx:
            is_option = isinstance(error.param, click.Option)
            parameter = error.param.opts[0] if is_option else error.param.make_metavar(error.ctx)
            text = word("missing", name=parameter)
        case click.BadParameter() if error.param:
            text = f"{error.param.opts[0]}: {error.message}"
        case click.exceptions.NoArgsIsHelpError(ctx=click.Context(command=click.Group() as group) as ctx):
            text = word("missing", name="|".join(group.list_commands(ctx)))
        case click.BadOptionUsage():
            text = word("needs_value", name=error.option_name)
        case _:
            text = error.message
    suggestion = word("did_you_mean", name=like[0]) if like else ""
    print(f"clipwire: {one_line(text + suggestion)}", file=sys.stderr)
    path = error.ctx.command_path if error.ctx else name
    print(word("more_help", command=f"{path} --help"), file=sys.stderr)


class _Group(TranslatedCommand, click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if (module := COMMANDS.get(cmd_name)) is None:
            return None
        made: click.Command = import_module(f"server.commands.{module}").make(cmd_name)
        return made

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing their modules."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, word(f"{name}.short")) for name in COMMANDS])


def _commands() -> click.Group:
    def of_all(ctx: click.Context, *, print_completion: str | None) -> int | None:
        if print_completion:
            from click.shell_completion import get_completion_class

            shell = get_completion_class(print_completion)
            assert shell
            name = "clipwire"
            print(shell(ctx.command, {}, name, f"_{name.upper()}_COMPLETE").source())
            ctx.exit(0)
        if ctx.invoked_subcommand is None:
            from server.commands import serve_command

            return serve_command.run()
        return None

    return _Group(
        "clipwire",
        callback=click.pass_context(of_all),
        invoke_without_command=True,
        help=word("help"),
        params=[
            click.Option(
                ["--version"],
                is_flag=True,
                expose_value=False,
                is_eager=True,
                callback=_print_version,
                help=word("option.version"),
            ),
            click.Option(
                ["--print-completion"],
                type=choice_of(SHELLS),
                metavar="|".join(SHELLS),
                help=word("option.print_completion"),
            ),
        ],
    )


def _print_version(ctx: click.Context, option: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        print(f"clipwire {__version__}")
        ctx.exit(0)
