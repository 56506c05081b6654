"""Second factors in the database: enrolling, confirming, using and removing them."""

import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, Table, bindparam, delete, insert, select, update
from sqlmodel import Session

from services.auth.factors.totp import new_secret, step_of
from services.auth.models import FACTORS, PASSKEYS, RECOVERY_CODES, Account, Factor
from shared.clock import now
from shared.data.sealed import SealedColumn, Sealer
from shared.data.statements import Rows
from shared.hashing import sha256_hex

TOTP, DUO = "totp", "duo"
RECOVERY_CODES_NUMBER = 10
WAITING_MAX = timedelta(minutes=15)
_RECOVERY_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # no characters that look alike
_RECOVERY_CHARACTERS = 16  # 79 bits
_CONFIRMED = Rows(
    select(FACTORS.c.id)
    .where(FACTORS.c.account_id == bindparam("account"), FACTORS.c.confirmed.is_not(None))
    .limit(1)
)
_SECOND_PASSKEYS = Rows(
    select(PASSKEYS.c.id)
    .where(PASSKEYS.c.account_id == bindparam("account"), PASSKEYS.c.is_second_factor)
    .limit(1)
)


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A new authenticator secret that is not confirmed yet."""

    factor_id: str
    secret: str


class Factors:
    """The second factors of an account. Every method runs inside the caller's transaction."""

    def __init__(self, sealer: Sealer, *, offers_duo: bool = False) -> None:
        self._secret = SealedColumn(sealer, FACTORS.c.secret)
        self._offers_duo = offers_duo

    def are_needed(self, session: Session, account_id: str) -> bool:
        """Whether this account needs a second factor besides the password."""
        return are_needed(session, account_id)

    def has_totp(self, session: Session, account_id: str) -> bool:
        return self._confirmed(session, account_id, TOTP) is not None

    def duo_name(self, session: Session, account_id: str) -> str | None:
        """Return the name that the account has at Duo, if it uses Duo and Duo is configured."""
        row = self._confirmed(session, account_id, DUO) if self._offers_duo else None
        return None if row is None else self._secret.open(row.id, row.secret)

    def methods_of(self, session: Session, account_id: str) -> list[str]:
        """Return the methods that are accepted after the password."""
        shown = {
            "totp": self.has_totp(session, account_id),
            "duo": self.duo_name(session, account_id) is not None,
            "passkey": _has(session, PASSKEYS, account_id),
            "recovery_code": _has(session, RECOVERY_CODES, account_id),
        }
        return [name for name, is_there in shown.items() if is_there]

    def kinds_of(self, session: Session, account_id: str) -> list[str]:
        """Return the kinds of second factors in effect for this account."""
        counts = FACTORS.c.account_id == account_id, FACTORS.c.confirmed.is_not(None)
        found = select(FACTORS.c.kind).where(*counts).distinct().order_by(FACTORS.c.kind)
        kinds = list(session.connection().execute(found).scalars())
        return kinds + ["passkey"] * _has(session, PASSKEYS, account_id)

    def enrol_totp(self, session: Session, account_id: str) -> Enrolled:
        """Create a secret that takes effect once a code confirms it; replaces an unconfirmed one."""
        mine = *_of(account_id, TOTP), FACTORS.c.confirmed.is_(None)
        session.connection().execute(delete(FACTORS).where(*mine))
        factor, secret = Factor(account_id=account_id), new_secret()
        factor.secret = self._secret.seal(factor.id, secret)
        session.add(factor)
        return Enrolled(factor.id, secret)

    def waiting_totp(self, session: Session, account_id: str) -> Enrolled | None:
        """Return the secret that awaits confirmation, if any."""
        row = session.connection().execute(_waiting(account_id)).first()
        return None if row is None else Enrolled(row.id, self._secret.open(row.id, row.secret))

    def confirm_totp(self, session: Session, account: Account, code: str) -> list[str] | None:
        """Activate the new secret and return new recovery codes; None if the code is wrong."""
        row = session.connection().execute(_waiting(account.id).with_for_update()).first()
        if row is None or not self._use(session, row, code):
            return None
        others = *_of(account.id, TOTP), FACTORS.c.id != row.id
        session.connection().execute(delete(FACTORS).where(*others))
        session.connection().execute(update(FACTORS).where(FACTORS.c.id == row.id).values(confirmed=now()))
        return self.renew_recovery_codes(session, account.id)

    def add_duo(self, session: Session, account_id: str, name: str) -> list[str]:
        """Require Duo from now on; returns recovery codes if this is the first factor of a locked account.

        The name at Duo is kept, so that a later username cannot lead to another person's phone.
        """
        factor = Factor(account_id=account_id, kind=DUO, confirmed=now())
        factor.secret = self._secret.seal(factor.id, name)
        session.add(factor)
        session.flush()
        return self.first_recovery_codes(session, account_id)

    def has_duo(self, session: Session, account_id: str) -> bool:
        return self._confirmed(session, account_id, DUO) is not None

    def remove_duo(self, session: Session, account_id: str) -> bool:
        """Remove Duo from a locked account; False if it was not in use."""
        gone = session.connection().execute(delete(FACTORS).where(*_of(account_id, DUO))).rowcount > 0
        self.drop_needless_codes(session, account_id)
        return gone

    def renew_recovery_codes(self, session: Session, account_id: str) -> list[str]:
        """Replace the recovery codes by ten new ones, and return them."""
        codes = [_recovery_code() for _ in range(RECOVERY_CODES_NUMBER)]
        session.connection().execute(delete(RECOVERY_CODES).where(RECOVERY_CODES.c.account_id == account_id))
        rows = [{"account_id": account_id, "code_hash": sha256_hex(code)} for code in codes]
        session.connection().execute(insert(RECOVERY_CODES), rows)
        return codes

    def first_recovery_codes(self, session: Session, account_id: str) -> list[str]:
        """Return new codes for an account that has none."""
        has_codes = _has(session, RECOVERY_CODES, account_id)
        return [] if has_codes else self.renew_recovery_codes(session, account_id)

    def passes(self, session: Session, account_id: str, code: str) -> str | None:
        """Consume a code and return its method; None if it is neither a valid code nor a recovery code."""
        row = self._confirmed(session, account_id, TOTP)
        if row is not None and self._use(session, row, code):
            return "otp"
        written = code.replace("-", "").replace(" ", "").lower()
        mine = RECOVERY_CODES.c.account_id == account_id, RECOVERY_CODES.c.code_hash == sha256_hex(written)
        used = session.connection().execute(delete(RECOVERY_CODES).where(*mine)).rowcount == 1
        return "recovery" if used else None

    def remove_all(self, session: Session, account_id: str) -> None:
        """Remove the second factors and the passkeys."""
        session.connection().execute(delete(PASSKEYS).where(PASSKEYS.c.account_id == account_id))
        session.connection().execute(delete(FACTORS).where(FACTORS.c.account_id == account_id))
        self.drop_needless_codes(session, account_id)

    def remove_totp(self, session: Session, account_id: str) -> None:
        session.connection().execute(delete(FACTORS).where(*_of(account_id, TOTP)))
        self.drop_needless_codes(session, account_id)

    def drop_needless_codes(self, session: Session, account_id: str) -> None:
        """Remove the recovery codes if the account has no second factor left."""
        if not self.are_needed(session, account_id):
            mine = RECOVERY_CODES.c.account_id == account_id
            session.connection().execute(delete(RECOVERY_CODES).where(mine))

    def _confirmed(self, session: Session, account_id: str, kind: str) -> Row[Any] | None:
        counts = *_of(account_id, kind), FACTORS.c.confirmed.is_not(None)
        return session.connection().execute(select(FACTORS).where(*counts)).first()

    def _use(self, session: Session, row: Row[Any], code: str) -> bool:
        """Use a code, atomically. A time step is accepted once, and only if it is later than the last one."""
        step = step_of(self._secret.open(row.id, row.secret), code)
        if step is None:
            return False
        unused = FACTORS.c.id == row.id, FACTORS.c.last_step < step
        use = update(FACTORS).where(*unused).values(last_step=step, used=now())
        return session.connection().execute(use).rowcount == 1


