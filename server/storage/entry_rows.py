"""SQL expressions for what the entries of a list show while their rows have not taken all actions on the
list.

The rules are those of `server.core.entry_status.status_after_actions`, computed beforehand for each stage of
a row, so that the database only looks up the result. Only the lists with such actions are read this way.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from server.core.entry_status import ListAction, ListActions, status_after_actions
from server.core.task import OF_ONE_RANK, Stage, Task
from server.storage.task_rows import read_task

log = logging.getLogger(__name__)

# The state of an entry that was paused by itself, not with its list. All other states are stages.
_ALONE = "paused alone"
_STATES = (*(stage.value for stage in Stage), _ALONE)
_RANK = f"CAST(round(priority / {OF_ONE_RANK}.0) AS integer)"


@dataclass(frozen=True, slots=True)
class StatusSql:
    """Expressions of one database on a row: `taken` is the number of the last action that the row has taken,
    `alone` whether it was paused by itself, `moment` the column value for `{}`, seconds since 1970.

    They search the JSON for a key with its quotes. No text can look like it, as quotes in texts are escaped.
    """

    taken: str
    alone: str
    moment: str


SQLITE = StatusSql(
    """CASE WHEN instr(status, '"list_action":') THEN
        CAST(substr(status, instr(status, '"list_action":') + 14, 16) AS INTEGER) ELSE 0 END""",
    """instr(status, '"paused_alone":true')""",
    "{}",
)
POSTGRESQL = StatusSql(
    """coalesce(substring(status FROM '"list_action":([0-9]+)')::bigint, 0)""",
    """position('"paused_alone":true' IN status) > 0""",
    "to_timestamp({})",
)


# Expressions on a row of `tasks` in PostgreSQL, which cost nothing where the task is in no list.
ACTIONS_ON_LIST = """
    CASE WHEN playlist_id IS NOT NULL THEN (
        SELECT string_agg(acted.number || ' ' || acted.told, chr(10) ORDER BY acted.number)
        FROM list_actions AS acted WHERE acted.playlist_id = tasks.playlist_id) END"""


def has_taken_all(status: str = "tasks.status") -> str:
    """SQL: whether a row of `tasks` in PostgreSQL has taken all actions on its list; `status` is its JSON."""
    taken = POSTGRESQL.taken.replace("status", status)
    return f"""(tasks.playlist_id IS NULL OR NOT EXISTS (
        SELECT FROM list_actions AS acted WHERE acted.playlist_id = tasks.playlist_id
            AND acted.number > {taken}))"""


class _After(NamedTuple):
    """An entry after actions on its list: its state (None: removed), and the values that differ from its row.

    `is_new`: it has another revision, though perhaps the same state again.
    """

    state: str | None
    is_new: bool = False
    rank: int | None = None
    priority: int | None = None
    ended_at: int | None = None


def _after(state: str, actions: ListActions) -> _After:
    after = _After(state)
    for _, action in actions:
        assert after.state
        is_alone = after.state == _ALONE
        stage = Stage.PAUSED if is_alone else Stage(after.state)
        if action.kind == "remove":
            return _After(None, is_new=True)
        if not action.concerns(stage, paused_alone=is_alone):
            continue
        after = after._replace(is_new=True)
        match action.kind:
            case "pause":
                after = after._replace(state=Stage.PAUSED.value)
            case "resume" | "start":
                after = after._replace(state=Stage.QUEUED.value)
            case "retry":
                after = after._replace(state=Stage.QUEUED.value, rank=0, ended_at=None)
            case "cancel":
                after = after._replace(state=Stage.CANCELLED.value, ended_at=int(action.at.timestamp()))
            case "move":
                rank = after.rank if action.rank is None else action.rank
                priority = after.priority if action.priority is None else action.priority
                after = after._replace(rank=rank, priority=priority)
    return after


class EntrySql:
    """SQL expressions for what an entry of a list shows: what its row has, changed by the list's `actions`
    that the row has not taken yet.
    """

    def __init__(self, actions: ListActions, dialect: StatusSql) -> None:
        self._actions = actions
        self._dialect = dialect
        self.state = self._of_row(lambda _, after: _text(after.state))
        self.urgency = self._of_row(lambda _, after: _urgency(after))
        self.ended_at = self._of_row(self._ended_at)
        # Whether the row still has to take the actions: the entry shows something else, or has to be queued.
        last = actions[-1][0] if actions else 0
        differs = self._of_row(lambda state, after: str(after.is_new or state == Stage.QUEUED).lower())
        self.is_behind = f"{dialect.taken} < {last:d} AND {differs}"

    def in_stages(self, stages: Iterable[Stage]) -> str:
        """SQL: whether the entry is in one of `stages`."""
        states = [stage.value for stage in stages]
        states += [_ALONE] if Stage.PAUSED in states else []
        return f"{self.state} IN ({', '.join(map(_text, states))})"

    def error_code(self, of_row: str) -> str:
        """SQL: the entry's error code; `of_row` is the expression of the row's."""
        return f"CASE {self.state} WHEN stage THEN {of_row} WHEN 'cancelled' THEN 'cancelled' END"

    def concerned(self, action: ListAction) -> str:
        """SQL: whether `action` would change the entry."""
        states = [
            state
            for state in _STATES
            if action.concerns(
                Stage.PAUSED if state == _ALONE else Stage(state), paused_alone=state == _ALONE
            )
        ]
        concerned = f"{self.state} IN ({', '.join(map(_text, states))})"
        if action.kind == "move":
            now = f"CAST(round({self.urgency} / {OF_ONE_RANK}.0) AS integer)"
            rank = now if action.rank is None else str(action.rank)
            own = f"{self.urgency} - {now} * {OF_ONE_RANK}"
            priority = own if action.priority is None else str(action.priority)
            concerned += f" AND {self.urgency} <> {rank} * {OF_ONE_RANK} + {priority}"
        return concerned

    def _of_row(self, made: Callable[[str, _After], str]) -> str:
        """Build a CASE over the row's state; `made` returns the value for a state and the entry after the
        actions.
        """

        def of_states(actions: ListActions) -> str:
            after = {state: made(state, _after(state, actions)) for state in _STATES}
            whens = [f"WHEN {_text(state)} THEN {after[state]}" for state in _STATES if state != _ALONE]
            alone = f"WHEN stage = 'paused' AND {self._dialect.alone} THEN {after[_ALONE]}"
            return f"CASE {alone} ELSE CASE stage {' '.join(whens)} ELSE NULL END END"

        if not self._actions:
            return of_states(())
        whens = [
            f"WHEN {self._dialect.taken} < {number:d} THEN {of_states(self._actions[at:])}"
            for at, (number, _) in enumerate(self._actions)
        ]
        return f"CASE {' '.join(whens)} ELSE {of_states(())} END"

    def _ended_at(self, state: str, after: _After) -> str:
        if after.ended_at is not None:
            return self._dialect.moment.format(after.ended_at)
        return "ended_at" if after.state == state else "NULL"


def _text(word: str | None) -> str:
    return "NULL" if word is None else f"'{word}'"


def _urgency(after: _After) -> str:
    if after.rank is None and after.priority is None:
        return "priority"
    rank = _RANK if after.rank is None else str(after.rank)
    priority = f"priority - {_RANK} * {OF_ONE_RANK}" if after.priority is None else str(after.priority)
    return f"({rank} * {OF_ONE_RANK} + {priority})"


def read_actions(rows: Iterable[Sequence[Any]]) -> dict[str, ListActions]:
    """Return the actions on each list, from rows of the list's id, a number and the action as JSON, by
    number.

    An action that only a newer release knows is skipped.
    """
    found: dict[str, list[tuple[int, ListAction]]] = {}
    for playlist_id, number, json in rows:
        try:
            action = ListAction.model_validate_json(json)
        except ValueError as error:
            log.error("an action on the list %s cannot be read: %s", playlist_id, error)
        else:
            found.setdefault(playlist_id, []).append((number, action))
    return {playlist_id: tuple(actions) for playlist_id, actions in found.items()}


def read_shown(number: int, request: str, status: str, actions: str | None) -> Task | None:
    """Return the task as clients see it, from its row and `ACTIONS_ON_LIST`; None if removed with
    its list.
    """
    task = read_task(number, request, status)
    if not actions:
        return task
    found = read_actions(
        ("", int(at), json) for at, _, json in (line.partition(" ") for line in actions.split("\n"))
    )
    after = status_after_actions(task.status, found.get("", ()))
    if after is None or after is task.status:
        return task if after else None
    return Task(task.request, after, task.status)


def merged(older: Mapping[str, ListActions], newer: Mapping[str, ListActions]) -> Mapping[str, ListActions]:
    """Unite the actions of two moments: a row may have been read at either."""
    if older is newer or not older:
        return newer
    both = dict(newer)
    for playlist_id, actions in older.items():
        both[playlist_id] = tuple(
            sorted({*actions, *newer.get(playlist_id, ())}, key=lambda numbered: numbered[0])
        )
    return both


def ranks_given(actions: Mapping[str, ListActions]) -> list[int]:
    """Return the urgencies that `actions` may have given to entries: one may be the queue's first or last."""
    given = (action.rank for each in actions.values() for _, action in each)
    return [0, *(rank * OF_ONE_RANK for rank in given if rank is not None)]


def by_stage(rows: Iterable[Sequence[Any]]) -> Counter[Stage]:
    """Return the counts by stage, from rows of a state and a number."""
    counted: Counter[Stage] = Counter()
    for state, count in rows:
        if state in _STATES:
            counted[Stage.PAUSED if state == _ALONE else Stage(state)] += count
    return counted
