import json
import os
import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.values import Frozen
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


def windows(*pairs: tuple[str, str]) -> str:
    """Return a configuration file with these rate windows."""
    listed = [f'{{from = "{begin}", to = "{end}", rate = 1}}' for begin, end in pairs]
    return f"[downloads]\nrate_windows = [{', '.join(listed)}]\n"


def test_windows_may_touch_and_go_over_midnight() -> None:
    settings = configured(windows(("22:00", "08:00"), ("08:00", "12:30"), ("12:30", "22:00")))
    assert [(each.begin, each.end) for each in settings.downloads.rate_windows][:2] == [
        (1320, 480),
        (480, 750),
    ]


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


def test_with_postgresql_a_server_may_have_one_role(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = configured(
        '[storage]\ndatabase = "postgresql://clipwire@db/clipwire"\n[server]\nroles = ["worker"]\n'
    )
    assert (settings.server.roles, settings.workers.heartbeat, settings.workers.lost_after) == (
        ("worker",),
        5,
        30,
    )
    monkeypatch.setenv("CLIPWIRE_STORAGE__DATABASE", "postgresql://clipwire:s3cret@db/clipwire")
    assert "s3cret" not in repr(load())


@pytest.mark.parametrize("hosts", ["u@db:5433", "u@one,two", "u@one:5432,[::1]:5433", "[::1]", "u@", "db:"])
def test_postgresql_may_be_on_several_hosts(hosts: str) -> None:
    url = f"postgresql://{hosts}/clipwire?target_session_attrs=read-write"
    assert configured(f'[storage]\ndatabase = "{url}"\n').storage.database == url


def test_the_file_is_read_and_the_environment_outranks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPWIRE_SERVER__PORT", "9001")
    hosts = ("127.0.0.1", "10.0.0.0/8", "nas.lan:8000")
    monkeypatch.setenv("CLIPWIRE_DOWNLOADS__ALLOWED_PRIVATE_HOSTS", json.dumps(hosts))
    settings = configured('[server]\nport = 9000\nhost = "::1"\n[downloads]\nmin_free_disk = "500 MiB"\n')
    assert (settings.server.port, settings.server.host) == (9001, "::1")
    assert settings.downloads.min_free_disk == 500 << 20
    assert settings.downloads.allowed_private_hosts == hosts


def test_a_variable_may_set_a_part_of_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPWIRE_PRESETS__PHONE__QUALITY", "720")
    monkeypatch.setenv("CLIPWIRE_PRESETS__PHONE__OUTPUTS", '["video"]')
    monkeypatch.setenv("CLIPWIRE_PRESETS__RADIO", '{"outputs": ["audio"]}')
    monkeypatch.setenv("CLIPWIRE_DOWNLOADS__COOKIES__NAS", "home")
    settings = configured('[presets.phone]\nquality = "1080"\n[downloads.cookies]\n"a.test" = "a"\n')
    assert settings.presets == {
        "phone": {"quality": "720", "outputs": ["video"]},
        "radio": {"outputs": ["audio"]},
    }
    assert settings.downloads.cookies == {"a.test": "a", "nas": "home"}


def test_one_variable_may_set_the_openid_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPWIRE_ACCESS__OIDC", '{"issuer": "https://id.test", "client_id": "clipwire"}')
    monkeypatch.setenv("CLIPWIRE_ACCESS__OIDC__CLIENT_SECRET", "secret of the provider")
    oidc = load().access.oidc
    assert (oidc.issuer, oidc.client_id) == ("https://id.test", "clipwire")
    monkeypatch.setenv("CLIPWIRE_ACCESS__OIDC", "https://id.test")
    with pytest.raises(ConfigurationError, match=r"^access\.oidc: a JSON object is expected"):
        load()


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


def test_a_file_as_editors_of_windows_write_it_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = tmp_path / "other.toml"
    other.write_bytes('\ufeff[server]\r\nlanguage = "en"\r\n'.encode())
    monkeypatch.setenv("CLIPWIRE_CONFIG", str(other))
    assert load().server.language == "en"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('[server]\nlanguage = "en"\n'.encode("utf-16"), "not UTF-8"),
        ("[server]\nhost = 'ü'".encode("latin-1"), "not UTF-8"),
        (b"\0" * 100, "not valid TOML"),
        (b"a = " + b"[" * 100_000, "not valid TOML"),
        (b"a = " + b"9" * 5000, "not valid TOML"),
    ],
)
def test_a_file_that_cannot_be_read_gets_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes, said: str
) -> None:
    other = tmp_path / "other.toml"
    other.write_bytes(content)
    monkeypatch.setenv("CLIPWIRE_CONFIG", str(other))
    with pytest.raises(ConfigurationError) as refused:
        load()
    assert str(refused.value).startswith(f"{other}: {said}")
    assert "\n" not in str(refused.value)


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
        (
            '[downloads]\ntime_zone = "Europe/Bern"\n',
            "downloads.time_zone: there is no time zone 'Europe/Bern'",
        ),
        ('[downloads]\ntime_zone = "Europe"\n', "downloads.time_zone: there is no time zone"),
        ('[downloads]\ntime_zone = "../etc/passwd"\n', "downloads.time_zone: there is no time zone"),
        ('[downloads]\ntime_zone = ""\n', "downloads.time_zone: it is empty"),
        ('[storage]\ndata_dir = "a\\u0000b"\n', "storage.data_dir: a text without NUL"),
        ('[library]\npath = "a\\u0000b"\n', "library.path: a text without NUL"),
        ('[server]\nallowed_hosts = ["a\\u0000b"]\n', "server.allowed_hosts.0: a text without NUL"),
        ("[downloads]\nmax_queued = 99999999999999999999\n", "downloads.max_queued"),
        ("[downloads]\nmax_per_host = 99999999999999999999\n", "downloads.max_per_host"),
        (windows(("08:00", "08:00")), "downloads.rate_windows.0.to: another time than `from`"),
        (windows(("24:00", "08:00")), "downloads.rate_windows.0.from"),
        (windows(("8:00", "09:00")), "downloads.rate_windows.0.from: a time of the day like 08:30"),
        (windows(("08:00", "24:01")), "downloads.rate_windows.0.to: a time of the day like 08:30"),
        (windows(("08:00", "09:00"), ("08:59", "10:00")), "downloads.rate_windows: window 2 overlaps"),
        (windows(("22:00", "02:00"), ("01:59", "03:00")), "downloads.rate_windows: window 2 overlaps"),
        (windows(("01:00", "03:00"), ("22:00", "02:00")), "downloads.rate_windows: window 2 overlaps"),
        (windows(("00:00", "24:00"), ("05:00", "06:00")), "downloads.rate_windows: window 2 overlaps"),
        ("[[downloads.rate_windows]]\nfrom = '08:00'\nto = '09:00'\n", "downloads.rate_windows.0.rate"),
        ("[downloads]\nrate_windows = '1 MiB'\n", "downloads.rate_windows"),
        ('[downloads]\nallowed_private_hosts = ["10.0.0.0/33"]\n', "downloads.allowed_private_hosts"),
        ('[downloads]\nextractor_args = ["s3cret"]\n', "downloads.extractor_args"),
        ('[downloads.extractor_args]\n"you tube" = {a = "b"}\n', "downloads.extractor_args.you tube"),
        ('[downloads.extractor_args]\nyoutube = "s3cret"\n', "downloads.extractor_args.youtube"),
        ('[downloads.extractor_args.youtube]\n"a=b" = "c"\n', "downloads.extractor_args.youtube.a=b"),
        (
            "[downloads.extractor_args.youtube]\nskip = true\n",
            "downloads.extractor_args.youtube.skip: a text or",
        ),
        (
            "[downloads.extractor_args.youtube]\nskip = [1]\n",
            "downloads.extractor_args.youtube.skip: a text or",
        ),
        ('[downloads]\npot_provider = "bgutil"\n', "downloads.pot_provider: a provider (bgutil) and its"),
        ('[downloads]\npot_provider = "http://127.0.0.1:4416"\n', "downloads.pot_provider"),
        ('[downloads]\npot_provider = "bgutil:http://u:s3cret@a:1"\n', "downloads.pot_provider"),
        ('[downloads]\npot_provider = "bgutil:http://127.0.0.1"\n', "downloads.pot_provider: an address"),
        ('[downloads]\npot_provider = "bgutil:http://127.0.0.1:x"\n', "downloads.pot_provider"),
        ('[downloads]\nsponsorblock_api = "sponsor.ajay.app"\n', "downloads.sponsorblock_api: a URL like"),
        (
            '[downloads]\nsponsorblock_api = "http://u:s3cret@a/"\n',
            "downloads.sponsorblock_api: a URL without",
        ),
        ('[storage]\ndatabase = "mysql"\n', "storage.database"),
        ('[storage]\ndatabase = "mysql://u@db/clipwire"\n', "storage.database"),
        ('[storage]\ndatabase = "postgresql:"\n', "storage.database"),
        ('[storage]\ndatabase = "postgresql://u:s3cret@db/clipwire"\n', "storage.database"),
        ('[storage]\ndatabase = "postgresql://db/clipwire?password=s3cret"\n', "storage.database"),
        ('[storage]\ndatabase = "postgresql://db:99999/clipwire"\n', "storage.database"),
        ('[storage]\ndatabase = "postgresql://db:5432,other:54e2/clipwire"\n', "storage.database"),
        ('[storage]\ndatabase = "postgresql://u@::1/clipwire"\n', "storage.database"),
        ('[server]\nroles = ["web"]\n', "server.roles"),
        ("[server]\nroles = []\n", "server.roles"),
        ('[server]\nroles = ["web", "web"]\n', "server.roles"),
        ('[server]\nroles = ["database"]\n', "server.roles"),
        ("[workers]\nheartbeat = 10\nlost_after = 15\n", "workers.lost_after"),
        ('[subscriptions]\ninterval = "1m"\n', "subscriptions.interval: at least 5m is expected"),
        ('[subscriptions]\nmin_interval = "2h"\n', "subscriptions.interval: at least 2h is expected"),
        ('[storage]\ndata_dir = "~/clips"\n', "storage.data_dir: a path without ~"),
        ('[library]\npath = "~me/films"\n', "library.path: a path without ~"),
        ('[downloads]\nplugins = "~"\n', "downloads.plugins: a path without ~"),
        ('[presets.phone]\nquality = "9"\n', "presets.phone.quality"),
        ('[presets.phone]\nurl = "http://a/"\n', "presets.phone.url"),
        ("[presets]\nphone = 1\n", "presets.phone"),
        ('[presets.""]\nquality = "720"\n', "presets.: no request can name it"),
        (f'[presets.{"a" * 65}]\nquality = "720"\n', "no request can name it; 1 to 64 characters"),
        ('[presets.phone]\nsubtitles = {languages = ["[a-z]+"]}\n', "presets.phone.subtitles.languages.0"),
        ('[presets."a\\nb"]\nquality = "9"\n', "presets.a\\nb.quality"),
        ('[server]\n"a\\nb" = 1\n', "server.a\\nb: there is no such setting"),
        ("[downloads]\nmax_filesize = 0\n", "downloads.max_filesize"),
        ('[downloads]\nmax_filesize = "0 GiB"\n', "downloads.max_filesize"),
        ('[downloads]\nproxy = "http://p:65536"\n', "downloads.proxy: a port is a number from 1 to 65535"),
        ('[downloads]\nproxy = "socks5://p:0"\n', "downloads.proxy: a port"),
        ('[downloads]\nproxy = "http://[::1"\n', "downloads.proxy: a URL is expected"),
        ('[downloads]\npot_provider = "bgutil:http://a:65536"\n', "downloads.pot_provider: a port"),
        ('[downloads]\nsponsorblock_api = "http://a:99999"\n', "downloads.sponsorblock_api: a port"),
        ('[downloads]\nallowed_private_hosts = ["a:99999"]\n', "downloads.allowed_private_hosts.0"),
        ('[storage]\ns3_endpoint = "http://a:99999"\n', "storage.s3_endpoint: a port"),
        ('[storage]\ndatabase = "postgresql://db/c?port=99999"\n', "storage.database: a port"),
        ('[storage]\ndatabase = "postgresql://a,b/c?port=5432,0"\n', "storage.database: a port"),
        ('[server]\nallowed_origins = ["https://a:99999"]\n', "server.allowed_origins.0: a port"),
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
        ("CLIPWIRE_SERVER__TOKENS", '["other", "s3cret\\n"]', "server.tokens.1"),
        ("CLIPWIRE_SERVER__TOKENS", '[" s3cret"]', "server.tokens.0"),
        ("CLIPWIRE_SERVER__BASE_PATH", "/a/../b", "server.base_path"),
        ("CLIPWIRE_SERVER__ALLOWED_HOSTS", '["http://x"]', "server.allowed_hosts"),
        ("CLIPWIRE_DOWNLOADS__RETENTION_HOURS", "inf", "downloads.retention_hours"),
        ("CLIPWIRE_DOWNLOADS__RETENTION_HOURS", "nan", "downloads.retention_hours"),
        ("CLIPWIRE_SERVER_PORT", "9000", "CLIPWIRE_SERVER_PORT"),
        ("CLIPWIRE_FOO", "1", "CLIPWIRE_FOO"),
        ("CLIPWIRE_CONFIG", "/nowhere.toml", "/nowhere.toml"),
        ("CLIPWIRE_CONFIG", "", "CLIPWIRE_CONFIG"),
        ("CLIPWIRE_CONFIG", " ", "CLIPWIRE_CONFIG"),
        ("CLIPWIRE_CONFIG", "/", "/: Is a directory"),
        ("CLIPWIRE_CONFIG", "/dev/null/x.toml", "/dev/null/x.toml: Not a directory"),
        ("CLIPWIRE_CONFIG", "/" + 300 * "x", "File name too long"),
        ("CLIPWIRE_SERVER__TOKENS", 100_000 * "[", "server.tokens"),
        ("PORT", "http", "server.port"),
        ("PORT", "", "server.port: PORT is set, but empty"),
        (
            "CLIPWIRE_DOWNLOADS__EXTRACTOR_ARGS",
            '{"youtube": {"a": ""}}',
            "downloads.extractor_args.youtube.a",
        ),
        ("CLIPWIRE_DOWNLOADS__EXTRACTOR_ARGS", '{"youtube": {"a": ["b", ""]}}', "extractor_args.youtube.a.1"),
        (
            "CLIPWIRE_DOWNLOADS__RATE_WINDOWS",
            '[{"from": "01:00", "to": "02:00", "rate": true}]',
            "rate_windows.0.rate",
        ),
        ("CLIPWIRE_PRESETS__PHONE__QUALITY", "", "presets.phone.quality"),
        ("CLIPWIRE_SERVER__PORT__X", "1", "server.port.x: there is no such setting"),
        ("CLIPWIRE_SERVER__TOKENS__0", "s3cret", "server.tokens.0: there is no such setting"),
        (
            "CLIPWIRE_PRESETS__A",
            "s3cret",
            "presets.a: a table (in the environment a JSON object) is expected",
        ),
        (
            "CLIPWIRE_PRESETS__A__MUTE",
            "true",
            "presets.a.mute: true or false is expected, not a text; CLIPWIRE_",
        ),
        (
            "CLIPWIRE_PRESETS__A__OUTPUTS",
            "audio",
            'presets.a.outputs: a list (such as ["a", "b"]) is expected',
        ),
        ("CLIPWIRE_PRESETS__A__CLIP", '{"start": 1}', "presets.a.clip.end: is missing"),
        ("CLIPWIRE_SERVER__PORT", "http", "server.port: a whole number is expected"),
        ("CLIPWIRE_SERVER__PORT", "70000", "server.port: at most 65535 is expected"),
        ("CLIPWIRE_LOGGING__FORMAT", "xml", 'logging.format: "text" or "json" is expected'),
        ("CLIPWIRE_METRICS__PUBLIC", "maybe", "metrics.public: true or false is expected"),
        ("CLIPWIRE_DOWNLOADS__RETENTION_HOURS", "never", "downloads.retention_hours: a number is expected"),
        ("CLIPWIRE_DOWNLOADS__STALL_TIMEOUT", "0", "downloads.stall_timeout: more than 0 is expected"),
        ("CLIPWIRE_DOWNLOADS__COOKIES", '{"a.b": "x y"}', "downloads.cookies.a.b: a name of 1 to 64 letters"),
        ("CLIPWIRE_DOWNLOADS__COOKIES", '{"a b": "x"}', "downloads.cookies.a b: 'a b' is not a host name"),
        (
            "CLIPWIRE_SUBSCRIPTIONS__INTERVAL",
            "400d",
            "subscriptions.interval: a time from 1s to 30d is expected",
        ),
        ("CLIPWIRE_SUBSCRIPTIONS__PAUSE", "2h", "subscriptions.pause: a time from 0s to 1h is expected"),
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
    assert "Input" not in str(refused.value), "these are pydantic's words"


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


