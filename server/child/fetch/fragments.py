"""Makes yt-dlp's fragment downloads (HLS, DASH) survive a kill at any moment, and a full disk.

yt-dlp appends a fragment to the `.part` file and then notes its number in the `.ytdl` file. A kill between
the two leaves a fragment that will be appended a second time; a full disk leaves half a fragment that is
noted as complete. Here the `.ytdl` file also holds the length up to which the `.part` file is valid, it is
replaced atomically, and before a download is resumed the `.part` file is truncated to that length. If the
playlist has another number of fragments than before, it is another film's: then nothing is kept.

Moreover, yt-dlp's HLS downloader does not count the fragments that it has already: it fetches the
initialization section again, and media sequence numbers, which decryption needs, begin at the first missing
fragment. So it is made to believe that it has none, and those that it has are filtered out afterwards.

A job that accepts gaps leaves out the fragments that the source says it does not have (`MISSING`). yt-dlp
would leave out every fragment that fails, also where the connection breaks or a server is busy for a while.

Tests that need this: for the notes `test_a_killed_download_goes_on_and_ends_whole` and the kills at
random, for their totals `test_fragments_of_another_playlist_are_not_kept`, for the size that is known before
`test_a_film_that_is_known_to_be_too_large_is_not_fetched`, for gaps `tests/child/test_gaps.py`.
"""

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from yt_dlp.downloader.dash import DashSegmentsFD
from yt_dlp.downloader.fragment import FragmentFD
from yt_dlp.downloader.hls import HlsFD
from yt_dlp.networking.exceptions import HTTPError

from server.child.extract.failures import MISSING, Tries
from server.child.fetch.resuming import Partial, note_of
from server.child.media import parts
from server.child.process import yt_dlp_parts

_prepare = yt_dlp_parts.original(FragmentFD, "_prepare_frag_download")
_prepare_and_start = yt_dlp_parts.original(HlsFD, "_prepare_and_start_frag_download")
_report = yt_dlp_parts.original(FragmentFD, "report_retry")
_download_and_append = yt_dlp_parts.original(HlsFD, "download_and_append_fragments")


def install() -> None:
    """Replace these methods of yt-dlp's, in the rest of this process and its children."""
    if not yt_dlp_parts.fits("fragments"):
        return
    FragmentFD._append_fragment = _append_fragment
    FragmentFD._write_ytdl_file = _write_note
    FragmentFD._prepare_frag_download = _prepare_frag_download
    FragmentFD.report_retry = _report_retry
    FragmentFD.report_skip_fragment = _report_skip_fragment
    HlsFD._prepare_and_start_frag_download = _prepare_to_count_all
    HlsFD.download_and_append_fragments = _download_the_missing


def _append_fragment(self: Any, ctx: dict[str, Any], content: bytes) -> None:
    ctx["dest_stream"].write(content)
    ctx["dest_stream"].flush()
    fragment = ctx.pop("fragment_filename_sanitized")
    if self._FragmentFD__do_ytdl_file(ctx):
        # Other downloaders, which have no threads, name the file before they count its fragment.
        in_threads = isinstance(self, HlsFD | DashSegmentsFD)
        _write_note(self, ctx, int(fragment.rpartition("-Frag")[2]) if in_threads else None)
    self.try_remove(fragment)
    note_of(fragment).unlink(missing_ok=True)


def _write_note(self: Any, ctx: dict[str, Any], written: int | None = None) -> None:
    """Write the `.ytdl` file: in yt-dlp's format, with `size` (bytes) and `total` (fragments) added.

    `written` is the number of the last fragment in the `.part` file. yt-dlp's own `fragment_index` also
    counts those that threads have fetched but not appended: after a kill one of them would be left out.
    """
    size = ctx["dest_stream"].tell() if "dest_stream" in ctx else 0
    index = ctx["fragment_index"] if written is None else written
    note: dict[str, Any] = {"current_fragment": {"index": index}}
    note |= {"size": size, "total": ctx.get("total_frags")}
    note |= {name: ctx[name] for name in ("extra_state", "fragment_count") if ctx.get(name) is not None}
    path = Path(self.ytdl_filename(ctx["filename"]))
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(json.dumps({"downloader": note}))
    fresh.replace(path)


def _report_retry(
    self: Any, error: object, count: int, most: int, frag_index: int, fatal: bool = True
) -> None:
    """Take the place of yt-dlp's report of a failed try; not `fatal`: the fragment may be left out."""
    is_missing = isinstance(error, HTTPError) and error.status in MISSING
    if is_missing and not fatal and count > most:
        self.missing.add(frag_index)
    left = most if is_missing and not fatal else self.tries.left(error, most)
    _report(self, error, count, left, frag_index, fatal or not is_missing)


def _report_skip_fragment(self: Any, frag_index: int, err: object = None) -> None:
    if frag_index not in self.missing:
        self.report_error(f"fragment {frag_index} not found, unable to continue")
    parts.note_gap(self.stream)
    self.report_warning(f"fragment {frag_index} is left out: the source does not have it")


def _prepare_frag_download(self: Any, ctx: dict[str, Any]) -> None:
    name = ctx["filename"]
    self.tries, self.missing, self.stream = Tries(name), set(), Path(name)
    part = Path(self.temp_name(name))
    note = Path(self.ytdl_filename(name))
    size, is_same_playlist = 0, False
    with suppress(OSError, ValueError, KeyError, TypeError):
        noted = json.loads(note.read_text())["downloader"]
        if noted["total"] == ctx.get("total_frags"):
            size, is_same_playlist = noted["size"], True
    for fragment in part.parent.glob(f"{part.name}-Frag*"):
        if not is_same_playlist:
            fragment.unlink()
        elif fragment.name.rpartition("-Frag")[2].isdecimal():
            # A fragment that is shorter than its source stated may have been truncated by a power cut.
            partial = Partial(fragment, note_of(str(fragment)))
            if partial.source is None or partial.source.total != partial.size:
                fragment.rename(fragment.with_name(fragment.name + ".part"))
    if size and part.exists() and part.stat().st_size >= size:
        os.truncate(part, size)
    else:
        part.unlink(missing_ok=True)
        note.unlink(missing_ok=True)
        parts.gap_note_of(part.with_suffix("")).unlink(missing_ok=True)
    _prepare(self, ctx)


def _prepare_to_count_all(self: Any, ctx: dict[str, Any], info: dict[str, Any]) -> None:
    _prepare_and_start(self, ctx, info)
    ctx["fetched"], ctx["fragment_index"] = ctx["fragment_index"], 0


def _download_the_missing(
    self: Any, ctx: dict[str, Any], fragments: Iterable[dict[str, Any]], info: dict[str, Any], **options: Any
) -> Any:
    ctx["fragment_index"] = fetched = ctx.pop("fetched")
    missing = [fragment for fragment in fragments if fragment["frag_index"] > fetched]
    # Report the total size before anything is fetched, if the playlist has byte ranges.
    ranges = [fragment["byte_range"] for fragment in missing]
    lengths = [one and one["end"] - one["start"] for one in ranges]
    done = ctx["complete_frags_downloaded_bytes"]
    self._hook_progress(
        {
            "status": "downloading",
            "downloaded_bytes": done,
            "total_bytes": done + sum(lengths) if all(lengths) else None,
        },
        info,
    )
    return _download_and_append(self, ctx, missing, info, **options)
