"""The options of `get`: every field of `POST /api/process`, made from the client's `Wishes`, and short forms.

A field is an option by its name with hyphens; a field of a field as well, such as `--subtitles-languages`.
"""

import json
import typing
from collections.abc import Callable, Sequence
from typing import Any

import click
from clipwire_client.wishes import Wishes

from server.commands.choices import Choice
from server.commands.words import word


class Parsed(click.ParamType[Any]):
    """A type of options: `parse` turns the text that was typed into the value. If it raises `ValueError`, the
    user is shown the text called `wrong`.
    """

    def __init__(self, name: str, parse: Callable[[str], Any], wrong: str) -> None:
        self.name = name
        self._parse = parse
        self._wrong = wrong

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except (ValueError, RecursionError):  # `RecursionError`: JSON with thousands of brackets
            self.fail(word(self._wrong, value=value))


def _clip(text: str) -> dict[str, str]:
    start, dash, end = (part.strip() for part in text.partition("-"))
    if not (start and dash and end):
        raise ValueError(text)
    return {"start": start, "end": end}


def _listed(text: str) -> list[str]:
    found = [each.strip() for each in text.split(",")]
    if not all(found):
        raise ValueError(text)
    return found


def _nested(short: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return a parser of a whole field as JSON, or in its short form."""

    def parse(text: str) -> Any:
        found = json.loads(text) if text.lstrip().startswith("{") else short(text)
        if not isinstance(found, dict):
            raise ValueError(text)  # noqa: TRY004
        return found

    return parse


# The short forms of fields that consist of several fields.
_SHORT = {
    "clip": Parsed("START-END", _nested(_clip), "not_a_clip"),
    "library": Parsed("LAYOUT", _nested(lambda text: {"layout": text}), "not_an_object"),
    "subtitles": Parsed("LANG,...", _nested(lambda text: {"languages": _listed(text)}), "not_a_list"),
}


def request_options() -> list[click.Parameter]:
    """Return an option for each field and each field of a field, then the short forms."""
    options: list[click.Parameter] = []
    for name, kind in typing.get_type_hints(Wishes).items():
        if typing.is_typeddict(kind):
            short = _SHORT.get(name) or Parsed("JSON", _nested(_listed), "not_an_object")
            options.append(_option(name, short))
            options += [
                _of_kind(f"{name}__{inner}", each) for inner, each in typing.get_type_hints(kind).items()
            ]
        else:
            options.append(_of_kind(name, kind))
    return [
        *options,
        click.Option(["--video", "want_video"], is_flag=True, help=word("option.video")),
        click.Option(["--audio", "want_audio"], is_flag=True, help=word("option.audio")),
        click.Option(["--thumbnail", "want_thumbnail"], is_flag=True, help=word("option.thumbnail")),
        click.Option(["--subs", "want_subs"], type=_SHORT["subtitles"], help=word("option.subs")),
    ]


def _of_kind(name: str, kind: Any) -> click.Option:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if kind is bool:
        plain = name.replace("__", "-").replace("_", "-")
        return click.Option([f"--{plain}/--no-{plain}", name], default=None, help=word(f"option.{name}"))
    if kind is int:
        return _option(name, Parsed("N", int, "not_a_number"))
    if origin is typing.Literal:
        return _option(name, Choice(inner))
    if isinstance(origin, type) and issubclass(origin, Sequence):
        choices = typing.get_args(inner[0])
        return _option(
            name, Choice(choices, several=True) if choices else Parsed("A,B", _listed, "not_a_list")
        )
    return _option(name, Parsed("TEXT", str, "not_a_list"))


def _option(name: str, kind: click.ParamType[Any]) -> click.Option:
    plain = name.replace("__", "-").replace("_", "-")
    return click.Option([f"--{plain}", name], type=kind, metavar=kind.name, help=word(f"option.{name}"))


def wishes_of(options: dict[str, Any]) -> dict[str, Any]:
    """Return the body of the request, without the link. By default it asks for the video alone."""
    wishes: dict[str, Any] = {}
    for name in typing.get_type_hints(Wishes):
        value = options.get(name)
        inner = {
            key.partition("__")[2]: each
            for key, each in options.items()
            if key.startswith(f"{name}__") and each is not None
        }
        if inner:
            value = {**(value or {}), **inner}
        if value is not None:
            wishes[name] = value
    outputs = [name for name in ("video", "audio") if options.get(f"want_{name}")]
    more = ["thumbnail"] if options.get("want_thumbnail") else []
    if (subs := options.get("want_subs")) is not None:
        wishes["subtitles"] = {**subs, **wishes.get("subtitles", {})}
        more.append("subtitles")
    if more and not outputs and "outputs" not in wishes:
        outputs = ["video"]
    outputs += more
    if outputs:
        wishes["outputs"] = list(dict.fromkeys([*wishes.get("outputs", []), *outputs]))
    elif "preset" not in wishes:
        wishes.setdefault("outputs", ["video"])
    return wishes
