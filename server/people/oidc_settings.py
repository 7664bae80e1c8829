"""How this server is known to the OpenID provider."""

from dataclasses import dataclass, field
from typing import Self

from server.settings import OidcSettings


@dataclass(frozen=True, slots=True)
class Registration:
    """`secret` is "" for a public client. Who is in `admin_group` is an admin; None: roles are set here."""

    issuer: str
    client_id: str
    secret: str = field(repr=False)
    admin_group: str | None

    @classmethod
    def of(cls, oidc: OidcSettings) -> Self | None:
        """None if there is no provider."""
        if not oidc.issuer or not oidc.client_id:
            return None
        secret = oidc.client_secret.get_secret_value() if oidc.client_secret else ""
        return cls(oidc.issuer, oidc.client_id, secret, oidc.admin_group)
