"""Sessions in the database: opening, refreshing and ending them."""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, Table, Update, bindparam, delete, select, update
from sqlmodel import Session

from services.auth.accounts.accounts import locked_account
from services.auth.errors import InvalidRefreshToken, RefreshTokenReused
from services.auth.factors.factors import are_needed
from services.auth.models import ACCESS_KEYS, EXPIRED_PER_CHANGE_MAX, SESSIONS, Account, LoginSession
from services.auth.revocations.log import RevocationLog
from services.auth.sessions.tokens import TWO, RefreshToken, RefreshTokens, factors_of
from services.auth.settings import Settings
from shared.caller import Caller
from shared.clock import now
from shared.data.statements import Rows, Statement, deletion_of, insert_row
from shared.errors import InvalidToken, SignInAgain
from shared.identity.revocations import Kind
from shared.identity.step_up import RECENT

SESSIONS_PER_ACCOUNT_MAX = 100
# A session that was opened without one of the account's factors ends soon, and so does what it grants. Until
# its owner shows all factors, it does not count as a sign-in, neither as a recent one nor for apps.
NEVER, INCOMPLETE = datetime.fromtimestamp(0, UTC), timedelta(hours=1)
Refusal = type[InvalidRefreshToken] | type[RefreshTokenReused]

_of_account = SESSIONS.c.account_id == bindparam("account")
_of_client = SESSIONS.c.client_id.is_not_distinct_from(bindparam("client"))
_newest = select(SESSIONS.c.id).where(_of_account, _of_client).order_by(SESSIONS.c.id.desc())
_oldest = (
    select(SESSIONS.c.id)
    .where(_of_account, _of_client, SESSIONS.c.id.not_in(_newest.limit(bindparam("kept"))))
    .limit(EXPIRED_PER_CHANGE_MAX)
    .with_for_update(skip_locked=True)
)
_DELETE_OLDEST = Rows(
    delete(SESSIONS)
    .where(SESSIONS.c.id.in_(_oldest))
    .returning(SESSIONS.c.id, SESSIONS.c.rotated, SESSIONS.c.created)
)
_DELETE_EXPIRED = Statement(deletion_of(SESSIONS.c.id, SESSIONS.c.expires, EXPIRED_PER_CHANGE_MAX))


@dataclass(frozen=True, slots=True)
class Grant:
    """What a person grants to a client, stored as a session of that client."""

    session_id: str
    client_id: str
    scope: str
    resource: str | None
    parent_id: str | None  # the session with which it ends
    authenticated: datetime
    amr: str | None


@dataclass(frozen=True, slots=True)
class SignedIn:
    account: Account
    session_id: str
    refresh_token: str
    authenticated: datetime
    amr: str | None
    grant: Grant | None = None


