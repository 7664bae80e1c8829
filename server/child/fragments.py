"""Makes yt-dlp's fragment downloads (HLS, DASH) safe to be killed at any moment, and to run out of disk.

yt-dlp appends a fragment to the `.part` file and then notes its number in the `.ytdl` file. A kill between
the two leaves a fragment that will be appended a second time; a full disk leaves half a fragment that is
noted as done. Here the note also holds the length up to which the `.part` file is right, it is replaced
in one step, and before a download goes on the rest is cut off.
"""

import json
import os
from pathlib import Path
from typing import Any

from yt_dlp.downloader.fragment import FragmentFD

from server.child import resuming

_prepare = FragmentFD._prepare_frag_download


def install() -> None:
    FragmentFD._append_fragment = _append_fragment
    FragmentFD._write_ytdl_file = _write_note
    FragmentFD._prepare_frag_download = _prepare_frag_download


def _append_fragment(self: Any, ctx: dict[str, Any], content: bytes) -> None:
    ctx["dest_stream"].write(content)
    ctx["dest_stream"].flush()
    if self._FragmentFD__do_ytdl_file(ctx):
        self._write_ytdl_file(ctx)
    fragment = ctx.pop("fragment_filename_sanitized")
    self.try_remove(fragment)
    resuming.note_of(fragment).unlink(missing_ok=True)


def _write_note(self: Any, ctx: dict[str, Any]) -> None:
    """yt-dlp's format, with `size` added."""
    size = ctx["dest_stream"].tell() if "dest_stream" in ctx else 0
    note: dict[str, Any] = {"current_fragment": {"index": ctx["fragment_index"]}, "size": size}
    note |= {name: ctx[name] for name in ("extra_state", "fragment_count") if ctx.get(name) is not None}
    path = Path(self.ytdl_filename(ctx["filename"]))
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(json.dumps({"downloader": note}))
    fresh.replace(path)


def _prepare_frag_download(self: Any, ctx: dict[str, Any]) -> None:
    _cut_off(Path(self.temp_name(ctx["filename"])), Path(self.ytdl_filename(ctx["filename"])))
    _prepare(self, ctx)


def _cut_off(part: Path, note: Path) -> None:
    """Bring `part` to the length that `note` vouches for; without a readable note both start anew."""
    try:
        size = json.loads(note.read_text())["downloader"]["size"]
        whole = part.stat().st_size >= size
    except (OSError, ValueError, KeyError, TypeError):
        whole, size = False, 0
    if whole and size:
        os.truncate(part, size)
    else:
        part.unlink(missing_ok=True)
        note.unlink(missing_ok=True)
