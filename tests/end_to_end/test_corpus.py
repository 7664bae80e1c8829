"""No source of the corpus ends worse with Clipwire than with yt-dlp's command line; and how endings are
compared.
"""

from collections import Counter
from pathlib import Path

import pytest

from tests.corpus.films import Film
from tests.corpus.media import add_to
from tests.corpus.running import compare
from tests.corpus.sources import SOURCES, Source
from tests.corpus.tls import make_authority
from tests.corpus.verdict import Outcome, Verdict, judge
from tests.service import Services

WHOLE = Film(100, 4.0, (320, 180), Counter(video=1, audio=1), 380_000)
HOLE = Film(75, 3.0, (320, 180), Counter(video=1, audio=1), 280_000)
TWICE = Film(200, 8.0, (320, 180), Counter(video=1, audio=1), 760_000)
SMALL = Film(100, 4.0, (160, 90), Counter(video=1, audio=1), 80_000)
FAULTY = Film(100, 4.0, (320, 180), Counter(video=1, audio=1), 380_000, complaints=3)
FILM = Source("file", "/video.mp4")
NO_FILM = Source("no film", "/words.txt", 0, 0.0, "unsupported_url")


def ours(film: Film | None, reason: str = "", aside: Film | None = WHOLE) -> Outcome:
    return Outcome(film, reason, aside if film else None)


@pytest.mark.parametrize(
    ("theirs", "mine", "verdict"),
    [
        (Outcome(WHOLE), ours(WHOLE), Verdict.AS_WELL),
        (Outcome(WHOLE), ours(None, "http_404"), Verdict.WORSE),
        (Outcome(WHOLE), ours(HOLE, aside=HOLE), Verdict.WORSE),
        (Outcome(WHOLE), ours(SMALL), Verdict.WORSE),
        (Outcome(WHOLE), ours(FAULTY), Verdict.WORSE),
        (Outcome(WHOLE), ours(WHOLE, aside=None), Verdict.WORSE),
        (Outcome(WHOLE), ours(WHOLE, aside=HOLE), Verdict.WORSE),
        (Outcome(HOLE), ours(WHOLE), Verdict.BETTER),
        (Outcome(HOLE), ours(None, "http_404"), Verdict.BETTER),
        (Outcome(TWICE), ours(WHOLE), Verdict.BETTER),
        (Outcome(FAULTY), ours(WHOLE), Verdict.BETTER),
        (Outcome(SMALL), ours(WHOLE), Verdict.BETTER),
        (Outcome(None), ours(WHOLE), Verdict.BETTER),
        (Outcome(None), ours(HOLE, aside=HOLE), Verdict.WORSE),
        (Outcome(None), ours(None, "http_404"), Verdict.WORSE),
        (Outcome(None, crashed=True), ours(None, "extraction_failed"), Verdict.AS_WELL),
    ],
)
def test_an_error_is_better_than_a_file_with_a_hole_and_worse_than_a_film(
    theirs: Outcome, mine: Outcome, verdict: Verdict
) -> None:
    assert judge(FILM, theirs, mine) is verdict


def test_of_a_source_without_a_film_the_error_code_counts() -> None:
    assert judge(NO_FILM, Outcome(None), ours(None, "unsupported_url")) is Verdict.AS_WELL
    assert judge(NO_FILM, Outcome(None), ours(None, "internal")) is Verdict.WORSE
    assert judge(NO_FILM, Outcome(HOLE), ours(None, "unsupported_url")) is Verdict.BETTER
    assert judge(NO_FILM, Outcome(HOLE), ours(None, "internal")) is Verdict.WORSE


def test_the_corpus_is_large_and_names_each_source_once() -> None:
    assert len({source.name for source in SOURCES}) == len(SOURCES) >= 100


@pytest.mark.long
@pytest.mark.minutes(2)
async def test_no_source_ends_worse_than_with_yt_dlp(media: Path, tmp_path: Path, services: Services) -> None:
    authority = make_authority(tmp_path / "tls")
    async with services.lend(SSL_CERT_FILE=str(authority.certificate)) as service:
        rows = await compare(SOURCES, add_to(media), tmp_path, authority, service.client)
    worse = [row for row in rows if row.verdict is Verdict.WORSE]
    assert not worse, "\n".join(f"{row.source.name}: {row.ours}, and theirs {row.theirs}" for row in worse)
