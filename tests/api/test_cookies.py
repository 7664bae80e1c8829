"""Stored cookies: which files are accepted, what is shown of them, which jobs get them, and that their
content never comes out again.
"""

import threading
from collections.abc import AsyncIterator, Sequence
from io import BytesIO, StringIO
from pathlib import Path

import pytest
from yt_dlp.cookies import YoutubeDLCookieJar

from server.api.keys import COOKIES, HOOKS, SETTINGS
from server.cluster.database import open_database
from server.cluster.shared_cookies import SharedCookies
from server.core import cookie_format
from server.core.errors import TooManyCookies
from server.core.ports import Cookies, StoredCookies
from server.files.cookie_folder import LocalCookies
from server.files.public_names import short_of
from server.settings import DownloadSettings
from server.storage.postgresql import open_store
from server.tasks.job_builder import CookieChoice
from tests.inside import Inside, inside
from tests.service import Service, Services
from tests.site import Site, sha256

SECRET = "s3cr3t-of-a-session"
PLAIN = {"Content-Type": "text/plain; charset=utf-8"}


def line(name: str, value: str, domain: str = "127.0.0.1", expires: int = 0, path: str = "/") -> str:
    below = str(domain.startswith(".")).upper()
    return f"{domain}\t{below}\t{path}\tFALSE\t{expires}\t{name}\t{value}\n"


FILE = f"# Netscape HTTP Cookie File\n\n#HttpOnly_{line('session', SECRET)}"


# --- the format ---


def test_a_file_is_read_as_browsers_and_tools_write_it() -> None:
    text = f"\ufeff# a comment\r\n#HttpOnly_{line('a', '1', '.x.test', 7)}\r\n   \n{line('b', '')}"
    first, second = cookie_format.parse(text.replace("\n\r\n", "\r\n"))
    assert (first.domain, first.below, first.http_only, first.expires) == (".x.test", True, True, 7)
    assert (second.name, second.value, second.http_only, second.expires) == ("b", "", False, 0)
    assert cookie_format.parse(cookie_format.format_cookies([first, second])) == [first, second]


@pytest.mark.parametrize(
    ("domain", "below", "means"),
    [
        ("x.test", "TRUE", ".x.test"),
        (".x.test", "FALSE", "x.test"),
        ("127.0.0.1", "TRUE", "127.0.0.1"),
        ("[::1]", "TRUE", "[::1]"),
    ],
)
def test_the_flag_says_whether_hosts_below_have_a_cookie(domain: str, below: str, means: str) -> None:
    [cookie] = cookie_format.parse(f"{domain}\t{below}\t/\tFALSE\t0\ta\t{SECRET}")
    assert cookie.domain == means
    YoutubeDLCookieJar(
        StringIO(cookie_format.format_cookies([cookie]))
    ).load()  # yt-dlp refuses a file that contradicts itself


@pytest.mark.parametrize(
    "wrong",
    [
        "session=1",
        "[{",
        "127.0.0.1\tFALSE\t/\tFALSE\t0\tsession",
        "127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\ta\tb",
        "127.0.0.1\tmaybe\t/\tFALSE\t0\tsession\ta",
        "127.0.0.1\tFALSE\t/\tFALSE\tsoon\tsession\ta",
        "127.0.0.1\tFALSE\tno\tFALSE\t0\tsession\ta",
        "\tFALSE\t/\tFALSE\t0\tsession\ta",
        "a b\tFALSE\t/\tFALSE\t0\tsession\ta",
        "127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\ta\x00",
    ],
)
def test_the_first_wrong_line_is_named(wrong: str) -> None:
    with pytest.raises(cookie_format.WrongLine) as caught:
        cookie_format.parse(f"# a comment\n{line('a', '1')}{wrong}\n{wrong}\n")
    assert caught.value.number == 3


