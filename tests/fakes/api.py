"""A fake of the API for tests of the page, with tasks in any state that a test wants.

For states that the real service reaches only by luck or after hours of work: 500 tasks, a lost
socket, a refused link, a log-in. It serves the real page under the real Content-Security-Policy.
"""

import asyncio
import contextlib
import io
import itertools
import json
import wave
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import WSCloseCode, web

from server.api import page, qr
from server.api.keys import LANGUAGE, WAKE
from server.core.codes import ASKS
from server.storage.task_rows import folded
from tests.fakes.people import FakePeople
from tests.fakes.subscriptions import FakeSubscriptions

Task = dict[str, Any]
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
STATUS = {"completed": "completed", "failed": "error", "cancelled": "error"}
MESSAGES = {
    "queued": ("等待处理...", "Waiting..."),
    "info": ("正在获取视频信息...", "Fetching video information..."),
    "download": ("正在下载视频...", "Downloading video..."),
    "convert": ("正在转换...", "Converting..."),
    "paused": ("已暂停", "Paused"),
    "completed": ("处理完成！", "Completed!"),
    "failed": ("处理失败: 无法下载视频", "Failed: the video could not be downloaded"),
    "cancelled": ("已取消", "Cancelled"),
}
PAGE_OF_ENTRIES = 500  # most entries in one answer of `POST /api/info`
ELSEWHERE = "clips.test"  # a host name by which the page seems to come from another machine
# Chromium's option that resolves this name.
FROM_ELSEWHERE = f"--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1"
ACTIONS = {"pause": "paused", "resume": "queued", "cancel": "cancelled", "retry": "queued", "start": "info"}
_EPOCH = datetime(2025, 3, 1, 12, tzinfo=UTC)