class Sessions:
    """Opens, refreshes and ends sessions. Every method runs inside the caller's transaction."""

    def __init__(self, settings: Settings, revocations: RevocationLog) -> None:
        self._revocations = revocations
        self._tokens = RefreshTokens(settings.key_secret.get_secret_value())
        self._idle = timedelta(seconds=settings.refresh_idle_seconds)
        self._absolute = timedelta(seconds=settings.refresh_absolute_seconds)
        self._grace = timedelta(seconds=settings.refresh_grace_seconds)

    def open(
        self,
        session: Session,
        account: Account,
        grant: Grant | None = None,
        amr: str = "pwd",
        device: str | None = None,
    ) -> SignedIn:
        """Open a session for the account itself, or for the client of a grant."""
        expires = now() + self._idle
        opened = LoginSession(account_id=account.id, token_hash="", expires=expires, amr=amr, device=device)
        if grant is not None:
            opened.id, opened.client_id, opened.parent_id = grant.session_id, grant.client_id, grant.parent_id
            opened.scope, opened.resource = grant.scope, grant.resource
            opened.authenticated, opened.amr = grant.authenticated, grant.amr
        token = self._tokens.first(opened.id)
        opened.token_hash = token.hash
        self.add(session, opened)
        since = opened.authenticated or opened.created
        return SignedIn(account, opened.id, self._tokens.write(token), since, opened.amr, grant)

    def open_for_admin(
        self, session: Session, account: Account, admin_id: str, parent_id: str, seconds: int
    ) -> LoginSession:
        """Open a session in which an admin impersonates the account. It has no refresh token.

        The admin's session is locked, so that what ends it also ends the new one.
        """
        parent = select(SESSIONS.c.id).where(SESSIONS.c.id == parent_id, *_alive()).with_for_update()
        if session.connection().execute(parent).first() is None:
            raise InvalidToken
        expires = now() + timedelta(seconds=seconds)
        opened = LoginSession(account_id=account.id, token_hash="", expires=expires, parent_id=parent_id)
        opened.impersonator_id = admin_id
        self.add(session, opened)
        return opened

    def add(self, session: Session, opened: LoginSession) -> None:
        """Store a new session, and delete expired ones and those beyond the maximum."""
        session.flush()  # the account may be new
        if opened.client_id is None and opened.impersonator_id is None and factors_of(opened.amr) < TWO:
            opened.authenticated = NEVER if are_needed(session, opened.account_id) else None
        opened.expires = min(opened.expires, end_of(opened, self._absolute))
        insert_row(session, SESSIONS, **opened.model_dump())
        # Not before the session's last access token has expired: until then it can still be revoked.
        _DELETE_EXPIRED.execute(session, {"before": now() - self._revocations.kept})
        self._delete_oldest(session, opened.account_id, opened.client_id)

    def refresh(self, session: Session, text: str, client_id: str | None = None) -> SignedIn | Refusal:
        """Exchange a refresh token for its successor, or return the refusal.

        The token is valid only for the client it was issued to; without `client_id`, for the account itself.

        A refusal is returned, not raised, because its effect on the session must be committed. Within the
        grace period a token gets the same successor again, because its owner may have asked twice or lost
        the response. Later use means that two parties hold the token, so the session ends.
        """
        token = self._tokens.read(text)
        if token is None:
            return InvalidRefreshToken
        row = self._row(session, token)
        if row is None or row.client_id != client_id:
            return InvalidRefreshToken
        account = session.get(Account, row.account_id)
        if account is None or not account.may_sign_in:
            self.end(session, row.id)
            return InvalidRefreshToken
        successor = self._tokens.successor(token)
        if not self._exchange(session, row, token, successor):
            current = self._row(session, token)
            if current is None:
                return InvalidRefreshToken
            if not self._within_grace(current, token):
                self.end(session, row.id)
                return RefreshTokenReused
        since = row.authenticated or row.created
        return SignedIn(account, row.id, self._tokens.write(successor), since, row.amr, _grant(row))

    def account_of(self, session: Session, caller: Caller) -> Account:
        """Return the caller's current account, or raise InvalidToken.

        The account must be allowed to sign in, and the token's session or key must still exist.
        """
        if _is_there(session, ACCESS_KEYS, caller.id, caller.session_id):
            return _account(session, caller.id)
        return self.account_in(session, caller.id, caller.session_id)

    def account_in(self, session: Session, account_id: str, session_id: str | None) -> Account:
        """Return the account of a live session if it may sign in, or raise InvalidToken."""
        if not _is_there(session, SESSIONS, account_id, session_id, *_alive()):
            raise InvalidToken
        return _account(session, account_id)

    def locked_account_in(self, session: Session, account_id: str, session_id: str | None) -> Account:
        """As account_in, with the locked account: a change that ends its sessions waits, or is seen here."""
        locked_account(session, account_id)
        return self.account_in(session, account_id, session_id)

    def require_complete(self, session: Session, session_id: str | None) -> None:
        """Raise SignInAgain if the session was opened without a factor that its account had then."""
        incomplete = SESSIONS.c.id == session_id, SESSIONS.c.authenticated <= NEVER
        if session.connection().execute(select(SESSIONS.c.id).where(*incomplete)).first() is not None:
            raise SignInAgain(RECENT.max_age, str(TWO))

    def confirm(self, session: Session, session_id: str, amr: str) -> datetime:
        """Record that the session's person has authenticated again, and how; return the time."""
        moment = now()
        shown = update(SESSIONS).where(SESSIONS.c.id == session_id, *_alive())
        if session.connection().execute(shown.values(authenticated=moment, amr=amr)).rowcount != 1:
            raise InvalidToken  # it has ended in the meantime
        return moment

    def end(self, session: Session, session_id: str) -> str | None:
        """End a session and what it granted, and revoke their access tokens; return the account id."""
        ended = self._end(session, SESSIONS.c.id == session_id)
        # A separate statement also sees grants created while the first one waited for its lock.
        self._end(session, SESSIONS.c.parent_id == session_id)
        return ended[0].account_id if ended else None

    def end_by_token(self, session: Session, text: str) -> tuple[str, str] | None:
        """End the session of this refresh token; return session and account id, or None if nothing ended."""
        token = self._tokens.read(text)
        account_id = None if token is None else self.end(session, token.session_id)
        return None if token is None or account_id is None else (token.session_id, account_id)

    def of_token(self, session: Session, text: str, client_id: str) -> tuple[Row[Any], bool] | None:
        """Return the live session of a client's refresh token, and whether the token is its newest."""
        found = self._of_token(session, text)
        return found if found is not None and found[0].client_id == client_id else None

    def of_account(self, session: Session, text: str, account_id: str) -> tuple[Row[Any], bool] | None:
        """Return the same for any refresh token of this account, also one that an app holds."""
        found = self._of_token(session, text)
        return found if found is not None and found[0].account_id == account_id else None

    def _of_token(self, session: Session, text: str) -> tuple[Row[Any], bool] | None:
        token = self._tokens.read(text)
        row = None if token is None else self._row(session, token)
        if token is None or row is None:
            return None
        return row, hmac.compare_digest(row.token_hash, token.hash)

    def end_others(self, session: Session, account_id: str, but: str | None) -> None:
        """End all sessions of an account except one."""
        self._end(session, SESSIONS.c.account_id == account_id, SESSIONS.c.id != (but or ""))
        self._end(session, SESSIONS.c.impersonator_id == account_id, SESSIONS.c.parent_id != (but or ""))

    def end_of_client(self, session: Session, account_id: str, client_id: str) -> bool:
        """End everything that an account has granted to a client; return whether there was anything."""
        mine = SESSIONS.c.account_id == account_id, SESSIONS.c.client_id == client_id
        return bool(self._end(session, *mine))

    def end_of_admins(self, session: Session, account_id: str) -> None:
        """End all sessions in which admins impersonate an account."""
        self._end(session, SESSIONS.c.account_id == account_id, SESSIONS.c.impersonator_id.is_not(None))

    def end_all(self, session: Session, account: Account) -> None:
        """End all sessions of an account, and revoke all its access tokens with one revocation."""
        session.connection().execute(_ending(SESSIONS.c.account_id == account.id))
        account.token_version += 1
        self._revocations.add(session, Kind.USER, [account.id], below=account.token_version)
        self._end(session, SESSIONS.c.impersonator_id == account.id)

    def _end(self, session: Session, *which: ColumnElement[bool]) -> Sequence[Row[Any]]:
        ending = _ending(*which).returning(SESSIONS.c.id, SESSIONS.c.account_id)
        ended = session.connection().execute(ending).all()
        self._revocations.add(session, Kind.SESSION, [row.id for row in ended])
        return ended

    def _row(self, session: Session, token: RefreshToken) -> Row[Any] | None:
        living = select(SESSIONS).where(SESSIONS.c.id == token.session_id, *_alive())
        return session.connection().execute(living).first()

    def _exchange(
        self, session: Session, row: Row[Any], token: RefreshToken, successor: RefreshToken
    ) -> bool:
        """Exchange the token with one statement, which decides who is first."""
        moment = now()
        exchange = (
            update(SESSIONS)
            .where(SESSIONS.c.id == row.id, SESSIONS.c.token_hash == token.hash, *_alive())
            .values(
                token_hash=successor.hash,
                previous_hash=token.hash,
                rotated=moment,
                expires=min(moment + self._idle, end_of(row, self._absolute)),
            )
        )
        return session.connection().execute(exchange).rowcount == 1

    def _within_grace(self, row: Row[Any], token: RefreshToken) -> bool:
        return (
            row.previous_hash is not None
            and hmac.compare_digest(row.previous_hash, token.hash)
            and now() - row.rotated < self._grace
        )

    def _delete_oldest(self, session: Session, account_id: str, client_id: str | None) -> None:
        """Keep only the newest sessions of an account, so that repeated sign-ins cannot fill the table.

        Each client's sessions are counted separately, so that they never displace the account's own.
        """
        kept = SESSIONS_PER_ACCOUNT_MAX
        gone = _DELETE_OLDEST.rows(session, account=account_id, client=client_id, kept=kept)
        recently = now() - self._revocations.kept
        with_tokens = [row["id"] for row in gone if (row["rotated"] or row["created"]) > recently]
        self._revocations.add(session, Kind.SESSION, with_tokens)
        if gone:
            self._end(session, SESSIONS.c.parent_id.in_([row["id"] for row in gone]))


