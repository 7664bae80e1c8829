"""`python -m server config`: each setting as `key = value  # where it came from`, no secrets."""

import json
import os
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from server.settings import Settings, read_file

HIDDEN = "(hidden)"
_PASSWORD = re.compile(r"(?<=://)[^/?#\s]*@|(?<=password=)[^&\s]*")
_PATH = re.compile(r"(?<=://)([^/?#]*[/?#]).+")  # the path of a webhook's address may be its secret


def config(settings: Settings) -> int:
    path, content = read_file()
    variables = {name.upper(): name for name in os.environ}
    values: list[tuple[str, str, Any, FieldInfo | None]] = []
    for section in type(settings).model_fields:
        found = getattr(settings, section)
        if isinstance(found, BaseModel):
            values += [
                (section, key, getattr(found, key), field) for key, field in type(found).model_fields.items()
            ]
        else:
            values += [(section, key, value, None) for key, value in found.items()]
    for section, key, value, field in values:
        name = f"CLIPWIRE_{section}__{key}".upper()
        if name in variables:
            origin = variables[name]
        elif (section, key) == ("server", "port") and "PORT" in os.environ:
            origin = "PORT"
        elif key in content.get(section, {}):
            origin = str(path)
        else:
            origin = "default"
        print(f"{section}.{key} = {_shown(value, field)}  # {origin}")
    return 0


def _shown(value: Any, field: FieldInfo | None) -> str:
    """Write a value as in the file; a setting that is kept out of logs is hidden."""
    if value is None:
        return "none"
    is_private = (
        field is not None and not field.repr and value != field.get_default(call_default_factory=True)
    )
    if _has_secret(value) or (is_private and not isinstance(value, str)):
        return HIDDEN
    if isinstance(value, str):
        value = _PASSWORD.sub(HIDDEN, value)
        if is_private and value.startswith("http"):
            value = _PATH.sub(rf"\1{HIDDEN}", value)
    return json.dumps(_plain(value), ensure_ascii=False)


def _has_secret(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_has_secret, value))
    if isinstance(value, dict):
        return any(map(_has_secret, value.values()))
    return isinstance(value, SecretStr)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {
            str(key): _PATH.sub(rf"\1{HIDDEN}", _PASSWORD.sub(HIDDEN, each))
            if key == "webhook" and isinstance(each, str)
            else _plain(each)
            for key, each in value.items()
        }
    return value
