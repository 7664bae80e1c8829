"""The typed keys of the application's objects for handlers, and of values stored in a request."""

from aiohttp import web

from server.api.payload import Encoder
from server.api.spool import Spool
from server.core.clock import Clock
from server.core.counts import Counts
from server.core.ports import Cookies, FileStore, Workplace
from server.feeds.covers import Covers
from server.feeds.feed_store import Feeds
from server.library.library_actions import LibraryActions
from server.library.placements import PlacementStore
from server.memory.remembering import Media
from server.notices.deliveries import Outbox
from server.settings import Settings
from server.subscriptions.subscribing import Subscriptions
from server.tasks.hub import Hub
from server.tasks.inspector import Inspector
from server.tasks.readiness import Ready
from server.tasks.service import Tasks

SETTINGS = web.AppKey("settings", Settings)
LANGUAGE = web.AppKey("language", str)  # for requests that ask for none
TASKS = web.AppKey("tasks", Tasks)
HUB = web.AppKey("hub", Hub)
FILES: web.AppKey[FileStore] = web.AppKey("files")
WORKPLACE: web.AppKey[Workplace] = web.AppKey("workplace")
COOKIES: web.AppKey[Cookies] = web.AppKey("cookies")
INSPECTOR = web.AppKey("inspector", Inspector)
READINESS: web.AppKey[Ready] = web.AppKey("readiness")
OUTBOX: web.AppKey[Outbox] = web.AppKey("outbox")
MEDIA: web.AppKey[Media] = web.AppKey("media")
FEEDS: web.AppKey[Feeds] = web.AppKey("feeds")
COVERS = web.AppKey("covers", Covers)
SUBSCRIPTIONS = web.AppKey("subscriptions", Subscriptions)
LIBRARY_ACTIONS = web.AppKey("library_actions", LibraryActions)
PLACEMENTS: web.AppKey[PlacementStore] = web.AppKey("placements")
CLOCK = web.AppKey("clock", Clock)
COUNTS = web.AppKey("counts", Counts)
SPOOL = web.AppKey("spool", Spool)
ENCODER = web.AppKey("encoder", Encoder)

SCOPE = web.RequestKey("scope", str)  # a hash that names the request's token; only if tokens are set
