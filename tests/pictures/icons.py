"""The icon as PNG, for those who take no SVG: `make design` draws it anew from `static/icon.svg`."""

import asyncio
import re
from pathlib import Path

from playwright.async_api import Browser

from tests.pictures.__main__ import _chromium

STATIC = Path(__file__).parent.parent.parent / "static"
# File -> width and height. Apple's telephones cut off corners by themselves, and make black what is clear.
SIZES = {"apple-touch-icon.png": 180, "icon-192.png": 192, "icon-512.png": 512}
OPAQUE = "apple-touch-icon.png"


async def draw() -> dict[str, bytes]:
    """By file."""
    icon = (STATIC / "icon.svg").read_text(encoding="utf-8")
    async with _chromium() as browser:
        return {name: await _drawn(browser, icon, size, name == OPAQUE) for name, size in SIZES.items()}


async def _drawn(browser: Browser, icon: str, size: int, is_opaque: bool) -> bytes:
    [ground] = re.findall(r'<rect [^>]*fill="([^"]+)"', icon)
    colour = ground if is_opaque else "transparent"
    page = await browser.new_page(viewport={"width": size, "height": size})
    style = f"html {{ background: {colour} }} body {{ margin: 0 }} svg {{ display: block }}"
    await page.set_content(f"<style>{style}</style>{icon}")
    picture = await page.screenshot(omit_background=True)
    await page.close()
    return picture


def main() -> None:
    for name, picture in asyncio.run(draw()).items():
        (STATIC / name).write_bytes(picture)


if __name__ == "__main__":
    main()