@pytest.mark.parametrize("key", [key for key in KEYS if key != "CLIPWIRE_SERVER__BASE_PATH"])
@pytest.mark.parametrize("empty", ["", " ", "\t"])
def test_an_empty_value_is_refused_by_name_and_never_understood(
    monkeypatch: pytest.MonkeyPatch, key: str, empty: str
) -> None:
    section, _, name = key.removeprefix("CLIPWIRE_").lower().partition("__")
    monkeypatch.setenv(key, empty)
    assert complaint() == f"{section}.{name}: {key} is set, but empty; leave it out for the default"
    monkeypatch.delenv(key)
    for value in (empty, [empty]):
        Path("config.toml").write_text(f"[{section}]\n{name} = {json.dumps(value)}\n")
        said = complaint()
        assert said
        assert said.startswith(f"{section}.{name}")


def test_only_the_prefix_may_be_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPWIRE_SERVER__BASE_PATH", "")
    assert configured('[server]\nbase_path = ""\n').server.base_path == ""


@pytest.mark.parametrize("key", KEYS)
def test_true_is_no_number(key: str) -> None:
    section, _, name = key.removeprefix("CLIPWIRE_").lower().partition("__")
    model = Settings.model_fields[section].annotation
    assert isinstance(model, type)
    assert issubclass(model, Frozen)
    Path("config.toml").write_text(f"[{section}]\n{name} = true\n")
    said = complaint()
    if model.model_fields[name].annotation is bool:
        assert said is None
    else:
        assert said
        assert f"{section}.{name}: " in said


