"""The tokens that `clipwire login` stores, one for each server, for the commands that talk to it.

Where the package `keyring` is installed and finds the system's keyring, a token is stored there, and the file
only says so: thus no command imports `keyring` for nothing. Else the token stands in the file, which only its
owner may read.

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

SERVICE = "clipwire"  # the service name under which a keyring stores tokens
IN_KEYRING: dict[str, bool] = {"keyring": True}


def client_folder() -> Path | None:
    """Return the user's folder for tokens and settings of commands; None if the home folder is unknown."""
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config")
    with suppress(RuntimeError):
        folder = folder.expanduser()
    # The XDG specification says that relative paths are to be ignored.
    return folder / "clipwire" if folder.is_absolute() else None


def tokens_file() -> Path | None:
    """Return the file of tokens; None if the home folder is unknown."""
    folder = client_folder()
    return folder and folder / "tokens.json"


def kept_token(url: str) -> str | None:
    """Return the token that is stored for the server at `url`. Raises `UsageError` if others may read the
    file.
    """
    entry = _read().get(url)
    if entry == IN_KEYRING:
        keyring = _keyring()
        return None if keyring is None else keyring.get_password(SERVICE, url)
    return entry if isinstance(entry, str) and entry else None


def keep_token(url: str, token: str) -> Literal["keyring", "file"]:
    """Store a token for the server at `url`, in place of an older one; say where. Raises `OSError`."""
    if (keyring := _keyring()) is not None:
        with suppress(Exception):  # a keyring may be locked or away: each backend raises errors of its own
            keyring.set_password(SERVICE, url, token)
            _write(_read() | {url: IN_KEYRING})
            return "keyring"
    _write(_read() | {url: token})
    return "file"


def forget_token(url: str) -> bool:
    """Delete the token for the server at `url`; say whether there was one. Raises `OSError`."""
    entries = _read()
    found = entries.pop(url, None)
    if found == IN_KEYRING and (keyring := _keyring()) is not None:
        with suppress(Exception):  # the keyring does not have the token any more
            keyring.delete_password(SERVICE, url)
    if found is not None:
        _write(entries)
    return found is not None


def _keyring() -> Any:
    """The system's keyring by the package `keyring`; None without the package, or without such a keyring."""
    try:
        package = import_module("keyring")  # optional: this project does not install it
    except ImportError:
        return None
    found = package.get_keyring()
    # Keyrings that store nothing, or store in plain text, have a priority below 1.
    return found if getattr(found, "priority", 0) >= 1 else None


def _read() -> dict[str, Any]:
    file = tokens_file()
    try:
        if file is None:
            return {}
        with file.open("rb") as opened:
            if stat.S_IMODE(os.fstat(opened.fileno()).st_mode) & 0o077:
                raise click.UsageError(word("tokens_readable", path=str(file)))
            entries = json.load(opened)
    except (OSError, ValueError):  # no file, or not one that this module wrote
        return {}
    return entries if isinstance(entries, dict) else {}


def _write(entries: dict[str, Any]) -> None:
    file = tokens_file()
    if file is None:
        raise FileNotFoundError(word("no_home"))
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.{os.getpid()}.part")
    new.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
            json.dump(entries, opened, indent=1)
            opened.flush()
            os.fsync(opened.fileno())
        new.replace(file)
    finally:
        new.unlink(missing_ok=True)
