"""The extractor for the command line, which finds plugins in such a folder on its path."""

from tests.fakes import extractor


class ToldIE(extractor.ToldIE):
    """yt-dlp accepts only extractors that their plugin's module defines."""
