"""Reads stored requests and statuses, which a server of another release may have written.

Unknown fields of a status are ignored and kept when it is written again (see `server.core.values.Stored`). An
unknown value of a known field is not interpreted: the task is shown, and no attempt is made
(docs/decisions/storage.md).
"""

from pydantic import ValidationError
from pydantic_core import from_json

from server.core.process_request import ProcessRequest
from server.core.task import Stage, TaskStatus


def read_request(text: str) -> ProcessRequest | None:
    """Read a stored request; None if a newer release has written it and this one cannot read it. Its row is
    never rewritten.
    """
    try:
        return ProcessRequest.model_validate_json(text, extra="ignore")
    except ValidationError:
        return None


def read_status(text: str) -> TaskStatus:
    """Read a stored status; an unknown stage is replaced by `known_stage`. Raises `ValueError` if it is
    damaged.
    """
    try:
        return TaskStatus.model_validate_json(text)
    except ValidationError:
        fields = from_json(text)
        if not isinstance(fields, dict):
            raise
        ended, failed = "completed_at" in fields, "error_code" in fields
        stage = known_stage(str(fields.get("stage")), ended=ended, failed=failed)
        return TaskStatus.model_validate(fields | {"stage": stage})


def known_stage(word: str, *, ended: bool, failed: bool = False) -> Stage:
    """Return the stage called `word`; for an unknown one the most similar stage in which the server does
    nothing by itself.
    """
    if word in set(Stage):
        return Stage(word)
    if not ended:
        return Stage.PAUSED
    return Stage.FAILED if failed else Stage.COMPLETED
