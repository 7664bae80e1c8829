"""The command line, as a shell sees it: what is printed, and the exit status."""

import asyncio
import os
import re
import shutil
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints, is_typeddict

import click
import pytest
from clipwire_client import Wishes
from pydantic import BaseModel

from server import __version__
from server.__main__ import main
from server.app import ROUTES, check_base_path
from server.commands.cli import COMMANDS
from server.commands.list_command import STAGES
from server.commands.request_options import request_options, wishes_of
from server.core.process_request import ProcessRequest
from server.core.task import Stage
from server.core.values import OF_A_CLIENT
from tests.commands.shell import Shell
from tests.ports import free_port
from tests.service import ROOT, Service
from tests.site import Site
from tests.tools import FFMPEG

Command = Callable[..., tuple[int, str, str]]  # exit status, standard output, standard error


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command within this process. A server that does not start leaves the logging of the tests as it
    is.
    """
    monkeypatch.setattr("server.commands.logs.configure", lambda _: None)
    monkeypatch.setattr("resource.setrlimit", lambda *_: None)
    # Seconds that are enough on a busy machine.
    monkeypatch.setattr("server.commands.check.WARM_WITHIN", 60.0)

    def command(*arguments: str, **environment: str) -> tuple[int, str, str]:
        for name in [name for name in os.environ if name == "PORT" or name.startswith("CLIPWIRE_")]:
            monkeypatch.delenv(name)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        status = main(list(arguments))
        return status, *capsys.readouterr()

    return command


@pytest.fixture
def data(tmp_path: Path) -> dict[str, str]:
    return {"CLIPWIRE_STORAGE__DATA_DIR": str(tmp_path / "data")}


def of(service: Service) -> dict[str, str]:
    """Return the environment in which a command finds `service`."""
    return {
        "CLIPWIRE_SERVER__PORT": service.url.rpartition(":")[2],
        "CLIPWIRE_STORAGE__DATA_DIR": str(service.data),
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serv"], "there is no command serv; did you mean serve?"),
        (["get"], "URL... is missing"),
        (["get", "--qualty", "720"], "there is no option --qualty; did you mean --quality?"),
        (["get", "--quality", "721", "x"], "--quality: 721 is not among best, 2160"),
        (["get", "--outputs", "video,adio", "x"], "did you mean audio?"),
        (["get", "--clip", "1:00", "x"], "--clip: 1:00 is no part of a film"),
        (["get", "--priority", "high", "x"], "--priority: high is no whole number"),
        (["get", "--server", "clips.example.org", "x"], "clips.example.org is no address of a server"),
        (
            ["get", "--server", "http://localhost:99999", "x"],
            "http://localhost:99999 is no address of a server",
        ),
        (["get", "--server", "http://[::1", "x"], "http://[::1 is no address of a server"),
        (["get", "--priority"], "--priority needs a value"),
        (["check", "x"], "too much: x"),
        (["backup"], "FILE is missing"),
        (["copy"], "--to"),
        (["list", "--stage", "faild"], "did you mean failed?"),
        (["list", "--server", "http://localhost?x=1"], "http://localhost?x=1 is no address of a server"),
        (["list", "--server", "http://localhost#x"], "http://localhost#x is no address of a server"),
        (["rm", ""], "ID is missing"),
        (["people"], "clipwire: add|adopt|list|remove|set-role|token is missing"),
        (["people", "token"], "clipwire: add|list|revoke is missing"),
        (["watch", "a", " "], "ID is missing"),
        (["get", "http://media.test/\udcff"], "a link is no valid UTF-8"),
        (["get", "--clip", '{"a":' * 5000, "x"], "is no part of a film"),
    ],
)
def test_wrong_usage_is_told_in_a_sentence(command: Command, arguments: list[str], said: str) -> None:
    status, out, err = command(*arguments, LANG="C")
    assert (status, out) == (2, "")
    first, second = err.splitlines()
    assert first.startswith("clipwire: ")
    assert said in first
    assert second.startswith("clipwire ")
    assert second.endswith("--help explains the usage")


@pytest.mark.parametrize("name", [None, *COMMANDS])
@pytest.mark.parametrize("language", ["en_US.UTF-8", "zh_CN.UTF-8"])
def test_help_is_there_for_everything_and_does_nothing_else(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str | None, language: str
) -> None:
    """The configuration is not even read: here it is invalid."""
    monkeypatch.chdir(tmp_path)
    arguments = ("--help",) if name is None else (name, "--help")
    status, out, err = command(*arguments, LANG=language, CLIPWIRE_NONSENSE__KEY="1")
    assert (status, err) == (0, "")
    assert out.startswith("usage: clipwire" if language[:2] == "en" else "用法: clipwire")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_and_its_options_have_words_and_are_in_the_guide(name: str) -> None:
    """Fields of a request are left out: they are options by a rule that the guide states."""
    module = COMMANDS[name]
    assert (ROOT / "server" / "commands" / f"{module}.py").is_file(), f"server/commands/{module}.py"
    for path in (ROOT / "server" / "locales").glob("*.toml"):
        said = tomllib.loads(path.read_text("utf-8"))["command"]
        assert {f"{name}.short", f"{name}.help"} <= said.keys(), f"[command] in {path}"
    made = import_module(f"server.commands.{module}").make(name)
    guide = (ROOT / "docs" / "command-line.md").read_text("utf-8")
    fields = {opt for option in request_options() for opt in option.opts}
    own = {opt for option in made.params for opt in option.opts if opt.startswith("--")} - fields
    assert [opt for opt in own if not re.search(rf"{opt}\b", guide)] == [], "docs/command-line.md"


def test_tasks_can_be_listed_by_every_stage() -> None:
    assert [*Stage] == [*STAGES], "`STAGES` in server/commands/list_command.py"


def test_the_version_is_told(command: Command) -> None:
    assert command("--version") == (0, f"clipwire {__version__}\n", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_can_complete_commands_options_and_their_values(command: Command, shell: str) -> None:
    status, out, _ = command("--print-completion", shell)
    assert (status, "_CLIPWIRE_COMPLETE" in out) == (0, True)
    for words, expected in (("clipwire ba", "backup"), ("clipwire get --qual", "--quality")):
        asked = {"_CLIPWIRE_COMPLETE": f"{shell}_complete", "COMP_WORDS": words}
        last = words.split()[-1] if shell == "fish" else str(len(words.split()) - 1)
        _, out, _ = command(**asked, COMP_CWORD=last)
        assert expected in out


@pytest.mark.parametrize(
    ("variables", "begins"),
    [
        ({"LANG": "zh_TW.Big5"}, "用法:"),
        ({"LANG": "zh"}, "用法:"),
        ({"LANG": "en_GB.UTF-8"}, "usage:"),
        ({"LANG": "de_DE.UTF-8"}, "usage:"),
        ({}, "usage:"),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "zh_CN.UTF-8"}, "用法:"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C.UTF-8"}, "用法:"),
    ],
)
def test_the_language_is_that_of_the_locale_installed_or_not(
    command: Command, variables: dict[str, str], begins: str
) -> None:
    _, out, _ = command("--help", **{"LC_ALL": "", "LC_MESSAGES": "", "LANG": "", **variables})
    assert out.startswith(begins)


def test_every_field_of_a_request_is_an_option_and_has_its_words_in_every_language() -> None:
    fields = ProcessRequest.model_fields
    options = {option.name: option for option in request_options() if isinstance(option, click.Option)}
    for name, field in fields.items():
        if name == "url":
            continue
        assert f"--{name.replace('_', '-')}" in options[name].opts
        model = next(
            (each for each in (field.annotation, *get_args(field.annotation)) if is_model(each)), None
        )
        for inner in model.model_fields if model else ():
            assert f"--{name}-{inner}".replace("_", "-") in options[f"{name}__{inner}"].opts
    assert set(get_type_hints(Wishes)) == set(fields) - {"url"}


def choices(kind: Any, field: str = "") -> Iterator[tuple[str, str]]:
    """Yield each word that a field of `kind` may have as its value or in its list, after the name of the
    field.
    """
    if get_origin(kind) is Literal or (isinstance(kind, type) and issubclass(kind, Enum)):
        yield from ((field, word) for word in get_args(kind) or kind)
    elif is_model(kind):
        for name, about in kind.model_fields.items():
            yield from choices(about.annotation, f"{field}.{name}")
    elif is_typeddict(kind):
        for name, inner in get_type_hints(kind).items():
            yield from choices(inner, f"{field}.{name}")
    else:
        for inner in get_args(kind):
            yield from choices(inner, field)


def test_every_choice_of_a_request_is_a_choice_of_its_option() -> None:
    words = set(choices(Wishes)) ^ set(choices(ProcessRequest))
    assert words == set(), "the types of clients/python/clipwire_client/wishes.py"


def is_model(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


@pytest.mark.parametrize(
    ("arguments", "wishes"),
    [
        ("", {"outputs": ["video"]}),
        ("--audio", {"outputs": ["audio"]}),
        ("--video --audio", {"outputs": ["video", "audio"]}),
        ("--outputs video,audio --thumbnail", {"outputs": ["video", "audio", "thumbnail"]}),
        ("--thumbnail", {"outputs": ["video", "thumbnail"]}),
        ("--subs en,zh", {"outputs": ["video", "subtitles"], "subtitles": {"languages": ["en", "zh"]}}),
        ("--audio --subs en", {"outputs": ["audio", "subtitles"], "subtitles": {"languages": ["en"]}}),
        ("--clip 1:00-2:00", {"outputs": ["video"], "clip": {"start": "1:00", "end": "2:00"}}),
        (
            "--clip 1-2 --clip-exact",
            {"outputs": ["video"], "clip": {"start": "1", "end": "2", "exact": True}},
        ),
        ('--subtitles {"embed":true}', {"outputs": ["video"], "subtitles": {"embed": True}}),
        ("--no-auto-start --priority -5", {"outputs": ["video"], "auto_start": False, "priority": -5}),
        ("--sponsorblock sponsor,intro", {"outputs": ["video"], "sponsorblock": ["sponsor", "intro"]}),
        ("--preset phone", {"preset": "phone"}),
    ],
)
def test_options_become_the_fields_of_a_request(arguments: str, wishes: dict[str, object]) -> None:
    parser = click.Command("get", params=request_options())
    given = parser.make_context("get", arguments.split()).params
    assert wishes_of(given) == wishes
    ProcessRequest.model_validate({"url": "https://media.test/", **wishes}, context=OF_A_CLIENT)


def test_config_says_what_is_in_force_and_why_without_secrets(
    command: Command, data: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "own.toml"
    file.write_text(
        '[downloads]\nmax_concurrent = 2\nmin_free_disk = "1 MiB"\n[presets.phone]\nquality = "480"\n'
        '[presets.home]\nwebhook = "https://home.test:8123/planted-7?key=planted-8"\n'
    )
    status, out, err = command(
        "config",
        **data,
        CLIPWIRE_CONFIG=str(file),
        PORT="9001",
        CLIPWIRE_SERVER__TOKENS='["planted-1"]',
        CLIPWIRE_DOWNLOADS__PROXY="http://me:planted-2@proxy.test:3128",
        CLIPWIRE_STORAGE__DATABASE="postgresql://me:planted-3@db.test/clips?password=planted-4",
        CLIPWIRE_TOKEN="planted-5",
        CLIPWIRE_WEBHOOKS__DEFAULT="https://me:planted-6@hooks.test/planted-7?key=planted-8#planted-9",
        CLIPWIRE_WEBHOOKS__SECRET="whsec_cGxhbnRlZC1wbGFudGVkLXBsYW50ZWQ=",
    )
    assert (status, err) == (0, "")
    assert "planted" not in out
    for line in (
        "server.port = 9001  # PORT",
        'server.host = "127.0.0.1"  # default',
        "server.tokens = (hidden)  # CLIPWIRE_SERVER__TOKENS",
        f"downloads.max_concurrent = 2  # {file}",
        f"downloads.min_free_disk = 1048576  # {file}",
        "downloads.max_filesize = none  # default",
        'downloads.proxy = "http://(hidden)proxy.test:3128"  # CLIPWIRE_DOWNLOADS__PROXY',
        f'presets.phone = {{"quality": "480"}}  # {file}',
        f'presets.home = {{"webhook": "https://home.test:8123/(hidden)"}}  # {file}',
        'webhooks.default = "https://(hidden)hooks.test/(hidden)"  # CLIPWIRE_WEBHOOKS__DEFAULT',
    ):
        assert line in out.splitlines()


async def test_what_backup_has_made_restore_puts_into_an_empty_folder_only(
    command: Command, service: Service, site: Site, tmp_path: Path
) -> None:
    task = await service.submit(site.url("/video.mp4"), auto_start=False)
    copy, target = tmp_path / "copy.db", tmp_path / "new"
    assert (await asyncio.to_thread(command, "backup", str(copy), **of(service)))[0] == 0
    where = {"CLIPWIRE_STORAGE__DATA_DIR": str(target)}
    target.mkdir()
    (target / "mine.txt").write_text("mine")
    status, out, err = await asyncio.to_thread(command, "restore", str(copy), **where)
    assert (status, out, "is not empty" in err) == (1, "", True)
    assert [path.name for path in target.iterdir()] == ["mine.txt"]
    (target / "mine.txt").unlink()
    (tmp_path / "no.db").write_text("no database")
    status, _, err = await asyncio.to_thread(command, "restore", str(tmp_path / "no.db"), **where)
    assert (status, err.count("\n"), list(target.iterdir())) == (1, 1, [])
    (tmp_path / "zero.db").touch()  # a backup that was interrupted, or copied to a full disk
    for source, why in ((tmp_path / "zero.db", "is empty"), (tmp_path, "is no file"), ("", "is no file")):
        status, out, err = await asyncio.to_thread(command, "restore", str(source), **where)
        assert (status, out, err.count("\n"), why in err) == (1, "", 1, True)
        assert not list(target.iterdir())
    (target / "yt-dlp").mkdir()  # an update may have run before the restore
    (target / "lost+found").mkdir()  # a new volume has this folder
    # Files that a killed `restore` leaves.
    for left in ("clipwire.lock", "clipwire.db.part", "clipwire.db.part-journal"):
        (target / left).write_bytes(b"left" * 300)
    status, out, err = await asyncio.to_thread(command, "restore", str(copy), **where)
    assert (status, out.strip(), err) == (0, str(target / "clipwire.db"), "")
    assert not list(target.glob("*.part*"))
    async with Service(tmp_path / "anew", CLIPWIRE_STORAGE__DATA_DIR=str(target)) as restored:
        assert (await restored.status(task["task_id"]))["stage"] == "paused"


@pytest.mark.parametrize("arguments", [(), ("check",), ("get", "http://media.test/"), ("backup", "x")])
def test_a_wrong_configuration_gets_one_line_and_status_2(
    command: Command, arguments: tuple[str, ...]
) -> None:
    nobody = {"CLIPWIRE_SERVER__PORT": str(free_port())}  # else `get` would use a service at the default port
    status, out, err = command(*arguments, CLIPWIRE_DOWNLOADS__MAX_CONCURRENT="many", **nobody)
    assert (status, out) == (2, "")
    assert "downloads.max_concurrent" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("CLIPWIRE_SERVER__HOST", "nope.invalid", "server.host"),
        ("CLIPWIRE_SERVER__HOST", "203.0.113.1", "server.host"),
        ("CLIPWIRE_SERVER__HOST", "...", "server.host"),
        ("CLIPWIRE_SERVER__HOST", "h" * 64, "server.host"),
        ("CLIPWIRE_STORAGE__DATA_DIR", "/dev/null", "storage.data_dir"),
        ("CLIPWIRE_STORAGE__DATA_DIR", "/dev/null/data", "storage.data_dir"),
        ("CLIPWIRE_SERVER__BASE_PATH", "/static/clip", "server.base_path"),
    ],
)
def test_what_only_shows_when_it_is_used_gets_one_line_and_status_2(
    command: Command, data: dict[str, str], caplog: pytest.LogCaptureFixture, key: str, value: str, said: str
) -> None:
    status, out, err = command(**data | {key: value})
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    assert (status, out) == (2, "")
    [line] = err.splitlines()
    assert said in line


@pytest.mark.parametrize("first", sorted({route.path.split("/")[1] for route in ROUTES} - {""}))
@pytest.mark.parametrize("more", ["", "/", "/clip", "/api/tasks"])
def test_a_prefix_that_begins_like_a_path_of_our_own_starts_nothing(
    command: Command, data: dict[str, str], first: str, more: str
) -> None:
    for arguments in ((), ("check",)):
        status, out, err = command(*arguments, **data, CLIPWIRE_SERVER__BASE_PATH=f"/{first}{more}")
        assert (status, out) == (2, "")
        [line] = err.splitlines()
        assert f"server.base_path: /{first} is a path of Clipwire's own" in line
    assert not Path(data["CLIPWIRE_STORAGE__DATA_DIR"]).exists()


@pytest.mark.parametrize("prefix", ["", "/clipwire", "/statics", "/my/static", "/API", "/clip/api"])
def test_any_other_prefix_is_taken(prefix: str) -> None:
    check_base_path(prefix)


def of_somebody_else(folder: Path) -> None:
    if os.geteuid():
        pytest.skip("only root may give a folder away")
    folder.mkdir()
    os.chown(folder, 65534, 65534)


def a_file(folder: Path) -> None:
    folder.write_bytes(b"")


def a_link_to_nowhere(folder: Path) -> None:
    folder.symlink_to(folder.with_name("nowhere"))


@pytest.mark.parametrize("name", ["clipwire.lock", "clipwire.db"])
def test_a_folder_in_the_place_of_a_file_of_ours_ends_the_start_and_is_found_by_check(
    command: Command, data: dict[str, str], tmp_path: Path, name: str
) -> None:
    (tmp_path / "data" / name).mkdir(parents=True)
    assert command(**data)[0] == 1
    status, out, _ = command("check", **data)
    assert status == 1
    assert f"FAIL  data_dir: {tmp_path / 'data' / name} is a folder: move it away" in out.splitlines()


def test_check_names_a_data_directory_whose_name_is_too_long(
    command: Command, data: dict[str, str], tmp_path: Path
) -> None:
    data["CLIPWIRE_STORAGE__DATA_DIR"] = folder = str(tmp_path / ("x" * 300))
    status, out, err = command("check", **data)
    assert (status, err) == (1, "")
    assert f"FAIL  data_dir: {folder}: File name too long" in out.splitlines()


@pytest.mark.parametrize("folder", ["work", "logs", "files", "cookies", "scratch"])
@pytest.mark.parametrize("make", [of_somebody_else, a_file, a_link_to_nowhere])
def test_a_folder_that_the_server_cannot_work_in_ends_the_start_with_a_line_that_names_it(
    command: Command, data: dict[str, str], tmp_path: Path, folder: str, make: Callable[[Path], None]
) -> None:
    (tmp_path / "data").mkdir()
    make(tmp_path / "data" / folder)
    status, out, err = command(**data)
    assert (status, out) == (1, "")
    [line] = err.splitlines()
    assert line.startswith(f"clipwire: {tmp_path / 'data' / folder} ")
    status, out, _ = command("check", **data)
    assert (status, line.replace("clipwire: ", "FAIL  data_dir: ") in out.splitlines()) == (1, True)


@pytest.mark.long
async def test_a_port_that_is_taken_is_named(data: dict[str, str], service: Service) -> None:
    status, _, err = await Shell(ROOT, **data).using(service).run()
    assert status == 1
    assert "server.port" in err.splitlines()[-1]


def test_check_says_what_is_in_order_and_changes_nothing(
    command: Command, data: dict[str, str], tmp_path: Path
) -> None:
    status, out, _ = command("check", **data)
    assert status == 0
    for name in (
        "configuration",
        "data_dir",
        "database",
        "disk",
        "ffmpeg",
        "javascript_runtime",
        "fork_server",
        "sandbox",
    ):
        assert f"ok    {name}:" in out
    assert list(tmp_path.iterdir()) == []


def test_the_ffmpeg_that_the_operator_names_is_shown_with_its_version(
    command: Command, data: dict[str, str], tmp_path: Path
) -> None:
    assert FFMPEG
    mine = tmp_path / "mine" / "ffmpeg"
    mine.parent.mkdir()
    shutil.copy2(FFMPEG, mine)
    status, out, _ = command("check", **data, CLIPWIRE_DOWNLOADS__FFMPEG=str(mine))
    [line] = [line for line in out.splitlines() if "  ffmpeg: " in line]
    assert status == 0
    assert re.fullmatch(rf"ok    ffmpeg: version \d[\d.]* \({mine}\)", line)
    _, out, _ = command("check", **data, CLIPWIRE_DOWNLOADS__FFMPEG="")
    assert str(mine) not in out


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (None, "No such file or directory"),
        ("", "Permission denied"),
        ("#!/bin/sh\necho ffprobe version 9\n", "`-version` prints no version of ffmpeg"),
        ("#!/bin/sh\necho ffmpeg version 9\nexit 1\n", "`-version` prints no version of ffmpeg"),
    ],
)
def test_what_is_no_ffmpeg_stops_the_start_in_one_line(
    command: Command, data: dict[str, str], tmp_path: Path, program: str | None, said: str
) -> None:
    named = tmp_path / "some program"
    if program is not None:
        named.write_text(program)
        named.chmod(0o700 if program else 0o600)
    for arguments in ((), ("check",)):
        status, out, err = command(*arguments, **data, CLIPWIRE_DOWNLOADS__FFMPEG=str(named))
        assert (status, out) == (2, "")
        [line] = err.splitlines()
        assert line.endswith(f"downloads.ffmpeg: {named} is no ffmpeg: {said}")
    assert not Path(data["CLIPWIRE_STORAGE__DATA_DIR"]).exists()


def test_check_warns_of_a_public_address_without_tokens(command: Command, data: dict[str, str]) -> None:
    public = data | {"CLIPWIRE_SERVER__HOST": "0.0.0.0"}
    status, out, _ = command("check", **public)
    assert (status, "warn  address:" in out) == (0, True)
    status, out, _ = command("check", **public, CLIPWIRE_SERVER__TOKENS='["s3cret"]')
    assert (status, "ok    address:" in out, "s3cret" in out) == (0, True, False)


def test_check_finds_what_keeps_the_service_from_working(
    command: Command, data: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "clipwire.db").write_bytes(b"not a database" * 1000)
    status, out, _ = command("check", **data, CLIPWIRE_DOWNLOADS__MIN_FREE_DISK="100 TiB")
    assert status == 1
    assert "FAIL  database:" in out
    assert "FAIL  disk:" in out


async def test_check_works_beside_a_running_service(command: Command, service: Service) -> None:
    status, out, _ = await asyncio.to_thread(command, "check", **of(service))
    assert (status, "ok    database:" in out) == (0, True)


HTML = b"<!doctype html><title>Something else</title>"
OF_OTHERS = {
    "a page": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%b"
    % (len(HTML), HTML),
    "a page for what it does not know": b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\n\r\n" + HTML,
    "nothing": b"HTTP/1.1 204 No Content\r\n\r\n",
    "accepted": b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n",
    "other JSON": b'HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\n\r\n{"task_id": 7}',
    "a list": b"HTTP/1.1 422 X\r\nContent-Type: application/json\r\n\r\n[1]",
    "deep JSON": b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 200_000,
    "no UTF-8": b"HTTP/1.1 200 OK\r\n\r\n\xff\xfe",
    "a redirect": b"HTTP/1.1 307 X\r\nLocation: https://media.test/\r\nContent-Length: 0\r\n\r\n",
    "too much": b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (3 << 20),
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x46",
    "half an answer": b"HTTP/1.1 202 Accepted\r\nContent-Length: 100\r\n\r\n{",
    "an escape": b"HTTP/1.1 301 X\r\nLocation: /\x1b[2J\r\nContent-Length: 0\r\n\r\n",
    "silence": b"",
}


@pytest.mark.parametrize("answer", OF_OTHERS.values(), ids=OF_OTHERS)
async def test_get_says_in_one_line_that_something_else_answers(
    command: Command, data: dict[str, str], answer: bytes
) -> None:
    async def be_another(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(be_another, "127.0.0.1", 0) as other:
        port = str(other.sockets[0].getsockname()[1])
        environment = data | {"CLIPWIRE_SERVER__PORT": port}
        status, out, err = await asyncio.to_thread(command, "get", "http://media.test/", **environment)
    assert (status, out) == (1, "")
    [line] = err.splitlines()
    assert line.startswith("clipwire: ")
    assert f"http://127.0.0.1:{port}" in line
    assert "\x1b" not in line


@pytest.mark.parametrize("token", ["planted\r", "plan\nted", " planted", "planted\udcff"])
def test_a_token_that_no_header_can_hold_is_told_and_not_shown(command: Command, token: str) -> None:
    status, out, err = command("list", LANG="C", CLIPWIRE_TOKEN=token)
    assert (status, out, "CLIPWIRE_TOKEN is no token" in err, "planted" in err) == (2, "", True, False)


def test_a_password_in_the_address_and_a_token_are_one_too_many(command: Command) -> None:
    status, out, err = command("list", "--server", "http://me:secret@localhost", LANG="C", CLIPWIRE_TOKEN="t")
    assert (status, out, "either a password or a token" in err) == (2, "", True)


def test_get_says_when_nobody_answers_at_the_server_that_was_named(command: Command) -> None:
    status, out, err = command("get", "http://media.test/", "--server", "http://127.0.0.1:1", LANG="C")
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert "http://127.0.0.1:1: Connection refused; is the server running?" in err