def test_what_is_renewed_is_what_the_site_has_changed_for_hosts_of_the_file() -> None:
    given = line("a", "1") + line("b", "1") + line("c", "1", expires=5) + line("d", "1")
    back = line("a", "2") + line("d", "1") + line("new", "1") + line("ad", "1", "ads.test")
    meanwhile = line("a", "1") + line("b", "1") + line("c", "1", expires=5) + line("d", "other's")
    kept = {
        one.name: one.value
        for one in cookie_format.parse(cookie_format.merge_changes(meanwhile, given, back, now=9))
    }
    assert kept == {"a": "2", "c": "1", "d": "other's", "new": "1"}


# --- the store ---


@pytest.fixture(params=["local", "postgresql"])
async def stored(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Cookies]:
    if request.param == "local":
        yield LocalCookies(tmp_path / "cookies")
        return
    url = request.getfixturevalue("clean_database")
    async with open_store(url, max_queued=1, find_short=short_of), open_database(url, 2) as database:
        yield SharedCookies(database)


async def test_what_is_deleted_is_gone(stored: Cookies) -> None:
    await stored.put("main", FILE)
    assert await stored.names() == ["main"]
    assert await stored.delete("main")
    assert not await stored.delete("main")
    assert await stored.get("main") is None
    assert await stored.names() == []


async def test_there_is_a_most_of_them(stored: Cookies, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cookie_format, "MOST_FILES", 2)
    for name in ("a", "b", "b"):
        await stored.put(name, FILE)
    with pytest.raises(TooManyCookies):
        await stored.put("c", FILE)
    assert await stored.names() == ["a", "b"]
    monkeypatch.setattr(cookie_format, "MOST_FILES", 1)  # as if an earlier release had accepted more
    await stored.put("a", FILE)
    await stored.delete("b")
    await stored.delete("a")
    await stored.put("c", FILE)


async def test_what_a_killed_server_had_not_written_whole_goes_with_them(tmp_path: Path) -> None:
    stored = LocalCookies(tmp_path)
    await stored.put("main", FILE)
    (tmp_path / "main.new").write_text(SECRET)
    assert await stored.delete("main")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", [b"\xff\xfe\x00", b"# put 0123456789abcdef\nno cookie\n", None])
async def test_a_damaged_file_is_as_good_as_none_and_can_be_put_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: bytes | None
) -> None:
    stored, path = LocalCookies(tmp_path), tmp_path / "main.txt"
    path.mkdir() if damage is None else path.write_bytes(damage)
    assert await stored.get("main") is None
    assert "cookies main cannot be read" in caplog.text
    if damage is not None:
        await stored.put("main", FILE)
        assert await stored.get("main")


async def test_files_are_for_this_user_alone(tmp_path: Path) -> None:
    await LocalCookies(tmp_path / "cookies").put("main", FILE)
    [path] = (tmp_path / "cookies").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


async def test_a_job_renews_only_what_it_was_given(stored: Cookies) -> None:
    await stored.put("main", FILE)
    given = await stored.get("main")
    assert given
    await stored.put("main", FILE)
    await stored.renew("main", given, FILE.replace(SECRET, "stale"))
    newer = await stored.get("main")
    assert newer
    assert SECRET in newer.text
    await stored.renew("main", newer, FILE.replace(SECRET, "renewed"))
    assert "renewed" in (await stored.get("main") or newer).text
    await stored.delete("main")
    await stored.renew("main", newer, FILE)
    assert await stored.names() == []


async def test_two_jobs_with_the_same_cookies_do_not_undo_each_others_changes(stored: Cookies) -> None:
    text = line("a", "1") + line("b", "1")
    await stored.put("main", text)
    given = await stored.get("main")
    assert given
    await stored.renew("main", given, line("a", "2") + line("b", "1"))
    await stored.renew("main", given, line("a", "1") + line("b", "2"))
    now = await stored.get("main")
    assert now
    assert {one.name: one.value for one in cookie_format.parse(now.text)} == {"a": "2", "b": "2"}


