"""What counts as the same request: stored hashes outlast the release that made them."""

from typing import Literal

from server.api.idempotency import hash_of, hash_of_sent
from server.models import Output, ProcessRequest

URL = 'http://media.test/视频?a="1"&b=\\'
PLAIN = ProcessRequest(url=URL)
DETAILED = ProcessRequest(
    url=URL, quality="720", outputs=(Output.AUDIO,), audio_quality=128, priority=-3, preset="phone"
)


class NextRequest(ProcessRequest):
    """The request of a later release, which knows two fields more, and not in the order of their names."""

    subtitles: Literal["none", "all"] = "none"
    clip: tuple[int, int] | None = None


def test_what_the_first_release_stored_stays_the_same() -> None:
    """It took SHA-256 of `model_dump_json()`."""
    assert hash_of(PLAIN) == "ced2a39a6f47a93b1f9539acec245c60f29aa2a0824f5672538a316ca5f00888"
    assert hash_of(DETAILED) == "29c6d175127b33652cca4e9be32458a9200cbfc5fc27a9519c468d085a72062f"


def test_a_new_field_changes_the_hash_only_of_those_who_use_it() -> None:
    assert (
        hash_of(NextRequest(url=URL))
        == hash_of(NextRequest(url=URL, subtitles="none", clip=None))
        == hash_of(PLAIN)
    )
    used = hash_of(NextRequest(url=URL, subtitles="all"))
    assert used == "dd703a129134ffbc56d3cee7507ab91575cf08be6054ef16fa7ce200d81099e6"
    assert hash_of(NextRequest(url=URL, subtitles="all", clip=None)) == used
    assert len({used, hash_of(PLAIN), hash_of(NextRequest(url=URL, clip=(1, 2)))}) == 3


def test_what_was_sent_is_hashed_by_name_and_value() -> None:
    sent = hash_of_sent(DETAILED, ["url", "preset"])
    assert sent == "2ac2f9052d6b81234318d69b35a86928ad5922c5d8c0329a49311004100f4d2d"
    assert sent == hash_of_sent(DETAILED.model_copy(update={"quality": "480"}), ["preset", "url"])
    assert sent != hash_of_sent(DETAILED, ["url", "preset", "quality"])
    assert sent != hash_of_sent(DETAILED.model_copy(update={"preset": "tv"}), ["url", "preset"])
