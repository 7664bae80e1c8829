"""Settings from `config.toml` (or the file that `CLIPWIRE_CONFIG` names); environment variables override it.

`CLIPWIRE_<SECTION>__<KEY>` sets one key, lists as JSON; `PORT` is honoured as Procfile hosts set it.
Secrets come from the environment only. Only `load()` reads both; all other code is passed values.
"""

import ipaddress
import json
import os
import re
import sys
import tomllib
from base64 import b64decode
from contextlib import suppress
from decimal import Decimal
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, cast, get_origin
from urllib.parse import SplitResult, parse_qsl, urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from server.core.cookie_format import NAME as COOKIES_NAME
from server.core.durations import duration_of, seconds_of
from server.core.jobs import POT_PLUGINS
from server.core.process_request import ProcessRequest
from server.core.values import OF_A_CLIENT, Frozen, check_url
from server.locales import LANGUAGES

Role = Literal["web", "worker"]

_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._-]+)*/?")
_UNITS = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}
LONGEST_INTERVAL = 30 * 86_400  # seconds between two checks of a subscription


class ConfigurationError(Exception):
    """One line that names the key or the file and says what to do."""


def _size(value: object) -> object:
    """`"1 GiB"`, `"500MiB"` or a plain number of bytes."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", value)
    if not match or match[2].lower() not in _UNITS:
        raise ValueError("a size like 500 MiB or 1 GiB is expected")
    return int(Decimal(match[1]) * _UNITS[match[2].lower()])


def _private_host(value: str) -> str:
    """An address, a network or host:port; see `server.core.addresses`."""
    host, bracket, port = value.rpartition(":")
    if value.count(":") == 1 or (bracket and host.startswith("[") and host.endswith("]")):
        if not re.fullmatch("[0-9]{1,5}", port) or not 0 < int(port) < 65536 or not host.strip("[]"):
            raise ValueError(f"{value!r} is not an address, a network or host:port")
        return value
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise ValueError(f"{value!r} is not an address, a network or host:port") from None
    return value


def _parts(value: str) -> SplitResult:
    """The parts of a URL, with a possible port or none. The error does not quote the URL, which may be a
    secret.
    """
    try:
        parts = urlsplit(value)
    except ValueError:
        raise ValueError("a URL is expected") from None
    if not _has_sound_port(parts.netloc.rpartition("@")[2]):
        raise ValueError("a port is a number from 1 to 65535, like https://example.org:8443")
    return parts


def _proxy(value: str) -> str:
    parts = _parts(value)
    if parts.scheme not in ("http", "https", "socks4", "socks4a", "socks5", "socks5h") or not parts.hostname:
        raise ValueError("an http(s):// or socks URL is expected")
    return value


def _webhook(value: str) -> str:
    try:
        return check_url(value)
    except PydanticCustomError:
        raise ValueError("an http(s):// URL is expected") from None


def _token(value: SecretStr) -> SecretStr:
    """Check a token: an `Authorization` header must be able to hold it, and spaces around it would not
    count.
    """
    text = value.get_secret_value()
    if not text.isprintable() or text != text.strip():
        raise ValueError("begins or ends with a space, or holds a line break or the like")
    return value


def _webhook_secret(value: SecretStr) -> SecretStr:
    """Check a secret as https://www.standardwebhooks.com defines it: base64, after `whsec_` or alone."""
    try:
        key = b64decode(value.get_secret_value().removeprefix("whsec_"), validate=True)
    except ValueError:
        key = b""
    if not key:
        raise ValueError("whsec_ and base64 is expected, like whsec_$(openssl rand -base64 24)")
    return value


def _apprise_url(value: SecretStr) -> SecretStr:
    """Whether apprise understands it shows when the server starts."""
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://.", value.get_secret_value()):
        raise ValueError("an address of apprise is expected, like ntfy://example.org/topic")
    return value


def _files(value: str) -> str:
    if value != "local" and not _BUCKET.fullmatch(value):
        raise ValueError('"local" or a bucket like s3://bucket/prefix is expected')
    return value


