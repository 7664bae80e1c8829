"""Notifications by apprise: a receiver that acts like ntfy gets the real messages."""

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import psutil  # type: ignore[import-untyped]
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from pydantic import SecretStr

from server.app import create_app
from server.core.film import VideoInfo
from server.core.list_entries import Entries
from server.core.task import Stage, TaskStatus
from server.notices import deliverer, notifier
from server.notices.deliveries import Addressee, Delivery
from server.notices.notifier import LONGEST_TITLE, PROGRAM, Notifier, sentence
from server.notices.webhook_routes import OUTBOX
from server.settings import (
    ConfigurationError,
    DownloadSettings,
    NotifySettings,
    ServerSettings,
    Settings,
    StorageSettings,
    name_of_address,
)
from tests.examples import finished, new_task

Client = TestClient[web.Request, web.Application]
Open = Callable[..., Awaitable[Client]]
CAUSE = "Download failed: the link leads to an address in a private network"
URL = "http://127.0.0.9:9/video.mp4"


class Ntfy:
    """A receiver that acts like ntfy; it answers with `status`, and not before `hangs` is set."""

    def __init__(self) -> None:
        self.got: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()
        self.status = 200
        self.hangs: asyncio.Event | None = None
        app = web.Application()
        app.router.add_post("/", self._take)
        self.server = TestServer(app)

    async def _take(self, request: web.Request) -> web.Response:
        self.got.put_nowait((request.headers.get("Authorization", ""), await request.json()))
        if self.hangs:
            await self.hangs.wait()
        return web.json_response({"id": "x"}, status=self.status)

    async def next(self) -> dict[str, Any]:
        return (await self.got.get())[1]

    def url(self, topic: str = "films", user: str = "") -> str:
        return f"ntfy://{user}{self.server.host}:{self.server.port}/{topic}"


@pytest.fixture
async def ntfy() -> AsyncIterator[Ntfy]:
    ntfy = Ntfy()
    async with ntfy.server:
        yield ntfy


@pytest.fixture
def open_client(aiohttp_client: Callable[[web.Application], Awaitable[Client]], tmp_path: Path) -> Open:
    async def opened(*urls: str, language: str = "en") -> Client:
        settings = Settings(
            server=ServerSettings(language=language),
            storage=StorageSettings(data_dir=tmp_path / "data"),
            downloads=DownloadSettings(min_free_disk=0),
            notify=NotifySettings(urls=tuple(map(SecretStr, urls))),
        )
        return await aiohttp_client(create_app(settings))

    return opened


async def cancelled(client: Client) -> str:
    """Make a task and cancel it; this counts as an end like any other."""
    made = await (await client.post("/api/process", json={"url": URL, "auto_start": False})).json()
    answer = await client.post(f"/api/tasks/{made['task_id']}/cancel")
    assert answer.status == 200
    return str(made["task_id"])


def delivery(status: TaskStatus, url: str) -> Delivery:
    return Delivery("msg_1", 1, status.task_id, Addressee("notify", name_of_address(url)), status)


def own_processes() -> list[int]:
    """Return the ids of the processes in which this process runs apprise."""
    found = []
    for each in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # the process may end at this moment
            if str(PROGRAM) in each.cmdline():
                found.append(each.pid)
    return found


async def none_is_left() -> None:
    while own_processes():
        await asyncio.sleep(0.02)


async def test_the_end_of_a_task_is_told_in_one_sentence_of_the_servers_language(
    open_client: Open, ntfy: Ntfy
) -> None:
    client = await open_client(ntfy.url(), language="zh")
    await cancelled(client)
    told = await ntfy.next()
    assert (told["topic"], told["title"], told["message"]) == ("films", "Clipwire", f"“{URL}”已取消。")
    await nothing_is_due(client)


async def nothing_is_due(client: Client) -> None:
    while await client.app[OUTBOX].due_in(["notify"]) is not None:
        await asyncio.sleep(0.02)


async def test_a_failure_is_told_with_its_cause(open_client: Open, ntfy: Ntfy) -> None:
    client = await open_client(ntfy.url())
    assert (await client.post("/api/process", json={"url": URL})).status == 202
    assert (await ntfy.next())["message"] == f"“{URL}” failed: {CAUSE}"


@pytest.mark.wide
async def test_everybody_is_told_once(open_client: Open, ntfy: Ntfy) -> None:
    client = await open_client(ntfy.url("one"), ntfy.url("two"), ntfy.url("one"))
    await cancelled(client)
    assert {(await ntfy.next())["topic"] for _ in range(2)} == {"one", "two"}
    await nothing_is_due(client)
    assert ntfy.got.empty()


