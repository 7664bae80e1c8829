"""The answers of the library's routes; imported with the first request to one of them, or for the
description.
"""

from pydantic import Field

from server.api.payload import Answer


class LibrarySample(Answer):
    title: str
    channel: str | None = None
    playlist: str | None = None
    paths: list[str] = Field(description="below `library.path`: the film, then what lies beside it")


class LibraryPreview(Answer):
    samples: list[LibrarySample]


class LibraryOutcome(Answer):
    count: int = Field(
        ge=0, description="files that are changed, or would be; of `verify` those that are there"
    )
    files: list[dict[str, str]] | None = Field(None, description="the first 100")
    missing: int | None = Field(None, ge=0, description="files that should be there and are not")
    missing_files: list[str] | None = None
    changed: int | None = Field(None, ge=0, description="files of another size than they were placed with")
    changed_files: list[str] | None = None
    unknown: int | None = Field(None, ge=0, description="files that somebody else has put there")
    unknown_files: list[str] | None = None
    adopted: int | None = Field(None, ge=0, description="files that are known now, and were not there before")
    adopted_files: list[dict[str, str]] | None = None
