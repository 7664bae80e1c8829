"""Runs one job in a process of its own: reads it, enters the sandbox, does the work, reports how it ended.

A child of the fork server runs `main`. For debugging, and where there is no fork, it runs by itself:
`python -I server/child/job.py FD`, with FD the inherited end of a stream socket.
"""

import dataclasses
import fcntl
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, NoReturn

if __name__ == "__main__":  # isolated mode leaves the checkout out
    sys.path.append(str(Path(__file__).resolve().parents[2]))

from yt_dlp.downloader.common import FileDownloader

from server.child import download
from server.child.extract import broadcasts, cookie_jar, offers, options, plugins, youtube, youtube_dl
from server.child.extract.failures import Failure, Trail, classify, is_crash
from server.child.extract.lists import DEEPEST, EntrySender, Expansion
from server.child.extract.youtube_dl import Engine, share_certificates
from server.child.fetch import by_ffmpeg, fragments, resuming
from server.child.fetch.thumbnails import Thumbnails
from server.child.media import run_ffmpeg
from server.child.network import guard
from server.child.process import sandbox, yt_dlp_parts
from server.child.process.channel import Channel, end_group
from server.child.process.job_failed import JobFailed
from server.child.process.log import Log
from server.child.process.progress import Reporter
from server.core.jobs import Job, JobSubtitles, Wishes, from_message
from server.core.redaction import trace_of


def main(channel: socket.socket) -> NoReturn:
    """Do the job that the server writes to `channel`; the last event sent there says how it ended."""
    log, trail = Log(), Trail()
    link = Channel(channel)
    try:
        try:
            job = from_message(link.read_job())
        except ValueError as error:
            raise JobFailed("internal", str(error)) from None
        trail.url, trail.by_http_proxy = job.wishes.url, (job.proxy or "").startswith("http")
        reporter = Reporter(link)
        if job.kind in _MUST_NOT_STALL:
            log = Log(on_line=reporter.report_alive)
        kind, fields = _WORK[job.kind](job, link, log, trail, reporter)
    except BaseException as error:  # outermost: the server must hear of whatever it was
        kind, fields = "broken", broken_fields(error, trail, log)
    try:
        link.send_last(kind, **fields)
    finally:
        os._exit(kind == "broken")  # without destructors and threads: all is sent, and flushed to disk


def install() -> None:
    """Replace what every job replaces of yt-dlp and of `http.client`, for the rest of this process.

    The children of the fork server inherit it.
    """
    broadcasts.install()
    youtube_dl.install()
    fragments.install()
    resuming.install()
    run_ffmpeg.replace()
    by_ffmpeg.install()
    guard.skip_informational_responses()
    if yt_dlp_parts.fits("printing"):
        FileDownloader.report_progress = lambda self, s: None  # it makes lines that nobody reads
    if yt_dlp_parts.fits("blocks"):
        of_yt_dlp = FileDownloader.best_block_size
        FileDownloader.best_block_size = lambda self, seconds, size: self.ydl.throttle.block_size(
            of_yt_dlp(seconds, size)
        )


def warm(ffmpeg: str) -> None:
    """Fill the caches that every job needs; the fork server calls this once before it starts any job."""
    share_certificates()
    log = Log(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC))
    # The wishes need every kind of yt-dlp's format filters.
    wishes = Wishes(
        url="http://warm.invalid/",
        outputs=("video",),
        quality="720",
        video_format="mp4",
        codec="h264",
        audio_format="best",
        audio_quality=None,
        audio_language=None,
        format=None,
        subtitles=JobSubtitles(),
        mute=False,
        embed_metadata=False,
        clip=None,
        sponsorblock=(),
        split_chapters=False,
        live="reject",
        playlist_items=None,
    )
    with Engine(
        options.for_download(
            Job(
                kind="download",
                directory=os.devnull,
                lock=os.devnull,
                wishes=wishes,
                ffmpeg=ffmpeg,
                deno=None,
                allowed_private_hosts=(),
                proxy=None,
                rate_limit=None,
                max_filesize=None,
                item=None,
                known=0,
                max_playlist=1,
                cookies=None,
                extractor_args={},
                pot_provider=None,
                sponsorblock_api="https://sponsors.invalid",
                players={},
            ),
            log,
        ),
        Trail(),
    ) as engine:
        engine.rehearse()
    log.close()


