"""Clipwire: a link goes in, files come out, and everyone who waits sees the same status."""

__version__ = "1.0.0"
