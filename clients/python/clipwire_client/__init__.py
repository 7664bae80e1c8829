"""A client for Clipwire: submit links, follow tasks, and save their files.

async with Client("http://127.0.0.1:8080") as client:
    task = await client.submit("https://example.org/video", outputs=["video"])
    async for task in client.follow(task.task_id):
        print(task.progress, task.message)
    await client.download(task, "video.mp4")
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clipwire_client.client import Client
    from clipwire_client.errors import (
        ClipwireError,
        NotClipwire,
        ServerUnreachable,
        TransferFailed,
        UnencryptedSecret,
    )
    from clipwire_client.models import (
        Entries,
        FileInfo,
        Item,
        LibraryPlace,
        Removed,
        Subscription,
        Task,
        VideoInfo,
    )
    from clipwire_client.subscriptions import Imported, Subscriptions
    from clipwire_client.wishes import ClipWish, SubscriptionWishes, SubtitleWishes, Wishes

__version__ = "0.1.0"

__all__ = [
    "Client",
    "ClipWish",
    "ClipwireError",
    "Entries",
    "FileInfo",
    "Imported",
    "Item",
    "LibraryPlace",
    "NotClipwire",
    "Removed",
    "ServerUnreachable",
    "Subscription",
    "SubscriptionWishes",
    "Subscriptions",
    "SubtitleWishes",
    "Task",
    "TransferFailed",
    "UnencryptedSecret",
    "VideoInfo",
    "Wishes",
    "__version__",
]


def __getattr__(name: str) -> object:
    """Import a name when it is first used: a program that needs only the types does not wait for aiohttp."""
    if name in __all__:
        for module in ("wishes", "errors", "models", "subscriptions", "client"):
            found = vars(import_module(f"clipwire_client.{module}"))
            if name in found:
                return found[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
