"""Where `get` and `watch` put files."""

import os
from dataclasses import dataclass
from pathlib import Path

from server.commands.words import word


@dataclass(frozen=True, slots=True)
class Saving:
    """Under their titles in the working directory, or to `output`."""

    output: str | None
    several: bool  # files may come

    def refusal(self) -> str | None:
        """What is wrong with `output`, which is known before anything is submitted."""
        if self.output is None:
            return None
        if self.output == "-":
            return word("no_stdout")
        if self.is_folder(1):
            taken = os.path.lexists(self.output) and not Path(self.output).is_dir()
            return word("not_a_folder", path=self.output) if taken else None
        return word("is_there", path=self.output) if os.path.lexists(self.output) else None

    def is_folder(self, files: int) -> bool:
        output = self.output or "."
        return output.endswith("/") or self.several or files > 1 or Path(output).is_dir()

    def target(self, files: int) -> str:
        output = self.output or "."
        return f"{output.rstrip('/') or '/'}/" if self.is_folder(files) else output
