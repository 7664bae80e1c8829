"""Which requests count as the same: stored hashes stay valid in later releases."""

from typing import Literal

from pydantic import Field

from server.core.process_request import Output, ProcessRequest, SubtitleWishes

URL = 'http://media.test/视频?a="1"&b=\\'
PLAIN = ProcessRequest(url=URL)
DETAILED = ProcessRequest(
    url=URL, quality="720", outputs=(Output.AUDIO,), audio_quality=128, priority=-3, preset="phone"
)


class NextRequest(ProcessRequest):
    """The request of a later release, which has two more fields, and another order of fields."""

    poster: Literal["none", "all"] = "none"
    frames: tuple[int, int] | None = None


def test_a_clips_times_may_be_written_in_any_way() -> None:
    one, other = ({"start": start, "end": end} for start, end in ((90, 100.0), ("1:30", "0:01:40.0")))
    hashes = {ProcessRequest.model_validate({"url": URL, "clip": clip}).hash() for clip in (one, other)}
    assert len(hashes) == 1
    exact = ProcessRequest.model_validate({"url": URL, "clip": {**one, "exact": True}}).hash()
    assert len(hashes | {exact, PLAIN.hash()}) == 3


def test_what_the_first_release_stored_stays_the_same() -> None:
    """The first release took the SHA-256 of `model_dump_json()`."""
    assert PLAIN.hash() == "ced2a39a6f47a93b1f9539acec245c60f29aa2a0824f5672538a316ca5f00888"
    assert DETAILED.hash() == "29c6d175127b33652cca4e9be32458a9200cbfc5fc27a9519c468d085a72062f"


def test_a_new_field_changes_the_hash_only_of_those_who_use_it() -> None:
    assert (
        NextRequest(url=URL).hash() == NextRequest(url=URL, poster="none", frames=None).hash() == PLAIN.hash()
    )
    used = NextRequest(url=URL, poster="all").hash()
    assert used == "5fc03cae7517ff1853a22d782d3946230199b5cc159f945a1ca6fd667317ad5c"
    assert NextRequest(url=URL, poster="all", frames=None).hash() == used
    assert len({used, PLAIN.hash(), NextRequest(url=URL, frames=(1, 2)).hash()}) == 3


def test_what_was_sent_is_hashed_by_name_and_value() -> None:
    sent = DETAILED.hash_of_sent(["url", "preset"])
    assert sent == "2ac2f9052d6b81234318d69b35a86928ad5922c5d8c0329a49311004100f4d2d"
    assert sent == DETAILED.model_copy(update={"quality": "480"}).hash_of_sent(["preset", "url"])
    assert sent != DETAILED.hash_of_sent(["url", "preset", "quality"])
    assert sent != DETAILED.model_copy(update={"preset": "tv"}).hash_of_sent(["url", "preset"])


def test_of_a_field_that_has_fields_only_what_is_not_usual_counts() -> None:
    """A field that a later release adds changes the hash only of requests that use it."""

    class NextSubtitles(SubtitleWishes):
        colour: str | None = None

    class NextSubtitled(ProcessRequest):
        subtitles: NextSubtitles = Field(default=NextSubtitles(), strict=False)

    asked = {"url": URL, "subtitles": {"languages": ["en"]}}
    this, following = ProcessRequest.model_validate(asked), NextSubtitled.model_validate(asked)
    assert this.hash() == following.hash() != PLAIN.hash()
    assert this.hash_of_sent(asked) == following.hash_of_sent(asked)
    assert ProcessRequest.model_validate({"url": URL, "subtitles": {"embed": False}}).hash() == PLAIN.hash()
