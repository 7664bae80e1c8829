"""What the routes of webhooks answer; imported when one of them is asked, or their description."""

from typing import Literal

from pydantic import Field

from server.api.payload import Answer, Instant


class WebhookDelivery(Answer):
    id: str = Field(description="the header `webhook-id` of each try")
    task_id: str
    url: str = Field(description="without a password")
    state: Literal["due", "dead"] = Field(description="`dead`: given up, and sent again only by a retry")
    attempts: int = Field(ge=0, description="tries so far")
    last_error: str | None = Field(
        None, description="`http_<status>`, `timeout`, `blocked_address`, ...: of the last try"
    )
    next_at: Instant | None = Field(None, description="of the next try, while `due`")


class WebhookPage(Answer):
    webhooks: list[WebhookDelivery]
    next_cursor: str | None = Field(None, description="for the next page, if there is one")
