"""Where a secret may go over plain HTTP: to this machine, and within a private network."""

import re
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from aiohttp import ThreadedResolver
from aiohttp.abc import AbstractResolver, ResolveResult

from clipwire_client.errors import UnencryptedSecret

_PRIVATE = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/32",  # this host
            "10.0.0.0/8",
            "100.64.0.0/10",  # of internet providers, and of Tailscale
            "127.0.0.0/8",
            "169.254.0.0/16",  # link-local
            "172.16.0.0/12",
            "192.168.0.0/16",
            "::/127",  # this host
            "fc00::/7",
            "fe80::/10",  # link-local
        ),
    )
)


class PrivateResolver(AbstractResolver):
    """Resolves the host of `url` to its private addresses alone, and other hosts as usual.

    Other hosts are those of redirects, for instance to a bucket: the secret is not sent to them. The client
    connects to the addresses that were resolved here, so an answer that changes in between does no harm.
    """

    def __init__(self, url: str) -> None:
        self._host = _host_of(url)
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Resolve `host`; raise `UnencryptedSecret` if all its addresses are public, `OSError` if it has
        none.
        """
        found = await self._resolver.resolve(host, port, family)
        # If the host of `url` has an unusual spelling, no name can be told apart from it: then all names are
        # treated like it.
        if re.fullmatch(r"[a-z0-9._-]+", self._host) and host.rstrip(".") != self._host:
            return found
        private = [each for each in found if _is_private(ip_address(each["host"]))]
        if not private:
            raise UnencryptedSecret(f"{host} is {found[0]['host']}, which is no private address")
        return private

    async def close(self) -> None:
        await self._resolver.close()


def refuse_public(url: str) -> None:
    """Raise `UnencryptedSecret` if the host of `url` is a public address, for which no resolver is asked."""
    host = _host_of(url)
    try:
        is_public = not _is_private(ip_address(host))
    except ValueError:
        is_public = host.replace(".", "").isdecimal()  # a number is an address, too: `134744072` is 8.8.8.8
    if is_public:
        raise UnencryptedSecret(f"{host} is no private address")


def _host_of(url: str) -> str:
    return (urlsplit(url).hostname or "").rstrip(".")


def _is_private(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in network for network in _PRIVATE)
