"""Issuing, revoking and introspecting tokens."""

import hashlib
import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from typing import Any

from services.auth.clients.clients import KnownClient
from services.auth.clients.scopes import OF_PERSONS, OPENID, text, words
from services.auth.clients.secrets import is_secret_of
from services.auth.errors import RefreshTokenReused
from services.auth.models import Account
from services.auth.oauth.device import GRANT as DEVICE_GRANT
from services.auth.oauth.errors import OAuthError, invalid_client, invalid_grant
from services.auth.oauth.issuer import Issuer
from services.auth.oauth.moments import seconds_of
from services.auth.oauth.parameters import ClientCredentials, Parameters
from services.auth.oauth.storage import Consumed, Storage
from services.auth.sessions.sessions import Grant, SignedIn
from services.auth.sessions.tokens import sign_in_claims
from shared.caller import Caller

Body = dict[str, Any]
OF_CLIENTS = "client_credentials"
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


class TokenEndpoint:
    """Issues tokens. It knows nothing about HTTP: it maps parameters to a response body.

    Refusals are returned, not raised, because their side effects must be committed: a consumed code, a
    revoked grant.
    """

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self._grants: dict[str, Callable[[Storage, KnownClient, Parameters], Body]] = {
            "authorization_code": self._redeem,
            "refresh_token": self._refresh,
            DEVICE_GRANT: self._of_device,
            OF_CLIENTS: lambda _, client, given: self._of_client(client, given),
        }

    @staticmethod
    def is_frequent(given: Parameters) -> bool:
        """Whether requests may share a transaction: this grant reads one row and writes only its record."""
        return given.values.get("grant_type") == OF_CLIENTS

    def issue(self, storage: Storage, credentials: ClientCredentials, given: Parameters) -> Body | OAuthError:
        try:
            return self._issue(storage, credentials, given)
        except OAuthError as refusal:
            return refusal

    def _issue(self, storage: Storage, credentials: ClientCredentials, given: Parameters) -> Body:
        kind = given.require("grant_type")
        grant = self._grants.get(kind)
        if grant is None:
            kinds = ", ".join(self._grants)
            raise OAuthError("unsupported_grant_type", f"grant_type must be one of {kinds}.")
        client = authenticated(storage, credentials)
        if kind not in words(client.grant_types):
            raise OAuthError("unauthorized_client", f"The client may not use {kind}.")
        return grant(storage, client, given)

    def _redeem(self, storage: Storage, client: KnownClient, given: Parameters) -> Body:
        code, redirect_uri = given.require("code"), given.require("redirect_uri")
        verifier = given.require("code_verifier")
        resource = self._issuer.resource(given.get("resource"))
        consumed = storage.consume_code(code, client)
        # From here on the code is consumed, even if the request is refused.
        if consumed is None:
            raise invalid_grant("The code is unknown, used or expired.")
        if not hmac.compare_digest(consumed.redirect_uri.encode(), redirect_uri.encode()):
            raise invalid_grant("redirect_uri differs from the one in the authorization request.")
        if not _fits(verifier, consumed.code_challenge):
            raise invalid_grant("code_verifier does not match the code_challenge.")
        if resource not in (None, consumed.grant.resource):
            raise OAuthError("invalid_target", "resource differs from the one in the authorization request.")
        account = storage.account(consumed.account_id, lock=True)
        if account is None or not self._is_still_granted(storage, consumed):
            raise invalid_grant("The person has signed out, or may no longer sign in.")
        signed_in = storage.open_family(account, consumed.grant)
        return self._answer(client, signed_in, consumed.grant, words(consumed.grant.scope), consumed.nonce)

    @staticmethod
    def _is_still_granted(storage: Storage, consumed: Consumed) -> bool:
        parent = consumed.grant.parent_id
        return parent is None or storage.is_session_alive(parent, lock=True)

    def _refresh(self, storage: Storage, client: KnownClient, given: Parameters) -> Body:
        token, wanted = given.require("refresh_token"), words(given.get("scope"))
        self._issuer.resource(given.get("resource"))
        before = storage.refresh_token(token, client) if wanted else None
        if before is not None and not wanted <= words(before.scope):  # the token stays valid
            raise OAuthError("invalid_scope", f"The granted scopes are: {before.scope}.")
        outcome = storage.rotate_refresh(token, client)
        if not isinstance(outcome, SignedIn) or outcome.grant is None:
            reused = outcome is RefreshTokenReused
            raise invalid_grant(
                "The refresh token was already used, so its whole grant was revoked."
                if reused
                else "The refresh token is unknown, expired or revoked."
            )
        granted = words(outcome.grant.scope)
        if not granted <= words(client.scopes):
            storage.revoke_family(outcome.session_id)
            raise invalid_grant(
                "The client no longer has all granted scopes; ask the person for consent again."
            )
        scopes = (wanted & granted) or granted
        return self._answer(client, outcome, outcome.grant, scopes, None)

    def _of_device(self, storage: Storage, client: KnownClient, given: Parameters) -> Body:
        account_id, grant = storage.devices.redeem(given.require("device_code"), client)
        account = storage.account(account_id, lock=True)
        if account is None:
            raise invalid_grant("The person may no longer sign in.")
        return self._answer(client, storage.open_family(account, grant), grant, words(grant.scope), None)

    def _of_client(self, client: KnownClient, given: Parameters) -> Body:
        if client.is_public:
            raise OAuthError("unauthorized_client", "A public client cannot use client_credentials.")
        wanted = given.get("scope")
        own = words(client.scopes) - OF_PERSONS
        scopes = own if wanted is None else words(wanted)
        if not scopes <= own:
            raise OAuthError("invalid_scope", f"The client itself may have: {text(own) or 'nothing'}.")
        resource = self._issuer.resource(given.get("resource"))
        return self._body(self._issuer.access_token(client, scopes, resource), scopes)

    def _answer(
        self,
        client: KnownClient,
        signed_in: SignedIn,
        grant: Grant,
        scopes: frozenset[str],
        nonce: str | None,
    ) -> Body:
        account = signed_in.account
        access_token = self._issuer.access_token(
            client,
            scopes,
            grant.resource,
            account=account,
            session_id=signed_in.session_id,
            authenticated=grant.authenticated,
            amr=grant.amr,
        )
        body = self._body(access_token, scopes)
        if "refresh_token" in words(client.grant_types):
            body["refresh_token"] = signed_in.refresh_token
        if OPENID in scopes:
            claims = {**sign_in_claims(grant.authenticated, grant.amr), "sid": grant.parent_id}
            body["id_token"] = self._issuer.id_token(client, account, access_token, nonce, **claims)
        return body

    def _body(self, access_token: str, scopes: frozenset[str]) -> Body:
        return {
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": self._issuer.lifetime_seconds,
            "scope": text(scopes),
        }


