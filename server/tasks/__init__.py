"""The heart: what happens to a task between a request and its files."""
