"""Accounts, their sessions, OAuth clients and grants, and login attempts."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Column, ColumnElement, Index, Row, delete, select
from sqlmodel import Field, Session

from services.auth.export_models import Export, ExportDownload, ExportPiece
from services.auth.key_models import RevocationCounter, Revoked, SigningKey
from services.auth.passkey_models import Passkey, PasskeyChallenge
from services.auth.provider_models import Identity, PendingSignIn
from services.auth.tables import HASH_CHARACTERS, ID_CHARACTERS, Table
from shared.clock import now
from shared.data.database import UtcDateTime, rows_where
from shared.data.tables import table_of
from shared.events import EventTables
from shared.http.idempotency import IdempotencyStore
from shared.ids import new_id
from shared.work.leased import WorkTable

SCOPE_CHARACTERS_MAX = 2000
RESOURCE_CHARACTERS_MAX = 500
EXPIRED_PER_CHANGE_MAX = 100


class Role(StrEnum):
    USER = "user"
    ADMIN = "admin"


class Status(StrEnum):
    ACTIVE = "active"
    SUSPENDED = "suspended"  # temporary; disabled is permanent
    DISABLED = "disabled"
    DELETED = "deleted"


class Account(Table, table=True):
    __tablename__ = "accounts"
    __table_args__ = (
        Index("ux_accounts_email", "email", unique=True),
        Index("ux_accounts_username_key", "username_key", unique=True),
        Index("ix_accounts_status_role_id", "status", "role", "id"),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_CHARACTERS)
    email: str | None = Field(default=None, max_length=254)
    username: str | None = Field(default=None, max_length=32)
    username_key: str | None = Field(default=None, max_length=32)
    first_name: str | None = Field(default=None, max_length=100)
    last_name: str | None = Field(default=None, max_length=100)
    password_hash: str | None = Field(default=None, max_length=100)
    role: str = Field(default=Role.USER, max_length=20)
    status: str = Field(default=Status.ACTIVE, max_length=20)
    # Whether somebody else set the password, so that the owner must choose a new one to sign in.
    must_change_password: bool = False
    # Incremented to revoke all earlier access tokens; each token carries the version at its issue.
    token_version: int = 0
    # When the owner confirmed the e-mail address; None if it is unconfirmed.
    verified: datetime | None = Field(default=None, sa_type=UtcDateTime)
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    updated: datetime = Field(default_factory=now, sa_type=UtcDateTime)

    @property
    def may_sign_in(self) -> bool:
        return self.status == Status.ACTIVE

    @property
    def email_verified(self) -> bool:
        return self.verified is not None

    @property
    def is_active_admin(self) -> bool:
        return self.role == Role.ADMIN and self.status == Status.ACTIVE

    def name(self, username: str | None) -> None:
        """Set the username; names that differ only in case are the same."""
        self.username = username
        self.username_key = username and username.lower()

    def address(self, email: str, verified: datetime | None = None) -> None:
        """Set the e-mail address; unconfirmed unless `verified` says when it was confirmed."""
        self.email, self.verified = email, verified

    def anonymise(self) -> None:
        """Erase all personal data; the id stays, because other tables refer to it."""
        self.email = self.first_name = self.last_name = self.password_hash = self.verified = None
        self.name(None)
        self.role = Role.USER
        self.status = Status.DELETED

    def choose_password(self, password_hash: str) -> None:
        """Set the password that the owner has chosen."""
        self.password_hash, self.must_change_password = password_hash, False

    def touch(self) -> None:
        """Advance `updated` even if the clock was set back, because copies are compared by it."""
        self.updated = max(now(), self.updated + timedelta(microseconds=1))


class LoginSession(Table, table=True):
    """One sign-in and its chain of refresh tokens.

    A browser session has a cookie instead of refresh tokens. A grant to an OAuth client is a session too: it
    has the client, its scope, and the browser session that it ends with, if any.
    """

    __tablename__ = "sessions"
    __table_args__ = (
        Index("ix_sessions_account_id_id", "account_id", "id"),
        Index("ix_sessions_parent_id", "parent_id", **rows_where("parent_id IS NOT NULL")),
        Index("ix_sessions_impersonator_id", "impersonator_id", **rows_where("impersonator_id IS NOT NULL")),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_CHARACTERS)
    account_id: str = Field(foreign_key="accounts.id", ondelete="CASCADE", max_length=ID_CHARACTERS)
    token_hash: str = Field(max_length=HASH_CHARACTERS)
    previous_hash: str | None = Field(default=None, max_length=HASH_CHARACTERS)
    rotated: datetime | None = Field(default=None, sa_type=UtcDateTime)
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    expires: datetime = Field(sa_type=UtcDateTime, index=True)
    revoked: datetime | None = Field(default=None, sa_type=UtcDateTime)
    client_id: str | None = Field(default=None, max_length=ID_CHARACTERS)
    scope: str | None = Field(default=None, max_length=SCOPE_CHARACTERS_MAX)
    resource: str | None = Field(default=None, max_length=RESOURCE_CHARACTERS_MAX)
    parent_id: str | None = Field(default=None, max_length=ID_CHARACTERS)
    # When the person last authenticated; None if that is `created`.
    authenticated: datetime | None = Field(default=None, sa_type=UtcDateTime)
    device: str | None = Field(default=None, max_length=60)  # the browser or program that signed in
    amr: str | None = Field(default=None, max_length=50)  # how the person signed in (RFC 8176)
    # The admin who impersonates the account in this session; it ends with the admin's own session.
    impersonator_id: str | None = Field(default=None, max_length=ID_CHARACTERS)


class Factor(Table, table=True):
    """A second factor, required once it is confirmed. The secret is encrypted."""

    __tablename__ = "factors"

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_CHARACTERS)
    account_id: str = Field(
        foreign_key="accounts.id", ondelete="CASCADE", max_length=ID_CHARACTERS, index=True
    )
    kind: str = Field(default="totp", max_length=20)
    secret: str = ""
    last_step: int = Field(default=0, sa_type=BigInteger)
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    confirmed: datetime | None = Field(default=None, sa_type=UtcDateTime)
    used: datetime | None = Field(default=None, sa_type=UtcDateTime)


class RecoveryCode(Table, table=True):
    """A code that replaces a second factor, deleted when used. It is random, so SHA-256 is enough."""

    __tablename__ = "recovery_codes"

    account_id: str = Field(
        foreign_key="accounts.id", ondelete="CASCADE", primary_key=True, max_length=ID_CHARACTERS
    )
    code_hash: str = Field(primary_key=True, max_length=HASH_CHARACTERS)


class Challenge(Table, table=True):
    """A sign-in with a correct first factor that still needs a second one."""

    __tablename__ = "challenges"

    token_hash: str = Field(primary_key=True, max_length=HASH_CHARACTERS)
    account_id: str = Field(
        foreign_key="accounts.id", ondelete="CASCADE", max_length=ID_CHARACTERS, index=True
    )
    device_id: str = Field(max_length=ID_CHARACTERS)
    amr: str | None = Field(default=None, max_length=50)  # the first factor; None is the password
    new_hash: str | None = Field(default=None, max_length=100)  # of the password that the sign-in will set
    tries: int = 0
    expires: datetime = Field(sa_type=UtcDateTime, index=True)


class Client(Table, table=True):
    """An OAuth client. Its secrets are random, so SHA-256 is enough."""

    __tablename__ = "clients"

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_CHARACTERS)
    name: str = Field(max_length=100)
    description: str | None = Field(default=None, max_length=500)
    is_public: bool = False
    is_first_party: bool = False
    is_active: bool = True
    redirect_uris: str = ""  # one per line
    post_logout_redirect_uris: str = ""  # one per line
    scopes: str = Field(default="", max_length=SCOPE_CHARACTERS_MAX)
    grant_types: str = Field(default="", max_length=200)
    secret_hash: str | None = Field(default=None, max_length=HASH_CHARACTERS)
    previous_secret_hash: str | None = Field(default=None, max_length=HASH_CHARACTERS)
    previous_secret_expires: datetime | None = Field(default=None, sa_type=UtcDateTime)
    # Incremented to revoke all earlier access tokens, like `token_version` of an account.
    version: int = 0
    created_by: str | None = Field(default=None, max_length=ID_CHARACTERS)
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    updated: datetime = Field(default_factory=now, sa_type=UtcDateTime)

    @property
    def client_id(self) -> str:
        """The client's id in OAuth: its row id, which every service can store as an owner."""
        return self.id