@pytest.mark.parametrize(
    ("url", "asked_for", "expected"),
    [
        ("https://example.org/v", None, "main"),
        ("https://www.Example.org/v", None, "main"),
        ("https://music.example.org/v", None, "music"),
        ("https://example.org/v", "music", "music"),
        ("https://badexample.org/v", None, None),
        ("https://gone.test/v", None, None),
    ],
)
async def test_hosts_have_cookies_of_their_own_unless_others_are_asked_for(
    stored: Cookies, url: str, asked_for: str | None, expected: str | None
) -> None:
    hosts = {"example.org": "main", "music.example.org": "music", "gone.test": "gone"}
    for name in ("main", "music"):
        await stored.put(name, FILE)
    given = await CookieChoice(stored, DownloadSettings(cookies=hosts).cookies).made_for(url, asked_for)
    assert given.name == expected
    assert not given.are_missing


async def test_what_is_kept_says_nothing_of_itself(stored: Cookies) -> None:
    assert SECRET not in repr(StoredCookies("1", FILE))


# --- the routes ---


@pytest.fixture
async def served(tmp_path: Path, nothing_begins: None) -> AsyncIterator[Inside]:
    async with inside(tmp_path) as served:
        yield served


async def test_a_damaged_file_hides_no_others(served: Inside) -> None:
    async with served.client.put("/api/cookies/good", data=FILE, headers=PLAIN) as answer:
        assert answer.status == 204
    (served.app[SETTINGS].storage.data_dir / "cookies" / "bad.txt").write_bytes(b"\xff")
    async with served.client.get("/api/cookies") as answer:
        assert answer.status == 200
        assert [file["name"] for file in (await answer.json())["cookies"]] == ["good"]


async def test_one_too_many_is_refused(served: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cookie_format, "MOST_FILES", 0)
    async with served.client.put("/api/cookies/a", data=FILE, headers=PLAIN) as answer:
        assert answer.status == 409
        assert (await answer.json(content_type=None))["code"] == "too_many_cookies"


async def test_the_same_file_again_is_no_new_log_in(served: Inside) -> None:
    told = list[Sequence[str]]()

    async def log_in(hosts: Sequence[str], owner: str | None) -> None:
        told.append(hosts)

    served.app[HOOKS].cookies_stored.append(log_in)
    for text in (FILE, FILE, FILE.replace(SECRET, "another"), FILE):
        async with served.client.put("/api/cookies/main", data=text, headers=PLAIN) as answer:
            assert answer.status == 204
    assert told == [["127.0.0.1"]] * 3


async def test_names_hosts_and_expiry_are_told_and_nothing_else(served: Inside) -> None:
    text = FILE + line("old", SECRET, ".x.test", expires=5) + line("later", SECRET, "y.test", 4_000_000_000)
    async with served.client.put("/api/cookies/main", data=text.encode(), headers=PLAIN) as answer:
        assert (answer.status, await answer.read()) == (204, b"")
    async with served.client.get("/api/cookies") as answer:
        body = await answer.text()
        assert (await answer.json())["cookies"] == [
            {
                "name": "main",
                "hosts": ["127.0.0.1", "x.test", "y.test"],
                "count": 3,
                "expired": 1,
                "expires_at": "2096-10-02T07:06:40Z",
            }
        ]
    assert SECRET not in body
    async with served.client.get("/api/cookies/main") as answer:
        assert answer.status == 405
    async with served.client.delete("/api/cookies/main") as answer:
        assert answer.status == 204
    async with served.client.delete("/api/cookies/main") as answer:
        assert (answer.status, (await answer.json())["code"]) == (404, "cookies_not_found")


