"""A folder of yt-dlp plugins, such as the setting `downloads.plugins` names."""

from pathlib import Path
from zipfile import ZipFile

from tests.fakes import extractor

PACKAGE = "yt_dlp_plugins/extractor"
SAMPLE = """
from yt_dlp.extractor.common import InfoExtractor

__version__ = "1.2"

class SampleIE(InfoExtractor):
    _VALID_URL = r"https?://[^/]+/sample/(?P<id>\\w+)"

    def _real_extract(self, url):
        film = url.partition("/sample/")[0] + "/video.mp4"
        return {"id": self._match_id(url), "title": "A sample", "url": film}
"""


class PluginFolder:
    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()

    def write(self, name: str, text: str) -> Path:
        """Write a plugin of one module into a folder of its own; return the module's path."""
        path = self.path / name / PACKAGE / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def write_zip(self, name: str, text: str, version: str) -> None:
        """Write a plugin of one module as a wheel with a version."""
        with ZipFile(self.path / f"{name}.whl", "w") as archive:
            archive.writestr(f"{PACKAGE}/{name}.py", text)
            about = f"{name}-{version}.dist-info"
            archive.writestr(
                f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            )
            archive.writestr(f"{about}/RECORD", f"{PACKAGE}/{name}.py,,\n")

    def write_told(self) -> None:
        """Add the extractor that returns what a page of the test site says: see `tests.fakes.extractor`."""
        self.write("told", Path(extractor.__file__).read_text())
