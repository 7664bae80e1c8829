"""Plants secrets wherever the service takes one, and searches for each of them wherever it must not be.

It must not be in the log, in answers, metrics and outputs of commands, in the command lines and environments
of processes, nor in any file but the one that keeps it.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from aiohttp import web

from server.storage.sqlite import DATABASE
from tests.commands.shell import Shell
from tests.end_to_end.test_conversions import ffmpeg_that
from tests.ports import free_port
from tests.service import Service
from tests.site import Site
from tests.site.followed import Film, Followed
from tests.zygote import by_exec

TOKEN, OTHER_TOKEN = "token-s3cr3t-1", "token-s3cr3t-2"
SIGNING = "czNjcjN0LW9mLXdlYmhvb2tzLXRoYXQtc2lnbnM="
WEBHOOK, DEFAULT, NOTIFY = "s3cr3t-of-webhook", "s3cr3t-of-default", "s3cr3t-of-notify"
LINK, COOKIE, PROXY, EXTRACTOR = (
    "s3cr3t-of-link",
    "s3cr3t-of-cookie",
    "s3cr3t-of-proxy",
    "s3cr3t-of-extractor",
)
GUESS = "s3cr3t-that-was-guessed"
PASSWORD, OIDC = "s3cr3t-of-a-person", "s3cr3t-of-the-provider"
IN_ROWS = (
    LINK,
    WEBHOOK,
)  # these secrets come with a request, which has to outlast a restart: the database has them
ALL = (
    TOKEN,
    OTHER_TOKEN,
    SIGNING,
    WEBHOOK,
    DEFAULT,
    NOTIFY,
    LINK,
    COOKIE,
    PROXY,
    EXTRACTOR,
    GUESS,
    PASSWORD,
    OIDC,
)
COOKIES = f"# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\t{COOKIE}\n"
ANSWERS = (
    "/api/tasks?limit=200", "/api/webhooks", "/api/cookies", "/api/presets", "/api/queue", "/api/session",
    "/api/openapi.json", "/metrics", "/readyz", "/healthz", "/", "/api/people", "/api/me", "/api/audit",
    "/api/me/sessions", "/api/people/anna/tokens",
)  # fmt: skip


@pytest.fixture
async def receiver() -> AsyncIterator[str]:
    """A server that refuses everything, so that deliveries are retried and logged; yields its address without
    a scheme.
    """

    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=500, text=f"you sent {dict(request.headers)}")

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", refuse)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def planted(receiver: str, proxy: str | None) -> dict[str, str]:
    settings = {
        "CLIPWIRE_SERVER__TOKENS": json.dumps([TOKEN, OTHER_TOKEN]),
        "CLIPWIRE_WEBHOOKS__SECRET": f"whsec_{SIGNING}",
        "CLIPWIRE_WEBHOOKS__DEFAULT": f"http://user:{DEFAULT}@{receiver}/default?key={DEFAULT}",
        "CLIPWIRE_WEBHOOKS__ALLOWED_PRIVATE_HOSTS": '["127.0.0.1"]',
        "CLIPWIRE_NOTIFY__URLS": json.dumps([f"ntfy://user:{NOTIFY}@{receiver}/topic"]),
        "CLIPWIRE_DOWNLOADS__EXTRACTOR_ARGS": json.dumps({"youtube": {"po_token": [EXTRACTOR]}}),
        "CLIPWIRE_DOWNLOADS__RETRIES": "0",
        "CLIPWIRE_ACCESS__OIDC__ISSUER": f"http://{receiver}",
        "CLIPWIRE_ACCESS__OIDC__CLIENT_ID": "clipwire",
        "CLIPWIRE_ACCESS__OIDC__CLIENT_SECRET": OIDC,
        "CLIPWIRE_LOGGING__LEVEL": "debug",
    }
    return settings | ({"CLIPWIRE_DOWNLOADS__PROXY": proxy} if proxy else {})


class Executed(Service):
    """A service that is not forked: the kernel would show the environment with which the zygote was
    executed.
    """

    begin = staticmethod(by_exec)


class Watch:
    """Collects all the time what a user of the machine can see of the running service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.seen: set[str] = set()

    async def run(self) -> None:
        while True:
            server = psutil.Process(self._service.pid)
            own = server.cmdline()
            for process in (server, *self._service.processes()):
                try:
                    command = process.cmdline()
                    self.seen.add(" ".join(command))
                    # The server's own environment contains the secrets; so does that of a forked child until
                    # it executes its program.
                    if command != own:
                        self.seen.add(str(process.environ()))
                except (psutil.Error, OSError):
                    continue
            await asyncio.sleep(0.01)