@pytest.mark.parametrize(
    ("body", "kind", "expected"),
    [
        ((FILE + "nonsense\n").encode(), "text/plain", (422, "invalid_cookies", 4)),
        (b"a\n\xff", "text/plain", (422, "invalid_cookies", 2)),
        (FILE.encode(), "application/json", (415, "not_text_type", None)),
        (line("a", "x" * (1 << 20)).encode(), "text/plain", (413, "body_too_large", None)),
    ],
)
async def test_what_is_no_cookie_file_is_refused(
    served: Inside, body: bytes, kind: str, expected: tuple[int, str, int | None]
) -> None:
    headers = {"Content-Type": kind}
    async with served.client.put("/api/cookies/main", data=BytesIO(body), headers=headers) as answer:
        problem = await answer.json()
        assert (answer.status, problem["code"], problem.get("line")) == expected
    async with served.client.get("/api/cookies") as answer:
        assert (await answer.json()) == {"cookies": []}


@pytest.mark.parametrize("text", ["", "\n \n", "# Netscape HTTP Cookie File\n\n", "\ufeff# a comment"])
async def test_a_file_without_cookies_is_refused_and_replaces_none(served: Inside, text: str) -> None:
    async with served.client.put("/api/cookies/main", data=FILE, headers=PLAIN) as answer:
        assert answer.status == 204
    async with served.client.put("/api/cookies/main", data=text.encode(), headers=PLAIN) as answer:
        assert (answer.status, (await answer.json(content_type=None))["code"]) == (422, "no_cookies")
    async with served.client.get("/api/cookies") as answer:
        assert [file["count"] for file in (await answer.json())["cookies"]] == [1]


async def test_a_body_that_does_not_unpack_is_no_cookie_file(served: Inside) -> None:
    headers = PLAIN | {"Content-Encoding": "gzip"}
    async with served.client.put("/api/cookies/main", data=FILE.encode(), headers=headers) as answer:
        assert (answer.status, (await answer.json())["code"]) == (422, "invalid_cookies")


async def test_a_file_of_a_megabyte_is_taken(served: Inside) -> None:
    text = "".join(line(f"name-{number}", "x" * 100) for number in range(7_000))
    assert len(text) > 900_000
    async with served.client.put("/api/cookies/large", data=BytesIO(text.encode()), headers=PLAIN) as answer:
        assert answer.status == 204, await answer.text()