def end_of(opened: LoginSession | Row[Any], absolute: timedelta) -> datetime:
    """Return the moment beyond which a session cannot be extended."""
    is_incomplete = opened.authenticated is not None and opened.authenticated <= NEVER
    end: datetime = opened.created + (min(INCOMPLETE, absolute) if is_incomplete else absolute)
    return end


def _grant(row: Row[Any]) -> Grant | None:
    if row.client_id is None:
        return None
    authenticated = row.authenticated or row.created
    return Grant(row.id, row.client_id, row.scope or "", row.resource, row.parent_id, authenticated, row.amr)


def _alive() -> tuple[ColumnElement[bool], ...]:
    return SESSIONS.c.revoked.is_(None), SESSIONS.c.expires > now()


def _account(session: Session, account_id: str) -> Account:
    account = session.get(Account, account_id)
    if account is None or not account.may_sign_in:
        raise InvalidToken
    return account


def _is_there(
    session: Session, table: Table, account_id: str, session_id: str | None, *conditions: ColumnElement[bool]
) -> bool:
    """Whether a session of the account is a row of this table."""
    mine = table.c.id == session_id, table.c.account_id == account_id
    return session.connection().execute(select(table.c.id).where(*mine, *conditions)).first() is not None


def _ending(*which: ColumnElement[bool]) -> Update:
    return update(SESSIONS).where(*which, SESSIONS.c.revoked.is_(None)).values(revoked=now())
