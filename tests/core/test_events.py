"""The state machine: what each event does in each stage."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.core.events import (
    Cancelled,
    Completed,
    Described,
    DownloadStarted,
    EntriesMoved,
    Event,
    Expanded,
    Failed,
    FinishAsked,
    Joined,
    OwnerChanged,
    Paused,
    Pictured,
    Prioritized,
    Progress,
    RateWindowHold,
    Requeued,
    Resumed,
    Retried,
    SpaceNeeded,
    StartAsked,
    Started,
    apply,
)
from server.core.film import About, Manifest, StoredFile, Thumbnail, VideoInfo
from server.core.principal import scope_of_person
from server.core.process_request import ProcessRequest
from server.core.task import Stage, TaskStatus
from tests.examples import new_task

LIST = ProcessRequest(url="http://media.test/list", playlist=True)
NOW = datetime(2024, 1, 1, 12, 0, tzinfo=UTC)
LATER = datetime(2024, 1, 1, 12, 5, 30, tzinfo=UTC)
FILES = {"video": StoredFile(name="video_a_b.mp4", path="video.mp4", size=3, type="video/mp4")}
PICTURE = Thumbnail(name="thumbnail-1.jpg", path="thumbnail-1.jpg", size=3, type="image/jpeg")

EVENTS: dict[str, Event] = {
    "started": Started(),
    "described": Described(video_info=VideoInfo(title="t")),
    "needs": SpaceNeeded(needs=7),
    "download_started": DownloadStarted(),
    "progress": Progress(progress=45.9, downloaded_bytes=4, total_bytes=9, speed=2.5, eta=2),
    "convert": Progress(stage=Stage.CONVERT, progress=90),
    "held": RateWindowHold(held=True, until=LATER),
    "requeued": Requeued(counts_as_retry=True),
    "pictured": Pictured(thumbnail=PICTURE),
    "finished": Completed(files=FILES),
    "failed": Failed(code="http_404"),
    "paused": Paused(),
    "resumed": Resumed(),
    "cancelled": Cancelled(),
    "retried": Retried(),
    "prioritized": Prioritized(priority=3),
    "start_asked": StartAsked(),
}
RUNNING = ("info", "download", "convert")
FINAL = ("completed", "failed", "cancelled")
# event -> the stages in which it changes anything, and the stage it leads to (None: it stays)
TRANSITIONS = {
    "started": (("queued", *RUNNING), "info"),
    "described": (RUNNING, None),
    "needs": (RUNNING, None),
    "download_started": (("info",), "download"),
    "progress": (("download", "convert"), None),
    "convert": (("download", "convert"), "convert"),
    "held": (("download",), None),
    "requeued": (("queued", *RUNNING), "queued"),
    "pictured": (RUNNING, None),
    "finished": (("queued", *RUNNING), "completed"),
    "failed": (("queued", *RUNNING), "failed"),
    "paused": (("queued", *RUNNING), "paused"),
    "resumed": (("paused",), "queued"),
    "cancelled": (("queued", *RUNNING, "paused"), "cancelled"),
    "retried": (FINAL, "queued"),
    "prioritized": (("queued", *RUNNING, "paused"), None),
    "start_asked": (("paused",), "queued"),
}


def new() -> TaskStatus:
    return TaskStatus.new(ProcessRequest(url="http://media.test/a.mp4"), NOW)


def after(*events: Event) -> TaskStatus:
    status = new()
    for event in events:
        status = apply(status, event, LATER)
    return status


def in_stage(stage: str) -> TaskStatus:
    return new().model_copy(update={"stage": Stage(stage), "progress": 30, "attempt": 1, "revision": 7})


@pytest.mark.parametrize("stage", list(Stage))
@pytest.mark.parametrize("name", EVENTS)
def test_an_event_changes_a_task_only_where_the_table_says(name: str, stage: Stage) -> None:
    before = in_stage(stage)
    status = apply(before, EVENTS[name], LATER)
    stages, leads_to = TRANSITIONS[name]
    if stage in stages:
        assert status.revision == before.revision + 1
        assert status.stage == (leads_to or stage)
    else:
        assert status is before


def test_a_description_that_starts_the_download_is_one_change() -> None:
    described = Described(video_info=VideoInfo(title="t"), starts=True)
    status = after(Started(), described)
    assert (status.stage, status.progress, status.revision) == ("download", 20, new().revision + 2)
    assert (status.video_info.title, status.started_at) == ("t", LATER)
    assert apply(status, DownloadStarted(), LATER) is status
    converting = in_stage("convert")
    assert apply(converting, described, LATER).stage == "convert"


@pytest.mark.parametrize("before", [(), (Paused(),), (Started(), Requeued(because="next_attempt", after=60))])
def test_a_task_that_is_to_start_now_waits_for_nothing_any_more(before: tuple[Event, ...]) -> None:
    request = ProcessRequest(url="http://media.test/a.mp4", start_at="2024-01-02T12:00:00Z")  # type: ignore[arg-type]
    status = TaskStatus.new(request, NOW)
    for event in (*before, StartAsked()):
        status = apply(status, event, NOW)
    assert (status.stage, status.waiting, status.not_before) == ("queued", None, None)
    again = apply(apply(status, Paused(), NOW), Resumed(), NOW)
    assert (again.waiting, again.not_before) == (None, None), (
        "the time for which it was scheduled is forgotten"
    )


def test_a_paused_list_that_is_to_start_waits_for_its_entries_again() -> None:
    status = TaskStatus.new(LIST, NOW)
    for event in (Started(), Joined(count=2), Expanded(), Paused(), StartAsked()):
        status = apply(status, event, NOW)
    assert status.stage == "download"


@pytest.mark.parametrize("end", [Failed(code="timeout"), Cancelled()])
def test_a_task_that_ends_without_its_clip_tells_the_length_of_the_film(end: Event) -> None:
    clip = Described(video_info=VideoInfo(title="t", duration=2), film_duration=60)
    assert after(Started(), clip).video_info.duration == 2
    assert after(Started(), clip, end).video_info == VideoInfo(title="t", duration=60)
    assert after(Started(), clip, Requeued(), Started(), end).video_info.duration == 2, "not said anew"
    unknown = Described(video_info=VideoInfo(title="t", duration=2), film_duration=0)
    assert after(Started(), unknown).video_info.duration == 2
    assert after(Started(), unknown, end).video_info == VideoInfo(title="t"), "not the wish's length"
    assert after(Started(), unknown, Requeued(), Started(), end).video_info.duration is None
    whole = Described(video_info=VideoInfo(duration=60))
    assert after(Started(), whole, end).video_info.duration == 60


def test_the_phases_are_the_documents() -> None:
    assert (new().stage, new().progress) == ("queued", 0)
    assert (after(Started()).stage, after(Started()).progress) == ("info", 10)
    begun = after(Started(), DownloadStarted())
    assert (begun.stage, begun.progress) == ("download", 20)
    done = after(Started(), DownloadStarted(), Completed(files=FILES))
    assert (done.stage.status, done.progress, done.completed_at) == ("completed", 100, LATER)
    failed = after(Started(), DownloadStarted(), Failed(code="http_404"))
    assert (failed.stage.status, failed.progress, failed.error_code) == ("error", 0, "http_404")


def test_bytes_and_speed_are_shown_only_while_it_downloads() -> None:
    loading = after(Started(), DownloadStarted(), EVENTS["progress"])
    assert (loading.downloaded_bytes, loading.total_bytes, loading.speed, loading.eta) == (4, 9, 2.5, 2)
    for event in ("convert", "requeued", "paused", "finished", "failed"):
        status = apply(loading, EVENTS[event], LATER)
        assert (status.downloaded_bytes, status.total_bytes, status.speed, status.eta) == (None,) * 4


def test_a_retry_begins_at_0_under_the_old_attempt_and_the_next_start_raises_it() -> None:
    failed = after(Started(), DownloadStarted(), Failed(code="http_500"))
    retried = apply(failed, Retried(), LATER)
    assert (retried.attempt, retried.progress, retried.stage) == (1, 0, "queued")
    assert (retried.error_code, retried.completed_at) == (None, None)
    assert apply(retried, Started(), LATER).attempt == 2


@pytest.mark.parametrize("ending", ["failed", "cancelled", "paused", "requeued"])
def test_a_retry_keeps_the_files_until_there_are_others(ending: str) -> None:
    others = {"audio": StoredFile(name="audio_a_c.mp3", path="2/audio.mp3", size=3, type="audio/mpeg")}
    done = after(Started(), DownloadStarted(), Completed(files=FILES))
    again = apply(apply(done, Retried(), NOW), Started(), NOW)
    ended = apply(again, EVENTS[ending], NOW)
    assert (again.files, ended.files) == (FILES, FILES)
    assert (ended.published_at, ended.video_info) == (LATER, done.video_info)
    finished = apply(again, Completed(files=others), NOW)
    assert (finished.files, finished.published_at) == (others, NOW)


def test_waiting_for_the_next_attempt_keeps_the_progress() -> None:
    waiting = after(Started(), DownloadStarted(), EVENTS["progress"], Requeued(because="disk_full", after=15))
    assert (waiting.stage, waiting.progress, waiting.waiting) == ("queued", 45, "disk_full")
    assert waiting.not_before == LATER + timedelta(seconds=15)
    again = apply(waiting, Started(), LATER)
    assert (again.progress, again.attempt, again.waiting) == (10, 2, None)


def test_a_download_that_is_held_has_no_speed_whatever_is_told_late() -> None:
    held = after(Started(), DownloadStarted(), EVENTS["progress"], EVENTS["held"])
    assert (held.waiting, held.not_before, held.downloaded_bytes) == ("rate_window", LATER, 4)
    late = apply(held, Progress(progress=50, downloaded_bytes=5, speed=2.5, eta=2), LATER)
    assert (late.waiting, late.speed, late.eta, late.downloaded_bytes) == ("rate_window", None, None, 5)
    assert apply(late, EVENTS["held"], LATER) is late
    assert apply(late, RateWindowHold(held=False), LATER).waiting is None


@pytest.mark.parametrize(
    "name", ["convert", "requeued", "finished", "failed", "paused", "cancelled", "started"]
)
def test_what_is_held_waits_for_no_hour_any_more_once_something_else_happens(name: str) -> None:
    status = after(Started(), DownloadStarted(), EVENTS["held"], EVENTS[name])
    assert status.waiting is None
    assert name == "paused" or status.not_before is None


LOST = Requeued(counts_as_lost=True)


def attempt(progress: float, done: int | None = None) -> tuple[Event, ...]:
    """Return the events of an attempt that gets so far."""
    return Started(), DownloadStarted(), Progress(progress=progress, downloaded_bytes=done)


@pytest.mark.parametrize(
    ("attempts", "in_a_row"),
    [
        ([(Started(),), (Started(),)], 2),
        ([attempt(20), attempt(30), attempt(31)], 1),
        ([attempt(30, 500), attempt(30, 500), attempt(30, 500)], 3),
        ([attempt(30, 500), attempt(29, 900)], 2),
        ([attempt(20, 500), attempt(20, 501)], 1),  # live: the percentage of a recording can't grow
        ([attempt(60), attempt(20), attempt(20)], 3),
        ([attempt(60), attempt(20), attempt(40)], 1),
    ],
)
def test_children_are_lost_in_a_row_until_one_gets_further_than_the_last(
    attempts: list[tuple[Event, ...]], in_a_row: int
) -> None:
    lost = after(*(event for events in attempts for event in (*events, LOST)))
    assert (lost.lost, lost.lost_in_all) == (in_a_row, len(attempts))
    anew = after(*(event for events in attempts for event in (*events, LOST)), Failed(code="x"), Retried())
    assert (anew.lost, anew.lost_in_all, anew.reached) == (0, 0, (0, 0))


def test_an_attempt_that_ends_otherwise_is_no_loss_and_may_have_got_further() -> None:
    lost = after(*attempt(30), LOST, *attempt(25), Requeued(counts_as_retry=True))
    assert (lost.lost, lost.reached) == (1, (25, 0))
    further = after(*attempt(30), LOST, *attempt(50), Requeued(counts_as_retry=True))
    assert (further.lost, further.reached) == (0, (50, 0))
    waiting = apply(further, Requeued(because="disk_full"), NOW)
    assert (waiting.lost, waiting.reached) == (0, (50, 0))


def test_whether_its_files_are_only_a_part_is_known_anew_in_each_attempt() -> None:
    cut = after(Started(), DownloadStarted(), Completed(files={}, video_info=VideoInfo(title="t", cut=True)))
    assert cut.video_info.cut
    assert apply(apply(cut, Retried(), NOW), Started(), NOW).video_info == VideoInfo(title="t")


def test_what_is_told_about_a_film_comes_with_its_files() -> None:
    about = About(description="One\nTwo", tags=("a",))
    stored = Manifest(attempt=1, files=FILES, video_info=VideoInfo(), about=about).model_dump_json()
    done = after(Started(), DownloadStarted(), Completed.by(Manifest.model_validate_json(stored)))
    assert done.about == about
    # The retry keeps it, like the files.
    assert apply(apply(done, Retried(), NOW), Started(), NOW).about == about


LIVE = (Started(), Described(video_info=VideoInfo(live=True)), DownloadStarted())


@pytest.mark.parametrize("then", [(), (Requeued(),), (Requeued(), Started()), (FinishAsked(),)])
def test_a_recording_that_is_to_be_finished_stays_so_until_it_has_ended(then: tuple[Event, ...]) -> None:
    assert after(*LIVE, FinishAsked(), *then).finish_asked
    assert not after(*LIVE, FinishAsked(), *then, Failed(code="no_media"), Retried()).finish_asked


def test_a_client_that_pauses_a_recording_wants_more_of_it() -> None:
    assert not after(*LIVE, FinishAsked(), Paused(), Resumed()).finish_asked


@pytest.mark.parametrize(
    "course", [LIVE[:2], (Started(), DownloadStarted()), (*LIVE, Requeued()), (*LIVE, Completed(files={}))]
)
def test_only_a_running_recording_is_finished(course: tuple[Event, ...]) -> None:
    before = after(*course)
    assert apply(before, FinishAsked(), NOW) is before


def test_whether_a_source_is_live_is_known_anew_in_each_attempt() -> None:
    live = after(Started(), Described(video_info=VideoInfo(title="t", live=True)), Requeued())
    assert live.video_info.live
    assert apply(live, Started(), NOW).video_info == VideoInfo(title="t")


def test_an_event_that_says_nothing_new_makes_no_revision() -> None:
    loading = after(Started(), DownloadStarted(), EVENTS["progress"])
    assert apply(loading, EVENTS["progress"], LATER) is loading
    pictured = apply(loading, EVENTS["pictured"], LATER)
    assert apply(pictured, EVENTS["pictured"], LATER) is pictured


def test_a_picture_that_is_known_stays_known() -> None:
    status = after(
        Started(), EVENTS["pictured"], DownloadStarted(), Failed(code="http_404"), Retried(), Started()
    )
    assert status.thumbnail == PICTURE


@given(st.lists(st.sampled_from(sorted(EVENTS)), max_size=30), st.lists(st.floats(0, 1e6), min_size=30))
def test_whatever_happens_the_contract_holds(names: list[str], numbers: list[float]) -> None:
    status = new()
    for name, number in zip(names, numbers, strict=False):
        event = EVENTS[name]
        if isinstance(event, Progress):
            event = event.model_copy(update={"progress": number})
        before, status = status, apply(status, event, LATER)
        assert status is before or status.revision == before.revision + 1
        assert not status.model_extra, "a change of a field that there is not"
        assert (status.progress == 100) == (status.stage is Stage.COMPLETED)
        assert (status.completed_at is not None) == status.stage.is_final
        assert (status.error_code is not None) == (status.stage.status == "error")
        assert status.files == before.files or name == "finished"
        if status.attempt == before.attempt and status.progress < before.progress:
            assert status.stage.status == "error" or name == "retried"
        if before.stage.is_final and status is not before:
            assert name == "retried"


# --- a list, which waits for its entries ---


def a_list(*events: Event) -> TaskStatus:
    status = TaskStatus.new(LIST, NOW)
    for event in events:
        status = apply(status, event, LATER)
    return status


def counts(status: TaskStatus) -> tuple[int, int, int]:
    assert status.entries
    return status.entries.total, status.entries.completed, status.entries.failed


EXPANDED = (Started(), Joined(count=3), Joined(count=1), Expanded())


def test_a_list_waits_for_its_entries_and_its_progress_is_theirs() -> None:
    reading = a_list(*EXPANDED[:3])
    assert (reading.stage, reading.progress, counts(reading)) == ("info", 10, (4, 0, 0))
    waiting = a_list(*EXPANDED)
    assert (waiting.stage, waiting.progress, waiting.awaits_entries) == ("download", 20, True)
    one = apply(waiting, EntriesMoved(completed=1), LATER)
    assert (one.progress, counts(one)) == (20 + 79 // 4, (4, 1, 0))
    done = apply(one, EntriesMoved(failed=3), LATER)
    assert (done.stage, done.progress, done.completed_at, counts(done)) == (
        "completed",
        100,
        LATER,
        (4, 1, 3),
    )


def test_entries_that_end_while_the_list_is_read_do_not_end_it() -> None:
    early = a_list(*EXPANDED[:3], EntriesMoved(completed=4))
    assert (early.stage, early.progress) == ("info", 10)
    assert apply(early, Expanded(), LATER).stage is Stage.COMPLETED


def test_a_list_of_failures_has_failed_and_goes_on_with_one_that_is_retried() -> None:
    failed = a_list(*EXPANDED, EntriesMoved(failed=4))
    assert (failed.stage, failed.error_code, failed.progress) == ("failed", "entries_failed", 0)
    assert apply(failed, Retried(), LATER) is failed
    again = apply(failed, EntriesMoved(failed=-1), LATER)
    assert (again.stage, again.error_code, again.completed_at) == ("download", None, None)
    assert (again.progress, counts(again)) == (20 + 79 * 3 // 4, (4, 0, 3))


def test_a_list_that_was_cancelled_stays_so_when_its_entries_are() -> None:
    cancelled = a_list(*EXPANDED, EntriesMoved(completed=1), Cancelled(), EntriesMoved(failed=3))
    assert (cancelled.stage, cancelled.error_code, counts(cancelled)) == ("cancelled", "cancelled", (4, 1, 3))


def test_a_list_is_read_on_if_it_was_not_read_to_its_end() -> None:
    broken = a_list(*EXPANDED[:3], Failed(code="http_404"))
    counted = apply(broken, EntriesMoved(completed=4), LATER)
    assert (counted.stage, counted.error_code, counts(counted)) == ("failed", "http_404", (4, 4, 0))
    again = apply(counted, Retried(), LATER)
    assert (again.stage, again.expanded, counts(again)) == ("queued", False, (4, 4, 0))


def test_a_list_that_was_read_is_resumed_without_a_child() -> None:
    paused = a_list(*EXPANDED, Paused())
    assert apply(paused, EntriesMoved(completed=4), LATER).stage is Stage.COMPLETED
    resumed = apply(paused, Resumed(), LATER)
    assert (resumed.stage, resumed.progress) == ("download", 20)
    assert apply(resumed, Started(), LATER) is resumed
    assert apply(resumed, Requeued(), LATER) is resumed
    assert apply(a_list(*EXPANDED[:2], Paused()), Resumed(), LATER).stage is Stage.QUEUED


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage is not Stage.INFO])
def test_nothing_joins_a_list_that_is_not_read(stage: Stage) -> None:
    before = a_list().model_copy(update={"stage": stage})
    assert apply(before, Joined(count=1), LATER) is before
    assert apply(before, Expanded(), LATER) is before


def test_entries_of_a_list_that_is_given_away_share_tasks_of_whose_it_is_then() -> None:
    theirs = new_task().status.model_copy(update={"scope": "person anna", "owner": "anna"})
    assert apply(theirs, OwnerChanged(owner="bob"), NOW).scope == scope_of_person("bob")
    assert apply(theirs, OwnerChanged(owner=None), NOW).scope == ""
    assert apply(new_task().status, OwnerChanged(owner="bob"), NOW).scope is None, "no list"
