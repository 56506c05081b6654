"""The tables of passkeys and their challenges."""

from datetime import datetime

from sqlalchemy import BigInteger, Index
from sqlmodel import Field

from services.auth.tables import HASH_CHARACTERS, ID_CHARACTERS, Table
from shared.clock import now
from shared.data.database import UtcDateTime
from shared.ids import new_id

CREDENTIAL_CHARACTERS_MAX = 1400  # WebAuthn allows 1023 bytes


class Passkey(Table, table=True):
    """A key pair on a person's device; only the public key is stored here."""

    __tablename__ = "passkeys"
    __table_args__ = (Index("ix_passkeys_account_id_id", "account_id", "id"),)

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_CHARACTERS)
    account_id: str = Field(foreign_key="accounts.id", ondelete="CASCADE", max_length=ID_CHARACTERS)
    credential_id: str = Field(max_length=CREDENTIAL_CHARACTERS_MAX, unique=True)
    public_key: str
    sign_count: int = Field(default=0, sa_type=BigInteger)
    name: str = Field(max_length=100)
    # Whether the password alone no longer suffices. Older passkeys came without recovery codes and stay
    # optional.
    is_second_factor: bool = True
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    used: datetime | None = Field(default=None, sa_type=UtcDateTime)


class PasskeyChallenge(Table, table=True):
    """Random bytes for a passkey to sign once; with an account, to add a passkey to it."""

    __tablename__ = "passkey_challenges"

    challenge_hash: str = Field(primary_key=True, max_length=HASH_CHARACTERS)
    account_id: str | None = Field(
        default=None, foreign_key="accounts.id", ondelete="CASCADE", max_length=ID_CHARACTERS
    )
    expires: datetime = Field(sa_type=UtcDateTime, index=True)
