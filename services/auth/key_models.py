"""Signing keys, and revocations of the tokens that they sign."""

from datetime import datetime

from sqlalchemy import BigInteger
from sqlmodel import Field

from services.auth.tables import Table
from shared.clock import now
from shared.data.database import UtcDateTime


class SigningKey(Table, table=True):
    """A key pair. Of the keys that may sign by now, the one with the highest number signs.

    Only one replica can insert a given number.
    """

    __tablename__ = "signing_keys"

    number: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    id: str = Field(max_length=43, unique=True)
    public_jwk: str
    private_pem: str  # encrypted; empty once the key is retired or killed
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    signs_from: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    # When its last token will have expired; None until another key replaces it.
    retires: datetime | None = Field(default=None, sa_type=UtcDateTime)
    killed: datetime | None = Field(default=None, sa_type=UtcDateTime)


class Revoked(Table, table=True):
    """A revocation, kept until all access tokens it affects have expired; for a key it is kept for good."""

    __tablename__ = "revocations"

    number: int = Field(primary_key=True, sa_type=BigInteger, sa_column_kwargs={"autoincrement": False})
    kind: str = Field(max_length=10)
    subject: str = Field(max_length=255)
    below: int | None = None
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    expires: datetime = Field(sa_type=UtcDateTime, index=True)


class RevocationCounter(Table, table=True):
    """One row with the last revocation number. Its lock keeps numbers in commit order."""

    __tablename__ = "revocation_counter"

    id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    last: int = Field(sa_type=BigInteger)