class AuthorizationCode(Table, table=True):
    """An authorization code and its grant. Used codes are kept for a while to detect reuse."""

    __tablename__ = "authorization_codes"

    code_hash: str = Field(primary_key=True, max_length=HASH_CHARACTERS)
    client_id: str = Field(foreign_key="clients.id", ondelete="CASCADE", max_length=ID_CHARACTERS)
    account_id: str = Field(foreign_key="accounts.id", ondelete="CASCADE", max_length=ID_CHARACTERS)
    session_id: str = Field(max_length=ID_CHARACTERS)
    redirect_uri: str
    scope: str = Field(max_length=SCOPE_CHARACTERS_MAX)
    resource: str | None = Field(default=None, max_length=RESOURCE_CHARACTERS_MAX)
    nonce: str | None = None
    code_challenge: str = Field(max_length=HASH_CHARACTERS)
    authenticated: datetime = Field(sa_type=UtcDateTime)
    amr: str | None = Field(default=None, max_length=50)
    expires: datetime = Field(sa_type=UtcDateTime, index=True)
    used: datetime | None = Field(default=None, sa_type=UtcDateTime)
    grant_id: str | None = Field(default=None, max_length=ID_CHARACTERS)


class Consent(Table, table=True):
    """The scopes that a person has allowed a client, so that it need not ask again."""

    __tablename__ = "consents"

    account_id: str = Field(
        foreign_key="accounts.id", ondelete="CASCADE", primary_key=True, max_length=ID_CHARACTERS
    )
    client_id: str = Field(
        foreign_key="clients.id", ondelete="CASCADE", primary_key=True, max_length=ID_CHARACTERS, index=True
    )
    scope: str = Field(max_length=SCOPE_CHARACTERS_MAX)
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    updated: datetime = Field(default_factory=now, sa_type=UtcDateTime)


