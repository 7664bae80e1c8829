"""Warms the fork server: imports and computes once what every child would have to do again.

Importing is not enough: the first extraction computes much. All of it must stay below 45 MB, so what no
download needs is left out.
"""

import gc
import importlib
import importlib.util
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from server.child.process import warm_cache, yt_dlp_parts

# Optional dependencies of yt-dlp that no download needs: detection of text encodings (for `requests`),
# browsers' cookies, live chats, covers in files where ffmpeg cannot put them. Moreover curl_cffi, which
# impersonates browsers: a child loads it when a source needs it. And cffi, which comes with it, and which
# Cryptodome would prefer to ctypes, at a cost of 1.2 MB and 0.04 s of CPU.
_LEFT_OUT = (
    "charset_normalizer",
    "chardet",
    "sqlite3",
    "secretstorage",
    "websockets",
    "mutagen",
    "curl_cffi",
    "cffi",
)

_NEEDED = (
    "yt_dlp.extractor.lazy_extractors",
    "yt_dlp.extractor.extractors",
    "yt_dlp.extractor.generic",
    "yt_dlp.extractor.youtube",
    "yt_dlp.downloader",
    "yt_dlp.postprocessor",
    "encodings.idna",
)


def prefer(folder: str) -> None:
    """Import packages from `folder` before those that are installed, but after Python's own modules."""
    found = importlib.util.find_spec("yt_dlp")
    installed = str(Path(found.origin).parents[1]) if found and found.origin else ""
    sys.path.insert(sys.path.index(installed) if installed in sys.path else len(sys.path), folder)


def load(job: str) -> ModuleType:
    """Import yt_dlp and the module `job`, and return that; raises `UnfitYtDlp` if this yt-dlp can run no job.

    The garbage collector is off until `warm` is done: it would find next to nothing, in 0.06 s of CPU.
    """
    gc.disable()
    with _left_out(), warnings.catch_warnings():
        # Ignore the warning that `requests` finds no library that detects encodings.
        warnings.simplefilter("ignore")
        for name in _NEEDED:
            importlib.import_module(name)
        yt_dlp_parts.require_usable()
        return importlib.import_module(job)


def warm(job: ModuleType, ffmpeg: str | None, deno: str | None) -> dict[str, str | None]:
    """Fill the caches of yt-dlp and of `job`; return the versions of yt-dlp, ffmpeg and deno.

    Afterwards the garbage collector ignores all of it (`gc.freeze`): in a child each page that it touched
    would be copied (copy-on-write).
    """
    import yt_dlp

    versions: dict[str, str | None] = {"yt_dlp": yt_dlp.version.__version__, "ffmpeg": None, "deno": None}
    can_find_versions = yt_dlp_parts.fits("versions")
    if ffmpeg and can_find_versions:
        found = _version_of_ffmpeg(ffmpeg)
        # Cut ffmpeg's version out of, for example, `7.1.5-0+deb13u1` or `n9.0.2-12-g1234567`.
        number = re.match(r"n?(\d[\d.]*\d)", found)
        versions["ffmpeg"] = number[1] if number else found or None
    if deno and can_find_versions:
        versions["deno"] = _version_of_deno(deno)
    if ffmpeg:
        job.warm(ffmpeg)
    gc.freeze()
    gc.enable()
    return versions


def _version_of_ffmpeg(location: str) -> str:
    """Return the version of ffmpeg, or "".

    yt-dlp caches what it finds out about ffmpeg and ffprobe in a class, which children inherit.
    """
    from yt_dlp.postprocessor.ffmpeg import FFmpegPostProcessor

    def find_versions() -> list[Any] | None:
        FFmpegPostProcessor.get_versions()
        # Do not cache that a program does not run: it may be repaired without a change of its file.
        if any(Path(path).exists() and not versions.get(path) for path in programs):
            return None
        return [(path, versions.get(path), features.get(path, {})) for path in programs]

    FFmpegPostProcessor._ffmpeg_location.set(location)
    programs = FFmpegPostProcessor()._determine_executables().values()
    versions, features = FFmpegPostProcessor._version_cache, FFmpegPostProcessor._features_cache
    found = warm_cache.cached("ffmpeg", _identities(*programs), find_versions) or ()
    for path, version, its_features in found:
        versions[path], features[path] = version, its_features
    return versions.get(location) or ""


def _version_of_deno(location: str) -> str | None:
    from yt_dlp.utils._jsruntime import DenoJsRuntime

    def find_version() -> str | None:
        info = DenoJsRuntime(location).info
        return info.version if info else None

    found: str | None = warm_cache.cached("deno", _identities(location), find_version)
    return found


def _identities(*programs: str) -> list[Any]:
    """Return what the versions depend on: the existing programs, and yt-dlp, which reads their output."""
    import yt_dlp

    existing = [path for path in programs if Path(path).exists()]
    return [yt_dlp.version.__version__, *map(warm_cache.identity, existing)]


@contextmanager
def _left_out() -> Iterator[None]:
    """Inside the block, make imports of `_LEFT_OUT` fail; later imports work."""
    absent = set(_LEFT_OUT) - sys.modules.keys()
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None: there is no such module
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
