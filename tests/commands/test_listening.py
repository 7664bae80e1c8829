"""The addresses on which the service listens, and the line that names them."""

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession, web

from server.commands.listening import AddressInUse, listen, reachable
from server.settings import ConfigurationError, ServerSettings


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.fixture
async def runner() -> AsyncIterator[web.AppRunner]:
    async def who(request: web.Request) -> web.Response:
        return web.Response(text=request.remote)

    app = web.Application()
    app.add_routes([web.get("/{path:.*}", who)])
    runner = web.AppRunner(app)
    await runner.setup()
    yield runner
    await runner.cleanup()


async def test_who_comes_in_while_the_doors_close_gets_a_connection(runner: web.AppRunner) -> None:
    """asyncio fails if the server closes between a connection's accept and its transport."""
    loop, complaints = asyncio.get_running_loop(), list[dict[str, object]]()
    loop.set_debug(True)
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    await listen(runner, ServerSettings(host="127.0.0.1", port=0))
    (site,) = runner.sites
    stopping = site.stop()
    # Comes between accept and transport, and begins what an `await` of `stopping` would.
    loop.call_later(0.01, stopping.send, None)
    with socket.create_connection(runner.addresses[0]) as client:
        time.sleep(0.02)  # noqa: ASYNC251  # connection and timer are due in the same turn of the loop
        await asyncio.sleep(0.01)
        with pytest.raises(StopIteration):
            stopping.send(None)
        client.settimeout(0)
        with pytest.raises(BlockingIOError):
            client.recv(1)
    assert complaints == []


ALL_4, ALL_6 = " (and on every other IPv4 address)", " (and on every other IPv6 address)"


@pytest.mark.parametrize(
    ("host", "lines"),
    [
        ("127.0.0.1", ["http://127.0.0.1:PORT/clip"]),
        ("0.0.0.0", [f"http://127.0.0.1:PORT/clip{ALL_4}"]),
        ("::1", ["http://[::1]:PORT/clip"]),
        ("::", [f"http://127.0.0.1:PORT/clip{ALL_4}", f"http://[::1]:PORT/clip{ALL_6}"]),
    ],
)
async def test_every_line_says_a_link_that_opens(
    runner: web.AppRunner, caplog: pytest.LogCaptureFixture, host: str, lines: list[str]
) -> None:
    if ":" in host and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    caplog.set_level("INFO")
    await listen(runner, ServerSettings(host=host, port=0, base_path="/clip"))
    said = [message.removeprefix("listening on ") for message in caplog.messages if "listening" in message]
    assert sorted(re.sub(r":\d+/", ":PORT/", line) for line in said) == lines
    assert len({port for _, port, *_ in runner.addresses}) == 1
    async with ClientSession() as client:
        for line in said:
            link = line.partition(" ")[0]
            async with client.get(link) as answer:
                assert await answer.text() == ("::1" if "[" in link else "127.0.0.1"), "no mapped address"


@pytest.mark.parametrize(
    ("host", "shown"),
    [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("clips.example", "clips.example")],
)
def test_a_link_names_a_host_as_links_do(host: str, shown: str) -> None:
    assert reachable(host) == shown


async def test_a_port_that_is_taken_in_one_family_is_named(runner: web.AppRunner) -> None:
    if not has_ipv6():
        pytest.skip("this machine has no IPv6")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(AddressInUse, match=f"port {port} is used by another program"):
            await listen(runner, ServerSettings(host="::", port=port))


async def test_an_address_of_another_machine_is_a_wrong_setting(runner: web.AppRunner) -> None:
    with pytest.raises(ConfigurationError, match=r"server\.host, server\.port: 192\.0\.2\.1 port 0"):
        await listen(runner, ServerSettings(host="192.0.2.1", port=0))
