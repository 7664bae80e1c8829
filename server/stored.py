"""Reads what is on disk, which a server of another release may have written.

Fields that this one does not know are passed over and kept (see `server.models.Stored`). A value that it does
not know, in a field that it does, is not guessed at: such a task is shown, and nothing is begun for it.
"""

from pydantic import ValidationError
from pydantic_core import from_json

from server.models import ProcessRequest, Stage, TaskStatus


def read_request(text: str) -> ProcessRequest | None:
    """None if it asks for something that this release does not know. The text stays in its row as it is."""
    try:
        return ProcessRequest.model_validate_json(text, extra="ignore")
    except ValidationError:
        return None


def read_status(text: str) -> TaskStatus:
    """Raises `ValueError` if it is damaged."""
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
    """The stage that an unknown one is most like, and in which nothing goes on by itself."""
    if word in set(Stage):
        return Stage(word)
    if not ended:
        return Stage.PAUSED
    return Stage.FAILED if failed else Stage.COMPLETED
