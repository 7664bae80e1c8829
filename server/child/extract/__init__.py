"""A page becomes streams: yt-dlp extracts and chooses; what went wrong becomes a code."""
