"""Tells people of the ends of tasks, in one sentence, by apprise in a process of its own.

The process (`server/notices/apprise_program.py`) starts with the first notification and ends when there was
none for a while, so the server itself never imports apprise. One that is too slow is left alone and replaced.

Decisions: docs/decisions/notifications.md
"""

import asyncio
import json
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from server.core.shielding import to_the_end
from server.core.task import Stage, TaskStatus
from server.locales import LANGUAGES
from server.notices.deliveries import Delivery, SubscriptionNotice, waits_for_library
from server.settings import ConfigurationError, name_of_address

PROGRAM = Path(__file__).parent / "apprise_program.py"
TRY_WITHIN = 15.0  # seconds
IDLE = 60.0  # seconds without a notification, after which the process ends
LONGEST_TITLE = 200  # characters
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_MENTION = re.compile(r"@(?=everyone\b|here\b|channel\b|all\b)", re.IGNORECASE)


class Notifier:
    """`urls` are the operator's addresses, in apprise's notation; deliveries name them by their hashes."""

    def __init__(self, urls: Sequence[str], language: str) -> None:
        self._urls = {name_of_address(url): url for url in urls}
        self._language = language
        self._process: _Apprise | None = None
        self._processes: set[_Apprise] = set()  # also processes that are about to end
        self._end: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        """Raises `ConfigurationError` for an address that apprise does not understand."""
        problem = None
        try:
            for place, url in enumerate(self._urls.values()):
                match await self._ask({"url": url}):
                    case "invalid_url":
                        problem = f"notify.urls.{place}: apprise does not understand this address"
                    case "apprise_ended":
                        problem = "notify.urls: apprise does not start; install it anew"
        except asyncio.CancelledError:
            await self.__aexit__()
            raise
        if problem:
            await self.__aexit__()
            raise ConfigurationError(problem)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._end:
            self._end.cancel()
        for process in self._processes:
            process.end()
            await to_the_end(asyncio.wait([process.running]))

    async def send(self, delivery: Delivery) -> str | None:
        """Try once; None after a success, else a word for what was wrong: `http_<status>`, `timeout`, ..."""
        url = self._urls.get(delivery.addressee.target)
        if url is None:
            return "no_address"  # the address has been removed from the configuration
        tells, words = delivery.status, LANGUAGES[self._language]
        if isinstance(tells, SubscriptionNotice):
            good, error = tells.type == "subscription_works", words.error(tells.error_code or "internal")
            text = words.notice(tells.type, {"name": _plain(tells.name), "error": error})
        else:
            good, text = tells.stage is Stage.COMPLETED, sentence(tells, self._language)
        return await self._ask({"url": url, "text": text, "good": good})

    async def _ask(self, message: dict[str, object]) -> str | None:
        process = self._current()
        try:
            async with asyncio.timeout(TRY_WITHIN):
                return await process.ask(message)
        except TimeoutError:
            if process is self._process:  # the next notification gets a new process, not this one that hangs
                self._process = None
            return "timeout"
        finally:
            self._let_end(process)

    def _current(self) -> "_Apprise":
        if self._end:
            self._end.cancel()
        if self._process is None or self._process.running.done():
            self._process = _Apprise()
            self._processes.add(self._process)
        return self._process

    def _let_end(self, process: "_Apprise") -> None:
        """End an idle process: at once if it was replaced, else after a while."""
        self._processes = {one for one in self._processes if not one.running.done()}
        for one in self._processes:
            if one.is_idle and one is not self._process:
                one.end()
        if process is self._process and process.is_idle:
            self._end = asyncio.get_running_loop().call_later(IDLE, self._end_current)

    def _end_current(self) -> None:
        if self._process and self._process.is_idle:
            self._process.end()
            self._process = None


class _Apprise:
    """One process, and the callers that wait for its answers."""

    def __init__(self) -> None:
        self._waiting: dict[int, asyncio.Future[str | None]] = {}
        self._count = 0
        self._ending = asyncio.Event()
        self._started: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()
        self.running = asyncio.create_task(self._run(), name="apprise")

    @property
    def is_idle(self) -> bool:
        return not self._waiting

    async def ask(self, message: dict[str, object]) -> str | None:
        self._count += 1
        number = self._count
        answer: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            writer = await asyncio.shield(self._started)
            writer.write(json.dumps({"id": number, **message}).encode() + b"\n")
            return await answer
        except OSError:
            return "apprise_ended"
        finally:
            del self._waiting[number]

    def end(self) -> None:
        self._ending.set()

    async def _run(self) -> None:
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", str(PROGRAM)), env=_environment(), start_new_session=True,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,  # its messages may contain secret addresses
            )  # fmt: skip
        except OSError as exc:
            self._started.set_exception(exc)
            self._started.exception()  # marks it as retrieved: there may be no waiting caller any more
            return
        assert process.stdin
        assert process.stdout
        self._started.set_result(process.stdin)
        listening = asyncio.create_task(self._listen(process.stdout), name="answers of apprise")
        ending = asyncio.create_task(self._ending.wait())
        try:
            await asyncio.wait((listening, ending), return_when=asyncio.FIRST_COMPLETED)
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await to_the_end(process.wait())
            for task in (listening, ending):
                task.cancel()
            await asyncio.wait((listening, ending))
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_result("apprise_ended")

    async def _listen(self, answers: asyncio.StreamReader) -> None:
        while line := await answers.readline():
            said: dict[str, Any] = json.loads(line)
            answer = self._waiting.get(said["id"])
            if answer and not answer.done():
                answer.set_result(said["error"])


def _environment() -> dict[str, str]:
    """Return only variables for network access: the server's own environment holds tokens and passwords."""
    names = {*_PASSED_ON, *_PROXIES, *(name.lower() for name in _PROXIES)}
    return {name: os.environ[name] for name in names if name in os.environ} | {"HOME": "/nonexistent"}


def sentence(status: TaskStatus, language: str) -> str:
    """Return the notification of the end of a task: its title and outcome, on one line."""
    words, title = LANGUAGES[language], _plain(status.video_info.title or status.url)
    match status.stage:
        case Stage.FAILED:
            error = words.error(status.error_code or "internal")
            return words.notice("failed", {"title": title, "error": error})
        case Stage.COMPLETED if status.entries is not None:
            counts = status.entries
            key = "list_with_failures" if counts.failed else "list"
            return words.notice(key, {"title": title, **counts.model_dump()})
        case stage:
            said = words.notice(stage.value, {"title": title})
            if not waits_for_library(status) or status.library is None:
                return said
            reason, path = status.library.reason, _plain(status.library.path or "its folder")
            why = words.notice(f"library_{reason}", {"path": path}) if reason else ""
            return words.notice("waits_for_library", {"completed": said, "why": why})


def _plain(title: str) -> str:
    """Return a source's `title` as plain text: it must not begin a new line, mention people, or fill a
    screen.
    """
    one_line = " ".join("".join(letter if letter.isprintable() else " " for letter in title).split())
    short = one_line if len(one_line) <= LONGEST_TITLE else one_line[: LONGEST_TITLE - 1] + "…"
    return _MENTION.sub("@\N{ZERO WIDTH SPACE}", short)
