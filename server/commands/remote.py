"""Finds the server that a command talks to.

Nothing here imports the client, which takes long: first comes the question whether anybody listens.
"""

import json
import os
import socket
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import click

from server.commands.kept_tokens import client_folder, kept_token
from server.commands.words import one_line, word

CONNECT_WITHIN = 5.0  # seconds
# A wildcard address -> an address of the same family that reaches it.
_REACHES = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


@dataclass(frozen=True, slots=True)
class Remote:
    """A server to talk to. `is_named` if the user named it by `--server`; else it is that of the
    configuration.

    `insecure`: the token may travel unencrypted to any address.
    """

    url: str
    token: str | None
    is_named: bool
    insecure: bool = False

    def refuses_connections(self) -> bool:
        """Say whether surely no program listens at the address."""
        parts = urlsplit(self.url)
        try:
            with socket.create_connection((parts.hostname, parts.port), CONNECT_WITHIN):
                return False
        except ConnectionRefusedError:
            return True
        except OSError:
            return False


def client_configuration() -> Path:
    """Return the file with the settings of commands that talk to a server, unless `CLIPWIRE_CONFIG` names
    one.

    It is in the user's own folder. A file in the working directory may be from anybody: it could send the
    token to another server, or name plugins whose code a server of `get` would run.
    """
    folder = client_folder()
    # `os.access`: a home folder that this user cannot enter belongs to another user.
    file = folder / "config.toml" if folder else None
    return file if file and os.access(file, os.F_OK) else Path(os.devnull)


def is_token(text: str) -> bool:
    """Say whether `text` can be sent as a token in a header."""
    return text.isprintable() and text == text.strip()


def remote(server: str | None, *, insecure: bool = False, may_be_kept: bool = True) -> Remote:
    """Return the server at `server`, else the configured one. Its token is from the environment, else the one
    that `login` has stored, if it `may_be_kept`, else the configured one. Raises `ConfigurationError`.
    """
    token = os.environ.get("CLIPWIRE_TOKEN") or None
    if token and not is_token(token):
        raise click.UsageError(word("token_unfit"))
    if server is None:
        host, port, base_path, tokens = _configured()
        reaches = _REACHES.get(host, host)
        shown = f"[{reaches}]" if ":" in reaches else reaches
        url = f"http://{shown}:{port}{base_path}"
        token = token or (kept_token(url) if may_be_kept else None) or (tokens[0] if tokens else None)
        return Remote(url, token, False, insecure)
    try:
        parts = urlsplit(server)
        is_address = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        is_address = is_address and not (parts.query or parts.fragment)
    except ValueError:  # raised for half of an IPv6 address, or an impossible port
        is_address = False
    if not is_address:
        raise click.UsageError(word("not_an_address", value=server))
    if token and "@" in parts.netloc:
        raise click.UsageError(word("token_or_password"))
    url = server.rstrip("/")
    if may_be_kept and "@" not in parts.netloc:
        token = token or kept_token(url)
    return Remote(url, token, True, insecure)


def _configured() -> tuple[str, int, str, list[str]]:
    """Return host, port, prefix and tokens of the configured server.

    Simple settings are read here, because importing the models of the settings takes a fifth of a second. If
    a setting is not simple, or is wrong, the models read it.
    """
    default = client_configuration()
    file = Path(os.environ.get("CLIPWIRE_CONFIG", default))
    section: dict[str, object] = {}
    try:
        section = dict(tomllib.loads(file.read_text(encoding="utf-8-sig")).get("server", {}))
        simple = "tokens" not in section
    except FileNotFoundError:
        simple = "CLIPWIRE_CONFIG" not in os.environ
    except (OSError, ValueError, TypeError):
        simple = False
    if "PORT" in os.environ:
        section["port"] = os.environ["PORT"]
    for variable, value in os.environ.items():
        upper = variable.upper()
        if upper.startswith("CLIPWIRE_SERVER__"):
            section[upper.removeprefix("CLIPWIRE_SERVER__").lower()] = value
        simple = simple and upper != "CLIPWIRE_SERVER"
    host, port, base_path = (
        str(section.get(key, default))
        for key, default in (("host", "127.0.0.1"), ("port", 8080), ("base_path", ""))
    )
    try:
        tokens = json.loads(str(section.get("tokens", "[]")))
        simple = (
            simple and isinstance(tokens, list) and all(isinstance(each, str) and each for each in tokens)
        )
    except ValueError:
        simple = False
    simple = simple and host.isprintable() and bool(host.strip()) and port.isascii() and port.isdigit()
    if simple and 0 < int(port) < 1 << 16 and (not base_path or base_path.startswith("/")):
        return host, int(port), base_path.rstrip("/"), tokens
    from server.settings import load

    server = load(default).server
    return server.host, server.port, server.base_path, [each.get_secret_value() for each in server.tokens]


def say(text: str) -> None:
    """Print one line for the user, on standard error."""
    print(f"clipwire: {one_line(text)}", file=sys.stderr, flush=True)
