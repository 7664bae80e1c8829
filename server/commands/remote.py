"""The server that a command speaks to, and what is said when it refuses or is not there."""

import json
import os
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import click
from clipwire_client import Client, ClipwireError, NotClipwire, ServerUnreachable

from server.commands.words import language, one_line, word

# A wildcard address -> an address of the same family that reaches it.
_REACHES = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


@dataclass(frozen=True, slots=True)
class Remote:
    """`is_named` if the user said which server, by `--server`; else it is that of the configuration."""

    url: str
    token: str | None
    is_named: bool


def remote(server: str | None) -> Remote:
    """The server at `server`, else the one of the configuration. Raises `ConfigurationError`."""
    token = os.environ.get("CLIPWIRE_TOKEN") or None
    if server is None:
        host, port, base_path, tokens = _configured()
        reaches = _REACHES.get(host, host)
        shown = f"[{reaches}]" if ":" in reaches else reaches
        return Remote(f"http://{shown}:{port}{base_path}", token or (tokens[0] if tokens else None), False)
    try:
        parts = urlsplit(server)
        is_address = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # half an IPv6 address, a port that cannot be
        is_address = False
    if not is_address:
        raise click.UsageError(word("not_an_address", value=server))
    return Remote(server.rstrip("/"), token, True)


def _configured() -> tuple[str, int, str, list[str]]:
    """Host, port, prefix and tokens of the configured server.

    They are read here as long as they are plain, since the models of the settings take a fifth of a second to
    import; all that is not plain, or wrong, is left to these.
    """
    name = os.environ.get("CLIPWIRE_CONFIG", "config.toml")
    section: dict[str, object] = {}
    try:
        section = dict(tomllib.loads(Path(name).read_text(encoding="utf-8-sig")).get("server", {}))
        plain = "tokens" not in section
    except FileNotFoundError:
        plain = "CLIPWIRE_CONFIG" not in os.environ
    except (OSError, ValueError, TypeError):
        plain = False
    if "PORT" in os.environ:
        section["port"] = os.environ["PORT"]
    for variable, value in os.environ.items():
        upper = variable.upper()
        if upper.startswith("CLIPWIRE_SERVER__"):
            section[upper.removeprefix("CLIPWIRE_SERVER__").lower()] = value
        plain = plain and upper != "CLIPWIRE_SERVER"
    host, port, base_path = (
        str(section.get(key, default))
        for key, default in (("host", "127.0.0.1"), ("port", 8080), ("base_path", ""))
    )
    try:
        tokens = json.loads(str(section.get("tokens", "[]")))
        plain = plain and isinstance(tokens, list) and all(isinstance(each, str) and each for each in tokens)
    except ValueError:
        plain = False
    plain = plain and host.isprintable() and bool(host.strip()) and port.isascii() and port.isdigit()
    if plain and 0 < int(port) < 1 << 16 and (not base_path or base_path.startswith("/")):
        return host, int(port), base_path.rstrip("/"), tokens
    from server.settings import load

    server = load().server
    return server.host, server.port, server.base_path, [each.get_secret_value() for each in server.tokens]


def client_of(url: str, token: str | None) -> Client:
    return Client(url, token, language=language())


def say(text: str) -> None:
    """One line to people, on standard error."""
    print(f"clipwire: {one_line(text)}", file=sys.stderr, flush=True)


def explain(error: ClipwireError, url: str) -> None:
    """Say what a `ClipwireError` means for somebody at a terminal."""
    match error:
        case NotClipwire():
            say(word("not_clipwire", url=url, what=error.detail))
        case ServerUnreachable():
            say(word("unreachable", detail=error.detail))
        case _ if error.status == 401:
            say(word("needs_token", url=url, detail=error.detail))
        case _:
            say(error.detail)
            for field, message in error.errors:
                say(f"{field}: {message}")
