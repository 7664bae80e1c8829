"""The operator's plugins for yt-dlp (`downloads.plugins`): further extractors for children.

yt-dlp finds them (`yt_dlp_plugins.extractor` in the folders and archives of `plugin_dirs`); here each is
loaded separately, in a child and within its sandbox, so that a broken plugin is logged and fails no job.

Decisions: docs/decisions/children.md
"""

import importlib
import importlib.util
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import distributions
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from yt_dlp import globals as shared
from yt_dlp import plugins as of_yt_dlp

from server.core.jobs import JobPlugins

_PACKAGE: Final = "yt_dlp_plugins"
_KIND: Final = "extractor"
_SAMPLE: Final = "https://plugin.invalid/"
_LONGEST: Final = 300  # characters of a version or an error that is sent
# Parts of Python that jobs need unchanged; libraries such as gevent replace them.
_NOT_TO_BE_REPLACED: Final = (
    (socket, "socket"),
    (socket, "create_connection"),
    (socket, "getaddrinfo"),
    (ssl, "SSLContext"),
    (threading, "Thread"),
    (time, "sleep"),
)

extractors: dict[str, Any] = {}
"""The extractors of the plugins that `load` has loaded into this process, by their keys."""

Write = Callable[[str], object]


def load(wanted: JobPlugins, write: Write, send: Callable[..., None] = lambda kind, **fields: None) -> None:
    """Load plugins into this process, for good; one that cannot be loaded is left out, and `write` gets a
    line about it.

    `send` gets the event `trying` before each, and `tried` with its extractors, or its error, afterwards.
    """
    sys.dont_write_bytecode = True  # the folder is the operator's
    shared.plugin_dirs.value = [wanted.folder]
    importlib.invalidate_caches()
    try:
        found = list(of_yt_dlp.iter_modules(_KIND))
    except (OSError, ValueError) as error:
        send("tried", name="", error=_line(error))
        write(f"downloads.plugins: {_line(error)}")
        return
    finally:
        # PO tokens are made by a plugin that is installed, see `server.child.extract.youtube`.
        shared.plugin_dirs.value = [wanted.folder, "default"]
        importlib.invalidate_caches()
    for finder, name, _ in found:
        short = name.rpartition(".")[2]
        is_wanted = short not in wanted.left_out if wanted.modules is None else short in wanted.modules
        if short.startswith("_") or not is_wanted or name in sys.modules:
            continue
        send("trying", name=short)
        try:
            with _undo_on_error(name):
                module, kinds, replaced = _load_module(finder, name)
        except BaseException as error:  # outermost, around foreign code; also SystemExit
            send("tried", name=short, error=_line(error))
            write(f"downloads.plugins: {short} is left out: {_line(error)}")
            continue
        send("tried", name=short, version=_version(module), extractors=[*kinds, *replaced])


def _load_module(finder: Any, name: str) -> tuple[ModuleType, list[str], list[str]]:
    """Load the plugin; return it, and the keys of its extractors and of yt-dlp's that it replaces."""
    spec = finder.find_spec(name)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    kinds = dict(of_yt_dlp.get_regular_classes(module, name, "IE"))
    for kind in kinds.values():
        # yt-dlp calls these for every link, and for every page: here an error still leaves the plugin out.
        kind.suitable(_SAMPLE)
        list(kind._extract_embed_urls(_SAMPLE, ""))
    own = {kind.ie_key(): kind for kind in kinds.values() if kind._ENABLED}
    for kind in kinds.values():
        kind.suitable = classmethod(_never_raising(kind.suitable.__func__))
    replaced = []
    for original, overriding in shared.plugin_ies_overrides.value.items():
        if any(each.__module__ == name for each in overriding):
            replaced.append(original.ie_key())
            lazy = shared.extractors.value.get(original.__name__)
            if "_real_class" in vars(lazy or object):  # the class that was loaded before
                del lazy._real_class
    shared.extractors.value = {**kinds, **shared.extractors.value, **kinds}
    extractors.update(own)
    return module, sorted(kind.ie_key() for kind in kinds.values()), replaced


def _never_raising(suitable: Any) -> Any:
    """Make `suitable` return False where it raises: it is called for the links of all other
    extractors, too.
    """

    def is_suitable(kind: Any, url: str) -> bool:
        try:
            return bool(suitable(kind, url))
        except Exception:  # foreign code
            return False

    return is_suitable


@contextmanager
def _undo_on_error(name: str) -> Iterator[None]:
    """If loading the plugin in the block raises, restore what it has replaced.

    Raises `RuntimeError` if it has replaced one of `_NOT_TO_BE_REPLACED`.
    """
    before = {key: list(kinds) for key, kinds in shared.plugin_ies_overrides.value.items()}
    parts = {(module, part): getattr(module, part) for module, part in _NOT_TO_BE_REPLACED}
    try:
        yield
        _require_unchanged(parts)
    except BaseException:
        for (module, part), own in parts.items():
            setattr(module, part, own)
        sys.modules.pop(name, None)
        for original, kinds in list(shared.plugin_ies_overrides.value.items()):
            kept = before.get(original, [])
            if len(kinds) > len(kept):
                kinds[:] = kept
                last = kept[-1] if kept else original
                setattr(sys.modules[original.__module__], original.__name__, last)
        raise


def _require_unchanged(parts: Mapping[tuple[ModuleType, str], object]) -> None:
    for (module, part), own in parts.items():
        if getattr(module, part) is not own:
            raise RuntimeError(f"it replaces {module.__name__}.{part}, which all jobs need")


def _version(module: ModuleType) -> str | None:
    """Return the version that the module states, or the package that it was installed with."""
    stated = getattr(module, "__version__", None)
    if isinstance(stated, str) and stated:
        return stated[:_LONGEST]
    root = (module.__file__ or "").partition(f"/{_PACKAGE}/")[0]
    for package in distributions(path=[root]):
        files = package.files or ()
        if any(file.parts[:1] == (_PACKAGE,) for file in files):
            return package.version[:_LONGEST]
    return None


def _line(error: BaseException) -> str:
    """Return an exception in one line, with the place in the plugin if it is known."""
    where = ""
    trace = error.__traceback__
    while trace:
        if f"/{_PACKAGE}/" in trace.tb_frame.f_code.co_filename:
            where = f" ({Path(trace.tb_frame.f_code.co_filename).name}, line {trace.tb_lineno})"
        trace = trace.tb_next
    message = " ".join(str(error).split())
    return (
        f"{type(error).__name__}: {message}"[:_LONGEST] + where if message else type(error).__name__ + where
    )
