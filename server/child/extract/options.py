"""Turns a request into yt-dlp's parameters. yt-dlp gets no others.

Left out on purpose: programs to run, netrc, cookies of browsers, link files, other downloaders, output
templates, headers and raw parameters.
"""

import io
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from yt_dlp import utils

from server.child.extract import failures, video_info
from server.child.process import yt_dlp_parts
from server.child.process.log import Log
from server.core.jobs import Job, Wishes

_SOCKET_TIMEOUT = 18.0  # seconds; three attempts at a source that never answers are over within a minute
_CONNECTIONS = 3

_CODECS = {
    "h264": "^(avc|h264)",
    "h265": "^(hev|hvc|h265)",
    "vp9": "^vp0?9",
    "av1": "^av0?1",
}
_CONTAINER_SORT = {"mp4": ["ext:mp4:m4a"], "webm": ["ext:webm:webm"]}
_AUDIO_SORT = {
    "mp3": ["acodec:mp3"],
    "m4a": ["acodec:aac"],
    "opus": ["acodec:opus"],
}


def build(job: Job, log: Log) -> dict[str, Any]:
    """Return the parameters of `YoutubeDL` that all kinds of jobs have."""
    return {
        "logger": log,
        "quiet": True,
        "noprogress": True,
        "no_color": True,
        "cachedir": False,
        "enable_file_urls": False,
        "usenetrc": False,
        "cookiefile": io.StringIO(job.cookies) if job.cookies else None,
        "ignoreerrors": False,
        "updatetime": False,
        "ffmpeg_location": job.ffmpeg,
        "js_runtimes": {"deno": {"path": job.deno}} if job.deno else {},
        "extractor_args": job.extractor_args,
        "external_downloader": {"default": "native"},
        "continuedl": yt_dlp_parts.fits("fragments") and yt_dlp_parts.fits("resuming"),
        "nopart": False,
        # yt-dlp's default leaves gaps without an error.
        "skip_unavailable_fragments": job.accept_gaps and yt_dlp_parts.fits("fragments"),
        # yt-dlp's threads share the state of a fragment, so that a missing one might be taken for another.
        "concurrent_fragment_downloads": 1 if job.accept_gaps else _CONNECTIONS,
        "socket_timeout": _SOCKET_TIMEOUT,
        "retries": failures.MAX_RETRIES,
        "fragment_retries": failures.MAX_RETRIES_OF_GAPS if job.accept_gaps else failures.MAX_RETRIES,
        "extractor_retries": 1,
        "file_access_retries": 1,
        "retry_sleep_functions": {
            "http": failures.pause(0.25, 10.0, log.alive),
            "fragment": failures.pause(0.05, 1.0, log.alive),  # for refusals; for connection faults "http"
            "extractor": failures.pause(0.25, 1.0, log.alive),
        },
        "wait_for_video": False,
        "proxy": job.proxy,
        # Without this yt-dlp would use certifi's certificates instead of those that the operator names.
        "compat_opts": {"no-certifi"}
        if bool(os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR"))
        else set(),
    }


def for_download(job: Job, log: Log) -> dict[str, Any]:
    wishes = job.wishes
    return build(job, log) | {
        "format": exactly(wishes.format) if wishes.format else selector(wishes),
        "format_sort": sorting(wishes),
        "noplaylist": job.item is None,
        "playlist_items": "1",
        "ignore_no_formats_error": not wants_media(wishes),
        # Some extractors search for subtitles only with these two; `fetch.subtitles` selects among them.
        "writesubtitles": wants_subtitles(wishes),
        "writeautomaticsub": wants_subtitles(wishes) and wishes.subtitles.automatic,
        "wait_for_video": wishes.live == "wait" and yt_dlp_parts.fits("announcements"),
    }


def for_list(job: Job, log: Log) -> dict[str, Any]:
    return build(job, log) | {"noplaylist": False, "lazy_playlist": True}


def for_list_in_list(job: Job, log: Log) -> dict[str, Any]:
    """Return the options to read an entry that has turned out, with those of `for_download`, to be a list."""
    return for_list(job, log) | {"noplaylist": job.item is None}


def for_info(job: Job, log: Log) -> dict[str, Any]:
    return build(job, log) | {
        "format": "bv*+ba/b/bv*/ba",
        "extract_flat": "in_playlist",
        "noplaylist": True,
        "playlist_items": f"{job.known + 1}-{job.max_playlist + 1}",
        "ignore_no_formats_error": True,
    }


def selector(wishes: Wishes) -> str:
    """Return yt-dlp's format selector: formats that fulfil every wish, else formats that fulfil fewer."""
    if wants_only_audio(wishes):
        return _in_language("ba{0}/b[acodec!=?none]{0}", wishes)
    height, codec = _height(wishes), _CODECS.get(wishes.codec)
    cap = f"[height<=?{height}]" if height else ""
    filters = [f"[vcodec~='{codec}']{cap}", cap, ""] if codec else [cap, ""]
    tried = []
    for narrow in dict.fromkeys(filters):  # the best picture, with sound of its own or from another format
        if wants_only_picture(wishes):
            tried.append(f"bv*{narrow}")
            continue
        if wishes.audio_language:
            # bv, not bv*: if the picture has sound of its own, yt-dlp leaves out the sound of the language.
            tried.append(_in_language(f"bv{narrow}+ba{{0}}/b{narrow}{{0}}", wishes, or_any=False))
        tried.append(f"bv*{narrow}+ba/b{narrow}")
    return "/".join(tried)


def exactly(wanted: str) -> Callable[[Mapping[str, Any]], Iterator[dict[str, Any]]]:
    """Return a format selector for the ids in `wanted`, joined by `+`, as `POST /api/info` shows them.

    It is a function, because in yt-dlp's syntax many ids cannot be written, or mean something else.
    """

    def choose(context: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        shown = {video_info.text(offered["format_id"]): offered for offered in context["formats"]}
        chosen = [shown[name] for name in wanted.split("+") if name in shown]
        if len(chosen) == 1 + wanted.count("+"):
            # The format dict that yt-dlp's own selectors yield for several formats.
            yield (
                chosen[0]
                if len(chosen) == 1
                else {
                    "requested_formats": chosen,
                    "format_id": "+".join(one["format_id"] for one in chosen),
                    "ext": chosen[0]["ext"],
                    "protocol": "+".join(utils.determine_protocol(one) for one in chosen),
                }
            )

    return choose


def sorting(wishes: Wishes) -> list[str]:
    """Return yt-dlp's order of preference among the formats that the selector selects."""
    if wants_only_audio(wishes):
        worst = ["+abr"] if wishes.quality == "worst" else []
        return ["lang", *worst, *_AUDIO_SORT.get(wishes.audio_format, [])]
    container = _CONTAINER_SORT.get(wishes.video_format, [])
    if wishes.quality == "worst":
        return ["+height", "+br", *container]
    height = _height(wishes)
    size = [f"height:{height}"] if height else ["quality", "res"]
    return ["lang", *size, "fps", "hdr:12", *container]


def wants_media(wishes: Wishes) -> bool:
    return "video" in wishes.outputs or "audio" in wishes.outputs


def wants_subtitles(wishes: Wishes) -> bool:
    return "subtitles" in wishes.outputs or wishes.subtitles.embed


def wants_only_audio(wishes: Wishes) -> bool:
    return "audio" in wishes.outputs and "video" not in wishes.outputs


def wants_only_picture(wishes: Wishes) -> bool:
    return wishes.mute and "video" in wishes.outputs and "audio" not in wishes.outputs


def _height(wishes: Wishes) -> int | None:
    return int(wishes.quality) if wishes.quality.isdigit() else None


def _in_language(spec: str, wishes: Wishes, *, or_any: bool = True) -> str:
    """Return `spec` with the filter for `audio_language` as `{0}`; with `or_any`, else without it."""
    language = wishes.audio_language
    wished = [spec.format(f"[language^={language}]")] if language else []
    return "/".join([*wished, spec.format("")] if or_any else wished)
