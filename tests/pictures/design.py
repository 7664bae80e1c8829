"""`docs/design/index.html`: tokens, and every part of the page in each of its states, on one page.

The parts are copied from the running page, so they are what the page makes; the stylesheets are the real
ones. The page of the design has no scripts.
"""

import asyncio
import re
from html import escape
from pathlib import Path

from playwright.async_api import Browser, Page

from tests.chromium import chromium
from tests.fakes.api import FROM_ELSEWHERE
from tests.pictures.__main__ import seen
from tests.pictures.scenes import SCENES

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "design" / "index.html"
TOKENS = ROOT / "static" / "css" / "base" / "tokens.css"
SHEETS = re.findall(r'href="static/(css/[^"]+)"', (ROOT / "static" / "index.html").read_text("utf-8"))
# State of the page -> heading, the parts that are copied from it, and how many of each.
PARTS = {
    "all": (("Rows, in every stage", ".row", 14), ("Header", ".head", 1), ("Box", "#submit", 1),
            ("Filter", "#filter", 1)),
    "empty": (("Nothing yet", ".nothing", 1),),
    "nothing-found": (("Nothing found", ".no-match", 1),),
    "opened": (("Opened", ".row[data-id=members]", 1),),
    "deleted": (("Deleted, with the way back", ".row[data-id=unknown]", 1),),
    "selected": (("Selected", ".row[data-selected]", 1), ("What is done with many", "#selected", 1)),
    "menu": (("Menu", "#menu-items", 1),),
    "refused": (("A line that was refused", "#submit", 1),),
    "looked-at": (("A link that was looked at", "#draft", 1),),
    "list": (("A list asks", "#draft", 1),),
    "options": (("Options", "#choices", 1),),
    "offline": (("Offline", "#offline", 1),),
    "queue-paused": (("The queue is paused", "#paused", 1),),
    "hidden-by-filter": (("What was sent is hidden", "#filtered", 1),),
    "due": (("Due, while the list is held", "#due", 1),),
    "wrong-token": (("Log-in, with a wrong token", "#login", 1),),
    "settings": (("Settings", "#settings > :not(header)", 9),),
    "keys": (("Keys", "#keys > dl", 1),),
}  # fmt: skip
_OUTER = """(elements, most) => elements.slice(0, most).map((element) => {
    const copy = element.cloneNode(true)
    // Without these names they would be seen.
    for (const hidden of copy.querySelectorAll("[popover], #find")) hidden.remove()
    for (const each of [copy, ...copy.querySelectorAll("*")]) {
        const outside = ["id", "for", "popover", "href", "src", "aria-labelledby", "aria-describedby", "name"]
        for (const name of outside) if (each.tagName !== "use") each.removeAttribute(name)
        each.tabIndex = -1
        each.removeAttribute("tabindex")
    }
    for (const name of ["transform", "left", "top"]) copy.style[name] = ""
    return copy.outerHTML
})"""


async def draw() -> str:
    async with chromium(FROM_ELSEWHERE) as browser:
        parts = [part for name in PARTS for part in await _parts(browser, name)]
    sheets = "\n".join(f'<link rel="stylesheet" href="../../static/{name}">' for name in SHEETS)
    return _PAGE.format(sheets=sheets, sprite=_sprite(), tokens=_tokens(), parts="\n".join(parts))


async def _parts(browser: Browser, name: str) -> list[str]:
    async with seen(browser, SCENES[name], locale="en-US", viewport={"width": 1280, "height": 2400}) as page:
        return [await _part(page, *part) for part in PARTS[name]]


async def _part(page: Page, heading: str, selector: str, most: int) -> str:
    found: list[str] = await page.locator(selector).evaluate_all(_OUTER, most)
    assert found, selector
    return f'<section class="part"><h2>{escape(heading)}</h2><div>{"".join(found)}</div></section>'


def _sprite() -> str:
    index = (ROOT / "static" / "index.html").read_text(encoding="utf-8")
    found = re.search(r'<svg class="sprite".*?</svg>', index, re.DOTALL)
    assert found
    return found.group()


def _tokens() -> str:
    """Return each token with an example: a colour as a field, a size as a text or a bar."""
    names = dict.fromkeys(re.findall(r"^  --([\w-]+):", TOKENS.read_text(encoding="utf-8"), re.MULTILINE))
    return "".join(
        f'<li><i class="t-{_kind(name)}" data-token="{name}"></i><code>--{name}</code></li>' for name in names
    )


def _kind(name: str) -> str:
    if name.startswith("size"):
        return "text"
    return (
        "bar"
        if name.split("-")[0] in ("gap", "radius", "head", "row", "heading", "touch", "edge")
        else "colour"
    )


def _styles() -> str:
    """Return the styles that only the design page needs."""
    names = re.findall(r"^  --([\w-]+):", TOKENS.read_text(encoding="utf-8"), re.MULTILINE)
    fields = "\n".join(_field(name) for name in dict.fromkeys(names))
    return _SHEET + fields + "\n"


def _field(name: str) -> str:
    what = {"text": "font-size", "bar": "width", "colour": "background"}[_kind(name)]
    return f'[data-token="{name}"] {{\n  {what}: var(--{name});\n}}\n'


def main() -> None:
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(asyncio.run(draw()), encoding="utf-8")
    PAGE.with_name("design.css").write_text(_styles(), encoding="utf-8")


_PAGE = """<!doctype html>
<!-- Drawn by `make design`: do not change it here. -->
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Clipwire: the design</title>
{sheets}
<link rel="stylesheet" href="design.css">
</head>
<body>
{sprite}
<main>
<div class="tasks" data-listed hidden></div>
<h1>Clipwire: the design</h1>
<section class="part"><h2>Tokens</h2><ul class="tokens">{tokens}</ul></section>
{parts}
</main>
</body>
</html>
"""
_SHEET = """/* Drawn by `make design`: what its page needs beside the real stylesheets. */

.part {
  padding-block: var(--gap-4);
}

.part > h2 {
  padding-block: var(--gap-2);
  color: var(--text-quiet);
  font-size: var(--size-small);
}

.part :is(.row, .head, .menu, .empty, .due) {
  position: relative;
  inset: auto;
  display: block;
}

.part .due,
.part .line-note,
.part .selected {
  width: fit-content;
}

.tokens {
  display: grid;
  grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr));
  gap: var(--gap-2) var(--gap-4);
}

.tokens li {
  display: flex;
  align-items: center;
  gap: var(--gap-2);
}

.tokens i {
  flex: none;
  width: 3rem;
  height: 1.5rem;
  border: 1px solid var(--line-strong);
  font-style: normal;
}

.tokens .t-text {
  border: 0;
}

.tokens .t-text::before {
  content: "Aa";
}

"""

if __name__ == "__main__":
    main()
