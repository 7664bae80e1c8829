"""What runs in other processes only: the fork server, and the children that it starts.

Nothing else imports this package, and only this package imports yt_dlp. It stays small, because it lies
in memory as long as the server runs: no pydantic, no aiohttp. It shares `server.jobs` and `server.codes`
with the server; events are plain dicts of the shapes in `server.events`.
"""
