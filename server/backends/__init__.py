"""The one place that knows which backend is on."""

from contextlib import AbstractAsyncContextManager

from server.backends import embedded
from server.backends.embedded import Backend
from server.settings import Settings
from server.tasks.hub import Hub


def open_backend(settings: Settings, hub: Hub) -> AbstractAsyncContextManager[Backend]:
    match settings.storage.database:
        case "sqlite":
            return embedded.open_embedded(settings, hub)
