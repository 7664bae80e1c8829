"""What `/readyz` says: it uses the reader's language, and names no paths of the server."""

import asyncio
import re
from pathlib import Path

import pytest

from server.api import keys
from server.core.redaction import without_folders
from server.locales import LANGUAGES
from server.tasks import readiness
from server.tasks.disk_space import Disk
from server.tasks.readiness import Check, Detail
from tests.inside import inside

SERVER = Path(__file__).parent.parent.parent / "server"


@pytest.mark.parametrize(
    ("query", "header", "language", "words"),
    [("?lang=en", "zh", "en", "bytes free"), ("", "zh-CN", "zh", "可用"), ("", "en-GB", "en", "bytes free")],
)
async def test_the_checks_are_told_in_the_readers_language_with_their_numbers(
    tmp_path: Path, query: str, header: str, language: str, words: str
) -> None:
    async with (
        inside(tmp_path) as server,
        server.client.get(f"/readyz{query}", headers={"Accept-Language": header}) as answer,
    ):
        disk = (await answer.json())["checks"]["disk"]
        assert (answer.headers["Content-Language"], words in disk["detail"]) == (language, True)
        assert answer.headers["Vary"] == "Accept-Language"
        assert set(disk["values"]) == {"free", "floor"}
        assert all(str(number) in disk["detail"] for number in disk["values"].values())


async def test_no_check_tells_a_path_of_the_server(tmp_path: Path) -> None:
    async with inside(tmp_path) as server, server.client.get("/readyz?lang=en") as answer:
        details = [check["detail"] for check in (await answer.json())["checks"].values()]
        assert [detail for detail in details if "/" in detail] == []
    broken = Check("database", ok=False, detail=f"unable to open {tmp_path}/clipwire.db: disk I/O error")
    told = broken.entry(LANGUAGES["zh"])
    assert told["detail"] == "unable to open clipwire.db: disk I/O error"


async def test_what_does_not_answer_is_said_to_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent() -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(readiness, "ANSWERS_WITHIN", 0.01)
    async with inside(tmp_path) as server:
        monkeypatch.setattr(server.app[keys.READINESS], "_ping", silent)
        async with server.client.get("/readyz?lang=en") as answer:
            assert answer.status == 503
            check = (await answer.json())["checks"]["database"]
    assert (check["ok"], check["detail"]) == (False, "no answer within 0 seconds")


def test_a_full_disk_is_told_even_where_no_room_is_to_be_kept(tmp_path: Path) -> None:
    class Full(Disk):
        def free(self) -> int:
            return 0

    assert not readiness.disk_check(Full(tmp_path, 0)).ok
    assert readiness.disk_check(Disk(tmp_path, 0)).ok


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/data/work is a file", "work is a file"),
        ("cannot read '/srv/clip wire.db'", "cannot read 'clip wire.db'"),
        ("https://bucket.example/a/b answers 403", "https://bucket.example/a/b answers 403"),
        ("10.0.0.1:5432/clip/wire", "10.0.0.1:5432/clip/wire"),
        ("file:/a/b/c", "file:c"),
        ("and/or", "and/or"),
    ],
)
def test_of_a_path_its_last_name_is_told(text: str, told: str) -> None:
    assert without_folders(text) == told


def test_every_text_of_a_check_is_in_the_catalogues_and_none_is_left_over() -> None:
    code = "".join(path.read_text() for path in SERVER.rglob("*.py"))
    said = set(re.findall(r'Detail\(\s*"(\w+)"', code))
    said |= set(re.findall(r'Detail\("\w+" if [^{]*? else "(\w+)"', code))
    for words in LANGUAGES.values():
        assert words.texts.check.keys() == said
    assert str(Detail("workers", {"count": 2})) == "2 alive"


def test_every_check_is_in_the_guide() -> None:
    modules = (path for path in SERVER.rglob("*.py") if path.parent.name != "commands")
    code = "".join(path.read_text() for path in modules)
    guide = (SERVER.parent / "docs" / "api.md").read_text("utf-8")
    told = guide.partition("\n## GET /readyz")[2].partition("\n## ")[0]
    names = set(re.findall(r'\b(?:Check|_answers)\(\s*"(\w+)"', code))
    assert {"database", "disk", "library", "workers"} <= names
    assert [name for name in names if f"`{name}`" not in told] == [], "docs/api.md, `GET /readyz`"