def complaint() -> str | None:
    try:
        load()
    except ConfigurationError as refused:
        return str(refused)
    return None


def test_a_worker_needs_the_plugin_of_the_provider_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    one_role = '[storage]\ndatabase = "postgresql://u@db/c"\n[server]\nroles = ["web"]\n'
    named = '[downloads]\npot_provider = "bgutil:http://127.0.0.1:4416/"\n'
    assert configured(named).downloads.pot_provider == "bgutil:http://127.0.0.1:4416"
    monkeypatch.setattr("server.settings.POT_PLUGINS", {"bgutil": "not-installed-anywhere"})
    assert configured(named + one_role).downloads.pot_provider
    with pytest.raises(ConfigurationError, match=r"downloads\.pot_provider: .* pip install not-installed-"):
        configured(named)


def test_no_child_may_read_the_data_of_the_service_as_plugins(tmp_path: Path) -> None:
    within = f'[storage]\ndata_dir = "{tmp_path}/plugins/data"\n[downloads]\nplugins = "{tmp_path}/plugins'
    assert configured(within + '/data/plugins"\n').downloads.plugins
    for folder in ("", "/", "/data", "/data/../data"):
        with pytest.raises(ConfigurationError, match=r"downloads\.plugins: storage\.data_dir must not lie"):
            configured(f'{within}{folder}"\n')


