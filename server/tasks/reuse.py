"""`reuse`: finds the task that a request with the same wish may share."""

from server.core.errors import FileNotFound
from server.core.ports import FileStore, Store, Stream
from server.core.task import Stage, Task, TaskStatus


async def shared_task(store: Store, files: FileStore, wish: str) -> Task | None:
    """Return the newest task of this wish that has not ended, or is completed and has all its files."""
    for task in await store.find_by_wish(wish):
        if task.status.stage is not Stage.COMPLETED or await has_files(files, task.status):
            return task
    return None


async def has_files(files: FileStore, status: TaskStatus) -> bool:
    """Say whether all files of a completed task are there. Raises `StorageAway`."""
    try:
        for stored in status.files.values():
            file = await files.open(status.task_id, stored)
            if not isinstance(file, Stream):
                file.close()
    except FileNotFound:
        return False
    return True
