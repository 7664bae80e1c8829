"""A client for Clipwire: submit links, follow tasks, and save their files.

async with Client("http://127.0.0.1:8080") as client:
    task = await client.submit("https://example.org/video", outputs=["video"])
    async for task in client.follow(task.task_id):
        print(task.progress, task.message)
    await client.download(task, "video.mp4")
"""

from clipwire_client.client import Client
from clipwire_client.errors import ClipwireError, NotClipwire, ServerUnreachable, TransferFailed
from clipwire_client.models import Entries, FileInfo, Removed, Task, VideoInfo
from clipwire_client.wishes import ClipWish, SubtitleWishes, Wishes

__version__ = "0.1.0"

__all__ = [
    "Client",
    "ClipWish",
    "ClipwireError",
    "Entries",
    "FileInfo",
    "NotClipwire",
    "Removed",
    "ServerUnreachable",
    "SubtitleWishes",
    "Task",
    "TransferFailed",
    "VideoInfo",
    "Wishes",
    "__version__",
]
