"""Which formats yt-dlp chooses for a request, from lists of formats as sites have them."""

import os
from pathlib import Path
from typing import Any

import pytest
from yt_dlp.utils import DownloadError, ExtractorError

from server.child.extract import options
from server.child.extract.failures import Trail
from server.child.extract.youtube_dl import Engine
from server.child.process.log import Log
from server.core import jobs
from tests.jobs import download_job

NOWHERE = Path("/nowhere")
ARGUMENTS = {"YouTube": {"player-client": ["tv", "Web"]}}


def stream(name: str, **about: Any) -> dict[str, Any]:
    return {"format_id": name, "url": f"http://a.test/{name}", "protocol": "https"} | about


def picture(name: str, height: int, vcodec: str, ext: str = "mp4", **about: Any) -> dict[str, Any]:
    return stream(name, height=height, width=height * 16 // 9, vcodec=vcodec, acodec="none", ext=ext, **about)


def sound(name: str, acodec: str, ext: str, **about: Any) -> dict[str, Any]:
    return stream(name, vcodec="none", acodec=acodec, ext=ext, **about)


TUBE = [
    stream("18", height=360, width=640, vcodec="avc1.42001E", acodec="mp4a.40.2", ext="mp4", tbr=500),
    sound("140", "mp4a.40.2", "m4a", abr=129, language="en", quality=3),
    sound("251", "opus", "webm", abr=140, language="en", quality=3),
    sound("140-zh", "mp4a.40.2", "m4a", abr=129, language="zh-CN", quality=3, language_preference=-10),
    picture("135", 480, "avc1.4d401e", tbr=600),
    picture("136", 720, "avc1.4d401f", tbr=1200),
    picture("137", 1080, "avc1.640028", tbr=2500),
    picture("248", 1080, "vp9", "webm", tbr=1800),
    picture("399", 1080, "av01.0.08M.08", tbr=1500),
    picture("401", 2160, "av01.0.12M.08", tbr=9000),
    picture("313", 2160, "vp9", "webm", tbr=12000),
]
PROGRESSIVE = [
    stream("low", height=240, width=426, vcodec="h264", acodec="aac", ext="mp4"),
    stream("high", height=1080, width=1920, vcodec="h264", acodec="aac", ext="mp4"),
]
UNKNOWN = [stream("0", ext="mp4"), stream("1", ext="mp4")]
ONLY_HIGH = [picture("hi", 2160, "vp9", "webm"), picture("lo", 1440, "av01", "mp4"), TUBE[1]]


def chosen(formats: list[dict[str, Any]], **wishes: Any) -> str:
    """Return the ids of the formats that yt-dlp chooses, as `picture+sound`."""
    log = Log(os.open(os.devnull, os.O_WRONLY))
    with Engine(options.for_download(download_job(NOWHERE, **wishes), log), Trail()) as engine:
        known = {
            "id": "a",
            "title": "a",
            "extractor": "a",
            "extractor_key": "A",
            "webpage_url": "http://a.test/",
        }
        info = engine.process_ie_result(known | {"formats": [dict(f) for f in formats]}, download=False)
    log.close()
    return str(info["format_id"])


@pytest.mark.parametrize(
    ("formats", "wishes", "expected"),
    [
        (TUBE, {}, "401+140"),
        (TUBE, {"video_format": "webm"}, "313+251"),
        (TUBE, {"quality": "1080"}, "399+140"),
        (TUBE, {"quality": "1080", "codec": "h264"}, "137+140"),
        (TUBE, {"quality": "best", "codec": "h264"}, "137+140"),
        (TUBE, {"quality": "best", "codec": "vp9"}, "313+140"),
        (TUBE, {"quality": "1440", "codec": "av1"}, "399+140"),
        (TUBE, {"quality": "720", "codec": "vp9"}, "136+140"),
        (TUBE, {"quality": "480"}, "135+140"),
        (TUBE, {"quality": "worst"}, "18"),
        (TUBE, {"mute": True}, "401+140"),
        (TUBE, {"mute": True, "outputs": ["video"]}, "401"),
        (TUBE, {"mute": True, "outputs": ["video"], "quality": "1080", "codec": "h264"}, "137"),
        (PROGRESSIVE, {"mute": True, "outputs": ["video"]}, "high"),
        (UNKNOWN, {"mute": True, "outputs": ["video"]}, "1"),
        (TUBE, {"codec": "h265"}, "401+140"),
        (TUBE, {"quality": "1080", "audio_language": "zh"}, "399+140-zh"),
        (TUBE, {"quality": "1080", "audio_language": "fr"}, "399+140"),
        (TUBE, {"format": "136+251"}, "136+251"),
        (TUBE, {"outputs": ["audio"]}, "140"),
        (TUBE, {"outputs": ["audio"], "audio_format": "flac"}, "251"),
        (TUBE, {"outputs": ["audio"], "audio_format": "m4a"}, "140"),
        (TUBE, {"outputs": ["audio"], "audio_format": "opus"}, "251"),
        (TUBE, {"outputs": ["audio"], "audio_language": "zh"}, "140-zh"),
        (TUBE, {"outputs": ["audio"], "quality": "worst"}, "140"),
        (PROGRESSIVE, {"quality": "720"}, "low"),
        (PROGRESSIVE, {"outputs": ["audio"]}, "high"),
        (UNKNOWN, {"quality": "360", "codec": "h264"}, "1"),
        (ONLY_HIGH, {"quality": "480"}, "lo+140"),
        (ONLY_HIGH, {"quality": "480", "codec": "vp9"}, "lo+140"),
        (TUBE[4:6], {}, "136"),
        (TUBE[1:2], {}, "140"),
    ],
)
def test_the_choice_follows_the_wishes(
    formats: list[dict[str, Any]], wishes: dict[str, Any], expected: str
) -> None:
    assert chosen(formats, **wishes) == expected


@pytest.mark.parametrize("wishes", [{"format": "999"}, {"outputs": ["audio"]}])
def test_a_format_that_is_not_there_cannot_be_chosen(wishes: dict[str, Any]) -> None:
    with pytest.raises((DownloadError, ExtractorError), match="format is not available"):
        chosen([picture("a", 720, "h264"), picture("b", 720, "h264")], **wishes)


def test_nothing_that_runs_programs_or_writes_elsewhere_is_passed_on() -> None:
    params = options.for_download(download_job(NOWHERE), Log())
    forbidden = {
        "exec",
        "exec_cmd",
        "usenetrc",
        "netrc_cmd",
        "writelink",
        "outtmpl",
        "paths",
        "postprocessors",
    }
    forbidden |= {
        "external_downloader_args",
        "http_headers",
        "cookiesfrombrowser",
        "cookiefile",
        "plugin_dirs",
    }
    assert not forbidden & {name for name, value in params.items() if value}
    assert params["cachedir"] is False
    assert params["enable_file_urls"] is False
    assert params["external_downloader"] == {"default": "native"}
    assert params["skip_unavailable_fragments"] is False


def test_no_table_is_made_of_formats_that_nobody_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    monkeypatch.setattr(Engine, "render_formats_table", lambda _, info: made.append(info))
    assert chosen(TUBE) == "401+140"
    assert not made


def test_an_extractor_is_told_what_the_operator_has_set_for_it() -> None:
    job = jobs.from_message(jobs.to_message(download_job(NOWHERE, extractor_args=ARGUMENTS)))
    with Engine(options.for_download(job, Log(os.open(os.devnull, os.O_WRONLY))), Trail()) as engine:
        told = [
            engine.get_info_extractor(name)._configuration_arg("player_client", casesense=True)
            for name in ("Youtube", "Generic")
        ]
    assert told == [["tv", "Web"], []]


def test_certificates_that_the_operator_names_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/own.pem")
    assert options.build(download_job(NOWHERE), Log())["compat_opts"] == {"no-certifi"}
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    assert options.build(download_job(NOWHERE), Log())["compat_opts"] == set()