def broken_fields(error: BaseException, trail: Trail, log: Log) -> dict[str, Any]:
    """Return the fields of the event `broken`. Must not raise: the child would end without any event."""
    try:
        failure, message = classify(error, trail), str(error)
        crashed = is_crash(error, failure.code)
    except Exception as another:
        another.__context__ = error
        error, failure, message = another, Failure("internal"), "the error could not be classified"
        crashed = True
    log.write(f"{failure.code}: {message}")
    fields = {name: value for name, value in dataclasses.asdict(failure).items() if value is not None}
    if crashed:
        fields["crashed"] = True
    if failure.code == "internal":
        # The task's log and the server's both have the traceback, with the same id.
        error_id, trace = secrets.token_hex(8), trace_of(error)
        log.write(f"error {error_id}\n{trace}")
        fields["fault"] = {"id": error_id, "trace": trace}
    return fields


def _download(
    job: Job, link: Channel, log: Log, trail: Trail, reporter: Reporter
) -> tuple[str, dict[str, Any]]:
    work = download.Download(job, link, log, reporter)
    _enter_sandbox(job, work.on_time, work.report_alive)

    def obey(command: Mapping[str, Any]) -> None:
        match command.get("command"):
            case "stop":
                end_group()  # safe at any moment: partial files survive a kill
            case "finish":
                work.finish()
            case "rate":
                work.set_rate(command.get("bytes_per_second"))

    link.watch(obey)
    try:
        with _engine(options.for_download, job, link, log, trail, throttle=work.throttle) as engine:
            return "produced", work.run(engine)
    except JobFailed as error:
        if error.code != "is_playlist" or job.lists is None or len(job.lists) > DEEPEST:
            raise
    log.write("this entry of a list is a list itself: its entries take its place")
    sender = EntrySender(link, "found")
    with _engine(options.for_list_in_list, job, link, log, trail, on_request=sender.flush) as engine:
        return "expanded", Expansion(job, engine, link, log).run(sender)


def _enter_and_obey_stop(job: Job, link: Channel, on_written: Callable[[], None] = lambda: None) -> None:
    """Enter the sandbox, and obey `stop`, the only command for a job that is no download."""
    _enter_sandbox(job, lambda _: None, on_written)
    link.watch(lambda command: end_group() if command.get("command") == "stop" else None)


def _info(job: Job, link: Channel, log: Log, trail: Trail, _: Reporter) -> tuple[str, dict[str, Any]]:
    _enter_and_obey_stop(job, link)
    with _engine(options.for_info, job, link, log, trail) as engine:
        found = engine.extract_info(job.wishes.url, download=False) or {}
        info = broadcasts.check_broadcast(engine, found, log.alive)
        picture = Thumbnails(engine, job.ffmpeg, Path(job.directory), log).data_link(info)
        page = offers.page(engine, info, job.max_playlist)
    return "extracted", {"info": offers.extracted(info, picture, page)}


def _thumbnails(job: Job, link: Channel, log: Log, trail: Trail, _: Reporter) -> tuple[str, dict[str, Any]]:
    _enter_and_obey_stop(job, link)
    with _engine(options.for_info, job, link, log, trail) as engine:
        made = Thumbnails(engine, job.ffmpeg, Path(job.directory), log).data_links(job.pictures)
    return "thumbnails", {"thumbnails": made}


def _expand(
    job: Job, link: Channel, log: Log, trail: Trail, reporter: Reporter
) -> tuple[str, dict[str, Any]]:
    _enter_and_obey_stop(job, link, reporter.report_alive)
    sender = EntrySender(link, "found")
    with _engine(options.for_list, job, link, log, trail, on_request=sender.flush) as engine:
        return "expanded", Expansion(job, engine, link, log).run(sender)