def authenticated(storage: Storage, credentials: ClientCredentials) -> KnownClient:
    """Return the client with these credentials, or raise invalid_client."""
    client = storage.client(credentials.client_id)
    if client is None or not client.is_active:
        raise invalid_client()
    if client.is_public:
        if credentials.secret is not None:
            raise invalid_client()
        return client
    if credentials.secret is None or not is_secret_of(client, credentials.secret):
        raise invalid_client()
    return client


def revoke(storage: Storage, client: KnownClient, token: str, caller: Caller | None) -> str | None:
    """Revoke a token of this client (RFC 7009); return what was revoked, None if nothing was."""
    if caller is None:
        return storage.revoke_refresh(token, client)
    if caller.client_id != client.client_id or caller.token_id is None:
        return None
    storage.revoke_access(caller.token_id)
    return caller.token_id


def introspect(
    storage: Storage, issuer: Issuer, client: KnownClient, token: str, claims: Mapping[str, Any] | None
) -> Body:
    """Return the state and claims of a token (RFC 7662); only its own client sees them.

    `claims` are given for a valid access token.
    """
    if claims is not None:
        is_mine = claims.get("client_id") == client.client_id
        return {"active": True, "token_type": "Bearer", **_shown(claims)} if is_mine else {"active": False}
    row = storage.refresh_token(token, client)
    if row is None:
        return {"active": False}
    claims = {"iss": issuer.url, "scope": row.scope, "client_id": client.client_id, "sub": row.account_id}
    return {"active": True, **claims, "exp": seconds_of(row.expires), "iat": seconds_of(row.created)}


def _shown(claims: Mapping[str, Any]) -> Body:
    names = ("iss", "sub", "aud", "scope", "client_id", "username", "exp", "iat", "jti", "auth_time")
    return {name: claims[name] for name in names if name in claims}


def userinfo(account: Account, scopes: frozenset[str]) -> Body:
    """Return the claims of OpenID Connect Core section 5.1 that the scopes allow."""
    claims: Body = {"sub": account.id}
    if "profile" in scopes:
        names = [name for name in (account.first_name, account.last_name) if name]
        claims |= {
            "name": " ".join(names) or account.username,
            "given_name": account.first_name,
            "family_name": account.last_name,
            "preferred_username": account.username,
            "updated_at": seconds_of(account.updated),
        }
    if "email" in scopes:
        claims |= {"email": account.email, "email_verified": account.email_verified}
    return {name: value for name, value in claims.items() if value is not None}


def _fits(verifier: str, challenge: str) -> bool:
    digest = urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    return _VERIFIER.fullmatch(verifier) is not None and hmac.compare_digest(digest, challenge)
