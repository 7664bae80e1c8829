"""What runs outside the server process only: the fork server, and the children that it starts.

The server never imports this package, and only this package imports yt_dlp. The fork server keeps it in
memory as long as the server runs, so it stays small: no pydantic, no aiohttp. It shares with the server
`server.core.jobs`, `codes` and `redaction`; events are plain dicts as in `server.core.events`.
"""