async def used(service: Service, site: Site, receiver: str) -> list[str]:
    """Use the service as its users and strangers do; return all that it answers."""
    answers: list[str] = []

    async def ask(method: str, path: str, **more: Any) -> str:
        more["headers"] = {"Authorization": f"Bearer {TOKEN}"} | more.get("headers", {})
        async with service.client.request(method, path, **more) as answer:
            text = await answer.text()
            answers.append(f"{answer.headers} {text}")
            return text

    await ask("PUT", "/api/cookies/mine", data=COOKIES, headers={"Content-Type": "text/plain"})
    for wrong in ({"Authorization": f"Bearer {GUESS}"}, {"Cookie": f"clipwire_session={GUESS}"}):
        await ask("GET", f"/api/tasks?token={GUESS}", headers=wrong)
    await ask("POST", "/api/session", json={"token": GUESS})
    await ask("GET", f"/api/status/nope?token={GUESS}")
    secretly = site.url("").replace("http://", f"http://user:{LINK}@")
    more = {"cookies": "mine", "webhook": f"http://user:{WEBHOOK}@{receiver}/hook"}
    tasks = []
    for path, wishes in (
        ("/video.mp4", {"outputs": ["video", "audio"]}),
        ("/1mb.mp4?rate=1000000", {"outputs": ["video"]}),
        ("/video.mp4?status=404", {}),
        ("/page/blank", {}),
        ("/feed?entry=/1mb.mp4&entry=/video.mp4", {"playlist": True, "outputs": ["video"]}),
        ("/hls/ts/index.m3u8", {"outputs": ["video"]}),
    ):
        text = await ask("POST", "/api/process", json={"url": secretly + path, **more, **wishes})
        tasks.append(json.loads(text)["task_id"])
    await ask("POST", "/api/process", json={"url": f"ftp://user:{LINK}@a.test/", "webhook": f"ftp:{WEBHOOK}"})
    await ask("POST", "/api/process", json={"url": secretly, "cookies": "not-mine"})
    await ask("POST", "/api/info", json={"url": f"{secretly}/video.mp4", "cookies": "mine"})
    await ask("POST", "/api/info", json={"url": f"{secretly}/video.mp4?status=410"})
    for task_id in tasks:
        while json.loads(await ask("GET", f"/api/status/{task_id}"))["status"] == "processing":
            await asyncio.sleep(0.05)
        await ask("GET", f"/api/tasks/{task_id}/log")
    tried = 0
    while tried < 2 * len(tasks):  # each task has two webhooks: its own and the default one
        page = json.loads(await ask("GET", "/api/webhooks?limit=200"))["webhooks"]
        tried = sum(each["attempts"] > 0 for each in page)
        await asyncio.sleep(0.1)
    for path in ANSWERS:
        await ask("GET", path)
    return answers


async def logged_in(service: Service, *, has_files: bool) -> tuple[list[str], list[str]]:
    """Add a person who logs in, and shares a file if there is one. Return the secrets that are shown once,
    and all other answers.
    """
    answers = list[str]()
    admin = {"Authorization": f"Bearer {TOKEN}"}

    async def ask(method: str, path: str, headers: dict[str, str], **more: Any) -> Any:
        async with service.client.request(
            method, path, headers=headers, allow_redirects=False, **more
        ) as answer:
            answers.append(f"{answer.headers} {await answer.text()}")
            return answer

    async with service.client.post("/api/people", json={"name": "anna"}, headers=admin) as made:
        token = (await made.json())["token"]
    own = {"Authorization": f"Bearer {token}"}
    await ask("PATCH", "/api/people/anna", admin, json={"password": PASSWORD})
    await ask("POST", "/api/session", {}, json={"name": "anna", "password": GUESS})
    await ask("PATCH", "/api/me", own, json={"password": GUESS, "old_password": GUESS})
    await ask("GET", "/api/session/oidc", {})
    async with service.client.post("/api/session", json={"name": "anna", "password": PASSWORD}) as begun:
        [cookie] = [each.value for each in begun.cookies.values()]
    await ask("GET", "/api/me", {"Cookie": f"clipwire_session={cookie}"})
    await ask("GET", f"/api/tasks?token={token}", {"Authorization": f"Bearer {token}x"})
    once = [token.removeprefix("clipwire_"), cookie]
    if has_files:
        async with service.client.get("/api/tasks?status=completed", headers=own) as listed:
            done = next(task for task in (await listed.json())["tasks"] if task["files"])
        kind, links = next(iter(done["files"])), f"/api/tasks/{done['task_id']}/links"
        async with service.client.post(links, json={"kind": kind}, headers=own) as made:
            link = (await made.json())["url"]
        async with service.client.get(link) as file:
            assert file.status == 200
        await ask("GET", link[:-1], {})
        await ask("DELETE", f"/api/tasks/{done['task_id']}", own)
        once.append(link.rsplit("/", 1)[1])
    await ask(
        "DELETE", "/api/session", {"Cookie": f"clipwire_session={cookie}", "Sec-Fetch-Site": "same-origin"}
    )
    for path in ANSWERS:
        await ask("GET", path, admin)
    return once, answers