@pytest.mark.wide
async def test_who_does_not_take_it_is_told_again_also_by_the_next_server(
    open_client: Open, ntfy: Ntfy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliverer, "PLAN", (0.0, 0.0, 1.0))
    client = await open_client(ntfy.url())
    ntfy.status = 503
    await cancelled(client)
    first = [await ntfy.next() for _ in range(3)]
    # Waits until the next delivery has a lease, so it is under way.
    while (await client.app[OUTBOX].due_in(["notify"]) or 0) > 2:
        await asyncio.sleep(0.02)
    await client.close()
    ntfy.status = 200
    await open_client(ntfy.url())
    assert await ntfy.next() == first[0] == first[1] == first[2]


@pytest.mark.wide
async def test_receivers_that_hang_are_left_and_hold_up_nobody(
    open_client: Open, ntfy: Ntfy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "server.notices.deliverer")
    other = Ntfy()
    ntfy.hangs = asyncio.Event()
    async with other.server:
        client = await open_client(ntfy.url(), other.url())
        monkeypatch.setattr(notifier, "TRY_WITHIN", 3.0)
        ids = {await cancelled(client) for _ in range(10)}
        told = [await other.next() for _ in ids]
        assert len(told) == 10
        while caplog.text.count("again in 5 s: timeout") < 10:
            await asyncio.sleep(0.02)
        ntfy.hangs.set()
        await client.close()
    assert own_processes() == []


