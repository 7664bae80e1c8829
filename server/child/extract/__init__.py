"""yt-dlp: extracting, choosing and fetching, and what went wrong on the way."""