async def test_many_large_files_do_not_hold_up_others(
    served: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, threads = cookie_format.parse, []

    def parse(text: str) -> list[cookie_format.Cookie]:
        threads.append(threading.current_thread())
        return read(text)

    await served.app[COOKIES].put("main", FILE)
    monkeypatch.setattr(cookie_format, "parse", parse)
    async with served.client.get("/api/cookies") as answer:
        assert len((await answer.json())["cookies"]) == 1
    assert threads
    assert threading.main_thread() not in threads


@pytest.mark.wide
async def test_many_files_with_many_hosts_make_no_long_answer(served: Inside) -> None:
    text = "".join(line("a", "1", f"{number:03}.{'x' * 240}.test") for number in range(150))
    for number in range(50):
        await served.app[COOKIES].put(f"{number:02}", text)
    async with served.client.get("/api/cookies") as answer:
        body = await answer.read()
        found = (await answer.json())["cookies"]
    assert len(body) < 1 << 20
    assert [(one["count"], len(one["hosts"])) for one in found] == [(150, 40)] * 50


@pytest.mark.parametrize("name", ["a.b", "..", "x" * 65, "%2e%2e", "ü"])
async def test_other_names_lead_nowhere(served: Inside, name: str) -> None:
    async with served.client.put(f"/api/cookies/{name}", data=FILE.encode(), headers=PLAIN) as answer:
        assert answer.status in (404, 405)
    async with served.client.get("/api/cookies") as answer:
        assert (await answer.json()) == {"cookies": []}


@pytest.mark.parametrize("path", ["/api/process", "/api/info"])
async def test_an_unknown_name_is_named(served: Inside, path: str) -> None:
    body = {"url": "http://127.0.0.9:9/v.mp4", "cookies": "nobody", "preset": "nothing"}
    async with served.client.post(path, json=body) as answer:
        problem = await answer.json()
    assert answer.status == 422
    assert {error["field"] for error in problem["errors"]} == {"cookies", "preset"}


async def test_a_repeated_request_is_answered_after_they_are_gone(
    served: Inside, nothing_begins: None
) -> None:
    await served.app[COOKIES].put("main", FILE)
    body, key = {"url": "http://127.0.0.9:9/v.mp4", "cookies": "main"}, {"Idempotency-Key": "once"}
    tasks = []
    for _ in range(2):
        async with served.client.post("/api/process", json=body, headers=key) as answer:
            tasks.append((answer.status, (await answer.json()).get("task_id")))
        await served.app[COOKIES].delete("main")
    assert tasks[0][0] == 202
    assert tasks[0] == tasks[1]
    async with served.client.post("/api/process", json=body, headers={"Idempotency-Key": "new"}) as answer:
        assert answer.status == 422


@pytest.mark.parametrize("path", ["/api/process", "/api/info"])
async def test_a_preset_may_name_them(tmp_path: Path, nothing_begins: None, path: str) -> None:
    async with inside(tmp_path, presets={"mine": {"cookies": "nobody"}}) as served:
        body = {"url": "http://127.0.0.9:9/v.mp4", "preset": "mine"}
        async with served.client.post(path, json=body) as answer:
            problem = await answer.json()
        assert [error["field"] for error in problem["errors"]] == ["cookies"]


# --- the service ---


async def store(service: Service, name: str, text: str) -> None:
    path = f"/api/cookies/{name}"
    async with service.client.put(path, data=text.encode(), headers=PLAIN) as answer:
        assert answer.status == 204, await answer.text()


async def test_a_task_uses_them_and_what_the_site_renews_is_stored(
    service: Service, site: Site, media: Path, tmp_path: Path
) -> None:
    await store(service, "main", FILE)
    url = site.url(f"/video.mp4?login={SECRET}&renew=next")
    task = await service.submit(url, cookies="main", outputs=["video"])
    # The service sends the given cookies, until the site sets others.
    failed = await service.wait(task["task_id"], "failed", "completed")
    assert failed["cookies"] == "main"
    [file] = (service.data / "cookies").glob("main.txt")
    assert "next" in file.read_text()
    assert SECRET not in file.read_text()
    again = await service.submit(site.url("/video.mp4?login=next"), cookies="main", outputs=["video"])
    done = await service.wait(again["task_id"])
    assert sha256(await service.fetch(done["files"]["video"], tmp_path / "v.mp4")) == sha256(
        media / "video.mp4"
    )


async def test_who_deletes_them_is_told_what_is_missing(service: Service, site: Site) -> None:
    await store(service, "gone", FILE)
    task = await service.submit(site.url("/video.mp4"), cookies="gone", auto_start=False)
    async with service.client.delete("/api/cookies/gone") as answer:
        assert answer.status == 204
    async with service.client.post(f"/api/tasks/{task['task_id']}/resume") as answer:
        assert answer.status == 200
    failed = await service.wait(task["task_id"], "failed")
    assert failed["error_code"] == "cookies_missing"
    assert not site.seen("/video.mp4")


@pytest.mark.wide
async def test_a_host_has_its_cookies_without_being_asked(
    services: Services, site: Site, tmp_path: Path
) -> None:
    async with services.lend(CLIPWIRE_DOWNLOADS__COOKIES='{"127.0.0.1": "main"}') as service:
        await store(service, "main", FILE)
        task = await service.submit(site.url(f"/video.mp4?login={SECRET}"), outputs=["video"])
        done = await service.wait(task["task_id"])
        assert (done["status"], done["cookies"]) == ("completed", "main")
        body = {"url": site.url(f"/video.mp4?login={SECRET}")}
        async with service.client.post("/api/info", json=body) as answer:
            assert answer.status == 200