@pytest.mark.wide
async def test_secrets_stand_in_no_log_and_no_list_of_processes(
    open_client: Open, ntfy: Ntfy, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    ntfy.status = 401
    client = await open_client(ntfy.url("sesame", "user:hunter2@"))
    await cancelled(client)
    authorization, _ = await ntfy.got.get()
    assert authorization.startswith("Basic ")
    [pid] = own_processes()
    for name in ("cmdline", "environ"):
        assert b"hunter2" not in Path(f"/proc/{pid}/{name}").read_bytes()
    while "http_401" not in caplog.text:
        await asyncio.sleep(0.02)
    due = await client.app[OUTBOX].claim(["notify"], 1)
    written = caplog.text + "".join(capfd.readouterr()) + repr(due)
    for path in ("/api/webhooks", "/readyz", "/metrics", "/api/tasks"):
        written += await (await client.get(path)).text()
    assert "hunter2" not in written
    assert "sesame" not in written


@pytest.mark.wide
async def test_an_address_that_apprise_does_not_know_stops_the_start(open_client: Open, ntfy: Ntfy) -> None:
    with pytest.raises(ConfigurationError, match=r"^notify\.urls\.1: .*") as error:
        await open_client(ntfy.url(), "nosuch://user:hunter2@host/")
    assert "hunter2" not in str(error.value)
    assert own_processes() == []


@pytest.mark.wide
async def test_the_server_itself_imports_no_apprise(ntfy: Ntfy) -> None:
    async with Notifier([ntfy.url()], "en") as people:
        assert await people.send(delivery(finished(new_task().status), ntfy.url())) is None
        assert "apprise" not in sys.modules
        await ntfy.next()


@pytest.mark.wide
async def test_the_process_ends_when_there_was_nothing_to_tell_for_a_while(
    ntfy: Ntfy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifier, "IDLE", 0.0)
    async with Notifier([ntfy.url()], "en") as people:
        await none_is_left()
        assert await people.send(delivery(finished(new_task().status), ntfy.url())) is None
        await none_is_left()


@pytest.mark.wide
async def test_a_process_that_is_killed_costs_one_try(ntfy: Ntfy) -> None:
    ntfy.hangs = asyncio.Event()
    async with Notifier([ntfy.url()], "en") as people:
        told = asyncio.create_task(people.send(delivery(finished(new_task().status), ntfy.url())))
        await ntfy.next()
        [pid] = own_processes()
        os.kill(pid, 9)
        assert await told == "apprise_ended"
        ntfy.hangs.set()
        assert await people.send(delivery(finished(new_task().status), ntfy.url())) is None


@pytest.mark.wide
async def test_what_cannot_be_reached_is_called_so(ntfy: Ntfy) -> None:
    urls = ["ntfy://127.0.0.1:9/films", ntfy.url()]
    async with Notifier(urls, "en") as people:
        status = finished(new_task().status)
        assert await people.send(delivery(status, urls[0])) == "unreachable"
        assert await people.send(delivery(status, "ntfy://gone.test/films")) == "no_address"
        ntfy.status = 302
        assert await people.send(delivery(status, urls[1])) == "http_302"


def test_what_a_plugin_prints_or_reads_is_no_part_of_what_is_asked_and_answered(tmp_path: Path) -> None:
    (tmp_path / "chatty.py").write_text(f"""
import os, sys
sys.path.insert(0, {str(PROGRAM.parent)!r})
import apprise_program

def notify(url, text, *, good):
    print("sending", flush=True)
    os.system("echo sent; cat")

apprise_program._notify = notify
apprise_program.main()
""")
    with subprocess.Popen(
        [sys.executable, "-I", str(tmp_path / "chatty.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(b'{"id": 1, "url": "a://b"}\n{"id": 2, "url": "a://b"}\n')
        process.stdin.flush()
        answers = [process.stdout.readline() for _ in range(2)]
        process.kill()
    assert sorted(json.loads(answer)["id"] for answer in answers) == [1, 2]


SERVICES = [
    "discord://123456789012345678/abcdefghijklmnopqrstuvwxyz",
    "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general",
    "mmost://mattermost.test/3ccdd113474722377935511fc85d3dd4",
    "rocket://abc%2Fdef@rocket.test/#general",
    "zulip://bot@org/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/general",
    "gchat://workspace/key/token",
    "tgram://123456789:abcdefg_hijklmnop/12315544/",
    "ntfy://ntfy.test/films",
]


@pytest.mark.wide
def test_no_service_finds_a_link_or_a_person_in_a_title(tmp_path: Path) -> None:
    told = (
        "<@123> <!channel> <https://a.test|bank> <b>[bank](https://a.test) @you me@a.test https://b.test/@him"
    )
    (tmp_path / "recording.py").write_text(f"""
import json
import sys
sys.path.insert(0, {str(PROGRAM.parent)!r})
import apprise_program
import requests

def send(session, request, **_):
    body = request.body if isinstance(request.body, str) else request.body.decode()
    bodies.append(body)
    answer = requests.Response()
    answer.status_code = 200
    answer._content = b'{{"ok": true}}'
    return answer

requests.Session.send = send
for url in {SERVICES!r}:
    bodies = []
    apprise_program._notify(url, {told!r}, good=True)
    print(json.dumps(bodies))
""")
    done = subprocess.run(
        [sys.executable, "-I", str(tmp_path / "recording.py")], capture_output=True, check=True, text=True
    )
    for url, line in zip(SERVICES, done.stdout.splitlines(), strict=True):
        [body] = json.loads(line)
        try:
            sent = json.dumps(json.loads(body), ensure_ascii=False)
        except ValueError:
            sent = unquote_plus(body)
        sent = sent.replace("\\", "")
        assert "a.test" in sent, url
        if url.startswith("ntfy"):  # ntfy shows a text as it is
            assert told in sent
            continue
        for markup in ("<@123", "<!channel", "<https://a.test", "<b>", "](", " @you"):
            assert markup not in sent or (markup in ("](", " @you") and url.startswith("tgram")), url
        assert "me@a" in sent, url
        assert "/@him" in sent, url


def test_the_program_ends_with_its_input() -> None:
    with subprocess.Popen([sys.executable, "-I", str(PROGRAM)], stdin=subprocess.PIPE) as process:
        assert process.stdin
        process.stdin.close()
        assert process.wait(20) == 0


def status(**fields: Any) -> TaskStatus:
    return new_task().status.model_copy(update=fields)


def test_a_list_is_told_with_its_counts() -> None:
    mixed = status(
        stage=Stage.COMPLETED,
        video_info=VideoInfo(title="Talks"),
        entries=Entries(total=14, completed=12, failed=2),
    )
    assert sentence(mixed, "en") == "The list “Talks” has ended: 12 of 14 are ready, 2 failed."
    whole = mixed.model_copy(update={"entries": Entries(total=14, completed=14)})
    assert sentence(whole, "en") == "The list “Talks” is ready: 14 of 14."


@pytest.mark.parametrize(
    ("title", "told"),
    [
        ("two\nlines\x1b[31m", "two lines [31m"),
        ("hello @everyone and @Here", "hello @\u200beveryone and @\u200bHere"),
        ("me@example.org {0} {title} %s", "me@example.org {0} {title} %s"),
        ("x" * 500, "x" * (LONGEST_TITLE - 1) + "…"),
    ],
)
def test_a_title_of_the_source_stays_a_part_of_the_sentence(title: str, told: str) -> None:
    done = status(stage=Stage.COMPLETED, video_info=VideoInfo(title=title))
    assert sentence(done, "en") == f"“{told}” is ready."