class DeviceCode(Table, table=True):
    """A device waiting to be allowed in a browser; `account_id` is the person who allowed it."""

    __tablename__ = "device_codes"

    device_hash: str = Field(primary_key=True, max_length=HASH_CHARACTERS)
    user_hash: str = Field(max_length=HASH_CHARACTERS, unique=True)
    client_id: str = Field(foreign_key="clients.id", ondelete="CASCADE", max_length=ID_CHARACTERS)
    scope: str = Field(max_length=SCOPE_CHARACTERS_MAX)
    resource: str | None = Field(default=None, max_length=RESOURCE_CHARACTERS_MAX)
    is_denied: bool = False
    account_id: str | None = Field(
        default=None, foreign_key="accounts.id", ondelete="CASCADE", max_length=ID_CHARACTERS
    )
    authenticated: datetime | None = Field(default=None, sa_type=UtcDateTime)
    amr: str | None = Field(default=None, max_length=50)
    interval: int
    polled: datetime | None = Field(default=None, sa_type=UtcDateTime)
    expires: datetime = Field(sa_type=UtcDateTime, index=True)


class PushedRequest(Table, table=True):
    """An authorization request that a client has pushed (RFC 9126)."""

    __tablename__ = "pushed_requests"

    uri_hash: str = Field(primary_key=True, max_length=HASH_CHARACTERS)
    client_id: str = Field(foreign_key="clients.id", ondelete="CASCADE", max_length=ID_CHARACTERS)
    query: str
    expires: datetime = Field(sa_type=UtcDateTime, index=True)


