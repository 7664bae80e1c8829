"""All extractors of yt-dlp, loaded in advance.

A child that reads a web page loads each of them, which takes a third of a second of CPU, a hundred times in
the tests. The service does not load them in advance, to save memory.
"""


def load_extractors() -> None:
    import yt_dlp

    with yt_dlp.YoutubeDL({"quiet": True, "no_warnings": True, "cachedir": False, "js_runtimes": {}}) as ydl:
        for extractor in ydl._ies.values():
            list(extractor.extract_from_webpage(ydl, "http://warm.invalid/", ""))
