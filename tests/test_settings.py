import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.models import Frozen
from server.settings import ConfigurationError, Settings, load

GIB = 1 << 30


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("CLIPWIRE_") or name == "PORT":
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def configured(text: str) -> Settings:
    Path("config.toml").write_text(text, encoding="utf-8")
    return load()


def test_the_defaults_are_the_contracts() -> None:
    settings = load()
    assert (settings.server.host, settings.server.port, settings.server.language) == ("127.0.0.1", 8080, "zh")
    assert (settings.server.base_path, settings.server.tokens) == ("", ())
    assert settings.storage.data_dir == Path("data")
    downloads = settings.downloads
    assert (downloads.max_concurrent, downloads.max_per_host, downloads.max_queued) == (4, 0, 10_000)
    assert (downloads.max_filesize, downloads.min_free_disk) == (None, GIB)
    assert downloads.retention_hours is None
    assert (downloads.stall_timeout, downloads.retries, downloads.rate_limit) == (60, 2, None)
    assert (downloads.proxy, downloads.allowed_private_hosts) == (None, ())
    assert settings.limits.requests_per_minute == 0
    assert (settings.logging.level, settings.logging.format) == ("info", "text")


def test_the_file_is_read_and_the_environment_outranks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPWIRE_SERVER__PORT", "9001")
    hosts = ("127.0.0.1", "10.0.0.0/8", "nas.lan:8000")
    monkeypatch.setenv("CLIPWIRE_DOWNLOADS__ALLOWED_PRIVATE_HOSTS", json.dumps(hosts))
    settings = configured('[server]\nport = 9000\nhost = "::1"\n[downloads]\nmin_free_disk = "500 MiB"\n')
    assert (settings.server.port, settings.server.host) == (9001, "::1")
    assert settings.downloads.min_free_disk == 500 << 20
    assert settings.downloads.allowed_private_hosts == hosts


def test_port_is_honoured_as_procfile_hosts_set_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "5000")
    assert configured("[server]\nport = 9000\n").server.port == 5000
    monkeypatch.setenv("CLIPWIRE_SERVER__PORT", "6000")
    assert load().server.port == 6000


def test_another_file_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text('[server]\nlanguage = "en"\n')
    monkeypatch.setenv("CLIPWIRE_CONFIG", str(other))
    assert load().server.language == "en"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[server]\nprot = 1\n", "server.prot"),
        ("[sever]\n", "sever"),
        ("port = 1\n", "port"),
        ("[server]\nport = 70000\n", "server.port"),
        ('[server]\nlanguage = "xx"\n', "server.language"),
        ("[server\n", "config.toml"),
        ('[server]\ntokens = ["s3cret"]\n', "server.tokens"),
        ('[downloads]\nproxy = "http://u:s3cret@p:1"\n', "downloads.proxy"),
        ('[downloads]\nproxy = "ftp://p"\n', "downloads.proxy"),
        ('[downloads]\nmin_free_disk = "1 GiBi"\n', "downloads.min_free_disk"),
        ("[downloads]\nmax_concurrent = 0\n", "downloads.max_concurrent"),
        ('[downloads]\nallowed_private_hosts = ["10.0.0.0/33"]\n', "downloads.allowed_private_hosts"),
        ('[storage]\ndatabase = "mysql"\n', "storage.database"),
        ('[presets.phone]\nquality = "9"\n', "presets.phone.quality"),
        ('[presets.phone]\nurl = "http://a/"\n', "presets.phone.url"),
        ("[presets]\nphone = 1\n", "presets.phone"),
    ],
)
def test_a_wrong_file_gets_one_line_that_names_the_key_or_the_file(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        configured(text)
    line = str(refused.value)
    assert said in line
    assert "\n" not in line
    assert "s3cret" not in line


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("CLIPWIRE_SERVER__PROT", "1", "server.prot"),
        ("CLIPWIRE_SEVER__PORT", "1", "CLIPWIRE_SEVER__PORT"),
        ("CLIPWIRE_SERVER__PORT", "http", "server.port"),
        ("CLIPWIRE_SERVER__TOKENS", "s3cret", "server.tokens"),
        ("CLIPWIRE_SERVER__TOKENS", '[""]', "server.tokens"),
        ("CLIPWIRE_SERVER__TOKENS", '"s3cret"', "server.tokens"),
        ("CLIPWIRE_SERVER__BASE_PATH", "/a/../b", "server.base_path"),
        ("CLIPWIRE_SERVER__ALLOWED_HOSTS", '["http://x"]', "server.allowed_hosts"),
        ("CLIPWIRE_DOWNLOADS__RETENTION_HOURS", "inf", "downloads.retention_hours"),
        ("CLIPWIRE_DOWNLOADS__RETENTION_HOURS", "nan", "downloads.retention_hours"),
        ("CLIPWIRE_SERVER_PORT", "9000", "CLIPWIRE_SERVER_PORT"),
        ("CLIPWIRE_FOO", "1", "CLIPWIRE_FOO"),
        ("CLIPWIRE_CONFIG", "/nowhere.toml", "/nowhere.toml"),
        ("PORT", "http", "server.port"),
    ],
)
def test_a_wrong_environment_gets_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as refused:
        load()
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CLIPWIRE_PORT", "tcp://10.0.0.1:8080"),
        ("CLIPWIRE_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("CLIPWIRE_SERVICE_HOST", "10.0.0.1"),
        ("CLIPWIRE_SERVER_PORT", "tcp://10.0.0.1:8080"),
    ],
)
def test_what_a_container_platform_adds_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert load().server.port == 8080


KEYS = [
    f"CLIPWIRE_{section}__{key}".upper()
    for section, field in Settings.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Frozen)
    for key in field.annotation.model_fields
]


@given(st.sampled_from(KEYS), st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_any_value_is_either_taken_or_refused_in_one_line_without_it(key: str, value: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(key, value)
        said = complaint()
    section, _, name = key.removeprefix("CLIPWIRE_").lower().partition("__")
    assert said is None or f"{section}.{name}" in said
    assert said is None or len(said.splitlines()) == 1


def complaint() -> str | None:
    try:
        load()
    except ConfigurationError as refused:
        return str(refused)
    return None


@given(st.integers(0, 1 << 52), st.sampled_from(["", " ", "  "]))
def test_a_size_is_what_it_says(size: int, space: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLIPWIRE_DOWNLOADS__MIN_FREE_DISK", f"{size}{space}KiB")
        assert load().downloads.min_free_disk == size * 1024


def test_a_token_comes_from_the_environment_and_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPWIRE_SERVER__TOKENS", '["s3cret"]')
    settings = load()
    assert [token.get_secret_value() for token in settings.server.tokens] == ["s3cret"]
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("1", 1), ("2KiB", 2048), ("1.5 MiB", 3 << 19), ("1 GiB", GIB), ("3 gib", 3 * GIB)],
)
def test_sizes_take_units(monkeypatch: pytest.MonkeyPatch, text: str, size: int) -> None:
    monkeypatch.setenv("CLIPWIRE_DOWNLOADS__MIN_FREE_DISK", text)
    assert load().downloads.min_free_disk == size
