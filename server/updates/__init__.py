"""Updates: the daily check for a newer yt-dlp."""
