"""Clients that are generated from the API's description can submit, follow and download."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest

from server.api.openapi.document import describe
from server.app import ROUTES
from tests.service import Service
from tests.site import Site
from tests.tools import npm_tool, without

CONFIG = """
post_hooks: []
content_type_overrides: {application/json+chapters: application/json}
"""
NO_JSON = re.compile(r"Unsupported content.type (\*/\*|(text|image)/\S+|application/(zip|xml|rss\+xml))")
IN_PYTHON = """
import sys
from clipwire_client import Client
from clipwire_client.api.files import download
from clipwire_client.api.tasks import process, status
from clipwire_client.models import Output, ProcessRequest, TaskPayload, TaskPayloadStatus

server, link, target = sys.argv[1:]
client = Client(base_url=server, timeout=60)
task = process.sync(client=client, body=ProcessRequest(url=link, outputs=[Output.VIDEO]))
assert isinstance(task, TaskPayload), task
stages = [task.stage.value]
tag = None
while task.status is TaskPayloadStatus.PROCESSING:
    known = {"if_none_match": tag} if tag else {}
    answer = status.sync_detailed(task.task_id, client=client, wait="50", **known)
    if answer.status_code == 200:
        task, tag = answer.parsed, answer.headers["ETag"]
        stages.append(task.stage.value)
assert task.status is TaskPayloadStatus.COMPLETED, task
name = task.files["video"].rpartition("/")[2]
whole = download.sync_detailed(name, client=client)
assert whole.status_code == 200, whole
open(target, "wb").write(whole.content)
refused = status.sync(task_id="nothing", client=client)
assert refused.code.value == "task_not_found", refused
print(*stages)
"""

IN_TYPESCRIPT = """
import createClient from "openapi-fetch"
import { writeFileSync } from "node:fs"
import type { components, paths } from "./api.js"

type Task = components["schemas"]["TaskPayload"]

