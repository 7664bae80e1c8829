"""Sends payloads to webhooks, as Standard Webhooks (https://www.standardwebhooks.com).

An address is judged when its connection is made, so neither a name that resolves to a private address nor
a spelling of one leads there. Redirects are not followed.

Decisions: docs/decisions/notifications.md
"""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from errno import EACCES
from urllib.parse import urlsplit

import aiohttp
from aiohttp import hdrs

from server import __version__
from server.api.payload import Encoder
from server.core.addresses import DEFAULT_PORTS, is_public, numeric, parse_allowed, plain
from server.notices.deliveries import Delivery

TRY_WITHIN = 15.0  # seconds


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

    async def send(self, delivery: Delivery) -> str | None:
        """Try once; None after a 2xx, else a word for what was wrong: `http_<status>`, `timeout`, ..."""
        url = delivery.addressee.target if delivery.addressee.kind == "webhook" else self._default
        if url is None:
            return "no_address"  # it was taken out of the configuration
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
            return socket.socket(family, kind, protocol)

        body, now = self._encoder.encode(delivery.status, self._language).body, datetime.now(UTC)
        headers = {
            hdrs.CONTENT_TYPE: "application/json",
            hdrs.CONTENT_LANGUAGE: self._language,
            hdrs.USER_AGENT: f"Clipwire/{__version__}",
            "webhook-id": delivery.delivery_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._signer.sign(delivery.delivery_id, now, body.decode()),
        }
        # A connector for each try: no connection outlives it, so each address was judged for this delivery.
        connector = aiohttp.TCPConnector(
            socket_factory=guarded, force_close=True, use_dns_cache=False, ssl=self._tls
        )
        try:
            async with (
                asyncio.timeout(TRY_WITHIN),
                aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session,
                session.post(url, data=body, headers=headers, allow_redirects=False) as response,
            ):
                return None if 200 <= response.status < 300 else f"http_{response.status}"
        except TimeoutError:
            return "timeout"
        except aiohttp.ClientConnectorDNSError:
            return "unknown_host"
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError):
            return "certificate"
        except (aiohttp.InvalidURL, ValueError):
            return "invalid_url"
        except (aiohttp.ClientError, OSError):
            return "blocked_address" if blocked else "unreachable"
