"""How many modules and functions one behaviour passes through, and how many functions have one caller only.

The count is taken at run time: it has each `def` below `server/` that was entered at least once, without
those that the service enters every second in any case. Short journeys are read quickly; speed does not matter
here.
"""

import ast
import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tests.bench.figures import Figure
from tests.bench.function_tracer import SERVER
from tests.bench.lab import Lab


async def journeys(lab: Lab) -> list[Figure]:
    """Run `walked` in a process of its own, which has entered no function before; return its figures."""
    arguments = (str(lab.new_folder("journeys")), f"{lab.site.url}/1mb.mp4")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.walked", *arguments, stdout=asyncio.subprocess.PIPE
    )
    told, _ = await process.communicate()
    submit, status, film = json.loads(told)
    return [
        *_figures("request to 202", submit, modules=16, functions=60),
        *_figures("status to a socket", status, modules=15, functions=54),
        *_figures("a plain MP4", film, modules=65, functions=390),
        Figure("private functions with one caller", _share_of_one_caller(), "%", at_most=15),
    ]


def _figures(journey: str, entered: Iterable[str], *, modules: int, functions: int) -> list[Figure]:
    names = set(entered)
    files = {each.partition(":")[0] for each in names}
    return [
        Figure(f"{journey}: modules", len(files), "", at_most=modules),
        Figure(f"{journey}: functions", len(names), "", at_most=functions),
    ]


def _share_of_one_caller() -> float:
    """Return the share of private functions with one caller, in per cent of all functions: the name begins
    with `_`, and occurs in one more place of its module.
    """
    functions = once = 0
    for path in sorted(Path(SERVER).rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        names = Counter(re.findall(r"\w+", text))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                functions += 1
                private = node.name.startswith("_") and not node.name.endswith("__")
                once += private and names[node.name] == 2
    return 100 * once / functions
