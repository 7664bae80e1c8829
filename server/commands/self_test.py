"""Tries a release of yt-dlp before any task runs on it: a real job extracts a page and fetches its sound.

The page comes from a server of its own on loopback, so this needs no network. The job is started as those of
tasks are: by a fork server, in the sandbox, with the address guard. A release is refused if it cannot be
imported, lacks a part that children need, does not find the sound in the page, or fetches other bytes.
"""

import asyncio
import io
import json
import math
import struct
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from server.core.process_request import Output, ProcessRequest
from server.settings import DownloadSettings
from server.tasks.children import Child, ForkServer
from server.tasks.job_builder import JobMaker
from server.tasks.programs_found import find_tools

WARM_WITHIN = 120.0  # seconds; without bytecode, the fork server first compiles its modules
JOB_TIMEOUT = 60.0  # seconds
_PAGE = (
    '<!DOCTYPE html><html lang="en"><head><title>Self-test</title></head>'
    '<body><audio src="/tone.wav" controls></audio></body></html>'
)


class UnfitRelease(Exception):
    """This release cannot be used; the text is the reason, in one sentence."""


async def self_test(yt_dlp: Path, scratch: Path, ffmpeg: Path | None = None) -> str:
    """Try the release in the folder `yt_dlp`; return its version. Raises `UnfitRelease`."""
    tone, errors = _tone(), scratch / "errors.log"
    with errors.open("wb") as errors_file:
        async with _site(tone) as port:
            settings = DownloadSettings(allowed_private_hosts=(f"127.0.0.1:{port}",))
            jobs = JobMaker(settings, find_tools(ffmpeg))
            request = ProcessRequest(
                url=f"http://127.0.0.1:{port}/watch", outputs=(Output.AUDIO,), audio_format="wav"
            )
            job = jobs.job("download", request, scratch / "work", scratch / "work.lock")
            tools = jobs.tools
            async with ForkServer(tools.ffmpeg, tools.deno, yt_dlp=yt_dlp, errors=errors_file) as fork_server:
                try:
                    async with asyncio.timeout(WARM_WITHIN):
                        ready = await fork_server.first_ready(2 * WARM_WITHIN)
                except TimeoutError:
                    raise UnfitRelease(
                        f"it hangs: it did not start within {WARM_WITHIN:.0f} seconds"
                    ) from None
                if ready is None:
                    lines = errors.read_text(encoding="utf-8", errors="replace").split("\n")
                    reason = next((line for line in reversed(lines) if line.strip()), "no reason given")[:200]
                    raise UnfitRelease("; ".join(fork_server.lacks) or f"it does not start ({reason})")
                child = await fork_server.start("self-test", job, scratch / "self-test.log")
                try:
                    async with asyncio.timeout(JOB_TIMEOUT):
                        kind, code, path = await _outcome(child)
                except TimeoutError:
                    raise UnfitRelease(f"a small download took more than {JOB_TIMEOUT:.0f} seconds") from None
                finally:
                    await child.stop()
    if kind != "produced":
        raise UnfitRelease(f"a page with a sound in it could not be downloaded ({code or kind})")
    if (scratch / "work" / "out" / path).read_bytes() != tone:
        raise UnfitRelease("the downloaded sound differs from the one in the page")
    return ready.yt_dlp


async def _outcome(child: Child) -> tuple[str, str, str]:
    """Wait for the end of the job. Return the kind of its last event, the code if it failed, and the path of
    the sound.
    """
    while True:
        event = json.loads(await child.read_line() or b'{"kind": "gone"}')
        if event["kind"] in ("produced", "broken", "expanded", "gone"):
            files = event.get("files", {})
            return event["kind"], event.get("code", ""), files.get("audio", {}).get("path", "")


@asynccontextmanager
async def _site(tone: bytes) -> AsyncIterator[int]:
    """Serve the page and the sound while the block lasts; yield the port."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=_PAGE, content_type="text/html")

    async def sound(_: web.Request) -> web.Response:
        return web.Response(body=tone, content_type="audio/x-wav")

    app = web.Application()
    app.add_routes([web.get("/watch", page), web.get("/tone.wav", sound)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _tone() -> bytes:
    """Return a quarter of a second of 440 Hz, as a WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        waves = (math.sin(2 * math.pi * 440 * number / 8000) for number in range(2000))
        sound.writeframes(b"".join(struct.pack("<h", int(8000 * height)) for height in waves))
    return file.getvalue()
