"""Inspects fetched files, and makes outputs of them with ffmpeg. Nothing here depends on a source."""
