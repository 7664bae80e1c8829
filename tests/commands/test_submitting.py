"""`clipwire get` with a server that is too busy to accept, or whose answer is lost."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from server.commands import get as getting
from server.commands.progress_display import display_for
from server.commands.remote import remote
from server.commands.saving import Saving
from tests.commands.shell import Shell
from tests.service import Service
from tests.site import Site

Answer = Callable[[web.Request, str], Awaitable[web.StreamResponse | None]]


@asynccontextmanager
async def between(service: Service, answer: Answer) -> AsyncIterator[str]:
    """A proxy in front of `service`: yields its address. `answer` may replace the answer to a submission."""

    async def pass_on(request: web.Request) -> web.StreamResponse:
        instead = None
        if request.path == "/api/process":
            instead = await answer(request, (await request.json())["url"])
        return instead or await of_service(service, request)

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", pass_on)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/")


async def of_service(service: Service, request: web.Request) -> web.StreamResponse:
    headers = {name: value for name, value in request.headers.items() if name not in ("Host", "Upgrade")}
    async with service.client.request(
        request.method, request.path_qs, headers=headers, data=await request.read()
    ) as answer:
        kept = {
            name: answer.headers[name] for name in ("ETag", "Content-Disposition") if name in answer.headers
        }
        kept["Content-Type"] = answer.headers.get("Content-Type", "text/plain")
        return web.Response(body=await answer.read(), status=answer.status, headers=kept)


def refusal(status: int, after: int) -> web.Response:
    body = {"code": "queue_full", "detail": "The queue is full.", "status": status}
    return web.json_response(body, status=status, headers={"Retry-After": str(after)})


@pytest.mark.parametrize("status", [429, 503])
async def test_a_link_waits_for_as_long_as_the_server_says(
    service: Service, tmp_path: Path, site: Site, status: int
) -> None:
    links = [site.url(f"/{name}.mp4") for name in ("1mb", "silent", "video")]
    asked: list[tuple[str, float]] = []

    async def answer(_: web.Request, link: str) -> web.StreamResponse | None:
        asked.append((link, asyncio.get_running_loop().time()))
        return refusal(status, 1) if link == links[1] and len(asked) < 4 else None

    async with between(service, answer) as url:
        ran = await Shell(tmp_path).run("get", *links, "--server", url)
    assert (ran.status, len(list(tmp_path.glob("*.mp4")))) == (0, 3), ran
    assert [link for link, _ in asked] == [links[0], links[1], links[1], links[1], links[2]]
    assert all(asked[at + 1][1] - asked[at][1] >= 0.9 for at in (1, 2))
    assert ran.err.count(f"{links[1]}: The queue is full.") == 1


async def test_of_many_links_each_that_is_refused_has_its_line_and_the_others_are_saved(
    service: Service, tmp_path: Path, site: Site
) -> None:
    links = [site.url(f"/{name}.mp4") for name in ("1mb", "silent", "video")]

    async def answer(_: web.Request, link: str) -> web.StreamResponse | None:
        return None if link == links[1] else refusal(503, 3600)

    async with between(service, answer) as url:
        ran = await Shell(tmp_path).run("get", *links, "--server", url)
    assert (ran.status, [path.name for path in tmp_path.glob("*.mp4")]) == (1, ["silent.mp4"]), ran
    for link in (links[0], links[2]):
        assert f"clipwire: {link}: The queue is full.\n" in ran.err


async def test_links_that_are_given_up_with_another_are_named(
    service: Service, tmp_path: Path, site: Site
) -> None:
    links = [site.url(f"/{name}.mp4") for name in ("1mb", "silent", "video")]

    async def answer(_: web.Request, link: str) -> web.StreamResponse | None:
        return None if link == links[0] else web.Response(text="a page", status=404)

    async with between(service, answer) as url:
        ran = await Shell(tmp_path).run("get", *links, "--server", url)
    assert (ran.status, [path.name for path in tmp_path.glob("*.mp4")]) == (1, ["1mb.mp4"]), ran
    assert "is not Clipwire" in ran.err
    assert f"clipwire: {links[2]}: not submitted\n" in ran.err


@pytest.mark.parametrize("how", ["late", "lost", "cancelled"])
async def test_ctrl_c_before_the_answer_has_come_waits_to_know_of_the_task(
    service: Service, tmp_path: Path, site: Site, how: str
) -> None:
    has_begun, interrupted = asyncio.Event(), asyncio.Event()

    async def answer(request: web.Request, _: str) -> web.StreamResponse | None:
        if has_begun.is_set():
            return None
        late = await of_service(service, request)
        has_begun.set()
        await interrupted.wait()
        if how == "lost":
            assert request.transport
            request.transport.abort()
        return late

    link = site.url("/1mb.mp4?stall=100000")
    async with between(service, answer) as url:
        process = await Shell(tmp_path).start(
            "get", link, "--server", url, "-o", "a film.mp4", *(["--cancel"] if how == "cancelled" else [])
        )
        await has_begun.wait()
        process.send_signal(signal.SIGINT)
        interrupted.set()
        ran = await process.end()
    async with service.client.get("/api/tasks") as answered:
        [task] = (await answered.json())["tasks"]
    assert (ran.status, "nothing had begun" in ran.err) == (130, False), ran
    if how == "cancelled":
        assert (task["stage"], "Cancelled" in ran.err) == ("cancelled", True), ran
    else:
        command = f"clipwire watch {task['task_id']} --server {url} -o 'a film.mp4'\n"
        assert ("goes on" in ran.err, command in ran.err) == (True, True), ran


async def test_ctrl_c_without_any_answer_says_that_the_task_may_be_there(
    service: Service,
    tmp_path: Path,
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(getting, "ANSWER_AFTER_INTERRUPT", 0.2)
    monkeypatch.setattr(getting, "SAY_WAITING_AFTER", 0.1)
    monkeypatch.setenv("LANG", "C")
    asked, over = asyncio.Event(), asyncio.Event()

    async def answer(request: web.Request, _: str) -> web.StreamResponse | None:
        asked.set()
        await over.wait()
        return refusal(503, 1)

    async with between(service, answer) as url:
        saving, display = (
            Saving(str(tmp_path / "x.mp4"), several=False),
            display_for(as_json=False, quiet=False),
        )
        link = site.url("/1mb.mp4")
        command = asyncio.create_task(
            getting.get(remote(url), [link], {}, saving, display, cancel=True), name="get"
        )
        await asked.wait()
        command.cancel()
        assert await command == 130
        over.set()
    said = capsys.readouterr().err
    assert ("the task may be there" in said, "nothing had begun" in said) == (True, False)


async def test_ctrl_c_of_a_link_that_is_refused_says_that_nothing_had_begun(
    service: Service, tmp_path: Path, site: Site
) -> None:
    asked, interrupted = asyncio.Event(), asyncio.Event()

    async def answer(request: web.Request, _: str) -> web.StreamResponse | None:
        asked.set()
        await interrupted.wait()
        return refusal(503, 1)

    async with between(service, answer) as url:
        process = await Shell(tmp_path).start("get", site.url("/1mb.mp4"), "--server", url)
        await asked.wait()
        process.send_signal(signal.SIGINT)
        interrupted.set()
        ran = await process.end()
    assert (ran.status, ran.out, "nothing had begun" in ran.err) == (130, "", True), ran
