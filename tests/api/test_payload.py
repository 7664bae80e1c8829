"""The three example payloads of the contract, word for word, and the fields that were added to them."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from server.api.payload import Encoder
from server.core.film import StoredFile, Thumbnail, VideoInfo
from server.core.task import Stage, TaskStatus

TASK_ID = "123e4567-e89b-12d3-a456-426614174000"
LATER = datetime(2024, 1, 1, 12, 1, 15, tzinfo=UTC)
PICTURE = Thumbnail(name="thumbnail-1.jpg", path="thumbnail-1.jpg", size=3, type="image/jpeg")
INFO = VideoInfo(title="示例视频", duration=300, uploader="上传者")
NINE = (
    "task_id", "status", "progress", "message", "created_at",
    "completed_at", "video_info", "files", "error",
)  # fmt: skip


def status(**fields: Any) -> TaskStatus:
    created = datetime(2024, 1, 1, 12, 0, 0, 999_999, tzinfo=UTC)
    known = {"task_id": TASK_ID, "number": 7, "url": "http://media.test/v", "created_at": created}
    return TaskStatus.model_validate(known | {"attempt": 1, "revision": 5} | fields)


def decoded(status: TaskStatus, language: str = "zh", base_path: str = "") -> dict[str, Any]:
    payload: dict[str, Any] = json.loads(Encoder(base_path).encode(status, language).body)
    return payload


PROCESSING = status(stage="download", progress=45, video_info=INFO)
COMPLETED = status(
    stage="completed",
    progress=100,
    completed_at=datetime(2024, 1, 1, 12, 5, 30, tzinfo=UTC),
    video_info=INFO,
    files={
        "video": StoredFile(
            name="video_example_123abc.mp4", path="video.mp4", size=7, type="video/mp4", sha256="0" * 64
        ),
        "audio": StoredFile(name="audio_example_123abc.mp3", path="audio.mp3", size=3, type="audio/mpeg"),
    },
)
FAILED = status(stage="failed", error_code="http_404", completed_at=LATER)


def test_a_hint_says_what_a_completed_task_leaves_out_once_it_is_completed() -> None:
    key = {"hint": "first_of_several"}
    for language, words in (("zh", "第一个"), ("en", "the first")):
        assert words in decoded(COMPLETED.model_copy(update=key), language)["hint"]
    assert "hint" not in decoded(COMPLETED)
    assert "hint" not in decoded(PROCESSING.model_copy(update=key))


def test_a_task_in_progress_reads_as_in_the_document() -> None:
    assert {name: value for name, value in decoded(PROCESSING).items() if name in NINE} == {
        "task_id": TASK_ID,
        "status": "processing",
        "progress": 45,
        "message": "正在下载视频...",
        "created_at": "2024-01-01T12:00:00Z",
        "video_info": {"title": "示例视频", "duration": 300, "uploader": "上传者"},
        "files": {},
    }


def test_a_completed_task_reads_as_in_the_document() -> None:
    assert {name: value for name, value in decoded(COMPLETED).items() if name in NINE} == {
        "task_id": TASK_ID,
        "status": "completed",
        "progress": 100,
        "message": "处理完成！",
        "created_at": "2024-01-01T12:00:00Z",
        "completed_at": "2024-01-01T12:05:30Z",
        "video_info": {"title": "示例视频", "duration": 300, "uploader": "上传者"},
        "files": {
            "video": "/api/download/video_example_123abc.mp4",
            "audio": "/api/download/audio_example_123abc.mp3",
        },
    }


def test_a_failed_task_reads_as_in_the_document() -> None:
    assert {name: value for name, value in decoded(FAILED).items() if name in NINE} == {
        "task_id": TASK_ID,
        "status": "error",
        "progress": 0,
        "message": "处理失败: 无法下载视频",
        "created_at": "2024-01-01T12:00:00Z",
        "completed_at": "2024-01-01T12:01:15Z",
        "video_info": {},
        "files": {},
        "error": "下载失败: HTTP 404",
    }


def test_it_reads_the_same_in_english() -> None:
    failed = decoded(FAILED, "en")
    assert failed["message"] == "Failed: the video could not be downloaded"
    assert failed["error"] == "Download failed: HTTP 404"


def test_the_fields_stand_in_the_contracts_order() -> None:
    loading = status(stage="download", progress=45, downloaded_bytes=1, total_bytes=2, speed=3.5, eta=4)
    assert list(decoded(loading)) == [
        "task_id", "status", "progress", "message", "created_at", "video_info", "files",
        "url", "stage", "revision", "priority", "attempt",
        "downloaded_bytes", "total_bytes", "speed", "eta", "file_info", "number",
    ]  # fmt: skip
    waiting = status(stage="queued", waiting="disk_full", not_before=LATER, thumbnail=PICTURE)
    assert list(decoded(waiting))[-4:] == ["number", "thumbnail", "waiting", "not_before"]
    assert list(decoded(FAILED))[-3:] == ["number", "error_code", "hint"]
    assert list(decoded(FAILED))[5:9] == ["completed_at", "video_info", "files", "error"]


@pytest.mark.parametrize("stage", list(Stage))
def test_nothing_is_null(stage: Stage) -> None:
    body = Encoder().encode(status(stage=stage), "zh").body
    assert b"null" not in body


def test_file_info_has_the_keys_of_files() -> None:
    assert decoded(COMPLETED)["file_info"] == {
        "video": {"size": 7, "type": "video/mp4", "sha256": "0" * 64},
        "audio": {"size": 3, "type": "audio/mpeg"},
    }
    assert decoded(PROCESSING)["file_info"] == {}


def test_it_travels_as_utf8_without_escapes() -> None:
    body = Encoder().encode(PROCESSING, "zh").body
    assert "示例视频".encode() in body
    assert b"\\u" not in body


def test_links_are_under_the_base_path() -> None:
    pictured = COMPLETED.model_copy(update={"thumbnail": PICTURE})
    payload = decoded(pictured, base_path="/dl")
    assert payload["files"]["video"] == "/dl/api/download/video_example_123abc.mp4"
    assert payload["thumbnail"] == f"/dl/api/tasks/{TASK_ID}/thumbnail"
    assert "thumbnail" not in decoded(COMPLETED)


def test_a_revision_is_encoded_once_a_language() -> None:
    encoder = Encoder()
    first = encoder.encode(PROCESSING, "zh")
    assert encoder.encode(PROCESSING, "zh") is first
    newer = PROCESSING.model_copy(update={"revision": 6})
    tags = {encoder.encode(s, lang).etag for s in (PROCESSING, newer) for lang in ("zh", "en")}
    tags.add(Encoder("/dl").encode(PROCESSING, "zh").etag)
    assert len(tags) == 5


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.api.payload.MAX_KEPT", 3)
    encoder = Encoder()
    for number in range(10):
        encoder.encode(PROCESSING.model_copy(update={"task_id": str(number)}), "zh")
    assert len(encoder._kept) == 3


def test_a_better_hint_outranks_the_one_of_the_code() -> None:
    blocked = status(stage="failed", error_code="blocked_address")
    fake = blocked.model_copy(update={"hint": "blocked_address_fake_ip"})
    assert "allowed_private_hosts" in decoded(blocked, "en")["hint"]
    assert "fake-IP" in decoded(fake, "en")["hint"]
    assert decoded(fake, "en")["error_code"] == "blocked_address"


def test_who_waits_for_room_on_the_disk_is_told_so() -> None:
    assert "磁盘" in decoded(status(stage="queued", waiting="disk_full"))["message"]
    assert decoded(status(stage="queued"))["message"] == "等待处理..."


@pytest.mark.parametrize(
    ("stage", "waiting", "message"),
    [
        ("queued", "storage_away", "等待处理... 成品文件的存储没有响应"),
        ("download", "storage_away", "正在下载视频... 成品文件的存储没有响应"),
        ("convert", "storage_away", "正在转换... 成品文件的存储没有响应"),
        ("download", "rate_window", "正在下载视频... 当前时段暂不下载"),
        ("queued", "next_attempt", "等待处理..."),
    ],
)
def test_the_reason_of_a_wait_follows_the_sentence_of_the_stage(
    stage: str, waiting: str, message: str
) -> None:
    assert decoded(status(stage=stage, waiting=waiting))["message"] == message


def test_what_a_queued_task_waits_for_is_told_until_it_begins() -> None:
    reason = {"waiting": "next_attempt", "not_before": LATER}
    told = decoded(status(stage="queued", **reason))
    assert (told["waiting"], told["not_before"]) == ("next_attempt", "2024-01-01T12:01:15Z")
    assert told["message"] == "等待处理..."
    for stage in set(Stage) - {Stage.QUEUED}:
        assert not decoded(status(stage=stage, **reason)).keys() & reason.keys()


def test_no_task_ends_before_it_was_made() -> None:
    """The clock of the server that accepted the task was ahead."""
    early = COMPLETED.model_copy(update={"completed_at": datetime(2023, 12, 30, tzinfo=UTC)})
    assert decoded(early)["completed_at"] == decoded(early)["created_at"]
