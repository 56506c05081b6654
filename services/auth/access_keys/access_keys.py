"""Personal access tokens in the database: creating, verifying and revoking them."""

import hmac
import re
import secrets
from datetime import timedelta

from sqlalchemy import Row, delete, func, select, update
from sqlmodel import Session

from services.auth.access_keys.schemas import AccessKeyOut, CreateAccessKey, NewAccessKeyOut
from services.auth.accounts.accounts import locked_account
from services.auth.errors import TooManyAccessKeys
from services.auth.models import ACCESS_KEYS, AccessKey, Account
from services.auth.revocations.log import RevocationLog
from shared.clock import now
from shared.events import Trail
from shared.hashing import sha256_hex
from shared.http.schemas import Page
from shared.identity.revocations import Kind
from shared.lists.pagination import PageQuery, paginate_equal

PREFIX = "gatehouse_pat_"  # lets the gateway and secret scanners recognise one
SECRET_BYTES = 32
KEYS_PER_ACCOUNT_MAX = 50
USED_NOTED_AFTER = timedelta(minutes=1)
_WRITTEN = re.compile(
    re.escape(PREFIX) + r"([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})_[\w-]{43}"
)


def make_key(
    session: Session, account_id: str, body: CreateAccessKey, factors: int, trail: Trail
) -> NewAccessKeyOut:
    """Create a key. Its secret is returned, not stored; `factors` are those of the owner's sign-in."""
    key = AccessKey(
        account_id=account_id,
        name=body.name,
        scopes=" ".join(body.scopes),
        expires=body.expires,
        factors=factors,
    )
    shown = _add_key(session, key)
    trail.resource = key.id
    trail.add(name=key.name, scopes=body.scopes, expires=body.expires and body.expires.isoformat())
    return NewAccessKeyOut.of(key.model_dump() | {"token": shown})


def keys_of(session: Session, account_id: str, query: PageQuery) -> Page[AccessKeyOut]:
    """Return a page of the account's keys, newest first."""
    return paginate_equal(session, ACCESS_KEYS, {"account_id": account_id}, query, AccessKeyOut.of)


def _add_key(session: Session, key: AccessKey) -> str:
    """Store a new key, and return its token for the owner. The token itself is not stored."""
    locked_account(session, key.account_id)  # so that concurrent calls cannot exceed the maximum
    mine = select(func.count()).where(ACCESS_KEYS.c.account_id == key.account_id)
    if session.connection().execute(mine).scalar_one() >= KEYS_PER_ACCOUNT_MAX:
        raise TooManyAccessKeys
    shown = f"{PREFIX}{key.id.replace('-', '')}_{secrets.token_urlsafe(SECRET_BYTES)}"
    key.secret_hash = sha256_hex(shown)
    session.add(key)
    return shown


def key_shown(session: Session, shown: str) -> tuple[Row[tuple[object, ...]], Account] | None:
    """Return the valid key of this token and its owner, and record the use."""
    key_id = key_id_of(shown)
    if key_id is None:
        return None
    wanted = select(ACCESS_KEYS).where(ACCESS_KEYS.c.id == key_id)
    row = session.connection().execute(wanted).first()
    if row is None or not hmac.compare_digest(row.secret_hash, sha256_hex(shown)):
        return None
    account = session.get(Account, row.account_id)
    if account is None or not account.may_sign_in or (row.expires is not None and row.expires <= now()):
        return None
    if row.used is None or now() - row.used > USED_NOTED_AFTER:
        session.connection().execute(update(ACCESS_KEYS).where(ACCESS_KEYS.c.id == row.id).values(used=now()))
    return row, account


def key_id_of(shown: str) -> str | None:
    """Return the id in a personal access token, if it has the form of one."""
    found = _WRITTEN.fullmatch(shown)
    return None if found is None else "-".join(found.groups())


def revoke_key(session: Session, account_id: str, key_id: str, revocations: RevocationLog) -> bool:
    """Delete a key of this account, and revoke the access tokens it was exchanged for."""
    mine = delete(ACCESS_KEYS).where(ACCESS_KEYS.c.id == key_id, ACCESS_KEYS.c.account_id == account_id)
    is_gone = session.connection().execute(mine).rowcount == 1
    if is_gone:
        revocations.add(session, Kind.SESSION, [key_id])
    return is_gone


def delete_keys(session: Session, account_id: str) -> None:
    session.connection().execute(delete(ACCESS_KEYS).where(ACCESS_KEYS.c.account_id == account_id))
