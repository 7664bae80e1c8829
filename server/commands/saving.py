"""Where `get` and `watch` put files."""

import os
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

from server.commands.words import word


@dataclass(frozen=True, slots=True)
class Saving:
    """Saves files under their titles in the working directory, or to `output`."""

    output: str | None
    several: bool  # whether more than one file may have to be saved

    def refusal(self) -> str | None:
        """Return what is wrong with `output`; None if files can be saved there."""
        if self.output is None:
            return _not_writable(Path())
        if not self.output:
            return word("no_name")
        if self.output == "-":
            return word("no_stdout")
        try:
            Path(self.output).lstat()
        except FileNotFoundError:
            return _not_writable(Path(self.output).parent)
        except (OSError, ValueError) as error:  # raised if a name is too long, or a folder is a file
            return f"{self.output}: {getattr(error, 'strerror', error)}"
        if self.is_folder(1):
            if not Path(self.output).is_dir():
                return word("not_a_folder", path=self.output)
            return _not_writable(Path(self.output))
        return word("is_there", path=self.output)

    def is_folder(self, files: int) -> bool:
        output = self.output or "."
        return output.endswith("/") or self.several or files > 1 or Path(output).is_dir()

    def target(self, files: int) -> str:
        output = self.output or "."
        return f"{output.rstrip('/') or '/'}/" if self.is_folder(files) else output


def _not_writable(folder: Path) -> str | None:
    """Return why no file can be written to `folder`, which may not exist yet; None if one can. To find out,
    this writes a file: permissions do not show, for instance, that a file system is read-only.
    """
    existing = folder.absolute()
    while not os.path.lexists(existing):
        existing = existing.parent
    try:
        with TemporaryFile(dir=existing):
            return None
    except OSError as error:
        return word("not_writable", path=existing, why=error.strerror)