class FakeApi:
    """The fake. `put` adds or changes a task, `remove` deletes it; both are sent to all sockets that are not
    dead.
    """

    def __init__(self) -> None:
        self.url = ""
        self.tasks: dict[str, Task] = {}
        self.requests: list[str] = []
        self.refuses: dict[str, str] = {}  # link -> message with which a task of the link is refused
        self.has_library = False
        # Tasks that a client has placed in the library, each with the body of the request.
        self.placed: list[tuple[str, Any]] = []
        self.looks: dict[str, Any] = {}  # link -> answer of `POST /api/info`
        self.hidden_from_search: set[str] = set()
        self.pictures: dict[str, bytes] = {}  # task -> content of its thumbnail
        self.entry_pictures: dict[str, str] = {}  # link -> `data:` URL of the entry's picture
        self.keys: dict[str, str] = {}  # Idempotency-Key -> task
        self.token = ""
        self.is_paused = False
        self.is_away = False
        self.pauses = asyncio.Condition()
        # Connections of requests that wait until the queue is paused or resumed.
        self._waiting: set[web.RequestHandler] = set()
        self.takes_sockets = True
        self.answers = asyncio.Event()  # cleared: no request is answered
        self.answers.set()
        self._sockets: dict[web.WebSocketResponse, str] = {}  # socket -> language
        self._dead: set[web.WebSocketResponse] = set()
        self.opens_sockets = asyncio.Event()  # cleared: no socket is opened
        self.opens_sockets.set()
        self._told: dict[str, Task] = {}  # the last message about each task
        self.cookies: list[dict[str, Any]] = []
        self.subscriptions = FakeSubscriptions()
        self.people = FakePeople()
        self.links: list[str] = []  # links that clients have made
        self.open_links: dict[str, dict[str, str]] = {}
        self.usual: dict[str, Any] = {}  # name of a preset -> fields of the request
        self._numbers = itertools.count(1)
        self._revisions = itertools.count(1)

    @property
    def held(self) -> int:
        """Return how many requests wait until the queue is paused or resumed; those of disconnected clients
        do not count.
        """
        return sum(connection.transport is not None for connection in self._waiting)

    @property
    def url_elsewhere(self) -> str:
        """`url` with a host name that is not loopback's."""
        return self.url.replace("127.0.0.1", ELSEWHERE)

    async def put(self, task_id: str = "", stage: str = "queued", **fields: Any) -> Task:
        number = next(self._numbers)
        task_id = task_id or f"task-{number:04}"
        old = self.tasks.get(task_id) or new_task(task_id, number)
        task = old | {"stage": stage, "status": STATUS.get(stage, "processing"), **fields}
        self.tasks[task_id] = task | {"revision": next(self._revisions)}
        await self._tell(self.tasks[task_id])
        return self.tasks[task_id]

    async def put_many(self, count: int, stage: str = "completed", **fields: Any) -> None:
        """Add tasks without sending them to sockets, as if they had been there before."""
        for _ in range(count):
            number = next(self._numbers)
            task = new_task(f"task-{number:04}", number) | {
                "stage": stage,
                "status": STATUS.get(stage, "processing"),
            }
            self.tasks[task["task_id"]] = task | {"revision": next(self._revisions), **fields}

    async def pause(self, is_paused: bool) -> None:
        """Pause or resume the queue, and answer the requests that wait for this."""
        async with self.pauses:
            self.is_paused = is_paused
            self.pauses.notify_all()

    async def leave(self) -> None:
        """Answer requests that wait, and close all sockets, as a server does that shuts down."""
        self.is_away = True
        await self.subscriptions.close()
        await self.pause(self.is_paused)
        await self.lose_sockets()

    async def remove(self, task_id: str) -> None:
        del self.tasks[task_id]
        await self._tell({"task_id": task_id, "removed": True})

    def in_order(self, **query: str) -> list[str]:
        """Return the ids of the tasks of a listing, in its order."""
        fits = [task for task in self.tasks.values() if self._fits(task, query)]
        return [task["task_id"] for task in sorted(fits, key=_place(query))]

    async def lose_sockets(self) -> None:
        """Close all sockets and accept no new ones, like a proxy without support for WebSockets."""
        self.takes_sockets = False
        await self._close_sockets(WSCloseCode.GOING_AWAY)

    def kill_sockets(self) -> None:
        """Leave the sockets open but send nothing more through them, like a proxy that has forgotten them."""
        self._dead.update(self._sockets)

    async def end_session(self) -> None:
        """Change the token, which ends all sessions that began with the old one."""
        self.token += "!"
        await self._close_sockets(WSCloseCode.POLICY_VIOLATION)

    async def _close_sockets(self, code: WSCloseCode) -> None:
        await asyncio.gather(*(socket.close(code=code) for socket in self._sockets))

    async def tell_again(self, task: Task) -> None:
        """Send an older payload again, as if it had been delayed on the way."""
        await self._tell(task)

    async def _tell(self, message: Task) -> None:
        self._told[message["task_id"]] = message
        for socket, language in tuple(self._sockets.items()):
            if socket not in self._dead:
                # The fake notices a moment late that a page has gone.
                with contextlib.suppress(ConnectionError):
                    await socket.send_str(json.dumps(localized(message, language)))

    # --- routes ---

    async def listing(self, request: web.Request) -> web.Response:
        query = request.query
        if "ids" in query:
            ids = dict.fromkeys(query["ids"].split(","))
            assert len(ids) <= 200
            named = [localized(self.tasks[name], query["lang"]) for name in ids if name in self.tasks]
            return web.json_response({"tasks": named})
        fits = sorted((task for task in self.tasks.values() if self._fits(task, query)), key=_place(query))
        if "cursor" in query:
            fits = [task for task in fits if _place(query)(task) > tuple(json.loads(query["cursor"]))]
        limit = int(query.get("limit", "50"))
        page = [localized(task, query["lang"]) for task in fits[:limit]]
        cursor = {"next_cursor": json.dumps(_place(query)(fits[limit - 1]))} if limit < len(fits) else {}
        return web.json_response({"tasks": page, **cursor})

    async def batch(self, request: web.Request) -> web.Response:
        results: list[dict[str, Any]] = []
        for body in (await request.json())["requests"]:
            if reason := self.refuses.get(body["url"]):
                errors = [{"field": "url", "message": reason}]
                results.append({"status": 422, "problem": {"code": "invalid_request", "errors": errors}})
            else:
                task = await self.put(url=body["url"], request=body)
                results.append({"status": 202, "task": localized(task, request.query["lang"])})
        return web.json_response({"results": results})

    async def info(self, request: web.Request) -> web.Response:
        body = await request.json()
        look = self.looks.get(body["url"])
        if look is None:
            return _problem(502, "source_refused", "There is nothing to see.", error_code="no_media")
        if "error_code" in look:
            return _problem(502, "source_refused", "The source refuses.", **look)
        if "entries" not in look:
            return web.json_response(look)
        first = int(body.get("cursor", "0"))
        last = first + PAGE_OF_ENTRIES
        more = {"next_cursor": str(last)} if last < len(look["entries"]) else {}
        return web.json_response(look | {"entries": look["entries"][first:last]} | more)

    async def thumbnails(self, request: web.Request) -> web.Response:
        urls = (await request.json())["urls"]
        return web.json_response(
            {"thumbnails": {url: self.entry_pictures[url] for url in urls if url in self.entry_pictures}}
        )

    async def process(self, request: web.Request) -> web.Response:
        body = await request.json()
        if reason := self.refuses.get(body["url"]):
            return _problem(422, "invalid_request", reason, errors=[{"field": "url", "message": reason}])
        key = request.headers["Idempotency-Key"]
        if known := self.tasks.get(self.keys.get(key, "")):
            return web.json_response(localized(known, request.query["lang"]), status=202)
        stage = "queued" if body.get("auto_start", True) else "paused"
        task = await self.put(stage=stage, url=body["url"], request=body)
        self.keys[key] = task["task_id"]
        return web.json_response(localized(task, request.query["lang"]), status=202)

    async def place(self, request: web.Request) -> web.Response:
        task = self._task(request)
        self.placed.append((task["task_id"], await request.json() if request.body_exists else None))
        after = await self.put(task["task_id"], task["stage"], library={"state": "waiting", "paths": []})
        return web.json_response(after, status=202)

    async def act(self, request: web.Request) -> web.Response:
        action, task = request.match_info["action"], self._task(request)
        if task["stage"] == "completed" and action != "retry":
            return _problem(409, "task_already_final", "It has ended already.")
        task = await self.put(task["task_id"], ACTIONS[action])
        return web.json_response(localized(task, request.query["lang"]))

    async def change(self, request: web.Request) -> web.Response:
        task, wanted = self._task(request), await request.json()
        if position := wanted.pop("position", None):
            ranks = [each.get("rank", 0) for each in self.tasks.values()]
            wanted["rank"] = max(ranks) + 1 if position == "first" else min(ranks) - 1
        task = await self.put(task["task_id"], task["stage"], **wanted)
        return web.json_response(localized(task, request.query["lang"]))

    async def act_on_many(self, request: web.Request) -> web.Response:
        body = await request.json()
        results: list[dict[str, Any]] = []
        meant = [name for name, task in self.tasks.items() if task["stage"] == body.get("stage")]
        if "playlist_id" in body:
            of_list = (
                name for name, task in self.tasks.items() if task.get("playlist_id") == body["playlist_id"]
            )
            meant = [name for name in of_list if self.tasks[name]["stage"] != "completed"]
        for name in body.get("ids", meant):
            if body["action"] == "delete":
                await self.remove(name)
                results.append({"status": 204})
            else:
                task = await self.put(name, ACTIONS[body["action"]])
                results.append({"status": 200, "task": localized(task, request.query["lang"])})
        return web.json_response({"results": results})

    async def queue(self, request: web.Request) -> web.Response:
        if request.method == "POST":
            await self.pause(request.path.endswith("/pause"))
        elif "wait" in request.query:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(float(request.query["wait"])), self.pauses:
                    known = request.query["paused"] == "true"
                    self._waiting.add(request.protocol)
                    try:
                        await self.pauses.wait_for(lambda: self.is_away or self.is_paused is not known)
                    finally:
                        self._waiting.discard(request.protocol)
        is_folded = request.query.get("folded") == "1"
        counted = [task for task in self.tasks.values() if not (is_folded and "playlist_id" in task)]
        found = Counter(task["stage"] for task in counted)
        asking = sum(task.get("error_code") in ASKS for task in counted)
        return web.json_response({"paused": self.is_paused, "stages": found, "asking": asking})

    async def ready(self, _: web.Request) -> web.Response:
        disk: dict[str, Any] = {"ok": True, "needed": True, "detail": "enough"}
        disk["values"] = {"free": 52_000_000_000, "floor": 1_073_741_824}
        library = {"library": disk} if self.has_library else {}
        return web.json_response({"status": "ready", "checks": {"disk": disk} | library})

    async def delete(self, request: web.Request) -> web.Response:
        await self.remove(self._task(request)["task_id"])
        return web.Response(status=204)

    async def status(self, request: web.Request) -> web.Response:
        return web.json_response(localized(self._task(request), request.query["lang"]))

    async def log(self, request: web.Request) -> web.Response:
        return web.Response(text=f"[info] {self._task(request)['url']}\n<b>not bold</b>\n")

    async def thumbnail(self, request: web.Request) -> web.Response:
        return web.Response(body=self.pictures[request.match_info["id"]], content_type="image/png")

    async def link(self, request: web.Request) -> web.Response:
        """Return the link of a file of the task; the code in it is made of the task's id."""
        name, kind = self._task(request)["task_id"], (await request.json())["kind"]
        url = f"http://{request.host}/links/{name}.{kind}/signature"
        self.links.append(url)
        answer = {"id": f"{name}.{kind}", "url": url, "expires_at": "2031-07-05T12:10:00Z"}
        self.open_links[answer["id"]] = answer | {"kind": kind}
        return web.json_response(answer, status=201)

    async def all_links(self, request: web.Request) -> web.Response:
        name = self._task(request)["task_id"]
        return web.json_response(
            {"links": [link for key, link in self.open_links.items() if key.startswith(f"{name}.")]}
        )

    async def revoke_link(self, request: web.Request) -> web.Response:
        del self.open_links[request.match_info["link"]]
        return web.Response(status=204)

    async def qr_of_link(self, request: web.Request) -> web.Response:
        link = f"http://{request.host}/links/{request.match_info['link']}/signature"
        return web.Response(body=qr.drawn(link), content_type=qr.SVG)

    async def download(self, _: web.Request) -> web.Response:
        """Send the same sound for every file name: players look at the content."""
        return web.Response(body=_silence(), content_type="audio/wav")

    async def presets(self, _: web.Request) -> web.Response:
        return web.json_response({"presets": self.usual})

    async def stored_cookies(self, _: web.Request) -> web.Response:
        return web.json_response({"cookies": self.cookies})

    async def session(self, request: web.Request) -> web.Response:
        required, given = bool(self.token), request.cookies.get("session")
        ways = {"ways": self.people.ways} if self.people.ways else {}
        return web.json_response(
            {"login_required": required, "logged_in": required and given == self.token} | ways
        )

    async def log_in(self, request: web.Request) -> web.Response:
        given = await request.json()
        if self.token not in (given.get("token"), given.get("password")):
            return _problem(401, "token_required", "A valid token is needed.")
        answer = web.Response(status=204)
        answer.set_cookie("session", self.token, httponly=True, samesite="Strict")
        return answer

    async def log_out(self, _: web.Request) -> web.Response:
        answer = web.Response(status=204)
        answer.del_cookie("session")
        return answer

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        if not self.takes_sockets:
            raise web.HTTPServiceUnavailable
        await self.opens_sockets.wait()
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if "since" in request.query:
            for message in self._told.values():
                await socket.send_str(json.dumps(localized(message, request.query["lang"])))
        self._sockets[socket] = request.query["lang"]
        async for _ in socket:
            pass
        del self._sockets[socket]
        return socket

    def _fits(self, task: Task, query: Any) -> bool:
        if query.get("status", task["status"]) != task["status"]:
            return False
        if task["stage"] not in query.get("stage", task["stage"]).split(","):
            return False
        if "q" in query and task["task_id"] in self.hidden_from_search:
            return False
        if query.get("playlist_id", task.get("playlist_id")) != task.get("playlist_id"):
            return False
        if query.get("folded") == "1" and "playlist_id" in task:
            return False
        texts = (task["url"], task["video_info"].get("title", ""), task["video_info"].get("uploader", ""))
        return any(folded(query.get("q", "")) in folded(text) for text in texts)

    def _task(self, request: web.Request) -> Task:
        task = self.tasks.get(request.match_info["id"])
        if task is None:
            raise web.HTTPNotFound
        return task

    @web.middleware
    async def door(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path_qs}")
        await self.answers.wait()
        is_open = "/static/" in request.path or request.path.endswith(("/", "/session"))
        if not is_open and self.token and request.cookies.get("session") != self.token:
            ways = {"ways": self.people.ways} if self.people.ways else {}
            return _problem(401, "token_required", "A valid token is needed.", **ways)
        return await handler(request)

    def routes(self, prefix: str) -> list[web.RouteDef | web.StaticDef]:
        return [
            web.get(f"{prefix}/", page.index),
            web.get(f"{prefix}/static/{{path:.+}}", page.static),
            web.get(f"{prefix}/healthz", _well),
            web.get(f"{prefix}/ws", self.socket),
            web.get(f"{prefix}/api/tasks", self.listing),
            web.post(f"{prefix}/api/process", self.process),
            web.post(f"{prefix}/api/tasks/actions", self.act_on_many),
            web.post(f"{prefix}/api/process/batch", self.batch),
            web.post(f"{prefix}/api/info", self.info),
            web.post(f"{prefix}/api/info/thumbnails", self.thumbnails),
            web.get(f"{prefix}/api/queue", self.queue),
            web.post(f"{prefix}/api/queue/{{action}}", self.queue),
            web.get(f"{prefix}/readyz", self.ready),
            web.get(f"{prefix}/api/presets", self.presets),
            web.get(f"{prefix}/api/cookies", self.stored_cookies),
            web.get(f"{prefix}/api/download/{{name}}", self.download),
            web.patch(f"{prefix}/api/tasks/{{id}}", self.change),
            web.delete(f"{prefix}/api/tasks/{{id}}", self.delete),
            web.get(f"{prefix}/api/tasks/{{id}}/log", self.log),
            web.get(f"{prefix}/api/tasks/{{id}}/thumbnail", self.thumbnail),
            web.get(f"{prefix}/api/tasks/{{id}}/stream", self.download),
            web.post(f"{prefix}/api/tasks/{{id}}/links", self.link),
            web.post(f"{prefix}/api/tasks/{{id}}/place", self.place),
            web.get(f"{prefix}/api/tasks/{{id}}/links", self.all_links),
            web.delete(f"{prefix}/api/links/{{link}}", self.revoke_link),
            web.get(f"{prefix}/api/links/{{link}}/qr.svg", self.qr_of_link),
            web.post(f"{prefix}/api/tasks/{{id}}/{{action}}", self.act),
            web.get(f"{prefix}/api/session", self.session),
            web.post(f"{prefix}/api/session", self.log_in),
            web.delete(f"{prefix}/api/session", self.log_out),
            web.get(f"{prefix}/api/status/{{id}}", self.status),
            *self.subscriptions.routes(prefix),
            *self.people.routes(prefix),
        ]


