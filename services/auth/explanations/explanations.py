"""Explains credentials for `gatehouse token explain`: what they are, and why they would be refused.

This checks only what auth alone can know: the gateway's command checks the signature and the claims itself.
Nothing is changed: looking at a credential does not count as using it.
"""

import hmac
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeGuard

from sqlalchemy import Row, Table, select
from sqlmodel import Session

from services.auth.access_keys.access_keys import PREFIX, key_id_of
from services.auth.key_models import SigningKey
from services.auth.keys.rotation import State, states
from services.auth.models import ACCESS_KEYS, CLIENTS, REVOCATIONS, SESSIONS, Account, Status
from services.auth.sessions.tokens import RefreshToken, RefreshTokens
from services.auth.settings import Settings
from shared.clock import now
from shared.hashing import sha256_hex
from shared.identity.revocations import Kind
from shared.identity.unverified import read_unverified


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact about a credential; with `is_refused` it is a reason to refuse the credential."""

    name: str
    words: str
    is_refused: bool = False


@dataclass(slots=True)
class Explanation:
    kind: str
    facts: list[Fact]
    account_id: str | None = None
    # The role and scopes of a token it would be exchanged for. Without scopes that token is not limited.
    role: str | None = None
    scopes: list[str] | None = None


class Explanations:
    """Explains every kind of credential that auth issues. Each method works in the caller's transaction."""

    def __init__(self, settings: Settings) -> None:
        secret = settings.key_secret.get_secret_value()
        self._refresh_tokens = RefreshTokens(secret)
        self._cookies = RefreshTokens(secret, "browser session")
        self._grace = timedelta(seconds=settings.refresh_grace_seconds)
        self._has_keys = settings.jwt_secret is None

    def of(self, session: Session, credential: str) -> Explanation:
        if credential.startswith(PREFIX):
            return _of_access_key(session, credential)
        jwt = read_unverified(credential, allows_duplicates=True)
        if jwt is not None:
            return self._of_token(session, jwt.header, jwt.claims)
        token = self._refresh_tokens.read(credential)
        if token is not None:
            return self._of_refresh_token(session, token)
        token = self._cookies.read(credential)
        if token is not None:
            return _of_cookie(session, token)
        return Explanation("unknown", [Fact("kind", _UNKNOWN, is_refused=True)])

    def _of_token(
        self, session: Session, header: Mapping[str, Any], claims: Mapping[str, Any]
    ) -> Explanation:
        explained = Explanation("token", [*self._key(session, header)])
        account = session.get(Account, claims["sub"]) if _is_id(claims.get("sub")) else None
        if account is not None:
            explained.account_id = account.id
            explained.facts += _account(account, claims.get("ver", 0))
        elif not _is_id(claims.get("sub")) or claims["sub"] != claims.get("client_id"):
            explained.facts.append(
                Fact("account", "there is no account with the id in `sub`", is_refused=True)
            )
        explained.facts += [
            *_session_of_token(session, claims),
            *_client(session, claims),
            *_itself(session, claims),
        ]
        return explained

    def _key(self, session: Session, header: Mapping[str, Any]) -> Iterator[Fact]:
        key_id = header.get("kid")
        if not self._has_keys or not isinstance(key_id, str):
            return
        rows = session.execute(select(SigningKey)).scalars().all()
        state = next((one.state for one in states(rows, now()) if one.key.id == key_id), None)
        if state is None:
            words = "auth has never had the key in `kid`: the token is forged, or from another suite"
            yield Fact("key", words, is_refused=True)
        elif state is State.KILLED:
            yield Fact("key", "the key in `kid` was killed: everything it signed is refused", is_refused=True)
        else:
            yield Fact("key", f"the key in `kid` is {_KEYS[state]}", is_refused=state is State.RETIRED)

    def _of_refresh_token(self, session: Session, token: RefreshToken) -> Explanation:
        row = _row(session, SESSIONS, token.session_id)
        if row is None:
            return Explanation("refresh token", [Fact("session", _GONE, is_refused=True)])
        facts = [_alive(row), *self._place_in_chain(row, token), *_owner(session, row.account_id)]
        if row.client_id is not None:
            facts += _client(session, {"client_id": row.client_id})
            facts.append(Fact("scopes", row.scope or "none"))
        return Explanation("refresh token", facts, row.account_id)

    def _place_in_chain(self, row: Row[Any], token: RefreshToken) -> Iterator[Fact]:
        if hmac.compare_digest(row.token_hash, token.hash):
            yield Fact("use", "it is the newest of its session, and has not been exchanged yet")
        elif row.previous_hash is None or not hmac.compare_digest(row.previous_hash, token.hash):
            yield Fact(
                "use", f"it was exchanged already, and so was its successor; {_REUSE}", is_refused=True
            )
        elif now() - row.rotated < self._grace:
            words = "it was exchanged a moment ago; within the grace period it gets the same successor"
            yield Fact("use", words)
        else:
            yield Fact("use", f"it was exchanged at {_text(row.rotated)}; {_REUSE}", is_refused=True)


