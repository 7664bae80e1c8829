"""Sends payloads to webhooks, as Standard Webhooks (https://www.standardwebhooks.com).

An address is judged when its connection is made, so neither a name that resolves to a private address nor
a spelling of one leads there. Redirects are not followed. Of an answer no more than its head is read: what a
receiver sends, and what its name server does, costs the server next to nothing.

Decisions: docs/decisions/notifications.md
"""

import asyncio
import json
import socket
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from errno import EACCES, EMSGSIZE
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import hdrs
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader

from server import __version__
from server.api.payload import Encoder
from server.core.addresses import DEFAULT_PORTS, is_public, numeric, parse_allowed, plain
from server.locales import LANGUAGES
from server.notices.deliveries import Delivery, SubscriptionNotice

TRY_WITHIN = 15.0  # seconds for a whole try
MAX_HEAD = 16 * 1024  # bytes of an answer, up to the end of its header fields, with all interim answers
MAX_INTERIM = 3  # answers of 1xx before the final one
# Bytes received over a connection, as TLS itself has messages that may come without end.
MAX_RECEIVED = 256 * 1024
PARSED_AT_ONCE = 1024  # bytes: a thousand interim answers in one packet must not all be parsed
NAMES_AT_ONCE = 32  # names that are resolved; a name server that hangs holds up webhooks alone


class WebhookSender:
    """`default` is the address of the configuration, `secret` signs."""

    def __init__(
        self, encoder: Encoder, language: str, secret: str, default: str | None, allowed: Sequence[str]
    ) -> None:
        from standardwebhooks import Webhook  # 18 ms: only where there is a secret

        self._encoder = encoder
        self._language = language
        self._signer = Webhook(secret)
        self._default = default
        self._allowed = parse_allowed(allowed)
        self._tls = ssl.create_default_context()
        self._names = _Names()

    async def send(self, delivery: Delivery) -> str | None:
        """Try once; None after a 2xx, else a word for what was wrong: `http_<status>`, `timeout`, ..."""
        url = delivery.addressee.target if delivery.addressee.kind == "webhook" else self._default
        if url is None:
            return "no_address"  # the address has been removed from the configuration
        parts = urlsplit(url)
        named = plain(parts.hostname or ""), parts.port or DEFAULT_PORTS[parts.scheme.lower()]
        blocked = False

        def guarded(info: aiohttp.AddrInfoType) -> socket.socket:
            nonlocal blocked
            family, kind, protocol, _, (host, port, *_) = info
            address = numeric(host)
            if not (
                is_public(address) or self._allowed.permits(address, port) or named in self._allowed.names
            ):
                blocked = True
                raise PermissionError(EACCES, "the address is blocked")
            return _MeasuredSocket(family, kind, protocol)

        body, now = self._body(delivery), datetime.now(UTC)
        headers = {
            hdrs.CONTENT_TYPE: "application/json",
            hdrs.CONTENT_LANGUAGE: self._language,
            hdrs.USER_AGENT: f"Clipwire/{__version__}",
            "webhook-id": delivery.delivery_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._signer.sign(delivery.delivery_id, now, body.decode()),
        }
        # A connector for each try, so that no connection is reused and each address is checked for this
        # delivery.
        connector = aiohttp.TCPConnector(
            socket_factory=guarded, resolver=self._names, force_close=True, use_dns_cache=False, ssl=self._tls
        )
        connector._factory = partial(_HeadReader, asyncio.get_running_loop())  # type: ignore[assignment]  # noqa: SLF001
        try:
            async with (
                asyncio.timeout(TRY_WITHIN),
                aiohttp.ClientSession(
                    connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
                ) as session,
                session.post(url, data=body, headers=headers, allow_redirects=False) as response,
            ):
                return None if 200 <= response.status < 300 else f"http_{response.status}"
        except TimeoutError:
            return "timeout"
        except _AnswerTooLong:
            return "answer_too_long"
        except aiohttp.ClientConnectorDNSError:
            return "unknown_host"
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError):
            return "certificate"
        except (aiohttp.InvalidURL, ValueError):
            return "invalid_url"
        except (aiohttp.ClientError, OSError) as error:
            if getattr(error, "errno", None) == EMSGSIZE:
                return "answer_too_long"
            return "blocked_address" if blocked else "unreachable"

    def _body(self, delivery: Delivery) -> bytes:
        if not isinstance(delivery.status, SubscriptionNotice):
            return self._encoder.encode(delivery.status, self._language).body
        told, words = delivery.status.model_dump(exclude_none=True), LANGUAGES[self._language]
        told["since"] = f"{datetime.fromtimestamp(delivery.status.since, UTC).isoformat()[:19]}Z"
        if (code := delivery.status.error_code) is not None:
            told["error"] = words.error(code)
        return json.dumps(told, ensure_ascii=False).encode()


class _AnswerTooLong(aiohttp.ClientError):
    pass


class _HeadReader(ResponseHandler):
    """Reads an answer up to the end of its head. aiohttp itself takes interim answers without end, and a head
    of a megabyte.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._head_left, self._interim_left = MAX_HEAD, MAX_INTERIM
        self._is_over = False

    def data_received(self, data: bytes) -> None:
        while data and not self._is_over:
            size = min(PARSED_AT_ONCE, self._head_left)
            self._head_left -= len(data[:size])
            super().data_received(data[:size])
            data = data[size:]
            if not self._head_left and not self._is_over:
                self._give_up()

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        is_final = data[0].code >= 200 or data[0].code == 101  # status 101 also ends an answer
        if not self._is_over and not is_final and not self._interim_left:
            self._give_up()
        if not self._is_over:
            self._is_over = is_final
            self._interim_left -= 1
            super().feed_data(data, size)

    def _give_up(self) -> None:
        self._is_over = True
        self.set_exception(_AnswerTooLong())
        if self.transport:
            self.transport.abort()

    def close(self) -> None:
        """Abort instead of closing: a receiver that does not read would keep the connection open."""
        self.abort()


class _MeasuredSocket(socket.socket):
    """Receives at most `MAX_RECEIVED` bytes."""

    _left = MAX_RECEIVED

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        data = super().recv(self._most(bufsize), flags)
        self._left -= len(data)
        return data

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        count = super().recv_into(buffer, self._most(nbytes or memoryview(buffer).nbytes), flags)
        self._left -= count
        return count

    def _most(self, wanted: int) -> int:
        if not self._left:
            raise OSError(EMSGSIZE, "the receiver sends too much")
        return min(wanted, self._left)


class _Names(AbstractResolver):
    """Resolves names in threads of its own: the common threads do the disk work of all routes."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(NAMES_AT_ONCE, "names of receivers")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        ask = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(
                hostname=host, host=str(address[0]), port=port, family=family, proto=proto, flags=flags
            )
            for family, _, proto, _, address in found
        ]

    async def close(self) -> None:
        """Do nothing: each try closes its connector, but the threads are kept until the server ends."""
