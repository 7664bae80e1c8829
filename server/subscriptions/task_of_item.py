"""The task of a subscription's item: its request, and its first status."""

from dataclasses import replace
from datetime import UTC, datetime

from pydantic_core import to_json

from server.core.film import ListedInfo
from server.core.library import outputs_for
from server.core.list_entries import ListEntry
from server.core.process_request import ProcessRequest
from server.core.task import InLibrary, Stage, Task, TaskStatus
from server.subscriptions.subscription import HOST_HELD, StoredItem, StoredSubscription, SubscriptionSettings

PRIORITY = -1  # tasks that a client sends come before those of subscriptions


def request_of(wanted: SubscriptionSettings, url: str) -> ProcessRequest:
    """The request for the entry at `url`. Raises `ValidationError`."""
    library = wanted.library.model_dump(mode="json", exclude_none=True) if wanted.library else None
    fields = {"priority": PRIORITY, **outputs_for(library), **wanted.request, "url": url}
    return ProcessRequest.model_validate_json(to_json(fields))


def task_of(subscription: StoredSubscription, item: StoredItem, now: datetime) -> Task:
    """Return the new task of an item. Raises `ValidationError`."""
    about = item.about
    request = request_of(subscription.wanted, about["url"])
    entry = ListEntry(
        index=1,
        url=about["url"],
        item=about.get("item"),
        title=about.get("title"),
        duration=about.get("duration"),
        uploader=about.get("uploader"),
        says=ListedInfo.model_validate(about["says"]) if about.get("says") else None,
    )
    status = TaskStatus.new(request, now).model_copy(
        update={
            "url": entry.shown_url,
            "video_info": entry.video_info,
            "item": entry.item,
            "says": entry.says,
            "subscription_id": subscription.subscription_id,
            **({"library": InLibrary()} if subscription.wanted.library else {}),
            **({"owner": subscription.owner} if subscription.owner else {}),
            **({"created_by": subscription.created_by} if subscription.created_by else {}),
        }
    )
    return Task(request, status)


def begun_after(task: Task, held_until: float | None, now: datetime) -> Task:
    """Return a new task. If its host is left alone until a time, the task waits for that time."""
    if held_until is None or task.status.stage is not Stage.QUEUED:
        return task
    not_before = datetime.fromtimestamp(held_until, UTC)
    delay = held_until - now.timestamp()
    change = {"waiting": HOST_HELD, "not_before": not_before, "delay": delay}
    return replace(task, status=task.status.model_copy(update=change))
