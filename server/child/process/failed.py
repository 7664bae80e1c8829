"""How a job says that it found out by itself what is wrong."""

from server.codes import Code


class JobFailed(Exception):
    """The job knows the code; `detail` is for the log."""

    def __init__(self, code: Code, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code: Code = code
