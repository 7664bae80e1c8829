"""Podcast feeds are read by the XML parser of a browser, which differs from Python's."""

import pytest
from playwright.async_api import Browser

from server.feeds.podcast_xml import as_html, guid_of, one_line, to_xml
from tests.feeds.test_podcast_xml import episode, podcast

pytestmark = pytest.mark.asyncio(loop_scope="session")
TEXTS = (
    "Plain",
    "<script>alert(1)</script> & \"more\" 'of' it ]]> <!-- -->",
    "".join(map(chr, range(0x20))) + "\x7f\x80\x9f\ufffe\uffff\ud800\udfff",
    "猫咪 \U0001f408 \u202e\u2028\u0301",
    "&amp; &#0; &nope; %s {0}",
    "  two\r\nlines\tand  spaces ",
)
READ = """text => {
    const found = new DOMParser().parseFromString(text, "application/xml")
    const item = found.querySelector("item")
    return {
        error: found.querySelector("parsererror")?.textContent ?? null,
        title: item?.querySelector("title")?.textContent,
        guid: item?.querySelector("guid")?.textContent,
        description: item?.querySelector("description")?.textContent ?? "",
        shown: new DOMParser().parseFromString(
            item?.querySelector("description")?.textContent ?? "", "text/html").body.innerText,
        length: item?.querySelector("enclosure")?.getAttribute("length"),
    }
}"""


@pytest.mark.parametrize("text", TEXTS)
async def test_a_browser_reads_what_was_meant(browser: Browser, text: str) -> None:
    body = to_xml(podcast(episode(key=text, title=text, description=text, author=text), title=text))
    page = await browser.new_page()
    found = await page.evaluate(READ, body.decode())
    await page.close()
    assert found["error"] is None
    assert found["title"] == (one_line(text) or guid_of(text))
    assert found["guid"] == guid_of(text)
    assert found["description"] == as_html(text)
    assert found["length"] == "12345"
    if "<" in text:
        assert "<script>alert(1)</script>" in found["shown"], "it is shown, not done"
