"""The command line: each command is a module of `server.commands`.

A command's module is imported only when that command runs, so no command loads more than it needs.
"""

import asyncio
import sys
from pathlib import Path

from server.settings import ConfigurationError, load

USAGE = """\
usage: python -m server              run the service
       python -m server get URL [OUTPUT ...]
                                     submit to a running service and follow it
       python -m server check        is what the service needs in order?
       python -m server backup FILE  copy the database, also while the service runs
       python -m server copy --to postgresql://... [--files s3://...]
                                     copy a service that is stopped to where many servers are one"""


def main(arguments: list[str]) -> int:
    """Exit status: 0 fine, 1 failed, 2 wrong configuration or usage, 3 another server has the data."""
    try:
        match arguments:
            case [] | ["serve"]:
                from server.commands.serve import serve

                return serve(load())
            case ["get", url, *outputs]:
                from server.commands.get import get

                return asyncio.run(get(load(), url, outputs))
            case ["check"]:
                from server.commands.check import check

                return asyncio.run(check(load()))
            case ["backup", target]:
                from server.commands.backup import backup

                return asyncio.run(backup(load(), Path(target)))
            case ["copy", "--to", url]:
                from server.commands.copy import copy

                return asyncio.run(copy(load(), url))
            case ["copy", "--to", url, "--files", files] | ["copy", "--files", files, "--to", url]:
                from server.commands.copy import copy

                return asyncio.run(copy(load(), url, files))
    except ConfigurationError as exc:
        print(f"clipwire: configuration: {exc}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(USAGE, file=sys.stderr)
    return 2


def run() -> int:
    """The installed command `clipwire`: `python -m server` by another name."""
    return main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(run())