def _cover(job: Job, link: Channel, log: Log, trail: Trail, _: Reporter) -> tuple[str, dict[str, Any]]:
    from server.child.media.cover import cover  # few need it

    _enter_and_obey_stop(job, link)
    return "covered", {"data": cover(Path(job.directory), job.ffmpeg, log.write)}


def _check(job: Job, link: Channel, log: Log, trail: Trail, reporter: Reporter) -> tuple[str, dict[str, Any]]:
    from server.child.extract.source_check import SourceCheck  # few need it
    from server.child.fetch.source_pictures import send_pictures

    _enter_and_obey_stop(job, link, reporter.report_alive)
    with _engine(options.for_list, job, link, log, trail, on_request=log.alive) as engine:
        found = SourceCheck(job, engine, link, log, trail, EntrySender(link, "found_entries")).run()
        assert job.check
        thumbnails = Thumbnails(engine, job.ffmpeg, Path(job.directory), log)
        send_pictures(job.check, found, thumbnails, link)
    return "checked", found


def _plugins(job: Job, link: Channel, log: Log, trail: Trail, _: Reporter) -> tuple[str, dict[str, Any]]:
    """Try all plugins, and send the name of each before it is loaded: it may end this process, or hang."""
    assert job.plugins
    _enter_and_obey_stop(job, link)
    if not yt_dlp_parts.fits("plugins"):
        return "plugins", {}
    plugins.load(job.plugins, log.write, link.send)
    with Engine(options.for_info(job, log), trail):
        pass  # yt-dlp works with the extractors of the plugins
    return "plugins", {}


@contextmanager
def _engine(
    params: Callable[[Job, Log], dict[str, Any]],
    job: Job,
    link: Channel,
    log: Log,
    trail: Trail,
    **hooks: Any,
) -> Iterator[Engine]:
    """Open yt-dlp with the job's plugins, tokens, cookies and known players; `hooks` are for `Engine`."""
    if job.plugins and yt_dlp_parts.fits("plugins"):
        plugins.load(job.plugins, log.write)
    if job.pot_provider:
        job = youtube.with_provider(job, job.pot_provider, log)
    with (
        Engine(params(job, log), trail, job.item, **hooks) as engine,
        cookie_jar.send_changed_cookies(engine, link, log) if job.cookies else nullcontext(),
    ):
        if yt_dlp_parts.fits("players"):
            engine.cache = youtube.PlayerCache(job.players, link.send)
        yield engine


def _enter_sandbox(job: Job, on_time: Callable[[float], None], on_written: Callable[[], None]) -> None:
    """Restrict this process to its directory and public addresses.

    No other thread may run yet: Landlock covers this thread and those that start later.
    """
    directory = Path(job.directory)
    lock = _lock(job.lock)  # first: another holder may be deleting the directory
    directory.mkdir(mode=0o700, exist_ok=True)
    os.chdir(directory)
    tempfile.tempdir = os.environ["TMPDIR"] = str(directory)
    guard.install(job.allowed_private_hosts, job.proxy)
    sandbox.limit(job.max_filesize)
    yt_dlp = yt_dlp_parts.install_folder()  # perhaps of an update, which the sandbox has to allow
    plugin_folder = job.plugins.folder if job.plugins else None
    sandbox.restrict(directory, [yt_dlp, *(path for path in (job.ffmpeg, job.deno, plugin_folder) if path)])
    run_ffmpeg.install(job.ffmpeg, lock, on_time, on_written)


_WORK = {
    "download": _download,
    "info": _info,
    "thumbnails": _thumbnails,
    "expand": _expand,
    "check": _check,
    "cover": _cover,
    "plugins": _plugins,
}
_MUST_NOT_STALL = ("download", "expand", "check")  # jobs that the server ends if it hears nothing of them


def _lock(path: str) -> int:
    """Wait for the lock on this task's files, and return its descriptor.

    ffmpeg inherits the descriptor, so that the lock is held until the last writer has ended.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(Path(path).stat(), os.fstat(descriptor)):
                return descriptor
        os.close(descriptor)  # deleted meanwhile: another process could lock a new file at `path`


if __name__ == "__main__":
    os.setsid()
    install()
    main(socket.socket(fileno=int(sys.argv[1])))
