"""The OAuth server's storage. Where requests may race, one SQL statement decides which one wins."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, delete, select, update
from sqlmodel import Session

from services.auth.accounts.accounts import locked_account
from services.auth.clients.clients import KnownClient, client_named
from services.auth.clients.scopes import text, words
from services.auth.factors.factors import has_second_factor
from services.auth.models import (
    CODES,
    CONSENTS,
    SESSIONS,
    Account,
    AuthorizationCode,
    Consent,
    delete_expired,
)
from services.auth.oauth.device import DeviceAuthorization
from services.auth.oauth.pushed import PushedRequests
from services.auth.revocations.log import RevocationLog
from services.auth.sessions.sessions import Grant, Refusal, Sessions, SignedIn
from shared.clock import now
from shared.data.database import insert_into
from shared.hashing import sha256_hex
from shared.identity.revocations import Kind
from shared.ids import new_id

CODE_SECONDS = 60
CODE_BYTES = 32
USED_CODES_KEPT = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Consumed:
    """The grant and parameters of a consumed authorization code."""

    grant: Grant
    account_id: str
    redirect_uri: str
    code_challenge: str
    nonce: str | None


class Storage:
    """The OAuth server's rows, within one transaction."""

    def __init__(self, session: Session, sessions: Sessions, revocations: RevocationLog) -> None:
        self._session = session
        self._sessions = sessions
        self._revocations = revocations
        self.devices = DeviceAuthorization(session)
        self.pushed = PushedRequests(session)

    def client(self, client_id: str) -> KnownClient | None:
        return client_named(self._session, client_id)

    def account(self, account_id: str, *, lock: bool = False) -> Account | None:
        """Return the account if it may sign in; `lock` keeps it unchanged until the transaction ends."""
        account = (
            locked_account(self._session, account_id) if lock else self._session.get(Account, account_id)
        )
        return account if account is not None and account.may_sign_in else None

    def has_second_factor(self, account_id: str) -> bool:
        return has_second_factor(self._session, account_id)

    def keep_code(self, fields: Mapping[str, Any]) -> str:
        """Create an authorization code with these fields."""
        delete_expired(self._session, CODES.c.code_hash, CODES.c.expires < now() - USED_CODES_KEPT)
        code = secrets.token_urlsafe(CODE_BYTES)
        expires = now() + timedelta(seconds=CODE_SECONDS)
        self._session.add(AuthorizationCode(code_hash=sha256_hex(code), expires=expires, **fields))
        return code

    def consume_code(self, code: str, client: KnownClient) -> Consumed | None:
        """Consume a code of this client. This succeeds once; a second use revokes its grant."""
        mine = CODES.c.code_hash == sha256_hex(code), CODES.c.client_id == client.id
        unused = CODES.c.used.is_(None), CODES.c.expires > now()
        use = update(CODES).where(*mine, *unused).values(used=now(), grant_id=new_id()).returning(CODES)
        row = self._session.connection().execute(use).mappings().one_or_none()
        if row is None:
            before = self._session.connection().execute(select(CODES.c.grant_id).where(*mine)).one_or_none()
            if before is not None and before.grant_id is not None:
                self.revoke_family(before.grant_id)
            return None
        parent = None if "offline_access" in words(row["scope"]) else row["session_id"]
        how = row["authenticated"], row["amr"]
        grant = Grant(row["grant_id"], client.id, row["scope"], row["resource"], parent, *how)
        return Consumed(grant, row["account_id"], row["redirect_uri"], row["code_challenge"], row["nonce"])

    def is_session_alive(self, session_id: str, *, lock: bool = False) -> bool:
        """Whether a session has not ended; `lock` keeps it alive until the transaction ends."""
        alive = SESSIONS.c.revoked.is_(None), SESSIONS.c.expires > now()
        found = select(SESSIONS.c.id).where(SESSIONS.c.id == session_id, *alive)
        found = found.with_for_update() if lock else found
        return self._session.connection().execute(found).first() is not None

    def open_family(self, account: Account, grant: Grant) -> SignedIn:
        return self._sessions.open(self._session, account, grant)

    def rotate_refresh(self, token: str, client: KnownClient) -> SignedIn | Refusal:
        return self._sessions.refresh(self._session, token, client.id)

    def revoke_family(self, grant_id: str) -> None:
        """End the refresh tokens of a grant, and its access tokens."""
        self._sessions.end(self._session, grant_id)

    def revoke_refresh(self, token: str, client: KnownClient) -> str | None:
        """Revoke the grant of a refresh token of this client, even if used; return its id."""
        found = self._sessions.of_token(self._session, token, client.id)
        if found is None:
            return None
        self.revoke_family(found[0].id)
        return str(found[0].id)

    def refresh_token(self, token: str, client: KnownClient) -> Row[Any] | None:
        """Return the grant of this client's refresh token if it can still be used."""
        found = self._sessions.of_token(self._session, token, client.id)
        return found[0] if found is not None and found[1] else None

    def revoke_access(self, token_id: str) -> None:
        self._revocations.add(self._session, Kind.TOKEN, [token_id])

    def consent_of(self, account_id: str, client: KnownClient) -> frozenset[str]:
        consent = self._session.get(Consent, (account_id, client.id))
        return words(None if consent is None else consent.scope)

    def keep_consent(self, account_id: str, client: KnownClient, scopes: frozenset[str]) -> None:
        """Add scopes to what the person has allowed the client."""
        given = text(self.consent_of(account_id, client) | scopes)
        row = Consent(account_id=account_id, client_id=client.id, scope=given).model_dump()
        adding = insert_into(self._session, CONSENTS).values(row)
        anew = {"scope": given, "updated": row["updated"]}
        adding = adding.on_conflict_do_update(index_elements=["account_id", "client_id"], set_=anew)
        self._session.connection().execute(adding)


def drop_consent(session: Session, account_id: str, client_id: str) -> bool:
    """Withdraw a person's consent for a client; return whether there was any."""
    mine = CONSENTS.c.account_id == account_id, CONSENTS.c.client_id == client_id
    return session.connection().execute(delete(CONSENTS).where(*mine)).rowcount == 1