def _endpoint(value: str) -> str:
    parts = _parts(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError("a URL like https://s3.example.org is expected")
    if parts.username or parts.password:
        raise ValueError("keys do not belong here; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    return value.rstrip("/")


def _base_path(value: str) -> str:
    path = value.rstrip("/")
    if path and (not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", path) or {".", ".."} & set(path.split("/"))):
        raise ValueError("a path like /clipwire is expected")
    return path


def _network(value: str) -> str:
    ipaddress.ip_network(value, strict=False)
    return value


def _origin(value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+", value):
        raise ValueError(f"{value!r} is not an origin like https://example.org")
    _parts(value)
    return value.lower()


def _host_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", value):
        raise ValueError(f"{value!r} is not a host name like clips.example.org")
    return value.lower()


def _pot_provider(value: str) -> str:
    """`<name>:<address>`; yt-dlp's plugin calls the same provider `bgutil:http`."""
    name, _, address = value.partition(":")
    parts = _parts(address)
    if name not in POT_PLUGINS or parts.scheme not in ("http", "https") or not parts.hostname:
        known = ", ".join(POT_PLUGINS)
        raise ValueError(
            f"a provider ({known}) and its address are expected, like bgutil:http://127.0.0.1:4416"
        )
    if parts.username or parts.password or parts.query or not parts.port:
        raise ValueError("an address like http://127.0.0.1:4416 is expected, with a port and no password")
    return value.rstrip("/")


def _sponsorblock(value: str) -> str:
    parts = _parts(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("a URL like https://sponsor.ajay.app is expected")
    if parts.username or parts.password:
        raise ValueError("a URL without a password is expected")
    return value.rstrip("/")


def _extractor(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9:._+-]{0,63}", value):
        raise ValueError(f"{value!r} is not the name of an extractor, like youtube")
    return value.lower()


def _argument(value: str) -> str:
    """As in yt-dlp's `--extractor-args`, `player-client` means `player_client`."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", value):
        raise ValueError(f"{value!r} is not the name of an argument, like player_client")
    return value.lower().replace("-", "_")


def _arguments(value: object) -> object:
    """A single string counts as a list with one element."""
    if isinstance(value, dict):
        return {name: (given,) if isinstance(given, str) else given for name, given in value.items()}
    raise ValueError('arguments like {player_client = ["tv", "web"]} are expected')


def _texts(value: object) -> object:
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise ValueError("a text or a list of texts is expected")
    return value


def _language(value: str) -> str:
    if value not in LANGUAGES:
        raise ValueError(f"one of {', '.join(sorted(LANGUAGES))} is expected")
    return value


_URL = re.compile(r"(?:([^:/?#]+):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.DOTALL)


def parts_of_database(url: str) -> SplitResult:
    """Split by the generic URL syntax (RFC 3986, appendix B).

    `urlsplit` of newer Python versions rejects what libpq accepts: several hosts, if one is an IPv6 address.
    """
    found = _URL.fullmatch(url)
    assert found  # each part may be missing
    return SplitResult(*(part or "" for part in found.groups()))


def _path(value: object) -> object:
    """Refuse `~`, which only a shell replaces: here it would be a folder of that name."""
    if isinstance(value, str) and value.startswith("~"):
        raise ValueError("a path without ~ is expected, like /srv/clipwire")
    return value


def _program(value: object) -> object:
    """None for an empty text. Children work in folders of their own, where a relative path leads nowhere."""
    if isinstance(value, str) and not value:
        return None
    if isinstance(value, str) and not Path(value).is_absolute():
        raise ValueError("an absolute path is expected, like /usr/bin/ffmpeg")
    return value


def _database(value: str) -> str:
    parts = parts_of_database(value)
    is_postgresql = parts.scheme in ("postgresql", "postgres") and (parts.netloc or "host=" in parts.query)
    if value != "sqlite" and not is_postgresql:
        raise ValueError("sqlite, or postgresql://<user>@<host>/<database> is expected")
    given = [port for name, ports in parse_qsl(parts.query) if name == "port" for port in ports.split(",")]
    hosts = [*parts.netloc.rpartition("@")[2].split(","), *(f":{port}" for port in given)]
    if is_postgresql and not all(map(_has_sound_port, hosts)):
        raise ValueError(
            "a port is a number from 1 to 65535, like postgresql://<user>@<host>:5432/<database>"
        )
    return value


def _has_sound_port(host: str) -> bool:
    """Whether the port of `host`, if given, can exist; some connections to another one are tried for ever."""
    found = re.fullmatch(r"(\[[^]]*]|[^:]*)(:(?P<port>.*))?", host)
    port = (found["port"] or "5432") if found else ""
    return bool(re.fullmatch(r"[0-9]{1,5}", port)) and 0 < int(port) < 1 << 16


def _roles(value: tuple[Role, ...]) -> tuple[Role, ...]:
    if not value or len(set(value)) != len(value):
        raise ValueError('["web", "worker"], or one of them is expected')
    return value


def _time_zone(value: str) -> str:
    """A time zone that this machine or the package tzdata knows."""
    try:
        ZoneInfo(value)
    except (ValueError, OSError, KeyError):  # not a valid file name, the name of a folder, an unknown name
        raise ValueError(f"there is no time zone {value!r}; one like Europe/Berlin is expected") from None
    return value


def _minute(value: object) -> object:
    """The minute of the day: `"08:30"` is 510."""
    match = re.fullmatch(r"([0-9]{2}):([0-5][0-9])", value) if isinstance(value, str) else None
    minute = int(match[1]) * 60 + int(match[2]) if match else OF_A_DAY + 1
    if minute > OF_A_DAY:
        raise ValueError("a time of the day like 08:30 is expected")
    return minute


OF_A_DAY = 24 * 60  # minutes
Minute = Annotated[int, BeforeValidator(_minute)]
Size = Annotated[int, BeforeValidator(_size), Field(ge=0, le=1 << 62)]
CookiesName = Annotated[str, Field(pattern=f"^{COOKIES_NAME}$")]
ExtractorArguments = Annotated[
    dict[Annotated[str, AfterValidator(_argument)], Annotated[tuple[str, ...], BeforeValidator(_texts)]],
    BeforeValidator(_arguments),
]
PrivateHosts = tuple[Annotated[str, AfterValidator(_private_host)], ...]


Folder = Annotated[Path, BeforeValidator(_path)]


class Section(Frozen):
    """A section of settings. TOML has numbers of its own, and true is none of them."""

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_number(cls, value: object, field: ValidationInfo) -> object:
        if isinstance(value, bool) and cls.model_fields[field.field_name or ""].annotation is not bool:
            raise ValueError("another value than true or false is expected")
        return value


class ServerSettings(Section):
    host: str = Field(default="127.0.0.1", min_length=1, description="address to listen on")
    port: int = Field(default=8080, ge=0, le=65535)
    base_path: Annotated[str, AfterValidator(_base_path)] = Field(
        default="", description="prefix behind a reverse proxy"
    )
    language: Annotated[str, AfterValidator(_language)] = Field(
        default="zh", description="of texts, when a reader asks for none"
    )
    tokens: tuple[Annotated[SecretStr, Field(min_length=1), AfterValidator(_token)], ...] = Field(
        default=(), description="environment only; empty: no authentication"
    )
    allowed_origins: tuple[Annotated[str, AfterValidator(_origin)], ...] = Field(
        default=(), description="origins of other pages that may use the API"
    )
    allowed_hosts: tuple[Annotated[str, AfterValidator(_host_name)], ...] = Field(
        default=(), description="Host names that are ours"
    )
    trusted_proxies: tuple[Annotated[str, AfterValidator(_network)], ...] = Field(
        default=(), description="addresses or networks whose X-Forwarded-* are believed"
    )
    roles: Annotated[tuple[Role, ...], AfterValidator(_roles)] = Field(
        default=("web", "worker"),
        description="answers clients, runs downloads; one alone with PostgreSQL only",
    )


class StorageSettings(Section):
    data_dir: Folder = Field(default=Path("data"), description="database, partial and finished files")
    database: Annotated[str, AfterValidator(_database)] = Field(
        default="sqlite",
        repr=False,
        description="a file in data_dir, or postgresql://<user>@<host>/<database>",
    )
    files: Annotated[str, AfterValidator(_files)] = Field(
        default="local", description='finished files: in data_dir, or in "s3://bucket/prefix"'
    )
    s3_endpoint: Annotated[str, AfterValidator(_endpoint)] | None = Field(
        default=None, description="of an S3 server that is not Amazon's"
    )
    redirect_downloads: bool = Field(
        default=False, description="whole files come from the S3 server itself, by a link for five minutes"
    )


class RateWindow(Section):
    """Each day from `begin` until just before `end`, in minutes of local time; may span midnight."""

    begin: Minute = Field(alias="from", lt=OF_A_DAY)
    end: Minute = Field(alias="to")
    rate: Size = Field(description="bytes a second, all downloads together; 0: they wait")

    @field_validator("end")
    @classmethod
    def _is_another(cls, end: int, window: ValidationInfo) -> int:
        if end == window.data.get("begin"):
            raise ValueError("another time than `from` is expected; 24:00 ends a whole day")
        return end

    def has(self, minute: int) -> bool:
        """Whether `minute`, counted from midnight, is in the window."""
        if self.begin < self.end:
            return self.begin <= minute < self.end
        return minute >= self.begin or minute < self.end


def _apart(windows: tuple[RateWindow, ...]) -> tuple[RateWindow, ...]:
    for number, window in enumerate(windows):
        if any(other.has(window.begin) or window.has(other.begin) for other in windows[:number]):
            raise ValueError(f"window {number + 1} overlaps an earlier one")
    return windows


class DownloadSettings(Section):
    max_concurrent: int = Field(default=4, ge=1, le=1000)
    max_per_host: int = Field(default=0, ge=0, le=1_000_000, description="0: no limit")
    pause_between: float = Field(
        default=0,
        ge=0,
        le=86_400,
        description="seconds, and at random up to twice as many, between two downloads from one host that "
        "subscriptions begin",
    )
    max_queued: int = Field(default=10_000, ge=1, le=1_000_000_000)
    max_playlist: int = Field(default=5000, ge=1, le=100_000, description="entries of one list")
    max_filesize: Size | None = Field(
        default=None, gt=0, description="bytes of all streams of a task together"
    )
    min_free_disk: Size = Field(default=1 << 30, description="bytes")
    retention_hours: float | None = Field(
        default=None, gt=0, le=1_000_000, description="hours after the end; fractions too"
    )
    stall_timeout: float = Field(default=60, gt=0, le=86_400, description="seconds without any event")
    retries: int = Field(default=2, ge=0, le=100, description="new attempts after a passing fault")
    patience: float = Field(
        default=600, ge=0, le=1_000_000, description="seconds that a begun download waits for its source"
    )
    rate_limit: Size | None = Field(default=None, gt=0, description="bytes a second, all downloads together")
    rate_windows: Annotated[tuple[RateWindow, ...], AfterValidator(_apart)] = Field(
        default=(), description="hours with another rate"
    )
    time_zone: Annotated[str, AfterValidator(_time_zone)] = Field(
        default="UTC", description="whose clock rate_windows go by"
    )
    drain: float = Field(
        default=0, ge=0, le=86_400, description="seconds that a stopping server gives to what runs"
    )
    sleep_after: float = Field(
        default=600,
        ge=0,
        le=1_000_000,
        description="seconds without work until the fork server ends; 0: never",
    )
    proxy: Annotated[str, AfterValidator(_proxy)] | None = Field(default=None, repr=False)
    cookies: dict[Annotated[str, AfterValidator(_host_name)], CookiesName] = Field(
        default_factory=dict, description="host -> name of a stored cookie file that is used unasked"
    )
    extractor_args: dict[Annotated[str, AfterValidator(_extractor)], ExtractorArguments] = Field(
        default_factory=dict, repr=False, description="extractor -> arguments of yt-dlp for it"
    )
    pot_provider: Annotated[str, AfterValidator(_pot_provider)] | None = Field(
        default=None, description="who makes PO tokens for YouTube, like bgutil:http://127.0.0.1:4416"
    )
    plugins: Folder | None = Field(
        default=None, description="a folder with plugins for yt-dlp, for children only"
    )
    ffmpeg: Annotated[Path | None, BeforeValidator(_program)] = Field(
        default=None,
        description="makes the files; empty: the package's own, or the system's",
    )
    sponsorblock_api: Annotated[str, AfterValidator(_sponsorblock)] = Field(
        default="https://sponsor.ajay.app", description="who knows what the field sponsorblock cuts out"
    )
    allowed_private_hosts: PrivateHosts = ()


class WorkerSettings(Section):
    """With PostgreSQL: how workers watch each other."""

    heartbeat: float = Field(default=5, ge=0.1, le=3600, description="seconds")
    lost_after: float = Field(
        default=30, ge=0.5, le=86_400, description="seconds without a heartbeat; then others take over"
    )


class LimitSettings(Section):
    requests_per_minute: int = Field(default=0, ge=0, description="for each client address; 0: off")
    sockets_per_client: int = Field(default=10_000, ge=0, description="for each client address; 0: off")


class WebhookSettings(Section):
    secret: Annotated[SecretStr, AfterValidator(_webhook_secret)] | None = Field(
        default=None, description="environment only; signs what is sent, like whsec_<base64>"
    )
    default: Annotated[str, AfterValidator(_webhook)] | None = Field(
        default=None, repr=False, description="an address that is told the end of every task"
    )
    allowed_private_hosts: PrivateHosts = ()


def name_of_address(url: str) -> str:
    """What stands for an address of `notify.urls` where its secrets may not."""
    return sha256(url.encode()).hexdigest()[:16]


class NotifySettings(Section):
    urls: tuple[Annotated[SecretStr, Field(min_length=1), AfterValidator(_apprise_url)], ...] = Field(
        default=(), description="environment only; whom apprise tells the end of every task"
    )

    @property
    def names(self) -> list[str]:
        """A name for each address, which tells nothing of it."""
        return list(dict.fromkeys(name_of_address(url.get_secret_value()) for url in self.urls))


def _time(least: int, most: int) -> BeforeValidator:
    """Seconds of `"1h"`. A number is refused: nobody would know of what."""

    def read(value: object) -> int:
        seconds = seconds_of(value)
        if not least <= seconds <= most:
            raise ValueError(f"a time from {duration_of(least)} to {duration_of(most)} is expected")
        return seconds

    return BeforeValidator(read)


Interval = Annotated[int, _time(1, LONGEST_INTERVAL)]


class SubscriptionsSettings(Section):
    interval: Interval = Field(
        default=3600, description="between two checks, where a subscription says nothing"
    )
    min_interval: Interval = Field(default=300, description="the shortest that a subscription may have")
    pause: Annotated[int, _time(0, 3600)] = Field(default=5, description="between two checks at one host")
    max: int = Field(default=1000, ge=1, le=100_000, description="subscriptions")
    max_new: int = Field(default=10, ge=1, le=500, description="tasks that one check makes")
    max_concurrent: int = Field(default=2, ge=1, le=100, description="checks at the same time")
    profiles: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="settings by name that subscriptions share"
    )
    default_profile: str | None = Field(
        default=None, description="the profile of new subscriptions that name none"
    )


def _public_url(value: str) -> str:
    parts = _parts(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise ValueError("an http(s):// URL is expected, without a password")
    if parts.query or parts.fragment or not re.fullmatch(r"[!-~]+", value):
        raise ValueError(
            "a URL of ASCII, without ? and #, is expected, like https://pods.example.org/clipwire"
        )
    return value.rstrip("/")


class FeedsSettings(Section):
    public_url: Annotated[str, AfterValidator(_public_url)] | None = Field(
        default=None,
        description="how podcast apps reach this server, with its prefix; none: as a client does",
    )
    max_items: int = Field(default=300, ge=1, le=1000, description="episodes of one feed, the newest")


def _mode(value: object) -> object:
    """The permissions that `"0644"` stands for. A number is refused: TOML reads 644 as a decimal one."""
    if not isinstance(value, str) or not re.fullmatch("0?[0-7]{3,4}", value):
        raise ValueError('permissions in octal digits are expected, in quotes, like "0644"')
    return int(value, 8)


def _of_file(mode: int) -> int:
    if not mode & 0o400:
        raise ValueError("the owner must be able to read, as with 0644")
    return mode


def _of_folder(mode: int) -> int:
    if mode & 0o700 != 0o700:
        raise ValueError("the owner must be able to read, write and enter, as with 0755")
    return mode


Mode = Annotated[int, BeforeValidator(_mode)]


class LibrarySettings(Section):
    path: Folder | None = Field(
        default=None, description="the folder that is filled; none: there is no library"
    )
    method: Literal["auto", "clone", "hardlink", "copy"] = Field(
        default="auto", description="auto: clone, else hard link, else copy; the others: else copy"
    )
    file_mode: Annotated[Mode, AfterValidator(_of_file)] = Field(
        default=0o644, description="permissions of files"
    )
    folder_mode: Annotated[Mode, AfterValidator(_of_folder)] = Field(
        default=0o755, description="permissions of folders"
    )
    time_zone: Annotated[str, AfterValidator(_time_zone)] | None = Field(
        default=None, description="of days in names and NFO files; none: the system's"
    )


def _header(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]+", value):
        raise ValueError(f"{value!r} is not the name of a header, like Remote-User")
    return value


def _issuer(value: str) -> str:
    """As OpenID Connect Discovery has it: no query, no fragment, and no password of ours."""
    parts = _parts(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("a URL like https://login.example.org is expected")
    if parts.username or parts.password:
        raise ValueError("a URL without a password is expected")
    if parts.scheme == "http" and not _is_here(parts.hostname):
        raise ValueError("https is expected: whoever listens on the way could log in as anybody")
    return value


def _is_here(host: str) -> bool:
    """Whether `host` is this machine, so that nothing travels over a network."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class OidcSettings(Section):
    issuer: Annotated[str, AfterValidator(_issuer)] | None = Field(
        default=None, description="the OpenID provider; none: nobody logs in there"
    )
    client_id: str | None = Field(default=None, description="of this server at the provider")
    client_secret: SecretStr | None = Field(default=None, description="environment only")
    admin_group: str | None = Field(
        default=None, description="who is in this group is an admin, others are users; none: roles stay"
    )


class AccessSettings(Section):
    separate_lists: bool = Field(default=False, description="each person sees what is theirs; admins see all")
    user_header: Annotated[str, AfterValidator(_header)] | None = Field(
        default=None, description="in which a trusted proxy names the person who has logged in there"
    )
    create_people: bool = Field(
        default=False, description="names that are new at the proxy or at the provider become people"
    )
    oidc: OidcSettings = Field(default_factory=OidcSettings)
    max_running: int | None = Field(default=None, ge=1, le=1000, description="tasks of a person at once")
    max_waiting: int | None = Field(
        default=None, ge=1, le=1_000_000_000, description="tasks of a person in the queue"
    )
    max_bytes_per_day: Size | None = Field(default=None, gt=0, description="that a person downloads")
    max_stored_bytes: Size | None = Field(default=None, gt=0, description="of a person's finished files")
    retention_hours: float | None = Field(
        default=None, gt=0, le=1_000_000, description="hours after the end of a person's tasks"
    )


class MetricsSettings(Section):
    public: bool = Field(default=False, description="GET /metrics needs no token")


class UpdateSettings(Section):
    yt_dlp: Literal["off", "daily"] = Field(
        default="off", description="daily: newer releases are brought from pip's index, tried and used"
    )


class LoggingSettings(Section):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Settings(Frozen):
    server: ServerSettings = Field(default_factory=ServerSettings)
    storage: StorageSettings = Field(default_factory=StorageSettings)
    downloads: DownloadSettings = Field(default_factory=DownloadSettings)
    workers: WorkerSettings = Field(default_factory=WorkerSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    presets: dict[str, dict[str, Any]] = Field(default_factory=dict)
    webhooks: WebhookSettings = Field(default_factory=WebhookSettings)
    notify: NotifySettings = Field(default_factory=NotifySettings)
    subscriptions: SubscriptionsSettings = Field(default_factory=SubscriptionsSettings)
    feeds: FeedsSettings = Field(default_factory=FeedsSettings)
    library: LibrarySettings = Field(default_factory=LibrarySettings)
    access: AccessSettings = Field(default_factory=AccessSettings)
    metrics: MetricsSettings = Field(default_factory=MetricsSettings)
    updates: UpdateSettings = Field(default_factory=UpdateSettings)
    logging: LoggingSettings = Field(default_factory=LoggingSettings)


FILE = Path("config.toml")


def load(default: Path = FILE) -> Settings:
    """Read file and environment. Raises `ConfigurationError` for the first invalid setting.

    `default` is the file that is read unless `CLIPWIRE_CONFIG` names one.
    """
    _, content = read_file(default)
    if "PORT" in os.environ:
        _refuse_empty("server.port", os.environ["PORT"], "PORT is set, but empty")
        content.setdefault("server", {})["port"] = os.environ["PORT"]
    # With each section given, only the model of all is built: 0.01 s less than one model for each as well.
    sections: dict[str, Any] = {name: {} for name in Settings.model_fields}
    try:
        settings = Settings.model_validate(_merged(_merged(sections, content), _read_environment()))
    except ValidationError as exc:
        raise ConfigurationError(first_problem(exc)) from None
    for name, preset in settings.presets.items():
        _check_preset(name, preset)
    _check_together(settings)
    return settings


def read_file(default: Path = FILE) -> tuple[Path, dict[str, Any]]:
    """The file's path, and what it sets: nothing, if there is none. Raises `ConfigurationError`."""
    name = os.environ.get("CLIPWIRE_CONFIG", str(default))
    if not name.strip():
        raise ConfigurationError("CLIPWIRE_CONFIG: the name of a file is expected; it is empty")
    path = Path(name)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # editors of Windows begin with a BOM
    except FileNotFoundError:
        if "CLIPWIRE_CONFIG" in os.environ:
            raise ConfigurationError(f"{path}: there is no such file (CLIPWIRE_CONFIG names it)") from None
        return path, {}
    except OSError as exc:
        raise ConfigurationError(f"{path}: {exc.strerror}") from None
    except UnicodeDecodeError as exc:
        raise ConfigurationError(f"{path}: not UTF-8: {exc.reason} at byte {exc.start}") from None
    except RecursionError:
        raise ConfigurationError(f"{path}: not valid TOML: nested too deeply") from None
    except ValueError as exc:  # of `tomllib`, and of an integer with thousands of digits
        raise ConfigurationError(f"{path}: not valid TOML: {exc}") from None
    for section, values in content.items():
        if not isinstance(values, dict):
            raise ConfigurationError(f"{path}: {section}: a section like [{section}] is expected")
        _refuse_empty(section, values, "it is empty")
    # Secrets are refused in the file: unlike the environment, files are copied, committed and shown.
    where = None
    if "tokens" in content.get("server", {}):
        where = "server.tokens"
    elif "@" in str(content.get("downloads", {}).get("proxy", "")):
        where = "downloads.proxy"
    elif "client_secret" in _table(content.get("access", {}), "oidc"):
        where = "access.oidc.client_secret"
    elif "secret" in content.get("webhooks", {}):
        where = "webhooks.secret"
    elif "urls" in content.get("notify", {}):
        where = "notify.urls"
    elif _has_password(str(content.get("webhooks", {}).get("default", ""))):
        where = "webhooks.default"
    elif _has_password(str(content.get("storage", {}).get("database", ""))):
        where = "storage.database"
    if where:
        variable = "CLIPWIRE_" + where.upper().replace(".", "__")
        raise ConfigurationError(
            f"{path}: {where}: a secret does not belong in a file; set {variable} instead"
        )
    return path, content


def _table(section: dict[str, Any], name: str) -> dict[str, Any]:
    """A table in a section; an empty one if it is no table, which the model refuses."""
    table = section.get(name)
    return table if isinstance(table, dict) else {}


def _has_password(url: str) -> bool:
    parts = parts_of_database(url)
    return ":" in parts.netloc.rpartition("@")[0] or "password=" in parts.query


def _refuse_empty(key: str, value: object, problem: str) -> None:
    """Refuse an empty text, also within lists and tables: mostly it is a variable that somebody has not set,
    and it would often be understood. An empty host is all addresses, an empty path the working directory.
    Refuse NUL as well, which no name of a file or a host can hold.
    """
    if isinstance(value, dict):
        for name, inner in value.items():
            _refuse_empty(f"{key}.{name}", inner, problem)
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            _refuse_empty(f"{key}.{place}", inner, problem)
    elif isinstance(value, str) and not value.strip() and key != "server.base_path":
        raise ConfigurationError(f"{_printable(key)}: {problem}; leave it out for the default")
    elif isinstance(value, str) and "\0" in value:
        raise ConfigurationError(f"{_printable(key)}: a text without NUL is expected")


# These variables set no setting: `CLIPWIRE_TOKEN` is for commands that talk to a server.
NO_SETTINGS = ("CLIPWIRE_CONFIG", "CLIPWIRE_TOKEN")
# Variables that container platforms such as Kubernetes set for a service called clipwire.
_OF_PLATFORMS = re.compile(r"CLIPWIRE(_\w+)?_(SERVICE_(HOST|PORT)\w*|PORT(_\w+)?)|CLIPWIRE_PORT")


_EXAMPLES: dict[object, str] = {
    tuple: 'list is expected, such as ["a", "b"]',
    dict: 'object is expected, such as {"a": "b"}',
    OidcSettings: 'object is expected, such as {"issuer": "https://id.example.org", "client_id": "clipwire"}',
}


def _read_environment() -> dict[str, Any]:
    """Return what environment variables set, by section and key.

    Raises `ConfigurationError` for unknown names, which are typos, and for lists that are not JSON.
    """
    settings: dict[str, Any] = {}
    for name, value in sorted(os.environ.items()):
        if not name.upper().startswith("CLIPWIRE_") or name in NO_SETTINGS:
            continue
        section, delimiter, key = name.lower().removeprefix("clipwire_").partition("__")
        if delimiter and section in Settings.model_fields:
            said = f"{section}.{key.replace('__', '.')}"
            _refuse_empty(said, value, f"{name} is set, but empty")
            field, given = _keys(section).get(key), cast("Any", value)
            example = _EXAMPLES.get(get_origin(field.annotation) or field.annotation) if field else None
            outer = _keys(section).get(key.partition("__")[0])
            if field is None and outer is not None and not _is_table(outer):
                raise ConfigurationError(f"{_printable(said)}: there is no such setting")
            if example:
                try:
                    given = json.loads(value)
                except (ValueError, RecursionError):
                    raise ConfigurationError(f"{section}.{key}: a JSON {example}") from None
                _refuse_empty(said, given, f"a value of {name} is empty")
            elif field is None and value.lstrip()[0] in "[{":  # a part of a table, or a preset
                with suppress(ValueError, RecursionError):
                    given = json.loads(value)
            for part in reversed((section, *key.split("__"))):
                given = {part: given}
            settings = _merged(settings, given)
            continue
        # A name with one underscore, like `CLIPWIRE_SERVER_PORT`; but a platform's has a URL as its value.
        part, _, rest = name.lower().removeprefix("clipwire_").partition("_")
        is_a_slip = rest in _keys(part) and "://" not in value
        if delimiter or not _OF_PLATFORMS.fullmatch(name) or is_a_slip:
            raise ConfigurationError(f"{name}: there is no such setting; they read CLIPWIRE_<SECTION>__<KEY>")
    return settings


def _is_table(field: FieldInfo) -> bool:
    return field.annotation is OidcSettings or get_origin(field.annotation) is dict


def _merged(settings: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    """Return both, with tables merged; a value in `others` takes precedence."""
    merged = dict(settings)
    for name, value in others.items():
        known = merged.get(name)
        if isinstance(known, dict) and isinstance(value, dict):
            value = _merged(known, value)
        merged[name] = value
    return merged


def _keys(section: str) -> dict[str, FieldInfo]:
    field = Settings.model_fields.get(section)
    model = field.annotation if field else None
    return model.model_fields if isinstance(model, type) and issubclass(model, Frozen) else {}


# What is expected instead, by pydantic's type of the error.
_WHOLE_NUMBER, _NUMBER, _TRUTH = "a whole number", "a number", "true or false"
_TABLE = "a table (in the environment a JSON object)"
_EXPECTED = {
    "bool_parsing": _TRUTH,
    "bool_type": _TRUTH,
    "dict_type": _TABLE,
    "finite_number": _NUMBER,
    "float_parsing": _NUMBER,
    "float_type": _NUMBER,
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "int_from_float": _WHOLE_NUMBER,
    "int_parsing": _WHOLE_NUMBER,
    "int_parsing_size": _WHOLE_NUMBER,
    "int_type": _WHOLE_NUMBER,
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "literal_error": "{expected}",
    "model_type": _TABLE,
    "path_type": "a path",
    "string_pattern_mismatch": "a name of 1 to 64 letters, digits, _ and -",
    "string_type": "a text",
    "tuple_type": 'a list (such as ["a", "b"])',
}


def first_problem(error: ValidationError) -> str:
    """Return the first error, with the key's name but not its value, which may be a secret."""
    problem = error.errors(include_url=False, include_input=False)[0]
    key = _printable(".".join(str(part) for part in problem["loc"] if part != "[key]"))
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        return f"{key}: there is no such setting"
    if kind == "value_error":
        return f"{key}: {problem['msg'].removeprefix('Value error, ')}"
    if kind in _EXPECTED:
        words = {name: _in_words(value) for name, value in context.items()}
        return f"{key}: {_EXPECTED[kind].format_map(words)} is expected"
    return f"{key}: {LANGUAGES['en'].field(kind, context)}"


def _in_words(value: object) -> object:
    """A bound without `.0`, and the words of a choice as they are written in the file."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value.replace("'", '"') if isinstance(value, str) else value


def _printable(key: str) -> str:
    """`key` on one line: a key in quotes may hold anything."""
    return key if key.isprintable() else ascii(key)[1:-1]


def _check_together(settings: Settings) -> None:
    """Check what no single setting can tell."""
    if settings.webhooks.secret is None:  # unsigned webhooks are never sent
        needs = [
            f"presets.{name}.webhook" for name, preset in settings.presets.items() if "webhook" in preset
        ]
        for key in ("webhooks.default",) if settings.webhooks.default else needs:
            raise ConfigurationError(f"{key}: webhooks.secret is not set: set CLIPWIRE_WEBHOOKS__SECRET")
    access, oidc = settings.access, settings.access.oidc
    if access.user_header and not settings.server.trusted_proxies:
        raise ConfigurationError(
            "access.user_header: anybody could send it; name the proxy in server.trusted_proxies"
        )
    if oidc.issuer and not oidc.client_id:
        raise ConfigurationError("access.oidc.client_id: the provider in access.oidc.issuer knows us by it")
    if not oidc.issuer and oidc.client_id:
        raise ConfigurationError("access.oidc.issuer: the address of the provider is expected")
    # apprise is an extra; without being imported, it is only looked for here.
    if settings.notify.urls and find_spec("apprise") is None:
        raise ConfigurationError(
            f"notify.urls: the extra clipwire[notify] is missing: {sys.executable} -m pip install apprise"
        )
    if settings.storage.database == "sqlite" and len(settings.server.roles) == 1:
        raise ConfigurationError(
            'server.roles: with sqlite there is one server, which has both: ["web", "worker"]'
        )
    if settings.workers.lost_after < 2 * settings.workers.heartbeat:
        raise ConfigurationError(
            "workers.lost_after: at least twice workers.heartbeat is expected, or the living are missed"
        )
    if settings.subscriptions.interval < (least := settings.subscriptions.min_interval):
        raise ConfigurationError(
            f"subscriptions.interval: at least {duration_of(least)} is expected: subscriptions.min_interval"
        )
    if settings.downloads.plugins:  # children may read all of it
        folder, data = settings.downloads.plugins.resolve(), settings.storage.data_dir.resolve()
        if data.is_relative_to(folder):
            raise ConfigurationError("downloads.plugins: storage.data_dir must not lie in this folder")
    for name, preset in settings.presets.items():
        if "library" in preset and settings.library.path is None:
            raise ConfigurationError(f"presets.{_printable(name)}.library: library.path is not set")
    if library := settings.library.path:
        # Nobody else can enter the data directory; around it media servers would find partial files.
        data_dir, folder = settings.storage.data_dir.resolve(), library.resolve()
        if folder.is_relative_to(data_dir) or data_dir.is_relative_to(folder):
            raise ConfigurationError(
                "library.path: another folder is expected, neither within storage.data_dir nor around it"
            )
    # The plugin of a PO token provider is not installed with Clipwire; only workers need it.
    provider = settings.downloads.pot_provider
    if provider and "worker" in settings.server.roles:
        package = POT_PLUGINS[provider.partition(":")[0]]
        try:
            distribution(package)
        except PackageNotFoundError:
            raise ConfigurationError(
                f"downloads.pot_provider: its plugin is missing: {sys.executable} -m pip install {package}"
            ) from None


def _check_preset(name: str, preset: dict[str, Any]) -> None:
    key = f"presets.{_printable(name)}"
    try:
        ProcessRequest.model_validate({"url": "https://preset.invalid/", "preset": name}, context=OF_A_CLIENT)
    except ValidationError:
        raise ConfigurationError(f"{key}: no request can name it; 1 to 64 characters are expected") from None
    try:
        ProcessRequest.model_validate({"url": "https://preset.invalid/", **preset}, context=OF_A_CLIENT)
    except ValidationError as exc:
        problem, wrong = first_problem(exc), exc.errors(include_url=False)[0]
        if wrong["type"] in ("bool_type", "int_type") and isinstance(wrong["input"], str):
            # A variable that sets one field of a preset is a text.
            problem += f", not a text; CLIPWIRE_PRESETS__{_printable(name).upper()} takes a JSON object"
        raise ConfigurationError(f"{key}.{problem}") from None
    if refused := preset.keys() & {"url", "preset"}:
        raise ConfigurationError(f"{key}.{refused.pop()}: not something a preset can set")
