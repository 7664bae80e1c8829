"""The answers of `/healthz` and `/readyz`, apart from all other models, so that a probe does not load
those.
"""

from typing import Literal

from pydantic import Field

from server.api.payload import Answer


class Health(Answer):
    status: Literal["ok"]


class CheckReport(Answer):
    ok: bool
    needed: bool = Field(description="without it the service does not work")
    detail: str = Field(description="in the reader's language")
    values: dict[str, int] | None = Field(None, description="the numbers in `detail`, where there are any")


class ReadinessReport(Answer):
    status: Literal["ready", "not ready"]
    checks: dict[str, CheckReport]
