"""Updates: the daily look for a newer yt-dlp."""
