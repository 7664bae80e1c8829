"""The answers of the routes of webhooks; imported with the first request to one, or for the description."""

from typing import Literal

from pydantic import Field

from server.api.payload import Answer, Instant


class WebhookDelivery(Answer):
    id: str = Field(description="the header `webhook-id` of each try")
    task_id: str | None = Field(None, description="whose end is told")
    subscription_id: str | None = Field(None, description="of one that fails, or works again")
    url: str = Field(
        description=(
            "without its password; of `webhooks.default` and of a preset's `webhook` only scheme, host and "
            "port, since the path is the secret of many a receiver"
        )
    )
    state: Literal["due", "dead"] = Field(description="`dead`: given up, and sent again only by a retry")
    attempts: int = Field(ge=0, description="tries so far")
    last_error: str | None = Field(
        None,
        description=(
            "what was wrong with the last try: `http_<status>`, `timeout`, `answer_too_long`, `unreachable`, "
            "`unknown_host`, `certificate`, `blocked_address`, `invalid_url`"
        ),
    )
    next_at: Instant | None = Field(None, description="of the next try, while `due`")


class WebhookPage(Answer):
    webhooks: list[WebhookDelivery]
    next_cursor: str | None = Field(None, description="for the next page, if there is one")
