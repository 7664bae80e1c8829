"""Tokens that `clipwire login` has kept, one for each server, for the commands that ask it.

Where the package `keyring` is installed and the system has a keyring that it knows, a token is kept there,
and the file only says so: no other command imports `keyring` in vain. Else the token stands in the file,
which nobody but its owner may read.

Decisions: docs/decisions/command-line.md
"""

import json
import os
import stat
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import click

from server.commands.words import word

SERVICE = "clipwire"  # under which tokens are found in a keyring
IN_KEYRING: dict[str, bool] = {"keyring": True}


def client_folder() -> Path | None:
    """The user's own folder for what commands keep and read; None if nobody knows the user's home."""
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config")
    with suppress(RuntimeError):
        folder = folder.expanduser()
    # XDG's standard has relative paths ignored.
    return folder / "clipwire" if folder.is_absolute() else None


def tokens_file() -> Path | None:
    """None if nobody knows the user's home."""
    folder = client_folder()
    return folder and folder / "tokens.json"


def kept_token(url: str) -> str | None:
    """The token that is kept for the server at `url`. Raises `UsageError` if others may read the file."""
    known = _read().get(url)
    if known == IN_KEYRING:
        keyring = _keyring()
        return None if keyring is None else keyring.get_password(SERVICE, url)
    return known if isinstance(known, str) and known else None


def keep_token(url: str, token: str) -> Literal["keyring", "file"]:
    """Keep a token for the server at `url`, in place of another one; where it is then. Raises `OSError`."""
    if (keyring := _keyring()) is not None:
        with suppress(Exception):  # locked, or away: each kind has errors of its own
            keyring.set_password(SERVICE, url, token)
            _write(_read() | {url: IN_KEYRING})
            return "keyring"
    _write(_read() | {url: token})
    return "file"


def forget_token(url: str) -> bool:
    """Keep no token for the server at `url`; whether there was one. Raises `OSError`."""
    known = _read()
    found = known.pop(url, None)
    if found == IN_KEYRING and (keyring := _keyring()) is not None:
        with suppress(Exception):  # it is not there any more
            keyring.delete_password(SERVICE, url)
    if found is not None:
        _write(known)
    return found is not None


def _keyring() -> Any:
    """The system's keyring by the package `keyring`; None without the package, or without such a keyring."""
    try:
        package = import_module("keyring")  # which is not ours to bring
    except ImportError:
        return None
    found = package.get_keyring()
    # Those that keep nothing, or in the clear, say that they have a priority below 1.
    return found if getattr(found, "priority", 0) >= 1 else None


def _read() -> dict[str, Any]:
    file = tokens_file()
    try:
        if file is None:
            return {}
        with file.open("rb") as opened:
            if stat.S_IMODE(os.fstat(opened.fileno()).st_mode) & 0o077:
                raise click.UsageError(word("tokens_readable", path=str(file)))
            known = json.load(opened)
    except (OSError, ValueError):  # there is none, or it is none of ours
        return {}
    return known if isinstance(known, dict) else {}


def _write(known: dict[str, Any]) -> None:
    file = tokens_file()
    if file is None:
        raise FileNotFoundError(word("no_home"))
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.{os.getpid()}.part")
    new.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            json.dump(known, opened, indent=1)
            opened.flush()
            os.fsync(opened.fileno())
        new.replace(file)
    finally:
        new.unlink(missing_ok=True)
