"""The command line, as a shell sees it: what is printed, and the exit status."""

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest

from server.__main__ import main
from server.app import ROUTES, check_base_path
from tests.service import ROOT, Service
from tests.site import Site

Ran = tuple[int, str, str]  # exit status, standard output, standard error
Command = Callable[..., Ran]


async def run(*arguments: str, **environment: str) -> Ran:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "server", *arguments),
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`run` without a process of its own: a server that does not start leaves the tests' logging as it is."""
    monkeypatch.setattr("server.commands.logs.configure", lambda _: None)
    monkeypatch.setattr("server.commands.serve._take_all_descriptors", lambda: None)

    def command(*arguments: str, **environment: str) -> Ran:
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
    """The environment in which a command finds `service`."""
    return {
        "CLIPWIRE_SERVER__PORT": service.url.rpartition(":")[2],
        "CLIPWIRE_STORAGE__DATA_DIR": str(service.data),
    }


@pytest.mark.parametrize("arguments", [("serv",), ("get",), ("check", "x"), ("backup",), ("--help",)])
def test_wrong_usage_is_told_how_it_goes(command: Command, arguments: tuple[str, ...]) -> None:
    status, out, err = command(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("usage: python -m server")


@pytest.mark.parametrize("arguments", [(), ("check",), ("get", "http://media.test/"), ("backup", "x")])
def test_a_wrong_configuration_gets_one_line_and_status_2(
    command: Command, arguments: tuple[str, ...]
) -> None:
    status, out, err = command(*arguments, CLIPWIRE_DOWNLOADS__MAX_CONCURRENT="many")
    assert (status, out) == (2, "")
    assert "downloads.max_concurrent" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("CLIPWIRE_SERVER__HOST", "nope.invalid", "server.host"),
        ("CLIPWIRE_SERVER__HOST", "203.0.113.1", "server.host"),
        ("CLIPWIRE_STORAGE__DATA_DIR", "/dev/null", "storage.data_dir"),
        ("CLIPWIRE_SERVER__BASE_PATH", "/static/clip", "server.base_path"),
    ],
)
def test_what_only_shows_when_it_is_used_gets_one_line_and_status_2(
    command: Command, data: dict[str, str], key: str, value: str, said: str
) -> None:
    status, out, err = command(**data | {key: value})
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
    status, _, err = await run(**data | {"CLIPWIRE_SERVER__PORT": service.url.rpartition(":")[2]})
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


async def test_get_follows_a_link_to_its_files(service: Service, site: Site) -> None:
    status, out, err = await run("get", site.url("/video.mp4"), "video", **of(service))
    assert status == 0, err
    assert out.strip().startswith(f"{service.url}/api/download/video_")
    assert "100%" in err


async def test_get_says_why_a_link_fails(command: Command, service: Service, site: Site) -> None:
    url = site.url("/video.mp4?status=404")
    status, out, err = await asyncio.to_thread(command, "get", url, **of(service))
    assert (status, out) == (1, "")
    assert "HTTP 404" in err


async def test_get_says_what_is_wrong_with_a_request(command: Command, service: Service) -> None:
    status, _, err = await asyncio.to_thread(command, "get", "ftp://media.test/", **of(service))
    assert (status, "url: " in err) == (1, True)


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
        async with asyncio.timeout(30):
            status, out, err = await asyncio.to_thread(command, "get", "http://media.test/", **environment)
    assert (status, out) == (1, "")
    [line] = err.splitlines()
    assert line.startswith("clipwire: ")
    assert f"http://127.0.0.1:{port}" in line
    assert "\x1b" not in line


async def test_get_waits_for_no_one_who_listens_and_says_nothing(
    command: Command, data: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.commands.get.ANSWER_WITHIN", aiohttp.ClientTimeout(total=0.2))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environment = data | {"CLIPWIRE_SERVER__PORT": str(silent.getsockname()[1])}
        async with asyncio.timeout(30):
            status, _, err = await asyncio.to_thread(command, "get", "http://media.test/", **environment)
    assert (status, err.count("\n")) == (1, 1)
    assert "is the server running?" in err


def test_get_says_when_nobody_answers(command: Command, data: dict[str, str]) -> None:
    status, _, err = command("get", "http://media.test/", **data, CLIPWIRE_SERVER__PORT="1")
    assert (status, "is the server running?" in err) == (1, True)
