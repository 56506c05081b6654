"""Add second factors, recovery codes and sign-in challenges."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("sessions", sa.Column("amr", sa.String(50)))
    op.add_column("authorization_codes", sa.Column("amr", sa.String(50)))
    op.create_table(
        "factors",
        sa.Column("id", sa.String(36), primary_key=True),
        _account(),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("secret", sa.String, nullable=False),
        sa.Column("last_step", sa.BigInteger, nullable=False),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("confirmed", UtcDateTime),
        sa.Column("used", UtcDateTime),
    )
    op.create_index("ix_factors_account_id", "factors", ["account_id"])
    op.create_table(
        "recovery_codes",
        _account(is_key=True),
        sa.Column("code_hash", sa.String(64), primary_key=True),
    )
    op.create_table(
        "challenges",
        sa.Column("token_hash", sa.String(64), primary_key=True),
        _account(),
        sa.Column("device_id", sa.String(36), nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("expires", UtcDateTime, nullable=False),
    )
    op.create_index("ix_challenges_account_id", "challenges", ["account_id"])
    op.create_index("ix_challenges_expires", "challenges", ["expires"])


def _account(*, is_key: bool = False) -> "sa.Column[str]":
    target = sa.ForeignKey("accounts.id", ondelete="CASCADE")
    return sa.Column("account_id", sa.String(36), target, nullable=False, primary_key=is_key)
