"""Finding a text anywhere in title, uploader or URL, whatever its case, among a million tasks.

An index of trigrams (SQLite's FTS5) names the tasks that may hold the text; `instr` then decides. A
text of one or two characters, which many Chinese words are, stands for all trigrams that begin with it.
"""

from collections.abc import Iterable, Sequence
from enum import Enum

from server.core.models import Stage
from server.storage.sqlite.connection import Reader

GRAM = 3
MOST_GRAMS = 64  # of a long text: the index only narrows the search down, `instr` decides
# If more trigrams begin with a text, it is so common that reading tasks from the newest on finds it soon.
MOST_BEGINNINGS = 2000


class Unindexed(Enum):
    """Why the index is not asked for final tasks."""

    READ = "it would name nearly all: they are read, from the newest on"
    NONE = "none is wanted, or none holds the text"


Match = str | Unindexed  # an expression of FTS5, or why there is none


async def match_expression(db: Reader, text: str, stages: Sequence[Stage]) -> Match:
    """The expression of FTS5 for the folded `text` in tasks of `stages`, or why the index is not asked."""
    if not text:
        return Unindexed.READ
    if not any(stage.is_final for stage in stages):
        return Unindexed.NONE
    if len(text) >= GRAM:
        # Trigrams spread over all of the text: the beginnings of URLs are all alike.
        grams = list(dict.fromkeys(text[i : i + GRAM] for i in range(len(text) - GRAM + 1)))
        wanted = [_quoted(gram) for gram in grams[:: len(grams) // MOST_GRAMS + 1]]
    else:  # a task contains a shorter text if it contains a trigram that begins with it
        if len(text) == 1 and text.isascii() and text.isalnum():
            return Unindexed.READ  # it is in nearly every URL, and the index would take long to find that out
        sql = "SELECT term FROM tasks_trigrams WHERE term >= ? AND term < ? LIMIT ?"
        rows = await db.fetch(sql, (text, text + "\U0010ffff", MOST_BEGINNINGS + 1))
        if len(rows) > MOST_BEGINNINGS:
            return Unindexed.READ
        if not rows:
            return Unindexed.NONE
        wanted = [_any_of(term for (term,) in rows)]
    # The indexed text of a final task ends with a mark for its stage (see the column `words`).
    final = [stage for stage in Stage if stage.is_final]
    if not set(stages).issuperset(final):
        wanted.append(_any_of("\x01" + stage.value[:2] for stage in final if stage in stages))
    return " AND ".join(wanted)


def _any_of(terms: Iterable[str]) -> str:
    return f"({' OR '.join(map(_quoted, terms))})"


def _quoted(term: str) -> str:
    return '"' + term.replace('"', '""') + '"'