async def fed(service: Service, site: Site) -> tuple[str, list[str]]:
    """Read a podcast feed as apps do, and as clients do that have only half of its address, or only a token.
    Return the secret of the feed, and the answers that those clients get.
    """
    site.followed["s3cr3t"] = Followed([Film("f1", "Film", "/video.mp4?times=5", at=1_700_000_000.0)])
    token, answers = {"Authorization": f"Bearer {TOKEN}"}, list[str]()
    body = {"url": site.url("/followed/s3cr3t.rss"), "backlog": "all", "feed": {"name": "pods"}}
    body["request"] = {"outputs": ["video"], "video_format": "any"}
    async with service.client.post("/api/subscriptions", json=body, headers=token) as answer:
        feed = (await answer.json())["feed"]["url"]
    secret = feed.split("/")[4]
    while "<item>" not in (text := await (await service.client.get(feed)).text()):
        await asyncio.sleep(0.05)
    file = re.findall(r'enclosure url="([^"]+)"', text)[0]
    for method in ("GET", "HEAD"):
        for path in (file, re.findall(r'image href="([^"]+)"', text)[0], feed.replace("/pods.xml", ".opml")):
            async with service.client.request(method, path) as answer:
                assert answer.status == 200
    for path in (f"{feed}/more", feed.replace("pods", "other"), file + "x", feed.replace("/pods.xml", "")):
        async with service.client.get(path) as answer:
            assert answer.status in (401, 404)
            answers.append(f"{answer.headers} {await answer.text()}")
    async with service.client.get(f"/api/status/nope?token={secret}") as answer:
        answers.append(f"{answer.headers} {await answer.text()}")
    for path in ANSWERS:
        async with service.client.get(path, headers=token) as answer:
            answers.append(f"{answer.headers} {await answer.text()}")
    return secret, answers


def files_with(folder: Path, secret: str) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and secret.encode() in path.read_bytes()
    }


@pytest.mark.wide
@pytest.mark.parametrize("proxied", [False, pytest.param(True, marks=pytest.mark.long)])
async def test_no_secret_is_anywhere_but_where_it_belongs(
    tmp_path: Path, site: Site, receiver: str, proxied: bool
) -> None:
    proxy = f"http://user:{PROXY}@127.0.0.1:{free_port()}" if proxied else None
    lasts = ffmpeg_that(tmp_path, "sleep 1")  # ffmpeg runs for a second, so that the watch sees it
    async with Executed(tmp_path, **planted(receiver, proxy), **lasts) as service:
        watch = Watch(service)
        watching = asyncio.create_task(watch.run())
        # The proxy does not exist, so nothing is fetched through it.
        secret, others = (None, []) if proxied else await fed(service, site)
        answers = await used(service, site, receiver)
        once, more = await logged_in(service, has_files=not proxied)
        answers += more
        watching.cancel()
        shell = Shell(tmp_path, CLIPWIRE_STORAGE__DATA_DIR=str(service.data), **planted(receiver, proxy))
        said = [await shell.run(command) for command in ("config", "check")]
        every = (*ALL, *once, *([secret] if secret else []))
        stored = {each: files_with(service.data, each) for each in every}
    shown = {
        "an answer": "\n".join((*answers, *others)),
        "the log": "\n".join(service.log),
        "a command line or an environment": "\n".join(watch.seen),
        "a command": str(said),
    }
    found = [(each, where) for where, text in shown.items() for each in every if each in text]
    assert found == [], [(s, w, shown[w][max(0, shown[w].index(s) - 200) :][:400]) for s, w in found]
    assert len(watch.seen) > 4
    assert "ffmpeg" in shown["a command line or an environment"] or proxied
    rows = {DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm"}
    for each, files in stored.items():
        own = rows if each in (*IN_ROWS, secret) else {"cookies/mine.txt"} if each == COOKIE else set()
        assert files <= own, each
    assert stored[COOKIE]
    assert stored[LINK]
    assert secret is None or stored[secret]