@asynccontextmanager
async def open_api(prefix: str = "", api: FakeApi | None = None) -> AsyncIterator[FakeApi]:
    api = api or FakeApi()
    app = web.Application(middlewares=[api.door])
    app[page.PAGE], app[LANGUAGE] = page.Page(), "zh"
    app[WAKE] = lambda: None
    app.add_routes(api.routes(prefix))
    app.on_response_prepare.append(_secure)
    app.on_shutdown.append(lambda _: api.leave())
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        api.url = f"http://127.0.0.1:{runner.addresses[0][1]}{prefix}/"
        yield api
    finally:
        await runner.cleanup()


def new_task(task_id: str, number: int) -> Task:
    created = _EPOCH + timedelta(seconds=number)
    return {
        "task_id": task_id,
        "number": number,
        "progress": 0,
        "created_at": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "video_info": {},
        "files": {},
        "url": f"https://videos.example/watch?v={number}",
        "priority": 0,
        "attempt": 0,
    }


def localized(task: Task, language: str) -> Task:
    """Return the payload of a task with the message in `language`, and without `request`, which is
    internal.
    """
    if "stage" not in task:
        return task
    message = MESSAGES.get(task["stage"], ("", ""))[language == "en"]
    return {"message": message} | {name: value for name, value in task.items() if name != "request"}