def _of_access_key(session: Session, shown: str) -> Explanation:
    kind, key_id = "personal access token", key_id_of(shown)
    row = None if key_id is None else _row(session, ACCESS_KEYS, key_id)
    if key_id is None or row is None:
        words = "it was revoked or never existed" if key_id else "it is malformed or cut short"
        return Explanation(kind, [Fact("key", words, is_refused=True)])
    if not hmac.compare_digest(row.secret_hash, sha256_hex(shown)):
        return Explanation(kind, [Fact("key", "its secret is wrong", is_refused=True)])
    is_over = row.expires is not None and row.expires <= now()
    until = "it does not expire" if row.expires is None else f"expires {_text(row.expires)}"
    facts = [
        Fact("key", f"{row.name!r}, made {_text(row.created)}; {until}", is_refused=is_over),
        Fact("scopes", row.scopes),
        *_owner(session, row.account_id),
    ]
    return Explanation(kind, facts, row.account_id, _role(session, row.account_id), row.scopes.split())


def _of_cookie(session: Session, token: RefreshToken) -> Explanation:
    row = _row(session, SESSIONS, token.session_id)
    if row is None or not hmac.compare_digest(row.token_hash, token.hash):
        return Explanation("session cookie", [Fact("session", _GONE, is_refused=True)])
    facts = [_alive(row), *_owner(session, row.account_id)]
    return Explanation("session cookie", facts, row.account_id, _role(session, row.account_id))


def _session_of_token(session: Session, claims: Mapping[str, Any]) -> Iterator[Fact]:
    session_id = claims.get("sid")
    if not _is_id(session_id):
        return
    if str(claims.get("client_id", "")).startswith("pat_"):
        is_there = _row(session, ACCESS_KEYS, session_id) is not None
        words = "is there" if is_there else "was revoked"
        yield Fact(
            "session", f"the personal access token that it was exchanged for {words}", is_refused=not is_there
        )
        return
    row = _row(session, SESSIONS, session_id)
    if row is None or row.account_id != claims.get("sub"):
        yield Fact("session", _GONE, is_refused=True)
    elif row.revoked is not None:
        yield _alive(row)
    else:
        yield Fact("session", f"open since {_text(row.created)}")


def _alive(row: Row[Any]) -> Fact:
    if row.revoked is not None:
        return Fact("session", f"it was ended at {_text(row.revoked)}", is_refused=True)
    if row.expires <= now():
        return Fact("session", f"it expired at {_text(row.expires)}", is_refused=True)
    return Fact("session", f"open since {_text(row.created)}, ends {_text(row.expires)} unless it is used")


def _role(session: Session, account_id: str) -> str | None:
    account = session.get(Account, account_id)
    return None if account is None else account.role


def _owner(session: Session, account_id: str) -> Iterator[Fact]:
    account = session.get(Account, account_id)
    if account is not None:
        yield from _account(account, account.token_version)


def _account(account: Account, version: object) -> Iterator[Fact]:
    name = account.username or account.email or "(deleted)"
    words = f"{name}, role {account.role}, {account.status}"
    yield Fact("account", words, is_refused=account.status != Status.ACTIVE)
    if isinstance(version, int) and version < account.token_version:
        words = (
            "all tokens of the account have been revoked since: sign-out everywhere, new role or new status"
        )
        yield Fact("revoked", words, is_refused=True)


def _client(session: Session, claims: Mapping[str, Any]) -> Iterator[Fact]:
    client_id = claims.get("client_id")
    if not _is_id(client_id):
        return
    row = _row(session, CLIENTS, client_id)
    if row is None:
        yield Fact("client", "the OAuth client was deleted", is_refused=True)
        return
    words = row.name if row.is_active else f"{row.name}, which is disabled"
    yield Fact("client", words, is_refused=not row.is_active)
    version = claims.get("client_ver", row.version)
    if isinstance(version, int) and version < row.version:
        yield Fact("revoked", "all tokens of the client have been revoked since", is_refused=True)


def _itself(session: Session, claims: Mapping[str, Any]) -> Iterator[Fact]:
    token_id = claims.get("jti")
    if not _is_id(token_id):
        return
    here = REVOCATIONS.c.kind == Kind.TOKEN, REVOCATIONS.c.subject == token_id, REVOCATIONS.c.expires > now()
    if session.connection().execute(select(REVOCATIONS.c.number).where(*here)).first() is not None:
        yield Fact("revoked", "this token itself was revoked", is_refused=True)


def _row(session: Session, table: Table, row_id: str) -> Row[Any] | None:
    return session.connection().execute(select(table).where(table.c.id == row_id)).first()


def _is_id(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= 36 and value.isascii() and value.isprintable()


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


_GONE = "its session is no longer there: it ended or expired"
_REUSE = "using it again ends the session, since two parties seem to hold it"
_UNKNOWN = "neither a JWT nor a token of this suite, or it was cut short or KEY_SECRET has changed"
_KEYS = {
    State.WAITING: "published, and signs later",
    State.SIGNING: "the one that signs",
    State.OLD: "an old one, whose tokens are valid until they expire",
    State.RETIRED: "retired: all its access tokens have expired",
}
