"""`clipwire login` and `whoami`: where a token is kept, who may read it, and which commands use it."""

import json
import stat
import sys
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

from server.commands import kept_tokens, login
from server.commands.kept_tokens import forget_token, keep_token, kept_token, tokens_file
from server.commands.remote import Remote, remote
from tests.people.test_people_tokens import add, opened

URL = "https://clips.example.org"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder without a keyring; no token is in the environment."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("LANG", "C.UTF-8")
    monkeypatch.delenv("CLIPWIRE_TOKEN", raising=False)
    monkeypatch.setitem(sys.modules, "keyring", None)
    return tmp_path


def with_keyring(monkeypatch: pytest.MonkeyPatch, priority: float = 5.0) -> dict[tuple[str, str], str]:
    """Install a keyring; return the passwords that it holds."""
    held = dict[tuple[str, str], str]()

    class Keyring:
        def __init__(self) -> None:
            self.priority = priority

        def get_password(self, service: str, name: str) -> str | None:
            return held.get((service, name))

        def set_password(self, service: str, name: str, password: str) -> None:
            held[service, name] = password

        def delete_password(self, service: str, name: str) -> None:
            del held[service, name]

    module: Any = ModuleType("keyring")
    module.get_keyring = Keyring
    monkeypatch.setitem(sys.modules, "keyring", module)
    return held


def test_a_token_is_kept_in_a_file_that_only_its_owner_may_read() -> None:
    assert kept_token(URL) is None
    assert keep_token(URL, "first") == "file"
    assert keep_token("http://other.test", "another") == "file"
    assert keep_token(URL, "second") == "file"
    file = tokens_file()
    assert file
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert kept_token(URL) == "second"
    assert forget_token(URL)
    assert not forget_token(URL)
    assert (kept_token(URL), kept_token("http://other.test")) == (None, "another")


def test_a_file_that_others_may_read_is_not_used() -> None:
    keep_token(URL, "secret")
    file = tokens_file()
    assert file
    file.chmod(0o640)
    with pytest.raises(click.UsageError, match="chmod"):
        kept_token(URL)


def test_a_keyring_has_the_token_and_the_file_only_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    held = with_keyring(monkeypatch)
    assert keep_token(URL, "secret") == "keyring"
    assert held == {("clipwire", URL): "secret"}
    file = tokens_file()
    assert file
    assert "secret" not in file.read_text()
    assert kept_token(URL) == "secret"
    monkeypatch.setitem(sys.modules, "keyring", None)  # as if the keyring had been uninstalled
    assert kept_token(URL) is None
    held = with_keyring(monkeypatch)
    held["clipwire", URL] = "secret"
    assert forget_token(URL)
    assert held == {}


def test_a_keyring_that_keeps_in_the_clear_or_nothing_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    held = with_keyring(monkeypatch, priority=0.5)
    assert keep_token(URL, "secret") == "file"
    assert held == {}


def test_commands_use_the_token_of_their_server_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_token(URL, "kept")
    assert remote(f"{URL}/").token == "kept"
    assert remote("https://other.example.org").token is None
    assert remote("https://me:password@clips.example.org").token is None
    monkeypatch.setenv("CLIPWIRE_TOKEN", "of the environment")
    assert remote(URL).token == "of the environment"


async def test_a_log_in_keeps_what_the_server_accepts_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened(tmp_path) as client:
        url = str(client.make_url("/")).rstrip("/")
        there = Remote(url, None, is_named=True)
        assert await login.tell_who(there, as_json=False) == 0
        assert capsys.readouterr().out == "everybody (admin)\n"
        token = (await add(client, "anna"))["Authorization"].removeprefix("Bearer ")
        for typed in ("wrong", "", token):
            monkeypatch.setattr(sys, "stdin", StringIO(f"{typed}\n"))
            assert await login.log_in(there) == (0 if typed == token else 1)
            assert kept_token(url) == (token if typed == token else None)
        said = capsys.readouterr()
        assert token not in said.out + said.err
        assert said.err.endswith(f"anna (user): the token is kept in {kept_tokens.tokens_file()}\n")
        assert await login.tell_who(remote(url), as_json=True) == 0
        assert json.loads(capsys.readouterr().out)["name"] == "anna"
        assert login.forget_login(there) == 0
        assert login.forget_login(there) == 1
