"""A log-in at an OpenID provider: the authorization code flow with PKCE, as OpenID Connect Core 1.0 has it.

Signatures are checked by joserfc, which is imported (0.2 s) with the first log-in. What the server has to
remember between the two requests of a browser, the browser keeps in a cookie: so any node may answer the
second one, and log-ins that are not finished leave nothing behind.

Decisions: docs/decisions/people.md
"""

import asyncio
import hmac
import json
import logging
import secrets
import time
from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Self, cast
from urllib.parse import quote, urlencode

import aiohttp

from server.people.person import name_of_login
from server.settings import OidcSettings

if TYPE_CHECKING:
    from joserfc.jwk import KeySetSerialization

log = logging.getLogger(__name__)

REQUEST_TIMEOUT = 10.0  # seconds
MAX_ANSWER_BYTES = 1 << 20
LOG_IN_SECONDS = 600  # from the way to the provider until the way back
METADATA_SECONDS = 3600.0  # until the provider's metadata is fetched again
REFETCH_KEYS_AFTER = 30.0  # seconds, for a key that the provider did not have
LEEWAY = 60  # seconds that clocks may differ
# Only signatures by a key that the provider alone has: not `none`, and none by the secret that both have.
ALGORITHMS = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "Ed25519",
)


class LogInRefused(Exception):
    """The provider's answer admits nobody. `reason` is a word for the page; the text is for the log."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Registration:
    """How the service is known to its provider. `secret` is "" for a public client. Members of `admin_group`
    are admins; None: admins set the roles.
    """

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


@dataclass(frozen=True, slots=True)
class Transaction:
    """One log-in: what the browser must bring back unchanged. `began` is in seconds since 1970."""

    state: str
    nonce: str
    verifier: str = field(repr=False)
    began: int = 0

    @classmethod
    def begin(cls) -> Self:
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        return cls(state, nonce, verifier, int(time.time()))

    def cookie(self) -> str:
        values = [self.state, self.nonce, self.verifier, self.began]
        return urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")

    @classmethod
    def read(cls, cookie: str) -> Self | None:
        """Read a cookie that `cookie` made; None if it is malformed or too old."""
        try:
            state, nonce, verifier, began = json.loads(urlsafe_b64decode(cookie + "=" * (-len(cookie) % 4)))
            found = cls(str(state), str(nonce), str(verifier), int(began))
        except (ValueError, TypeError):
            return None
        return found if 0 <= time.time() - found.began <= LOG_IN_SECONDS and found.state else None


@dataclass(frozen=True, slots=True)
class Identity:
    """Who has logged in, as the provider says. `subject` never changes, and is one person's for ever; a name
    may change, and pass to another person.
    """

    subject: str
    name: str
    groups: frozenset[str]


class OidcClient:
    def __init__(self, registration: Registration) -> None:
        self.registration = registration
        self._session: aiohttp.ClientSession | None = None
        self._metadata: dict[str, Any] = {}
        self._metadata_until = 0.0
        self._keys: dict[str, Any] = {}
        self._keys_fetched_at = float("-inf")
        self._fetching = asyncio.Lock()

    async def close(self) -> None:
        if self._session:
            await self._session.close()

    async def authorization_url(self, transaction: Transaction, callback: str) -> str:
        """Return the address to which the browser is sent to log in. Raises `LogInRefused`."""
        metadata = await self._known_metadata()
        supported = metadata.get("scopes_supported")
        groups = ["groups"] if isinstance(supported, list) and "groups" in supported else []
        asked = {
            "response_type": "code",
            "client_id": self.registration.client_id,
            "redirect_uri": callback,
            "scope": " ".join(["openid", "profile", *groups]),
            "state": transaction.state,
            "nonce": transaction.nonce,
            "code_challenge": _unpadded(sha256(transaction.verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }
        endpoint = _endpoint(metadata, "authorization_endpoint")
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(asked)}"

    async def identify(
        self, query: Mapping[str, str], transaction: Transaction | None, callback: str
    ) -> Identity:
        """Return who has logged in, by the `query` of the way back. Raises `LogInRefused`."""
        if transaction is None:
            raise LogInRefused("expired", "the browser has no cookie of a log-in that was begun here")
        if not hmac.compare_digest(query.get("state", "").encode(), transaction.state.encode()):
            raise LogInRefused("expired", "the state is that of another log-in")
        metadata = await self._known_metadata()
        # The answer must come from this provider, and not from another one (RFC 9207).
        names_issuer = metadata.get("authorization_response_iss_parameter_supported") is True
        if query.get("iss", None if names_issuer else self.registration.issuer) != self.registration.issuer:
            raise LogInRefused("refused", "another provider has answered")
        if "error" in query or "code" not in query:
            raise LogInRefused("refused", f"the provider says {query.get('error', 'nothing')!r}")
        tokens = await self._redeem(metadata, query["code"], transaction, callback)
        id_token, access_token = tokens.get("id_token"), tokens.get("access_token")
        if not isinstance(id_token, str):
            raise LogInRefused("refused", "the provider has sent no ID token")
        claims = await self._check_id_token(metadata, id_token, transaction)
        needed = {"preferred_username", *(["groups"] if self.registration.admin_group else [])}
        if not needed <= claims.keys() and isinstance(access_token, str):
            claims = await self._user_info(metadata, access_token, str(claims["sub"])) | claims
        groups = claims.get("groups")
        return Identity(
            subject=f"{self.registration.issuer} {claims['sub']}",
            name=name_of_login(str(claims.get("preferred_username", ""))),
            groups=frozenset(
                filter(lambda one: isinstance(one, str), groups if isinstance(groups, list) else ())
            ),
        )

    async def way_out(self, page: str) -> str | None:
        """Return the address to which the browser is sent to log out at the provider as well, and which leads
        back to `page`; None if the provider has no such address. Raises `LogInRefused`.
        """
        metadata = await self._known_metadata()
        if not isinstance(metadata.get("end_session_endpoint"), str):
            return None
        endpoint = _endpoint(metadata, "end_session_endpoint")
        asked = {"client_id": self.registration.client_id, "post_logout_redirect_uri": page}
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(asked)}"

    async def _redeem(
        self, metadata: Mapping[str, Any], code: str, transaction: Transaction, callback: str
    ) -> dict[str, Any]:
        """Exchange the code for tokens."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": callback,
            "code_verifier": transaction.verifier,
        }
        headers = {}
        registration, methods = self.registration, metadata.get("token_endpoint_auth_methods_supported")
        if not registration.secret:
            form["client_id"] = registration.client_id
        elif isinstance(methods, list) and "client_secret_basic" not in methods:
            form |= {"client_id": registration.client_id, "client_secret": registration.secret}
        else:  # both encoded as in a form (RFC 6749, section 2.3.1)
            pair = f"{quote(registration.client_id, safe='')}:{quote(registration.secret, safe='')}"
            headers["Authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        return await self._request("POST", _endpoint(metadata, "token_endpoint"), data=form, headers=headers)

    async def _check_id_token(
        self, metadata: Mapping[str, Any], id_token: str, transaction: Transaction
    ) -> dict[str, Any]:
        """Return the claims of an ID token, if the provider has signed it for us and for this log-in (OpenID
        Connect Core 1.0, section 3.1.3.7).
        """
        from joserfc import jwt
        from joserfc.errors import JoseError
        from joserfc.jwk import KeySet

        registration = self.registration
        supported = metadata.get("id_token_signing_alg_values_supported")
        algorithms = [one for one in ALGORITHMS if not isinstance(supported, list) or one in supported]
        for is_last in (False, True):
            keys = await self._known_keys(metadata, again=is_last)
            try:
                key_set = KeySet.import_key_set(cast("KeySetSerialization", keys))
                token = jwt.decode(id_token, key_set, algorithms=algorithms)
                break
            except (JoseError, ValueError, TypeError, KeyError) as error:
                # The provider may have signed the token with a newer key than those fetched before.
                if is_last:
                    raise LogInRefused("refused", f"the ID token is not signed ({error})") from error
        claims = dict(token.claims)
        rules = jwt.JWTClaimsRegistry(
            leeway=LEEWAY,
            iss={"essential": True, "value": registration.issuer},
            aud={"essential": True, "value": registration.client_id},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
        )
        try:
            rules.validate(claims)
        except (JoseError, ValueError, TypeError) as error:
            raise LogInRefused("refused", f"the ID token is not valid ({error})") from error
        if claims.get("azp", registration.client_id) != registration.client_id:
            raise LogInRefused("refused", "the ID token was issued to another client")
        if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), transaction.nonce.encode()):
            raise LogInRefused("refused", "the ID token is that of another log-in")
        if not claims["sub"] or len(str(claims["sub"])) > 255:
            raise LogInRefused("refused", "the ID token names nobody")
        return claims

    async def _user_info(
        self, metadata: Mapping[str, Any], access_token: str, subject: str
    ) -> dict[str, Any]:
        if not isinstance(metadata.get("userinfo_endpoint"), str):
            return {}
        headers = {"Authorization": f"Bearer {access_token}"}
        claims = await self._request("GET", _endpoint(metadata, "userinfo_endpoint"), headers=headers)
        if claims.get("sub") != subject:  # OpenID Connect Core 1.0, section 5.3.2
            raise LogInRefused("refused", "the provider tells of somebody else")
        return claims

    async def _known_metadata(self) -> dict[str, Any]:
        async with self._fetching:
            if time.monotonic() >= self._metadata_until:
                issuer = self.registration.issuer
                place = f"{issuer.removesuffix('/')}/.well-known/openid-configuration"
                found = await self._request("GET", place)
                if found.get("issuer") != issuer:  # OpenID Connect Discovery 1.0, section 4.3
                    text = f"access.oidc.issuer: the provider calls itself {found.get('issuer')!r}"
                    raise LogInRefused("away", text)
                self._metadata, self._metadata_until = found, time.monotonic() + METADATA_SECONDS
            return self._metadata

    async def _known_keys(self, metadata: Mapping[str, Any], *, again: bool) -> dict[str, Any]:
        async with self._fetching:
            is_due = not self._keys or (
                again and time.monotonic() - self._keys_fetched_at > REFETCH_KEYS_AFTER
            )
            if is_due:
                self._keys_fetched_at = time.monotonic()
                self._keys = await self._request("GET", _endpoint(metadata, "jwks_uri"))
            return self._keys

    async def _request(self, method: str, url: str, **more: Any) -> dict[str, Any]:
        """Send a request to the provider, and return the JSON object of its answer. Raises `LogInRefused`."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT)
            self._session = aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
        headers = {"Accept": "application/json", **more.pop("headers", {})}
        try:
            async with self._session.request(
                method, url, allow_redirects=False, headers=headers, **more
            ) as answer:
                body = await answer.content.read(MAX_ANSWER_BYTES + 1)
                while len(body) <= MAX_ANSWER_BYTES and (
                    rest := await answer.content.read(MAX_ANSWER_BYTES + 1 - len(body))
                ):
                    body += rest
                found = json.loads(body) if len(body) <= MAX_ANSWER_BYTES else None
                if answer.status != 200 or not isinstance(found, dict):
                    error = found.get("error") if isinstance(found, dict) else None
                    raise LogInRefused(
                        "refused" if method == "POST" else "away",
                        f"{method} {url.partition('?')[0]}: {answer.status} {error or ''}".strip(),
                    )
                return found
        except (aiohttp.ClientError, TimeoutError, ValueError, RecursionError) as error:
            why = str(error) or type(error).__name__
            raise LogInRefused("away", f"{method} {url.partition('?')[0]}: {why}") from error


def _endpoint(metadata: Mapping[str, Any], name: str) -> str:
    found = metadata.get(name)
    if not isinstance(found, str) or not found.startswith(("https://", "http://")):
        raise LogInRefused("away", f"the provider tells no {name}")
    return found


def _unpadded(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")
