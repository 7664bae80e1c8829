"""`python -m server`, and the installed command `clipwire`: see `server.commands.cli`."""

import sys


def main(arguments: list[str], name: str = "clipwire") -> int:
    """Return the exit status: see `server.commands.cli.run`."""
    try:
        from server.commands.cli import run

        return run(arguments, name)
    except KeyboardInterrupt:
        return 130


def run() -> int:
    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], "python -m server"))
