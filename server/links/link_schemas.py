"""The answers of the routes of links; imported with the first request to one, or for the description."""

from pydantic import Field

from server.api.payload import Answer, Instant


class FileLink(Answer):
    id: str = Field(description="for `DELETE /api/links/<id>`")
    url: str = Field(
        description="opens the file without a token; with the host name of this request",
        json_schema_extra={"format": "uri"},
    )
    expires_at: Instant = Field(description="when the link ends")


class OpenLink(FileLink):
    kind: str = Field(description="the key of the file in `files`")


class OpenLinks(Answer):
    links: list[OpenLink] = Field(description="those that open a file now; the first made comes first")
