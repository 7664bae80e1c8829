"""The command line: what can be asked, by which options, and how it is told when that makes no sense.

Nothing here imports what a command needs: that happens when it runs, for `--help` is to be there at once.

Decisions: docs/decisions/command-line.md
"""

import asyncio
import codecs
import errno
import gc
import os
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from server import __version__
from server.commands.without_gc import without_gc
from server.commands.words import one_line, word

if TYPE_CHECKING:
    from server.commands.progress_display import Display
    from server.commands.saving import Saving

WRONG_USAGE = 2
INTERRUPTED = 130
STAGES = ("queued", "info", "download", "convert", "paused", "completed", "failed", "cancelled")
SHELLS = ("bash", "zsh", "fish")
_OUTPUT_ENDS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # where our output is stored


def run(arguments: Sequence[str], name: str) -> int:
    """Exit status: 0 fine, 1 failed, 2 wrong usage or configuration, 3 the data is in use, 130 Ctrl-C."""
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:  # it was closed by whoever started us
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
    except SystemExit as error:  # of the completion, which a shell asks for
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
        # By its name, for its class costs what the settings cost, and is here only if they were read.
        if type(error).__name__ != "ConfigurationError":
            raise
        print(f"clipwire: configuration: {error}", file=sys.stderr)
        return WRONG_USAGE


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """What the terminal's encoding does not have, as JSON writes it: so what `--json` prints stays JSON."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2)), error.end


def _say_no_more() -> None:
    """What is still in the buffer would be tried again at the end of the process."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _explain(error: click.UsageError, name: str) -> None:
    """One sentence with what may have been meant, and where more is said."""
    like: Sequence[str] = ()
    match error:
        case click.NoSuchOption():
            text, like = word("no_such_option", name=error.option_name), error.possibilities or ()
        case click.exceptions.NoSuchCommand():
            text = word("no_such_command", name=error.command_name)
            like = get_close_matches(error.command_name, COMMANDS, n=1)
        case click.MissingParameter() if error.param and error.ctx:
            is_option = isinstance(error.param, click.Option)
            name_of_it = error.param.opts[0] if is_option else error.param.make_metavar(error.ctx)
            text = word("missing", name=name_of_it)
        case click.BadParameter() if error.param:
            text = f"{error.param.opts[0]}: {error.message}"
        case click.BadOptionUsage():
            text = word("needs_value", name=error.option_name)
        case _:
            text = error.message
    asked = word("did_you_mean", name=like[0]) if like else ""
    print(f"clipwire: {one_line(text + asked)}", file=sys.stderr)
    path = error.ctx.command_path if error.ctx else name
    print(word("more_help", command=f"{path} --help"), file=sys.stderr)


class _Formatter(click.HelpFormatter):
    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        super().write_usage(prog, args, word("usage") + " ")

    def write_heading(self, heading: str) -> None:
        super().write_heading(
            {"Options": word("options"), "Commands": word("commands")}.get(heading, heading)
        )


class _Context(click.Context):
    formatter_class = _Formatter


class _InWords(click.Command):
    """A command, or all of them, in the reader's language."""

    context_class = _Context

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        option = super().get_help_option(ctx)
        if option:
            option.help = word("option.help")
        return option


class _Command(_InWords):
    """Says what is too much."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.allow_extra_args = True
        left = super().parse_args(ctx, args)
        if left and not ctx.resilient_parsing:
            raise click.UsageError(word("too_much", what=" ".join(left)), ctx)
        return left


class _Group(_InWords, click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        make = COMMANDS.get(cmd_name)
        return make() if make else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Without making the commands, of which some import what is behind their options."""
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
            return _serve()
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
                type=_choice(SHELLS),
                metavar="|".join(SHELLS),
                help=word("option.print_completion"),
            ),
        ],
    )