def test_arguments_for_extractors_are_texts_or_lists_of_them_as_yt_dlp_calls_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    meant = {"youtube": {"player_client": ("tv", "Web"), "po_token": ("s3cret",)}}
    text = '[downloads.extractor_args.YouTube]\nplayer-client = ["tv", "Web"]\npo_token = "s3cret"\n'
    assert configured(text).downloads.extractor_args == meant
    assert "s3cret" not in repr(load())
    monkeypatch.setenv("CLIPWIRE_DOWNLOADS__EXTRACTOR_ARGS", '{"generic": {"impersonate": "safari"}}')
    assert load().downloads.extractor_args == meant | {"generic": {"impersonate": ("safari",)}}


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


@pytest.mark.parametrize(
    "secret", ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ="]
)
def test_the_secret_of_webhooks_is_base64_with_or_without_its_prefix(
    monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setenv("CLIPWIRE_WEBHOOKS__SECRET", secret)
    assert load().webhooks.secret
    assert secret not in repr(load())


@pytest.mark.parametrize("secret", ["whsec_", "a password", "whsec_ä"])
def test_another_secret_of_webhooks_is_refused_without_being_quoted(
    monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setenv("CLIPWIRE_WEBHOOKS__SECRET", secret)
    with pytest.raises(ConfigurationError, match=r"^webhooks\.secret: whsec_ and base64") as error:
        load()
    assert secret not in str(error.value) or secret == "whsec_"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[webhooks]\ndefault = "https://hooks.test/"', "webhooks.default"),
        ('[presets.told]\nwebhook = "https://hooks.test/"', "presets.told.webhook"),
    ],
)
def test_an_address_that_is_told_needs_a_secret_to_sign_with(text: str, key: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{key}: webhooks\.secret is not set"):
        configured(text)


@pytest.mark.parametrize(
    "line", ['secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"', 'default = "https://u:p@hooks.test/"']
)
def test_secrets_of_webhooks_do_not_belong_in_the_file(line: str) -> None:
    with pytest.raises(ConfigurationError, match="a secret does not belong in a file"):
        configured(f"[webhooks]\n{line}")


def test_addresses_of_people_come_from_the_environment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"notify\.urls: a secret .* CLIPWIRE_NOTIFY__URLS"):
        configured('[notify]\nurls = ["ntfy://ntfy.test/films"]')
    configured("")
    monkeypatch.setenv("CLIPWIRE_NOTIFY__URLS", '["ntfy://u:hunter2@ntfy.test/films"]')
    settings = load()
    assert settings.notify.urls[0].get_secret_value() == "ntfy://u:hunter2@ntfy.test/films"
    assert "hunter2" not in repr(settings)
    monkeypatch.setenv("CLIPWIRE_NOTIFY__URLS", '["hunter2"]')
    with pytest.raises(ConfigurationError, match=r"notify\.urls\.0: an address of apprise") as error:
        load()
    assert "hunter2" not in str(error.value)


