"""Fetches two hundred sources with yt-dlp's command line and with Clipwire, and tells which result is
better.
"""

from collections import Counter
from collections.abc import Iterable

from tests.bench.client import client_of
from tests.bench.figures import Figure
from tests.bench.lab import Lab
from tests.corpus.media import add_to
from tests.corpus.running import Row, compare
from tests.corpus.sources import SOURCES
from tests.corpus.tls import make_authority
from tests.corpus.verdict import Verdict

_SOME = 5


async def corpus(lab: Lab) -> list[Figure]:
    folder = lab.new_folder("corpus")
    authority = make_authority(folder / "tls")
    sources = SOURCES[: lab.count(len(SOURCES), _SOME)]
    certificates = {"SSL_CERT_FILE": str(authority.certificate)}
    async with lab.service("corpus-service", **certificates) as ours, client_of(ours) as client:
        rows = await compare(sources, add_to(lab.media), folder, authority, client.session)
    if not lab.smoke:
        print("\n".join(table(rows)))
    ends = Counter(row.verdict for row in rows)
    return [
        Figure("sources at which Clipwire ends as well as the command line", ends[Verdict.AS_WELL], ""),
        Figure("... better", ends[Verdict.BETTER], ""),
        Figure("... worse", ends[Verdict.WORSE], "", at_most=0),
    ]


def table(rows: Iterable[Row]) -> Iterable[str]:
    """Return a Markdown table: how each source ended in both, and a summary by kind."""
    rows = list(rows)
    yield from ("| source | yt-dlp | Clipwire | |", "|---|---|---|---|")
    for row in rows:
        yield f"| {row.source.name} | {_short(row.theirs)} | {_short(row.ours)} | {row.verdict.value} |"
    yield from ("", "| kind | sources | as well | better | worse |", "|---|---|---|---|---|")
    for kind in dict.fromkeys(row.source.kind for row in rows):
        ends = Counter(row.verdict for row in rows if row.source.kind == kind)
        counts = " | ".join(
            str(ends[verdict]) for verdict in (Verdict.AS_WELL, Verdict.BETTER, Verdict.WORSE)
        )
        yield f"| {kind} | {ends.total()} | {counts} |"


def _short(outcome: object) -> str:
    text = str(outcome).partition("; please report")[0].partition(" (caused by")[0]
    return text.replace("|", "/")
