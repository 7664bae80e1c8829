"""The command line: serve (the default), get, check."""

import asyncio
import sys

from server.settings import ConfigurationError, load


def main() -> int:
    """Exit status: 0 fine, 1 failed, 2 wrong configuration or usage, 3 another server has the data."""
    command, *arguments = sys.argv[1:] or ["serve"]
    try:
        match command, arguments:
            case "serve", []:
                from server.commands.serve import serve

                return serve(load())
            case "check", []:
                from server.commands.check import check

                return asyncio.run(check(load()))
            case "get", [url, *rest]:
                from server.commands.get import get

                return asyncio.run(get(load(), url, rest))
    except ConfigurationError as exc:
        print(f"clipwire: configuration: {exc}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print("usage: python -m server [serve | check | get URL]", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
