"""PO tokens for YouTube, from a program on a private address: `downloads.pot_provider`.

The plugin is the real one; a server of the test stands for the program that it asks. Each child runs in its
own interpreter, since neither guard nor sandbox can be removed.
"""

import asyncio
import json
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
from aiohttp import web

from server.core import jobs
from tests.jobs import ENVIRONMENT, ROOT, download_job, told
from tests.shelf import Shelf

# A child that asks for a token as YouTube's extractor does, and tries to reach the provider in other ways.
CHILD = """
import json, sys
root, message, address, lines = json.loads(sys.argv[1])
sys.path.append(root)
from server.child import job, preload
preload.load("server.child.job")
exec(lines)
from server.child.extract import options, youtube as tokens
from server.child.extract.youtube_dl import Engine
from server.child.extract.failures import Trail
from server.core.jobs import from_message
from yt_dlp.extractor.youtube.pot._provider import BuiltinIEContentProvider
from yt_dlp.extractor.youtube.pot._registry import _pot_providers
from yt_dlp.extractor.youtube._base import INNERTUBE_CLIENTS

log = job.Log()
told = from_message(message)
job._enter_sandbox(told, lambda _: None, lambda: None)
told = tokens.with_provider(told, told.pot_provider, log) if told.pot_provider else told
with Engine(options.for_download(told, log), Trail()) as engine:
    youtube = engine.get_info_extractor("Youtube")
    youtube.initialize()
    token = youtube.fetch_po_token(
        client="web", ytcfg=INNERTUBE_CLIENTS["web"], visitor_data="v", video_id="a", required=True
    )
    try:
        others = engine.urlopen(f"{address}/ping").read().decode()
    except Exception as error:
        others = str(error)
print(json.dumps([token, others, sorted(_pot_providers.value)]), file=sys.stderr)
"""


TOKEN = "dG9rZW4="


class Provider:
    """A provider that makes a token for every request."""

    def __init__(self) -> None:
        self.port = 0
        self.asked: list[str] = []

    def address(self, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}"

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        return web.json_response({"version": "2.0.2", "poToken": TOKEN})


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with open_provider() as provider:
        yield provider


@asynccontextmanager
async def open_provider() -> AsyncIterator[Provider]:
    provider, app = Provider(), web.Application()
    app.router.add_route("*", "/{path:.*}", provider.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    provider.port = runner.addresses[0][1]
    yield provider
    await runner.cleanup()


async def child(
    folder: Path, address: str, lines: str = "", **settings: Any
) -> tuple[str | None, str, list[str], str]:
    job = download_job(folder, allowed_private_hosts=(), **settings)
    told = json.dumps([str(ROOT), jobs.to_message(job), address, lines])
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-B", "-c", CHILD, told), env=ENVIRONMENT, stdout=PIPE, stderr=PIPE
    )
    log, said = await process.communicate()
    assert process.returncode == 0, said.decode()
    token, others, loaded = json.loads(said.splitlines()[-1])
    return token, others, loaded, log.decode()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_the_provider_is_asked_and_nobody_else_gets_to_it(
    provider: Provider, tmp_path: Path, host: str
) -> None:
    address = provider.address(host)
    token, others, _, _ = await child(tmp_path / "t", address, pot_provider=f"bgutil:{address}")
    assert (token, provider.asked) == (TOKEN, ["/ping", "/get_pot"])
    assert "are blocked" in others


async def test_a_child_has_its_plugin_told_where_the_provider_is(
    shelf: Shelf, media: Path, tmp_path: Path
) -> None:
    link = shelf.put("film.mp4", (media / "video.mp4").read_bytes(), "video/mp4")
    film = {"id": "a", "titled_by": ["youtubepot-bgutilhttp", "base_url"], "url": link, "ext": "mp4"}
    named = "bgutil:http://127.0.0.1:4416"
    outcome = await told(tmp_path / "t", shelf, film, outputs=["video"], pot_provider=named)
    assert outcome.described["title"] == "http://127.0.0.1:4416"


@pytest.mark.wide
async def test_without_a_provider_no_plugin_is_loaded(provider: Provider, tmp_path: Path) -> None:
    token, _, loaded, _ = await child(tmp_path / "t", provider.address())
    assert (token, loaded, provider.asked) == (None, [], [])


@pytest.mark.wide
async def test_of_its_plugins_the_one_that_is_named_is_loaded_and_told_what_the_operator_says(
    provider: Provider, tmp_path: Path
) -> None:
    named, arguments = f"bgutil:{provider.address()}", {"youtubepot-bgutilhttp": {"disable_innertube": "1"}}
    token, _, loaded, log = await child(
        tmp_path / "t", provider.address(), pot_provider=named, extractor_args=arguments
    )
    assert (token, loaded) == (None, ["BgUtilHTTP"])
    assert "'youtubepot-bgutilhttp:disable_innertube' extractor arg is deprecated" in log


@pytest.mark.long
async def test_a_provider_that_is_not_there_costs_the_tokens_alone(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    token, _, _, log = await child(tmp_path / "t", address, pot_provider=f"bgutil:{address}")
    assert token is None
    assert f"Error reaching GET {address}/ping" in log


@pytest.mark.long
async def test_a_plugin_that_is_gone_costs_the_tokens_alone(provider: Provider, tmp_path: Path) -> None:
    address, gone = provider.address(), "sys.modules['yt_dlp_plugins.extractor.getpot_bgutil_http'] = None"
    token, _, _, log = await child(tmp_path / "t", address, gone, pot_provider=f"bgutil:{address}")
    assert token is None
    assert "downloads.pot_provider: no tokens" in log
