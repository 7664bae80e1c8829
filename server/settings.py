"""Settings: `config.toml` (or the file that `CLIPWIRE_CONFIG` names), and over it the environment.

`CLIPWIRE_<SECTION>__<KEY>` sets one key, lists as JSON; `PORT` is honoured as Procfile hosts set it.
Secrets come from the environment only. `load()` is the only reader; everything else gets values.
"""

import ipaddress
import json
import os
import re
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from server.locales import LANGUAGES
from server.models import Frozen, ProcessRequest

_UNITS = {"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}


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
    """An address, a network or host:port; see `server.child.network.guard`."""
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


def _proxy(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https", "socks4", "socks4a", "socks5", "socks5h") or not parts.hostname:
        raise ValueError("an http(s):// or socks URL is expected")
    return value


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
    return value.lower()


def _host_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", value):
        raise ValueError(f"{value!r} is not a host name like clips.example.org")
    return value.lower()


def _language(value: str) -> str:
    if value not in LANGUAGES:
        raise ValueError(f"one of {', '.join(sorted(LANGUAGES))} is expected")
    return value


Size = Annotated[int, BeforeValidator(_size), Field(ge=0, le=1 << 62)]
PrivateHosts = tuple[Annotated[str, AfterValidator(_private_host)], ...]


class ServerSettings(Frozen):
    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8080, ge=0, le=65535)
    base_path: Annotated[str, AfterValidator(_base_path)] = Field(
        default="", description="prefix behind a reverse proxy"
    )
    language: Annotated[str, AfterValidator(_language)] = Field(
        default="zh", description="of texts, when a reader asks for none"
    )
    tokens: tuple[Annotated[SecretStr, Field(min_length=1)], ...] = Field(
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


class StorageSettings(Frozen):
    data_dir: Path = Field(default=Path("data"), description="database, partial and finished files")
    database: Literal["sqlite"] = "sqlite"
    files: Literal["local"] = "local"


class DownloadSettings(Frozen):
    max_concurrent: int = Field(default=4, ge=1, le=1000)
    max_per_host: int = Field(default=0, ge=0, description="0: no limit")
    max_queued: int = Field(default=10_000, ge=1)
    max_filesize: Size | None = Field(default=None, description="bytes of all streams of a task together")
    min_free_disk: Size = Field(default=1 << 30, description="bytes")
    retention_hours: float | None = Field(
        default=None, gt=0, le=1_000_000, description="hours after the end; fractions too"
    )
    stall_timeout: float = Field(default=60, gt=0, le=86_400, description="seconds without any event")
    retries: int = Field(default=2, ge=0, le=100, description="new attempts after a passing fault")
    rate_limit: Size | None = Field(default=None, gt=0, description="bytes a second, all downloads together")
    proxy: Annotated[str, AfterValidator(_proxy)] | None = Field(default=None, repr=False)
    allowed_private_hosts: PrivateHosts = ()


class LimitSettings(Frozen):
    requests_per_minute: int = Field(default=0, ge=0, description="for each client address; 0: off")
    sockets_per_client: int = Field(default=10_000, ge=0, description="for each client address; 0: off")


class LoggingSettings(Frozen):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_prefix="CLIPWIRE_", env_nested_delimiter="__", frozen=True, extra="forbid"
    )

    server: ServerSettings = ServerSettings()
    storage: StorageSettings = StorageSettings()
    downloads: DownloadSettings = DownloadSettings()
    limits: LimitSettings = LimitSettings()
    presets: dict[str, dict[str, Any]] = {}
    logging: LoggingSettings = LoggingSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment outranks the file, whose content comes as keyword arguments."""
        return env_settings, init_settings


def load() -> Settings:
    """Read file and environment; raises `ConfigurationError` on the first thing that is wrong."""
    path = Path(os.environ.get("CLIPWIRE_CONFIG", "config.toml"))
    content = _read(path)
    _check_environment()
    if "PORT" in os.environ:
        content.setdefault("server", {})["port"] = os.environ["PORT"]
    try:
        settings = Settings(**content)
    except ValidationError as exc:
        raise ConfigurationError(_first_problem(exc)) from None
    except SettingsError as exc:
        raise ConfigurationError(f"environment: {exc}") from None
    for name, preset in settings.presets.items():
        _check_preset(name, preset)
    return settings


def _read(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if "CLIPWIRE_CONFIG" in os.environ:
            raise ConfigurationError(f"{path}: there is no such file (CLIPWIRE_CONFIG names it)") from None
        return {}
    except OSError as exc:
        raise ConfigurationError(f"{path}: {exc.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"{path}: not valid TOML: {exc}") from None
    for section, values in content.items():
        if not isinstance(values, dict):
            raise ConfigurationError(f"{path}: {section}: a section like [{section}] is expected")
    _refuse_secrets(path, content)
    return content


def _refuse_secrets(path: Path, content: dict[str, Any]) -> None:
    """A file is copied, committed and shown around; the environment less so."""
    where = None
    if "tokens" in content.get("server", {}):
        where = "server.tokens"
    elif "@" in str(content.get("downloads", {}).get("proxy", "")):
        where = "downloads.proxy"
    if where:
        variable = "CLIPWIRE_" + where.upper().replace(".", "__")
        raise ConfigurationError(
            f"{path}: {where}: a secret does not belong in a file; set {variable} instead"
        )


# What container platforms add for a service that is called clipwire.
_OF_PLATFORMS = re.compile(r"CLIPWIRE(_\w+)?_(SERVICE_(HOST|PORT)\w*|PORT(_\w+)?)|CLIPWIRE_PORT")


def _check_environment() -> None:
    """Names that mean nothing are slips; lists have to be JSON, which pydantic would not say by key."""
    for name, value in os.environ.items():
        if not name.startswith("CLIPWIRE_") or name == "CLIPWIRE_CONFIG":
            continue
        section, delimiter, key = name.removeprefix("CLIPWIRE_").lower().partition("__")
        if delimiter and section in Settings.model_fields:
            _check_list(section, key, value)
        elif delimiter or not _OF_PLATFORMS.fullmatch(name) or _is_a_slip(name):
            raise ConfigurationError(f"{name}: there is no such setting; they read CLIPWIRE_<SECTION>__<KEY>")


def _is_a_slip(name: str) -> bool:
    """`CLIPWIRE_SERVER_PORT`, with one underscore; but a platform's has a URL as its value."""
    section, _, key = name.removeprefix("CLIPWIRE_").lower().partition("_")
    return key in _keys(section) and "://" not in os.environ[name]


def _check_list(section: str, key: str, value: str) -> None:
    field = _keys(section).get(key)
    if field is not None and get_origin(field.annotation) is tuple:
        try:
            json.loads(value)
        except ValueError:
            raise ConfigurationError(
                f'{section}.{key}: a JSON list is expected, such as ["a", "b"]'
            ) from None


def _keys(section: str) -> dict[str, FieldInfo]:
    field = Settings.model_fields.get(section)
    model = field.annotation if field else None
    return model.model_fields if isinstance(model, type) and issubclass(model, Frozen) else {}


def _first_problem(error: ValidationError) -> str:
    """Name the key, never its value: it may be a secret."""
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"{key}: there is no such setting"
    return f"{key}: {problem['msg'].removeprefix('Value error, ')}"


def _check_preset(name: str, preset: dict[str, Any]) -> None:
    try:
        ProcessRequest.model_validate({"url": "https://preset.invalid/", **preset})
    except ValidationError as exc:
        raise ConfigurationError(f"presets.{name}.{_first_problem(exc)}") from None
    if refused := preset.keys() & {"url", "preset"}:
        raise ConfigurationError(f"presets.{name}.{refused.pop()}: not something a preset can set")
