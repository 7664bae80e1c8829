"""What readers see, in words: one catalogue a language, each a `*.toml` file beside this one.

The code knows stages and stable codes only. A new language is a new file with the same keys.
"""

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from types import MappingProxyType

from server.core.task import Stage
from server.core.values import Frozen


class _FailureTexts(Frozen):
    """What a task ended in: the short reason, the cause, and what the reader can do about it."""

    reason: str | None = None
    error: str
    hint: str | None = None


class _ProblemTexts(Frozen):
    title: str
    detail: str


class _Texts(Frozen):
    """The shape of a catalogue file; `{}` are `str.format` placeholders."""

    failed: str
    stage: dict[Stage, str]
    waiting: dict[str, str]
    failure: dict[str, _FailureTexts]
    http_hint: dict[str, str]
    remedy: dict[str, str]
    check: dict[str, str]
    notice: dict[str, str]
    stream: dict[str, str]
    opml: dict[str, str]
    was_feed: str
    problem: dict[str, _ProblemTexts]
    field: dict[str, str]
    command: dict[str, str]  # read by `server.commands.words`, without this model


@dataclass(frozen=True)
class Catalogue:
    """The texts of one `language`, taken from the `content` of its file when the first one is asked for."""

    language: str
    content: bytes

    @cached_property
    def tag(self) -> str:
        """Changes with the texts, and stands in ETags."""
        return hashlib.blake2b(self.content, digest_size=4).hexdigest()

    @cached_property
    def texts(self) -> _Texts:
        return _Texts.model_validate(tomllib.loads(self.content.decode()))

    def stage(self, stage: str) -> str:
        """The `message` of a task in `stage`."""
        return self.texts.stage[Stage(stage)]

    def failed(self, code: str) -> str:
        """The whole `message` of a task that failed with `code`."""
        reason = self._failure(code).reason
        return self.texts.failed.format(reason=reason) if reason else self.stage(Stage.FAILED)

    def error(self, code: str) -> str:
        """The cause in one short sentence."""
        return self._failure(code).error.format(status=code.removeprefix("http_"))

    def hint(self, code: str, cookies: str | None = None) -> str | None:
        """What the reader can do about it, where something is known; `cookies` names those that were used."""
        hint = self.texts.http_hint.get(code.removeprefix("http_"), self._failure(code).hint)
        return hint.format(cookies=cookies) if hint else None

    def was_feed(self, until: str) -> str:
        """What can be done about a feed that is none any more, and was one `until` then."""
        return self.texts.was_feed.format(until=until)

    def remedy(self, name: str) -> str:
        """What a remedy does."""
        return self.texts.remedy[name]

    def check(self, key: str, values: Mapping[str, object]) -> str:
        """What a check of `/readyz` has found."""
        return self.texts.check[key].format_map(values)

    def notice(self, key: str, values: Mapping[str, object]) -> str:
        """What a person is told of the end of a task."""
        return self.texts.notice[key].format_map(values)

    def no_stream(self, reason: str) -> str:
        """Why nothing of a task can be played now."""
        return self.texts.stream[reason]

    def opml(self, cause: str, values: Mapping[str, object]) -> str:
        """Return the sentence that says why a file cannot be read as OPML."""
        return self.texts.opml[cause].format_map(values)

    def waiting(self, code: str) -> str | None:
        """What a task waits for, if a reader should know of it: follows the sentence of its stage."""
        return self.texts.waiting.get(code)

    def problem(self, code: str, values: Mapping[str, object]) -> tuple[str, str]:
        """Title and detail of an error answer."""
        texts = self.texts.problem[code]
        return texts.title, texts.detail.format_map(values)

    def field(self, key: str, values: Mapping[str, object]) -> str:
        """What is wrong with one field; `key` is a pydantic error type, `values` its context."""
        texts = self.texts.field
        # Pydantic joins what it would have accepted in English: `'a', 'b' or 'c'`.
        words = {name: str(value).replace(" or ", texts["or"]) for name, value in values.items()}
        return texts.get(key, texts["other"]).format_map(words)

    def _failure(self, code: str) -> _FailureTexts:
        """Children may be newer than the server: an unknown code is worded as `internal`."""
        known = self.texts.failure
        if re.fullmatch(r"http_\d{3}", code):
            return known["http"]
        return known.get(code, known["internal"])


def catalogues_in(folder: Path) -> Mapping[str, Catalogue]:
    """Language -> catalogue; what has not the name of one is none."""
    found = (path for path in sorted(folder.iterdir()) if _CATALOGUE.fullmatch(path.name))
    return MappingProxyType({path.stem: Catalogue(path.stem, path.read_bytes()) for path in found})


_CATALOGUE = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8})*\.toml")
LANGUAGES = catalogues_in(Path(__file__).parent)
_ELSE = "en"

_RANGE = re.compile(
    r"\s*(?P<tag>\*|[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*)\s*(?:;\s*[qQ]\s*=\s*(?P<q>0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*)?"
)


@lru_cache(maxsize=256)
def negotiate(header: str | None, default: str) -> str:
    """The language of `LANGUAGES` that an `Accept-Language` header asks for (RFC 9110, 12.5.4).

    Matched as RFC 4647 looks up: `zh-Hant-TW`, `zh-Hant`, `zh`. A header that is missing, `*` or not
    well-formed gives `default`. One that names none of ours gives English: it was not our default that
    the reader asked for.
    """
    ranges = [_RANGE.fullmatch(part) for part in (header or "").split(",") if part.strip()]
    if None in ranges or not ranges:
        return default
    wanted = [(match["tag"].lower(), float(match["q"] or 1)) for match in ranges if match]
    refused = {tag for tag, quality in wanted if not quality}
    for tag, quality in sorted(wanted, key=lambda item: -item[1]):
        if not quality:
            break
        parts = tag.split("-")
        prefixes = ["-".join(parts[:count]) for count in range(len(parts), 0, -1)]
        for candidate in (default, *LANGUAGES) if tag == "*" else prefixes:
            if candidate in LANGUAGES and candidate not in refused:
                return candidate
    return default if _ELSE in refused else _ELSE
