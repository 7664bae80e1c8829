"""The HTTP API: a handler reads its input, calls one method and makes the response."""
