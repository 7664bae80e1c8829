"""The answer of `/api/feeds`; imported with the first request, or for the description."""

from pydantic import Field

from server.api.payload import Answer


class FeedAddresses(Answer):
    opml: str | None = Field(
        None,
        description="of all podcast feeds; absent until there was one",
        json_schema_extra={"format": "uri"},
    )
