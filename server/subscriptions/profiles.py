"""Profiles: named settings from the configuration that many subscriptions share.

A subscription stores the settings of its profile beside its own and says which are which (`of_profile`), so
that whatever reads its settings needs no profile. When a server starts, subscriptions whose profile has
changed are stored anew.

Decisions: docs/decisions/library.md
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from server.api.process import with_preset
from server.core.errors import WrongField
from server.core.values import without_path
from server.settings import ConfigurationError, Settings, first_problem
from server.subscriptions.subscription import SubscriptionSettings
from server.subscriptions.task_of_item import request_of

_Model = TypeVar("_Model")
FIELDS = frozenset(("request", "filters", "keep", "library", "interval"))


class Profiles:
    """The profiles of the configuration. Raises `ConfigurationError`, which names the wrong key."""

    def __init__(self, settings: Settings) -> None:
        profiles = settings.subscriptions.profiles
        self._fields = {name: _checked(name, fields, settings) for name, fields in profiles.items()}
        self.default = settings.subscriptions.default_profile
        if self.default is not None and self.default not in self._fields:
            raise ConfigurationError("subscriptions.default_profile: there is no such profile")

    @property
    def names(self) -> list[str]:
        return sorted(self._fields)

    @property
    def shown(self) -> dict[str, dict[str, Any]]:
        """Return the settings of each profile, by its name. Of a webhook only the host is shown: its path may
        be a secret.
        """
        return {name: _without_secrets(self._fields[name]) for name in self.names}

    def completed(self, own: Mapping[str, Any]) -> tuple[dict[str, Any], list[WrongField]]:
        """The settings of a subscription that has set `own`, and what is wrong with its `profile`. A setting
        of its own takes the place of the profile's as a whole.
        """
        name = own.get("profile")
        if not isinstance(name, str):
            return dict(own), []
        if name not in self._fields:
            return dict(own), [("profile", "profile_unknown", {})]
        given = {field: value for field, value in self._fields[name].items() if field not in own}
        return {**own, **given, "of_profile": list(given)}, []


def own_of(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `stored` settings that the subscription has set itself. The others come from its profile."""
    given = {*stored.get("of_profile", ()), "of_profile"}
    return {field: value for field, value in stored.items() if field not in given}


def _without_secrets(fields: Mapping[str, Any]) -> dict[str, Any]:
    request = fields.get("request", {})
    if not request.get("webhook"):
        return dict(fields)
    return {**fields, "request": request | {"webhook": without_path(request["webhook"])}}


def _checked(name: str, fields: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Check a profile and return its fields, as JSON has them, with its preset filled in."""
    key = f"subscriptions.profiles.{name if name.isprintable() else ascii(name)[1:-1]}"
    if not 0 < len(name) <= 64:
        raise ConfigurationError(f"{key}: a name of 1 to 64 characters is expected")
    if unknown := sorted(fields.keys() - FIELDS):
        raise ConfigurationError(f"{key}.{unknown[0]}: not something a profile can set")
    if "library" in fields and settings.library.path is None:
        raise ConfigurationError(f"{key}.library: library.path is not set")
    request = fields.get("request")
    if isinstance(request, dict):
        request, wrong = with_preset(request, settings.presets)
        if wrong:
            raise ConfigurationError(f"{key}.request.preset: there is no such preset")
        fields = {**fields, "request": request}
    wanted = _valid(key, lambda: SubscriptionSettings.model_validate(fields))
    _valid(f"{key}.request", lambda: request_of(wanted, "https://profile.invalid/"))
    if isinstance(wanted.interval, int) and wanted.interval < settings.subscriptions.min_interval:
        raise ConfigurationError(f"{key}.interval: less than subscriptions.min_interval")
    told = wanted.model_dump(mode="json", include={*fields}, exclude_unset=True, exclude_none=True)
    return dict(told)


def _valid(key: str, read: Callable[[], _Model]) -> _Model:
    try:
        return read()
    except ValidationError as error:
        raise ConfigurationError(f"{key}.{first_problem(error)}") from None
