"""`python -m server`, and the installed command `clipwire`: see `server.commands.cli`."""

import sys


def main(arguments: list[str], name: str = "clipwire") -> int:
    """Return the exit status: see `server.commands.cli.run`."""
    try:
        from server.commands.cli import run

        return run(arguments, name)
    except KeyboardInterrupt:
        return 130
    finally:
        # If Ctrl-C arrives while Python runs `exec` or `eval` (as `dataclass` does), the interpreter
        # remembers that it has to end by SIGINT, even if somebody catches the exception. The next `exec`
        # clears that mark (`exit_sigint`).
        exec("")  # noqa: S102


def run() -> int:
    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], "python -m server"))
