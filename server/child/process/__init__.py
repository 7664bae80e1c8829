"""The process that a child is: its channel to the server, log, progress, rate limit and sandbox."""
