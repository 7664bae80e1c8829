"""The typed keys of what the application holds for its handlers, and of what a request carries."""

from aiohttp import web

from server.api.payload import Encoder
from server.ports import FileStore
from server.settings import Settings
from server.tasks.hub import Hub
from server.tasks.inspector import Inspector
from server.tasks.readiness import Readiness
from server.tasks.service import Tasks

SETTINGS = web.AppKey("settings", Settings)
LANGUAGE = web.AppKey("language", str)  # of those who ask for none
TASKS = web.AppKey("tasks", Tasks)
HUB = web.AppKey("hub", Hub)
FILES: web.AppKey[FileStore] = web.AppKey("files")
INSPECTOR = web.AppKey("inspector", Inspector)
READINESS = web.AppKey("readiness", Readiness)
ENCODER = web.AppKey("encoder", Encoder)

SCOPE = web.RequestKey("scope", str)  # names the token, where tokens are set
