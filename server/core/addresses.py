"""Which addresses are public, and which private ones are allowed: for children, and for webhooks."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

FAKE_IP: Final = IPv4Network("198.18.0.0/15")
"""The range for benchmarks (RFC 2544); proxy programs in fake-IP mode resolve every name to one of these."""

DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_SOCKS_PORT: Final = 1080
_V4_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")

# IANA's registries of special addresses (RFC 6890), without the few entries that are public.
_SPECIAL: Final[tuple[Network, ...]] = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",  # this host
            "10.0.0.0/8",
            "100.64.0.0/10",  # carrier-grade NAT
            "127.0.0.0/8",
            "169.254.0.0/16",  # link-local; also the metadata services of clouds
            "172.16.0.0/12",
            "192.0.0.0/24",  # protocol assignments
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",
            str(FAKE_IP),
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, and broadcast
            "2001::/23",  # protocol assignments, Teredo among them
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4 addresses may contain any IPv4 address
            "3fff::/20",  # documentation
        ),
    )
)


@dataclass(frozen=True)
class Allowed:
    """Addresses that the operator allows; a host in `names` is allowed at its port, wherever it
    resolves to.
    """

    networks: tuple[Network, ...] = ()
    endpoints: frozenset[tuple[Address, int]] = frozenset()
    names: frozenset[tuple[str, int]] = frozenset()

    def permits(self, address: Address, port: int) -> bool:
        return (address, port) in self.endpoints or any(address in network for network in self.networks)


def parse_allowed(entries: Sequence[str], proxy: str | None = None) -> Allowed:
    """Read addresses, networks (`10.0.0.0/8`) and `host:port`; raises `ValueError` on anything else.

    The endpoint of `proxy`, a URL, is allowed too.
    """
    networks: list[Network] = []
    hosts: list[tuple[str, int]] = []
    for text in entries:
        host, _, port = text.rpartition(":")
        if text.count(":") == 1 or host.endswith("]"):  # IPv6 addresses have a port only after brackets
            if not (host and port.isdecimal() and int(port) < 65536):
                raise ValueError(f"{text!r} is not an address, a network or host:port")
            hosts.append((host.strip("[]"), int(port)))
            continue
        network = ip_network(text, strict=False)
        if isinstance(network, IPv6Network) and network.subnet_of(_V4_MAPPED):
            network = IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
        networks.append(network)
    if proxy:
        parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        hosts.append((parts.hostname or "", parts.port or DEFAULT_PORTS.get(parts.scheme, _SOCKS_PORT)))
    endpoints, names = set(), set()
    for name, number in hosts:
        try:
            endpoints.add((numeric(name), number))
        except ValueError:
            names.add((plain(name), number))
    return Allowed(tuple(networks), frozenset(endpoints), frozenset(names))


def is_public(address: Address) -> bool:
    if address.version == 6 and address not in _GLOBAL_UNICAST:
        return False
    return not any(address in network for network in _SPECIAL)


def numeric(text: str) -> Address:
    """Parse an address, an IPv4-mapped IPv6 address as IPv4. Raises `ValueError`."""
    address = ip_address(text.partition("%")[0])
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def plain(name: str) -> str:
    return name.lower().removesuffix(".")