def _print_version(ctx: click.Context, option: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        print(f"clipwire {__version__}")
        ctx.exit(0)


# --- The service and its data ---


def _serve() -> int:
    gc.disable()  # until the service listens: the collector would take a tenth of the time until then
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


def _make_serve() -> click.Command:
    return _command("serve", _serve)


def _make_check() -> click.Command:
    def check() -> int:
        from server.commands.check import check
        from server.settings import load

        return asyncio.run(check(load()))

    return _command("check", check)


def _make_config() -> click.Command:
    def config() -> int:
        from server.commands.config import config
        from server.settings import load

        return config(load())

    return _command("config", config)


def _make_backup() -> click.Command:
    def backup(file: Path) -> int:
        from server.commands.backup import backup
        from server.settings import load

        return asyncio.run(backup(load(), file))

    return _command("backup", backup, _file())


def _make_restore() -> click.Command:
    def restore(file: Path) -> int:
        from server.commands.backup import restore
        from server.settings import load

        return asyncio.run(restore(load(), file))

    return _command("restore", restore, _file())


def _file() -> click.Argument:
    return click.Argument(["file"], type=click.Path(path_type=Path), metavar="FILE")


def _make_copy() -> click.Command:
    def copy(to: str, files: str | None) -> int:
        from server.commands.copy import copy
        from server.settings import load

        return asyncio.run(copy(load(), to, files))

    return _command(
        "copy",
        copy,
        click.Option(["--to"], required=True, metavar="postgresql://...", help=word("option.to")),
        click.Option(["--files"], metavar="s3://...", help=word("option.files")),
    )


def _make_update() -> click.Command:
    def update(*, again: bool) -> int:
        from server.commands.update import update
        from server.settings import load

        settings = load()
        data_dir, downloads = settings.storage.data_dir, settings.downloads
        return asyncio.run(update(data_dir, downloads.min_free_disk, downloads.ffmpeg, again=again))

    return _command("update", update, click.Option(["--again"], is_flag=True, help=word("option.again")))


# --- A running server ---


def _make_get() -> click.Command:
    from server.commands.request_options import request_options, wishes_of

    def get(urls: tuple[str, ...], server: str | None, insecure: bool, cancel: bool, **given: Any) -> int:
        from server.commands.own_server import begin
        from server.commands.remote import remote

        try:
            links = [link for url in urls for link in (_from_input() if url == "-" else (url,))]
            "".join(links).encode()
        except UnicodeError:
            raise click.UsageError(word("not_unicode")) from None
        if not links:
            raise click.UsageError(word("no_links"))
        wishes = wishes_of(given)
        several = len(links) > 1 or len(wishes.get("outputs", "")) > 1 or bool(wishes.get("playlist"))
        known = remote(server, insecure=insecure)
        saving, display = _showing(given, several=several)
        alone = not known.is_named and known.refuses_connections()
        ours = begin() if alone else known
        # Only now, for this takes as long as a server of ours needs for half of its start.
        with without_gc():
            from server.commands.get import get
        return asyncio.run(get(ours, links, wishes, saving, display, cancel=cancel))

    return _command(
        "get",
        get,
        click.Argument(["urls"], nargs=-1, required=True, metavar="URL..."),
        *_options_of_watching(),
        *request_options(),
    )


def _from_input() -> list[str]:
    """Links from standard input, one a line; empty lines and such that begin with `#` are none."""
    lines = (line.removeprefix("\ufeff").strip() for line in sys.stdin or ())  # it may be closed
    return [line for line in lines if line and not line.startswith("#")]


def _make_watch() -> click.Command:
    def watch(
        task_ids: tuple[str, ...], server: str | None, insecure: bool, cancel: bool, **given: Any
    ) -> int:
        with without_gc():
            from server.commands.get import watch
        from server.commands.remote import remote

        saving, display = _showing(given, several=len(task_ids) > 1, saves=bool(task_ids))
        there = remote(server, insecure=insecure)
        return asyncio.run(watch(there, task_ids, saving, display, cancel=cancel))

    return _command("watch", watch, _ids(required=False), *_options_of_watching())


def _showing(given: dict[str, Any], *, several: bool, saves: bool = True) -> "tuple[Saving, Display]":
    from server.commands.progress_display import display_for
    from server.commands.saving import Saving

    saving = Saving(given["save_to"], several)
    if saves and (refusal := saving.refusal()):
        raise click.ClickException(refusal)
    return saving, display_for(as_json=given["as_json"], quiet=given["quiet"])


def _options_of_watching() -> list[click.Parameter]:
    return [
        click.Option(["-o", "--save-to"], metavar="PATH", help=word("option.save_to")),
        *_server(),
        click.Option(["--cancel"], is_flag=True, help=word("option.cancel")),
        click.Option(["--json", "as_json"], is_flag=True, help=word("option.json")),
        click.Option(["-q", "--quiet"], is_flag=True, help=word("option.quiet")),
    ]


def _server() -> list[click.Parameter]:
    return [
        click.Option(["--server"], metavar="URL", help=word("option.server")),
        click.Option(["--insecure"], is_flag=True, help=word("option.insecure")),
    ]


def _ids(*, required: bool = True) -> click.Argument:
    def none_empty(ctx: click.Context, _: click.Parameter, ids: tuple[str, ...]) -> tuple[str, ...]:
        if not all(each.strip() for each in ids):  # of a variable that is not set
            raise click.UsageError(word("missing", name="ID"), ctx)
        return ids

    return click.Argument(["task_ids"], nargs=-1, required=required, metavar="ID...", callback=none_empty)


def _make_list() -> click.Command:
    def list_tasks(
        server: str | None,
        insecure: bool,
        stage: list[str] | None,
        search: str | None,
        limit: int,
        as_json: bool,
    ) -> int:
        from server.commands.remote import remote

        with without_gc():
            from server.commands.remote_tasks import list_tasks

        there = remote(server, insecure=insecure)
        return asyncio.run(list_tasks(there, stages=stage or (), query=search, limit=limit, as_json=as_json))

    return _command(
        "list",
        list_tasks,
        click.Option(["--stage"], type=_choice(STAGES, several=True), help=word("option.stage")),
        click.Option(["--search"], metavar="TEXT", help=word("option.search")),
        click.Option(
            ["-n", "--limit"], type=click.IntRange(1), default=50, metavar="N", help=word("option.limit")
        ),
        *_server(),
        click.Option(["--json", "as_json"], is_flag=True, help=word("option.json")),
    )


def _acting(action: str) -> Callable[[], click.Command]:
    def make() -> click.Command:
        def act(task_ids: tuple[str, ...], server: str | None, insecure: bool) -> int:
            from server.commands.remote import remote

            with without_gc():
                from server.commands.remote_tasks import act

            return asyncio.run(act(remote(server, insecure=insecure), task_ids, action))

        return _command(action, act, _ids(), *_server())

    return make


def _choice(choices: Sequence[str], *, several: bool = False) -> click.ParamType[Any]:
    from server.commands.choices import Choice

    return Choice(choices, several=several)


def _command(name: str, callback: Callable[..., int], *parameters: click.Parameter) -> click.Command:
    return _Command(name, callback=callback, params=list(parameters), help=word(f"{name}.help"))


COMMANDS: dict[str, Callable[[], click.Command]] = {
    "serve": _make_serve,
    "get": _make_get,
    "list": _make_list,
    "watch": _make_watch,
    "cancel": _acting("cancel"),
    "pause": _acting("pause"),
    "resume": _acting("resume"),
    "retry": _acting("retry"),
    "place": _acting("place"),
    "rm": _acting("rm"),
    "check": _make_check,
    "config": _make_config,
    "backup": _make_backup,
    "restore": _make_restore,
    "copy": _make_copy,
    "update": _make_update,
}
