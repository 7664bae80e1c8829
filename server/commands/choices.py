"""A type of options whose value is one of a few words."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import click
from click.shell_completion import CompletionItem

from server.commands.words import word


class Choice(click.ParamType[Any]):
    """One of a few words, or several separated by commas; the error of a wrong one suggests the nearest."""

    def __init__(self, choices: Sequence[str], *, several: bool = False) -> None:
        self.choices = choices
        self.several = several
        self.name = "|".join(choices) + (",..." if several else "")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        values = [each.strip() for each in value.split(",")] if self.several else [value]
        for each in values:
            if each not in self.choices:
                like = get_close_matches(each, self.choices, n=1)
                suggestion = word("did_you_mean", name=like[0]) if like else ""
                self.fail(word("not_a_choice", value=each, choices=", ".join(self.choices)) + suggestion)
        return values if self.several else values[0]

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        before, comma, last = incomplete.rpartition(",") if self.several else ("", "", incomplete)
        found = [each for each in self.choices if each.startswith(last)]
        return [CompletionItem(before + comma + each) for each in found]
