"""What the fetched bytes are, and what ffmpeg makes of them. Knows no source."""