class AccessKey(Table, table=True):
    """A personal access token of a program that acts for a person. It is random, so SHA-256 is enough."""

    __tablename__ = "access_keys"
    __table_args__ = (Index("ix_access_keys_account_id_id", "account_id", "id"),)

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_CHARACTERS)
    account_id: str = Field(foreign_key="accounts.id", ondelete="CASCADE", max_length=ID_CHARACTERS)
    name: str = Field(max_length=100)
    scopes: str = Field(max_length=SCOPE_CHARACTERS_MAX)
    factors: int = 1  # the number of factors of the sign-in that created it
    secret_hash: str = Field(default="", max_length=HASH_CHARACTERS)
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    expires: datetime | None = Field(default=None, sa_type=UtcDateTime)
    used: datetime | None = Field(default=None, sa_type=UtcDateTime)


class MailToken(Table, table=True):
    """A link sent by mail, usable once. Its token is random, so SHA-256 is enough.

    There is at most one of each kind per account, or per address without an account.
    """

    __tablename__ = "mail_tokens"
    __table_args__ = (
        Index("ux_mail_tokens_subject_kind", "subject", "kind", unique=True),
        Index("ix_mail_tokens_kind_id", "kind", "id"),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_CHARACTERS)
    kind: str = Field(max_length=20)
    subject: str = Field(max_length=254)
    email: str = Field(max_length=254)
    token_hash: str = Field(max_length=HASH_CHARACTERS, unique=True)
    details: str | None = None  # encrypted
    created_by: str | None = Field(default=None, max_length=ID_CHARACTERS)
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    expires: datetime = Field(sa_type=UtcDateTime, index=True)


class LoginAttempts(Table, table=True):
    """Consecutive failed password attempts. The name is hashed, because people mistype passwords as names."""

    __tablename__ = "login_attempts"

    name_hash: str = Field(primary_key=True, max_length=HASH_CHARACTERS)
    failures: int = 0
    blocked_until: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    updated: datetime = Field(default_factory=now, sa_type=UtcDateTime, index=True)


class KnownDevice(Table, table=True):
    """A browser or program that has signed in to an account."""

    __tablename__ = "known_devices"

    account_id: str = Field(
        foreign_key="accounts.id", ondelete="CASCADE", primary_key=True, max_length=ID_CHARACTERS
    )
    device_id: str = Field(primary_key=True, max_length=ID_CHARACTERS)
    used: datetime = Field(default_factory=now, sa_type=UtcDateTime, index=True)


ACCOUNTS = table_of(Account)
SESSIONS = table_of(LoginSession)
PASSKEYS = table_of(Passkey)
PASSKEY_CHALLENGES = table_of(PasskeyChallenge)
IDENTITIES = table_of(Identity)
PENDING_SIGN_INS = table_of(PendingSignIn)
FACTORS = table_of(Factor)
RECOVERY_CODES = table_of(RecoveryCode)
CHALLENGES = table_of(Challenge)
ACCESS_KEYS = table_of(AccessKey)
CLIENTS = table_of(Client)
CODES = table_of(AuthorizationCode)
DEVICE_CODES = table_of(DeviceCode)
PUSHED = table_of(PushedRequest)
CONSENTS = table_of(Consent)
MAIL_TOKENS = table_of(MailToken)
ATTEMPTS = table_of(LoginAttempts)
DEVICES = table_of(KnownDevice)
EXPORTS = table_of(Export)
PIECES = table_of(ExportPiece)
DOWNLOADS = table_of(ExportDownload)
SIGNING_KEYS = table_of(SigningKey)

REVOCATIONS = table_of(Revoked)
COUNTER = table_of(RevocationCounter)
EVENTS = EventTables(Table.metadata)
WORK = WorkTable(Table.metadata)
IDEMPOTENCY = IdempotencyStore(Table.metadata)


def delete_expired(session: Session, key: Column[Any], expired: ColumnElement[bool]) -> Sequence[Row[Any]]:
    """Delete a bounded number of expired rows, and return them.

    Locked rows are skipped, so that concurrent clean-ups never wait for each other.
    """
    old = select(key).where(expired).limit(EXPIRED_PER_CHANGE_MAX).with_for_update(skip_locked=True)
    gone = delete(key.table).where(key.in_(old)).returning(key.table)
    return session.connection().execute(gone).all()
