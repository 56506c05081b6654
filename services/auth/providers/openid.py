"""Sign-in with an OpenID provider: the code flow of OpenID Connect Core, with PKCE and nonce."""

import base64
import hashlib
from typing import Any
from urllib.parse import quote_plus, urlencode

from services.auth.errors import SignInDenied
from services.auth.provider_settings import GOOGLE, Provider
from services.auth.providers.documents import CachedDocument, call, fetch_object, object_in
from services.auth.providers.id_tokens import Expected, Keys, UnknownKey, read_keys, verified
from services.auth.providers.metadata import Metadata, discover
from services.auth.providers.person import Person, Response, Secrets, email_of, name_of
from services.auth.providers.refusals import Refused, untrusted
from shared.peers.outbound import Answer, Outbound

FORM = "application/x-www-form-urlencoded"
ACCESS_TOKEN_CHARACTERS_MAX = 8 * 1024
_BAD_CODE = ("invalid_grant", "bad_verification_code")
# Google's ID tokens may name the issuer without its scheme.
_ALSO = {GOOGLE: ("accounts.google.com",)}


class OpenIdProvider:
    """One OpenID provider, configured by its discovery document."""

    def __init__(self, settings: Provider, outbound: Outbound) -> None:
        self.settings = settings
        self._outbound = outbound
        self._metadata = CachedDocument(self._discover)
        self._keys: CachedDocument[Keys] = CachedDocument(self._fetch_keys)

    async def url(self, secrets: Secrets, redirect_uri: str) -> str:
        metadata = await self._metadata.get()
        query = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": redirect_uri,
            "scope": self.settings.scopes,
            "state": secrets.state,
            "nonce": secrets.nonce,
            **challenge_of(secrets),
        }
        endpoint = metadata.authorization_endpoint
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    async def require_sender(self, issuer: str | None) -> None:
        if issuer is None and (await self._metadata.get()).sends_issuer:
            raise untrusted("response_without_issuer")
        if issuer not in (None, self.settings.issuer):
            raise untrusted("response_of_another_issuer")

    async def person(self, response: Response, secrets: Secrets, redirect_uri: str) -> Person:
        metadata = await self._metadata.get()
        tokens = await self._redeem(metadata, response.code, secrets, redirect_uri)
        access_token = tokens["access_token"]
        expected = Expected(
            issuers=(self.settings.issuer, *_ALSO.get(self.settings.issuer, ())),
            client_id=self.settings.client_id,
            nonce=secrets.nonce,
            algorithms=metadata.algorithms,
            access_token=access_token,
        )
        claims = await self._verified(tokens["id_token"], expected)
        if "email" not in claims and metadata.userinfo_endpoint is not None:
            claims = await self._with_userinfo(metadata.userinfo_endpoint, access_token, claims)
        return self._person(claims)

    async def _redeem(
        self, metadata: Metadata, code: str, secrets: Secrets, redirect_uri: str
    ) -> dict[str, str]:
        """Exchange a code for tokens."""
        client_id, secret = self.settings.client_id, self.settings.client_secret.get_secret_value()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": secrets.verifier,
        }
        headers = {"Accept": "application/json", "Content-Type": FORM}
        if metadata.takes_basic:
            both = f"{quote_plus(client_id)}:{quote_plus(secret)}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(both).decode()}"
        else:
            form |= {"client_id": client_id, "client_secret": secret}
        body = urlencode(form).encode()
        return tokens_in(
            await call(self._outbound, "POST", metadata.token_endpoint, headers=headers, body=body)
        )

    async def _verified(self, token: str, expected: Expected) -> dict[str, Any]:
        keys = await self._keys.get()
        try:
            return verified(token, keys, expected)
        except UnknownKey:
            keys = await self._keys.renewed(keys)  # the provider may have new ones
        try:
            return verified(token, keys, expected)
        except UnknownKey as error:
            raise untrusted(error.reason) from error

    async def _with_userinfo(self, url: str, access_token: str, claims: dict[str, Any]) -> dict[str, Any]:
        """Add the claims of the UserInfo endpoint, which must be about the same user."""
        headers = {"Accept": "application/json", "Authorization": f"Bearer {access_token}"}
        userinfo = await fetch_object(self._outbound, url, headers)
        if userinfo.get("sub") != claims["sub"]:
            raise untrusted("userinfo_of_another_person")
        return {**userinfo, **claims}

    def _person(self, claims: dict[str, Any]) -> Person:
        email = email_of(claims.get("email"))
        is_verified = email is not None and claims.get("email_verified") is True
        host = email.rpartition("@")[2] if email is not None and is_verified else None
        hosted = claims.get("hd") if isinstance(claims.get("hd"), str) else None
        is_google = self.settings.kind == "google"
        return Person(
            issuer=self.settings.issuer,
            subject=claims["sub"],
            email=email,
            is_email_verified=is_verified,
            # Google's own advice: other addresses may have changed owners since they were verified.
            is_authoritative=not is_google or host == "gmail.com" or hosted is not None,
            domain=hosted if is_google else host,
            first_name=name_of(claims.get("given_name")),
            last_name=name_of(claims.get("family_name")),
        )

    async def _discover(self) -> Metadata:
        return await discover(self._outbound, self.settings.issuer)

    async def _fetch_keys(self) -> Keys:
        metadata = await self._metadata.get()
        return read_keys(await fetch_object(self._outbound, metadata.jwks_uri))


def challenge_of(secrets: Secrets) -> dict[str, str]:
    """Return the parameters of PKCE (RFC 7636)."""
    digest = hashlib.sha256(secrets.verifier.encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    return {"code_challenge": challenge, "code_challenge_method": "S256"}


def tokens_in(answer: Answer, wanted: tuple[str, ...] = ("access_token", "id_token")) -> dict[str, str]:
    """Return the tokens in the response of a token endpoint."""
    if answer.status not in (200, 400, 401, 403):
        raise untrusted(f"status_{answer.status}")
    body = object_in(answer)
    if answer.status != 200 or "error" in body:  # GitHub says so with status 200
        raise _refusal(body.get("error"))
    kind = body.get("token_type")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise untrusted("bad_token_type")
    tokens = {name: body.get(name) for name in wanted}
    for name, token in tokens.items():
        if not isinstance(token, str) or not token.isascii() or not token.isprintable() or not token:
            raise untrusted(f"{name}_missing")
    access_token = str(tokens["access_token"])
    if len(access_token) > ACCESS_TOKEN_CHARACTERS_MAX or " " in access_token:
        raise untrusted("access_token_malformed")
    return {name: str(token) for name, token in tokens.items()}


def _refusal(error: Any) -> Refused:
    """Blame the browser for an invalid code, and the provider or its configuration for other errors."""
    if error in _BAD_CODE:
        return Refused(SignInDenied(), "code_refused")
    return untrusted(f"provider_said_{plain_word(error)}")


def plain_word(error: Any) -> str:
    """Return an error code of RFC 6749 in a form that is safe to log."""
    is_plain = isinstance(error, str) and error.isascii() and error.replace("_", "").isalnum()
    return str(error)[:40] if is_plain else "something_else"
