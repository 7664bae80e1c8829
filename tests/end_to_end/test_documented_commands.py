"""The commands of the documents, run in a shell beside the real service, in order.

A link becomes one of the test site. An id becomes that of the newest task that an earlier line has made and
that is still there, and has ended; the name of a file that of a finished one. What a reader has by himself
lies in the folder.
What needs root, another machine or the internet is fenced as `console`. `make` sets up a machine, and
`tests/project/test_setup.py` tests that.
"""

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from tests.service import ROOT, Service
from tests.site import Site

DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("README*.md"), *ROOT.glob("docs/**/*.md"))
    # The films of the test site are too short for the clip of that page.
    if "\n```sh\n" in path.read_text(encoding="utf-8") and path.name != "command-line.md"
)
PAGE = "/page?src=/1mb.mp4"
ENDS_WITHIN = 5  # seconds; what does not end by itself is ended then
AN_ID, A_NAME = "123e4567-e89b-42d3-a456-426614174000", "video_example_abcdefghijklm.mp4"
ANOTHER_ID = "0b2f4a3e-5d1c-4f6a-9b7d-8c2e1f0a3b4c"
COOKIES = "# Netscape HTTP Cookie File\nexample.org\tFALSE\t/\tFALSE\t4102444800\tsession\tsecret\n"
# What a service may answer that has nothing to do: a task in another stage, no webhook that is due, a remedy
# that this task has no use for, nothing that was fetched, nothing to show yet.
NOTHING_TO_DO = {
    "wrong_stage", "task_already_final", "delivery_not_found", "remedy_not_offered", "media_not_found",
}  # fmt: skip


def blocks(document: str) -> list[tuple[int, str]]:
    """Line and text of each block of commands."""
    text = (ROOT / document).read_text(encoding="utf-8")
    found = re.finditer(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [(text.count("\n", 0, each.start()) + 2, each[1]) for each in found]


class Reader:
    """Types what stands in the documents."""

    def __init__(self, service: Service, site: Site, folder: Path) -> None:
        self._service = service
        self._folder = folder
        self._links = {
            r"https://example\.org/(channel|list)\b": site.url("/feed?count=2"),
            r"https://example\.org/video\.mp4|https://download\.blender\.org/[\w/.-]+": site.url(PAGE),
            r"https://example\.org/[a-z]+(\?v=1)?(?=[\s\"'])": site.url(PAGE),
        }
        self._ids: list[str] = []

    async def types(self, block: str) -> str:
        """What is wrong with it; "" if nothing is."""
        await self._forget_what_is_gone()
        for link, ours in self._links.items():
            block = re.sub(link, ours, block)
        block = block.replace("http://127.0.0.1:8080", self._service.url)
        block = block.replace("ws://127.0.0.1:8080", self._service.url.replace("http", "ws"))
        if AN_ID in block:
            await self._service.wait(self._ids[-1], "completed", "failed", "cancelled", "paused")
            block = block.replace(AN_ID, self._ids[-1]).replace(ANOTHER_ID, self._ids[0])
        if A_NAME in block:
            block = block.replace(A_NAME, await self._name_of_a_file())
        status, said, complaint = await self._run(block)
        if " -d " in block or "/process" in block:
            self._ids += [
                each for each in re.findall(r'"task_id":"([0-9a-f-]{36})"', said) if each not in self._ids
            ]
        refusals = set(re.findall(r'"status":[45]\d\d,.*?"code":"(\w+)"', said)) - NOTHING_TO_DO
        head = re.search(
            r"^HTTP/1.1 (?!409)[45]\d\d", said
        )  # 409: of a task that has ended there is no stream
        has_no_picture = head is not None and "404" in head[0] and block.rstrip().endswith("/thumbnail")
        if status in (0, None) and (not head or has_no_picture) and (not refusals or "nonsense" in block):
            return ""
        return f"{block}\nended with {status}:\n{said[-600:]}{complaint[-600:]}"

    async def _run(self, block: str) -> tuple[int | None, str, str]:
        """None for what was ended."""
        environment = os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self._folder),
            "CLIPWIRE_SERVER__PORT": self._service.url.rpartition(":")[2],
        }
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", block, cwd=self._folder, env=environment, start_new_session=True,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        talking = asyncio.ensure_future(process.communicate())
        ended, _ = await asyncio.wait([talking], timeout=ENDS_WITHIN)
        if not ended:
            os.killpg(process.pid, signal.SIGTERM)
        said, complaint = await asyncio.wait_for(talking, 30)
        status = process.returncode if ended else None
        return status, said.decode(errors="replace"), complaint.decode(errors="replace")

    async def _forget_what_is_gone(self) -> None:
        if self._ids:
            async with self._service.client.get(f"/api/tasks?ids={','.join(self._ids)}") as answer:
                there = {task["task_id"] for task in (await answer.json())["tasks"]}
            self._ids = [each for each in self._ids if each in there]

    async def _name_of_a_file(self) -> str:
        async with self._service.client.get("/api/tasks?stage=completed&limit=200") as answer:
            tasks = (await answer.json())["tasks"]
        names = [task["files"]["video"] for task in tasks if "video" in task["files"]]
        return str(names[0]).rpartition("/")[2]


@pytest.mark.long
@pytest.mark.parametrize("document", DOCUMENTS)
async def test_what_stands_there_works(document: str, service: Service, site: Site, tmp_path: Path) -> None:
    here = tmp_path / "clone"
    here.mkdir()
    (here / ".venv").symlink_to(sys.prefix)
    (here / "cookies.txt").write_text(COOKIES)
    (here / "archive.txt").write_text("youtube aaaaaaaaaaa\n")
    reader, wrong = Reader(service, site, here), []
    for line, block in blocks(document):
        if block.startswith("make "):
            continue
        if said := await reader.types(block):
            wrong.append(f"{document}, line {line}: {said}")
    assert wrong == [], "\n".join(wrong)
    assert blocks(document)
