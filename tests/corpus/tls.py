"""A certificate authority that no system trusts by default, and a certificate of it."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True, slots=True)
class Authority:
    """`certificate` is the file for `SSL_CERT_FILE`; `server` is the context of a site with a certificate of
    the authority.
    """

    certificate: Path
    server: ssl.SSLContext


def make_authority(folder: Path, *names: str) -> Authority:
    folder.mkdir(exist_ok=True)
    authority, server = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", *names).configure_cert(server)
    authority.cert_pem.write_to_path(folder / "authority.pem")
    return Authority(folder / "authority.pem", server)
