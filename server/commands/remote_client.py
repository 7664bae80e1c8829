"""The client of a command, and what it means for somebody at a terminal if the server refuses or is away."""

from aiohttp import ClientConnectorCertificateError
from clipwire_client import Client, ClipwireError, NotClipwire, ServerUnreachable, UnencryptedSecret

from server.commands.remote import Remote, say
from server.commands.words import language, word


def client_of(server: Remote) -> Client:
    return Client(server.url, server.token, language=language(), insecure=server.insecure)


def explain(error: ClipwireError, url: str, about: str = "") -> None:
    """Of several, say `about` which link it is."""
    match error:
        case NotClipwire():
            say(word("not_clipwire", url=url, what=error.detail))
        case UnencryptedSecret():
            say(word("unencrypted", url=url))
        case ServerUnreachable(__cause__=ClientConnectorCertificateError() as wrong):
            say(word("not_trusted", url=url, why=getattr(wrong.certificate_error, "verify_message", wrong)))
        case ServerUnreachable():
            say(word("unreachable", detail=error.detail))
        case _ if error.code == "not_found":  # there is one, but not under this prefix
            say(word("not_clipwire", url=url, what=error.detail))
        case _ if error.status == 401:
            say(word("needs_token", url=url, detail=error.detail))
        case _:
            say(f"{about}: {error.detail}" if about else error.detail)
            for field, message in error.errors:
                say(f"{field}: {message}")
