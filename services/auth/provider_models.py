"""Identities of users at providers, and pending sign-ins."""

from datetime import datetime

from sqlalchemy import Index
from sqlmodel import Field

from services.auth.tables import HASH_CHARACTERS, ID_CHARACTERS, Table
from shared.clock import now
from shared.data.database import UtcDateTime
from shared.ids import new_id

ISSUER_CHARACTERS_MAX = 500
SUBJECT_CHARACTERS_MAX = 255  # OpenID Connect Core section 2
AFTER_CHARACTERS_MAX = 4096


class Identity(Table, table=True):
    """A user of a provider: its issuer and `sub`, never the e-mail address."""

    __tablename__ = "identities"
    __table_args__ = (
        Index("ux_identities_issuer_subject", "issuer", "subject", unique=True),
        Index("ix_identities_account_id_id", "account_id", "id"),
    )

    id: str = Field(default_factory=new_id, primary_key=True, max_length=ID_CHARACTERS)
    account_id: str = Field(foreign_key="accounts.id", ondelete="CASCADE", max_length=ID_CHARACTERS)
    issuer: str = Field(max_length=ISSUER_CHARACTERS_MAX)
    subject: str = Field(max_length=SUBJECT_CHARACTERS_MAX)
    provider: str = Field(max_length=32)  # as it was named when the identity was last used
    email: str | None = Field(default=None, max_length=254)  # only to show which account it is
    created: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    used: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    uses: int = 1


class PendingSignIn(Table, table=True):
    """A browser that was redirected to a provider or to Duo. With an account, it is signed in already."""

    __tablename__ = "pending_sign_ins"

    state_hash: str = Field(primary_key=True, max_length=HASH_CHARACTERS)
    browser_hash: str = Field(max_length=HASH_CHARACTERS)
    provider: str = Field(max_length=32)
    after: str = Field(default="", max_length=AFTER_CHARACTERS_MAX)
    is_for_front_end: bool = False
    account_id: str | None = Field(
        default=None, foreign_key="accounts.id", ondelete="CASCADE", max_length=ID_CHARACTERS
    )
    session_id: str | None = Field(default=None, max_length=ID_CHARACTERS)
    # The challenge of a sign-in whose second factor is shown at Duo.
    challenge_hash: str | None = Field(default=None, max_length=HASH_CHARACTERS)
    expires: datetime = Field(sa_type=UtcDateTime, index=True)
