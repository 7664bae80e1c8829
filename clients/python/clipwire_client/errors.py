"""The errors of the client, which form one tree of classes; `code` is for programs, the text for people."""

from collections.abc import Sequence


class ClipwireError(Exception):
    """The service refused a request; `code` is that of its answer (RFC 9457), such as `task_not_found`.

    `errors` are pairs of a field's name and what is wrong with it; `retry_after` is in seconds.
    """

    def __init__(
        self,
        detail: str,
        code: str,
        status: int | None = None,
        *,
        errors: Sequence[tuple[str, str]] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code
        self.status = status
        self.errors = tuple(errors)
        self.retry_after = retry_after


class ServerUnreachable(ClipwireError):
    """Nobody answers at the address; `refused` if no program listens there at all."""

    def __init__(self, detail: str, *, refused: bool = False) -> None:
        super().__init__(detail, "server_unreachable")
        self.refused = refused


class NotClipwire(ClipwireError):
    """Something else answers at the address; the text says what it answers."""

    def __init__(self, detail: str, status: int | None = None) -> None:
        super().__init__(detail, "not_clipwire", status)


class UnencryptedSecret(ClipwireError):
    """The token, or the password of the address, would go over plain HTTP to a public address."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail, "unencrypted_secret")


class TransferFailed(ClipwireError):
    """A file could not be saved. The bytes that have come are kept, and the next call goes on from there."""

    def __init__(self, detail: str, code: str = "transfer_failed") -> None:
        super().__init__(detail, code)
