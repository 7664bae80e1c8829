"""From a page to streams: yt-dlp extracts and chooses; errors become codes."""