def _place(query: Any) -> Callable[[Task], tuple[int, ...]]:
    """Return the sort key of a listing: newest first, but the queue in its own order, or by state."""
    if query.get("stage") == "queued":
        return _in_queue
    if query.get("sort") != "state":
        return lambda task: (0, -task["number"])

    def by_state(task: Task) -> tuple[int, ...]:
        match task["stage"]:
            case "info" | "download" | "convert":
                return (0, task["number"])
            case "queued":
                return (1, *_in_queue(task))
            case "paused":
                return (2, -task["number"])
        if "q" in query:
            return (3, -task["number"])
        ended = datetime.fromisoformat(task.get("completed_at") or task["created_at"])
        return (3, -int(ended.timestamp()), -task["number"])

    return by_state


def _in_queue(task: Task) -> tuple[int, ...]:
    return (-task.get("rank", 0), -task["priority"], task["number"])


def _problem(status: int, code: str, detail: str, **more: object) -> web.Response:
    body = {"type": "about:blank", "status": status, "code": code, "detail": detail, **more}
    return web.json_response(body, status=status, content_type="application/problem+json")


def _silence() -> bytes:
    """Return a WAV file with one second of silence."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(8_000)
        sound.writeframes(b"\x80" * 8_000)
    return file.getvalue()


async def _well(_: web.Request) -> web.Response:
    return web.Response()


async def _secure(_: web.Request, response: web.StreamResponse) -> None:
    response.headers["Content-Security-Policy"] = CSP
    response.headers["X-Content-Type-Options"] = "nosniff"
