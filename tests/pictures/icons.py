"""The icon as PNG, for systems that take no SVG: `make design` draws it anew from `static/icon.svg`."""

import asyncio
import re
from pathlib import Path

from playwright.async_api import Browser

from tests.chromium import chromium

ROOT = Path(__file__).parent.parent.parent
STATIC = ROOT / "static"
# File -> width and height. iPhones cut off the corners by themselves, and show transparent parts black.
SIZES = {"apple-touch-icon.png": 180, "icon-192.png": 192, "icon-512.png": 512}
OPAQUE = "apple-touch-icon.png"
EXTENSION = ROOT / "clients/browser/icons"
SIZES_THERE = {f"{size}.png": size for size in (16, 32, 48, 128)}


async def draw() -> dict[Path, bytes]:
    """Draw all icons; return them by file."""
    icon = (STATIC / "icon.svg").read_text(encoding="utf-8")
    sizes = {STATIC / name: size for name, size in SIZES.items()}
    sizes |= {EXTENSION / name: size for name, size in SIZES_THERE.items()}
    async with chromium() as browser:
        return {path: await _drawn(browser, icon, size, path.name == OPAQUE) for path, size in sizes.items()}


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
    for path, picture in asyncio.run(draw()).items():
        path.write_bytes(picture)


if __name__ == "__main__":
    main()