const [server, link, target] = process.argv.slice(2) as [string, string, string]
const client = createClient<paths>({ baseUrl: server })
const { data: accepted, error } = await client.POST("/api/process", {
  body: { url: link, outputs: ["video"] },
})
if (!accepted) throw new Error(JSON.stringify(error))
let task: Task = accepted
let tag = ""
const stages: Task["stage"][] = [task.stage]
while (task.status === "processing") {
  const { data, response } = await client.GET("/api/status/{task_id}", {
    params: {
      path: { task_id: task.task_id },
      query: { wait: "50" },
      header: tag ? { "If-None-Match": tag } : {},
    },
  })
  if (response.status === 304) continue
  if (!data) throw new Error(String(response.status))
  task = data
  tag = response.headers.get("ETag") ?? ""
  stages.push(task.stage)
}
const name = task.files["video"]?.split("/").pop()
if (task.status !== "completed" || !name) throw new Error(JSON.stringify(task))
const { data: film } = await client.GET("/api/download/{name}", {
  params: { path: { name } },
  parseAs: "arrayBuffer",
})
writeFileSync(target, new Uint8Array(film as ArrayBuffer))
const { error: refused } = await client.GET("/api/status/{task_id}", {
  params: { path: { task_id: "nothing" } },
})
if (refused?.code !== "task_not_found") throw new Error(JSON.stringify(refused))
console.log(stages.join(" "))
"""


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(each) for each in command], cwd=cwd, env=os.environ | environment,
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


def make_python_client(description: Path, folder: Path) -> str:
    """Generate a client in `folder / "made"`; return the output of the generator."""
    (folder / "config.yml").write_text(CONFIG)
    generator = Path(sysconfig.get_path("scripts"), "openapi-python-client")
    options = ("--path", description, "--output-path", folder / "made", "--config", folder / "config.yml")
    return run(generator, "generate", *options, cwd=folder)


@pytest.fixture
async def description(service: Service, tmp_path: Path) -> Path:
    async with service.client.get("/api/openapi.json") as answer:
        path = tmp_path / "openapi.json"
        path.write_bytes(await answer.read())
    return path


@dataclass
class JsonAnswer:
    operation: str
    schema: str  # the name of the answer's schema; empty if it has none
    takes_json: bool  # whether the request has a JSON body


def json_answers() -> dict[str, JsonAnswer]:
    """Return the JSON answers of the description by route."""
    return {
        f"{method.upper()} {path}": JsonAnswer(
            operation["operationId"],
            content["schema"].get("$ref", "").rpartition("/")[2],
            "application/json" in operation.get("requestBody", {"content": "application/json"})["content"],
        )
        for path, methods in describe(ROUTES)["paths"].items()
        for method, operation in methods.items()
        for status, answer in operation["responses"].items()
        for media_type, content in answer.get("content", {}).items()
        if status.startswith("2") and re.fullmatch(r"application/json(\+\w+)?", media_type)
    }


def test_every_answer_in_json_is_typed() -> None:
    schemas = describe(ROUTES)["components"]["schemas"]
    untyped = {
        route
        for route, answer in json_answers().items()
        if not schemas.get(answer.schema, {}).get("properties")
    }
    # OpenAPI itself and Podcasting 2.0 describe these two answers.
    assert untyped == {"GET /api/openapi.json", "GET /feeds/{secret}/{feed}/chapters/{task_id}.json"}


@pytest.mark.wide
def test_openapi_python_client_leaves_out_only_what_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "openapi.json").write_text(json.dumps(describe(ROUTES)))
    said = make_python_client(tmp_path / "openapi.json", tmp_path)
    reasons = re.findall(r"\((.+)\), response will|^(Un.*|Failure.*)$", said, re.MULTILINE)
    assert {reason for reason in map("".join, reasons) if not NO_JSON.fullmatch(reason)} == set()
    untyped = set()
    for route, answer in json_answers().items():
        module = re.sub("([A-Z])", r"_\1", answer.operation).lower()
        made = "".join(path.read_text() for path in tmp_path.glob(f"made/*/api/*/{module}*.py"))
        if answer.schema and answer.takes_json and f" import {answer.schema}\n" not in made:
            untyped.add(route)
    assert untyped == set()


@pytest.mark.wide
async def test_openapi_typescript_types_every_answer_in_json(tmp_path: Path) -> None:
    (tmp_path / "openapi.json").write_text(json.dumps(describe(ROUTES)))
    node = shutil.which("node") or without("node", "apt-get install nodejs")
    generator = npm_tool("openapi-typescript") / "bin/cli.js"
    said = await asyncio.to_thread(
        run, node, generator, tmp_path / "openapi.json", "-o", tmp_path / "api.d.ts", cwd=tmp_path
    )
    assert not re.search("warn|⚠", said, re.IGNORECASE), said
    made = (tmp_path / "api.d.ts").read_text()
    operations = dict(
        re.findall(r"^    (\w+): {\n        parameters: (.*?)^    };", made, re.MULTILINE | re.DOTALL)
    )
    untyped = {
        route
        for route, answer in json_answers().items()
        if answer.schema
        and f'"application/json": components["schemas"]["{answer.schema}"]'
        not in operations[answer.operation]
    }
    assert untyped == set()


@pytest.mark.long
async def test_a_client_of_openapi_python_client_does_the_main_job(
    description: Path, service: Service, site: Site, tmp_path: Path
) -> None:
    await asyncio.to_thread(make_python_client, description, tmp_path)
    arguments = (service.url, site.url("/1mb.mp4"), tmp_path / "film.mp4")
    said = await asyncio.to_thread(
        run, sys.executable, "-c", IN_PYTHON, *arguments, cwd=tmp_path, PYTHONPATH=str(tmp_path / "made")
    )
    stages = said.splitlines()[0].split()
    assert (stages[0], stages[-1]) == ("queued", "completed")
    assert (tmp_path / "film.mp4").stat().st_size == 1_000_000


@pytest.mark.long
async def test_types_of_openapi_typescript_are_those_of_the_main_job(
    description: Path, service: Service, site: Site, tmp_path: Path
) -> None:
    node = shutil.which("node") or without("node", "apt-get install nodejs")
    packages = npm_tool("openapi-typescript").parent
    (tmp_path / "node_modules").symlink_to(packages)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "main.ts").write_text(IN_TYPESCRIPT)
    options = {"strict": True, "module": "nodenext", "target": "esnext", "skipLibCheck": True, "types": []}
    options |= {"lib": ["esnext", "dom"], "noUncheckedIndexedAccess": True}
    (tmp_path / "node.d.ts").write_text(
        'declare module "node:fs" { export function writeFileSync(path: string, data: Uint8Array): void }\n'
        "declare const process: { argv: string[] }\n"
    )
    files = ["main.ts", "node.d.ts"]
    (tmp_path / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "files": files}))
    generator = packages / "openapi-typescript/bin/cli.js"
    # A request may leave out fields with a default.
    shape = ("-o", "api.d.ts", "--default-non-nullable=false")
    await asyncio.to_thread(run, node, generator, description, *shape, cwd=tmp_path)
    await asyncio.to_thread(run, node, packages / "typescript/bin/tsc", "-p", tmp_path, cwd=tmp_path)
    arguments = (service.url, site.url("/1mb.mp4"), tmp_path / "film.mp4")
    said = await asyncio.to_thread(run, node, "main.js", *arguments, cwd=tmp_path)
    stages = said.splitlines()[0].split()
    assert (stages[0], stages[-1]) == ("queued", "completed")
    assert (tmp_path / "film.mp4").stat().st_size == 1_000_000
