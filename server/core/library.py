"""The field `library` of a request or a subscription: where in the library its files go, under which names.

`layout` says what is made, `name` where it lies. Each may be left out: without `name` the layout has a
template of its own, without `layout` there are just the files, named as `name` says; without both it is
`shows`.

Decisions: docs/decisions/library.md
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

from server.core.file_names import LONGEST_FOLDER, file_name

Layout = Literal["shows", "movies", "music", "podcast"]
TemplateField = Literal[
    "title",
    "channel",
    "channel_id",
    "id",
    "date",
    "year",
    "month",
    "day",
    "season",
    "episode",
    "playlist",
    "playlist_index",
    "extractor",
    "user",
]
FIELDS: tuple[TemplateField, ...] = get_args(TemplateField)
MOST_FOLDERS, MOST_IN_TEMPLATE = 4, 3  # most folders in `folder`, and in the template `name`
LONGEST_FOLDERS = 60  # characters of `folder`
LONGEST_TEMPLATE = 200  # characters
ID = "[{id}]"
"""How all names end: what is placed can be told by it, and no media server takes it for an extra."""
_PART = re.compile(r"\{([^{}]*)\}|([^{}]+)")
NEVER_FOLDERS = frozenset(
    (
        "backdrops",
        "behindthescenes",
        "clip",
        "clips",
        "deleted",
        "deletedscenes",
        "extra",
        "extras",
        "featurette",
        "featurettes",
        "interview",
        "interviews",
        "other",
        "others",
        "sample",
        "samples",
        "scene",
        "scenes",
        "short",
        "shorts",
        "special",
        "specials",
        "subs",
        "subtitles",
        "theme-music",
        "thememusic",
        "trailer",
        "trailers",
        "proof",
        "metadata",
        "minta",
        "extrafanart",
        "extrathumbs",
        "@eadir",
        "eadir",
        "#recycle",
        "@recycle",
        "$recycle.bin",
        "systemvolumeinformation",
        "lost+found",
        "ps3update",
        "ps3vprm",
        "temprec",
        "tempsbe",
    )
)
"""Folders whose content media servers take for extras, or do not look at; in lower case, without spaces."""


OUTPUTS: Final[Mapping[Layout, Literal["video", "audio"]]] = {
    "shows": "video",
    "movies": "video",
    "music": "audio",
    "podcast": "audio",
}
"""What each layout is for. All else that it makes of a film is in `server.library.layouts`."""


def outputs_for(library: object) -> dict[str, Any]:
    """Return the `outputs` of a request that names none but has this `library`: the outputs that its layout
    is for. Empty if the layout is for any output, or `library` is no library.
    """
    if not isinstance(library, Mapping):
        return {}
    form = library.get("layout") or (None if library.get("name") else "shows")
    outputs = [output for layout, output in OUTPUTS.items() if layout == form]
    return {"outputs": outputs} if outputs else {}


def is_never_folder(name: str) -> bool:
    """Whether some media server would not treat the files in a folder of this `name` as films."""
    return name.casefold().replace(" ", "").replace("_", "") in NEVER_FOLDERS


def _folder(value: str) -> str:
    """Validate `folder`: return the names, separated by `/`, in NFC. Refuse names that some file systems
    cannot have.
    """
    composed = unicodedata.normalize("NFC", value)
    folders = composed.split("/")
    if len(folders) > MOST_FOLDERS or any(
        not each or each != file_name(each, LONGEST_FOLDER) for each in folders
    ):
        raise PydanticCustomError("library_folder", "must be a relative path")
    for each in folders:
        if is_never_folder(each):
            raise PydanticCustomError(
                "library_extras", "media servers look for extras in {name}", {"name": each}
            )
    return composed


def _template(value: str) -> str:
    """Check the template and return it in NFC. A client's own words in it are made harmless like all other
    texts, when it is filled in.
    """
    composed = unicodedata.normalize("NFC", value)
    parts = composed.split("/")
    if len(parts) > MOST_IN_TEMPLATE + 1 or sum("{id}" in part for part in parts[:-1]) > 1:
        raise PydanticCustomError("template_form", "not a template")
    for part in parts:
        braced = "".join(whole[0] for whole in _PART.finditer(part)) == part
        # `%(` begins a field in a template of yt-dlp's, not of ours.
        if not braced or not part.strip(" .") or "%(" in part:
            raise PydanticCustomError("template_form", "not a template")
        for found in _PART.finditer(part):
            if found[1] is not None and found[1] not in FIELDS:
                raise PydanticCustomError(
                    "template_field", "there is no field {name}", {"name": found[1][:40] or "{}"}
                )
    for part in parts[:-1]:
        if is_never_folder(part):
            raise PydanticCustomError(
                "library_extras", "media servers look for extras in {name}", {"name": part}
            )
    return composed


def fill_template(part: str, values: Mapping[str, str]) -> str:
    """Return one part of a valid template, between two `/`, with the `values` of its fields."""
    return _PART.sub(lambda found: found[0] if found[1] is None else values[found[1]], part)


class Library(BaseModel):
    """Where in the library the fetched files go, and which files lie beside them."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, title="Library", defer_build=True)

    layout: Layout | None = Field(
        default=None, description="what media servers read; without it and `name` it is shows"
    )
    folder: (
        Annotated[str, Field(min_length=1, max_length=LONGEST_FOLDERS), AfterValidator(_folder)] | None
    ) = Field(default=None, description="below library.path, like `YouTube/Music`")
    name: (
        Annotated[str, Field(min_length=1, max_length=LONGEST_TEMPLATE), AfterValidator(_template)] | None
    ) = Field(default=None, description="a template for folders and name, like `{channel}/{date} {title}`")
    nfo: bool | None = Field(
        default=None, description="descriptions for media servers; default: with the layouts shows and movies"
    )
    artwork: bool | None = Field(default=None, description="pictures; default: with any layout")
    keep_task: bool = Field(default=True, description="false: the task is deleted once its files are placed")

    @property
    def form(self) -> Layout | None:
        """The layout that applies; None if only the files themselves are wanted."""
        return self.layout or (None if self.name else "shows")

    @property
    def with_artwork(self) -> bool:
        return self.form is not None if self.artwork is None else self.artwork
