"""The running service does what its OpenAPI description says, whatever is sent to it."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.lasting import part_of
from tests.service import ROOT, Service

CONFIGURATION = ROOT / "tests" / "schemathesis.toml"

EXAMPLES = round(
    part_of(100)
)  # random examples of each operation, besides all that a schema's limits suggest
HANGS_AFTER = 900  # seconds after which a test hangs, on a machine that is busy with other things


@pytest.mark.long
@pytest.mark.parametrize("phase", ["coverage", pytest.param("fuzzing", marks=pytest.mark.minutes(7))])
async def test_no_request_that_can_be_made_from_the_description_breaks_it(tmp_path: Path, phase: str) -> None:
    # Random links must not lead anywhere: a proxy that refuses everything gets them all.
    nowhere = {"CLIPWIRE_DOWNLOADS__PROXY": "http://127.0.0.1:1", "CLIPWIRE_DOWNLOADS__RETRIES": "0"}
    library = tmp_path / "library"
    library.mkdir()
    async with Service(tmp_path / "service", **nowhere, CLIPWIRE_LIBRARY__PATH=str(library)) as service:
        process = await asyncio.create_subprocess_exec(
            *(
                str(Path(sys.executable).with_name("schemathesis")),
                "--config-file",
                str(CONFIGURATION),
            ),
            *("run", f"{service.url}/api/openapi.json", "--phases", phase),
            *("--max-examples", str(EXAMPLES), "--seed", "1", "--suppress-health-check", "all", "--no-color"),
            cwd=tmp_path,
            env={name: value for name, value in os.environ.items() if name != "PYTHONDEVMODE"},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(HANGS_AFTER):
            report, _ = await process.communicate()
        assert process.returncode == 0, report.decode()[-8000:]
        assert service.complaints() == []