def test_without_the_extra_that_tells_people_the_start_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPWIRE_NOTIFY__URLS", '["ntfy://ntfy.test/films"]')
    assert load().notify.urls
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ConfigurationError, match=r"notify\.urls: .*clipwire\[notify\] is missing"):
        load()


@pytest.mark.parametrize(
    ("library", "data_dir", "is_fine"),
    [("lib", "data", True), ("data/lib", "data", False), (".", "data", False), ("data", "data", False)],
)
def test_the_library_is_a_folder_of_its_own(library: str, data_dir: str, is_fine: bool) -> None:
    text = f'[library]\npath = "{library}"\n[storage]\ndata_dir = "{data_dir}"\n'
    if is_fine:
        assert configured(text).library.path == Path(library)
    else:
        with pytest.raises(ConfigurationError, match=r"library\.path"):
            configured(text)


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("file_mode = 644", "library.file_mode"),
        ('file_mode = "0200"', "library.file_mode"),
        ('folder_mode = "0644"', "library.folder_mode"),
        ('time_zone = "Mars/Base"', "library.time_zone"),
        ('method = "move"', "library.method"),
    ],
)
def test_a_wrong_setting_of_the_library_is_named(line: str, key: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{re.escape(key)}: "):
        configured(f"[library]\n{line}\n")


def test_permissions_are_octal_and_a_preset_needs_a_library() -> None:
    settings = configured('[library]\npath = "lib"\nfile_mode = "664"\nfolder_mode = "2775"\n')
    assert (settings.library.file_mode, settings.library.folder_mode) == (0o664, 0o2775)
    with pytest.raises(ConfigurationError, match=r"presets\.tv\.library: "):
        configured('[presets.tv]\nlibrary = {layout = "shows"}\n')
