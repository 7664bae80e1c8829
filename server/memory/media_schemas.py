"""The answers of `/api/media`; imported with the first request, or for the description."""

from typing import Literal

from pydantic import Field

from server.api.payload import Answer, Instant


class MediaFetched(Answer):
    fetched_at: Instant = Field(description="the last time")
    key: str = Field(description="names the video in the library, for ever")
    title: str | None = None
    task_id: str | None = Field(None, description="of the task that fetched it, while there is one")
    subscriptions: list[str] = Field(description="ids of subscriptions that have it")


class MediaTaken(Answer):
    taken: int = Field(ge=0, description="videos that are remembered now and were not before")
    known: int = Field(ge=0, description="videos that were remembered before")
    unreadable: list[int] = Field(description="numbers of lines that name no video, the first 100")
    more: Literal[True] | None = Field(None, description="there are more unreadable lines")