def are_needed(session: Session, account_id: str) -> bool:
    """Whether this account needs a second factor besides the password."""
    # Duo counts even while it is not configured: turning it off must not weaken an account.
    return bool(
        _CONFIRMED.rows(session, account=account_id) or _SECOND_PASSKEYS.rows(session, account=account_id)
    )


def has_second_factor(session: Session, account_id: str) -> bool:
    """Whether the account can sign in with two factors."""
    is_confirmed = FACTORS.c.confirmed.is_not(None)
    return _has(session, FACTORS, account_id, is_confirmed) or _has(session, PASSKEYS, account_id)


def _has(session: Session, table: Table, account_id: str, *conditions: ColumnElement[bool]) -> bool:
    mine = select(table.c.account_id).where(table.c.account_id == account_id, *conditions)
    return session.connection().execute(mine.limit(1)).first() is not None


def _of(account_id: str, kind: str) -> tuple[ColumnElement[bool], ...]:
    return FACTORS.c.account_id == account_id, FACTORS.c.kind == kind


def _waiting(account_id: str) -> Select[Any]:
    """Select the waiting secret. It expires, so that a stolen session cannot read it later."""
    unconfirmed = *_of(account_id, TOTP), FACTORS.c.confirmed.is_(None)
    return select(FACTORS).where(*unconfirmed, FACTORS.c.created > now() - WAITING_MAX)


def _recovery_code() -> str:
    return "".join(secrets.choice(_RECOVERY_ALPHABET) for _ in range(_RECOVERY_CHARACTERS))
