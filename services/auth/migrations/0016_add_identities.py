"""Add identities at providers, sign-ins that have begun there, and the first factor of a challenge."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.create_table(
        "identities",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column(
            "account_id", sa.String(36), sa.ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("issuer", sa.String(500), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("provider", sa.String(32), nullable=False),
        sa.Column("email", sa.String(254)),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("used", UtcDateTime, nullable=False),
        sa.Column("uses", sa.Integer, nullable=False),
    )
    op.create_index("ux_identities_issuer_subject", "identities", ["issuer", "subject"], unique=True)
    op.create_index("ix_identities_account_id_id", "identities", ["account_id", "id"])
    op.create_table(
        "pending_sign_ins",
        sa.Column("state_hash", sa.String(64), primary_key=True),
        sa.Column("browser_hash", sa.String(64), nullable=False),
        sa.Column("provider", sa.String(32), nullable=False),
        sa.Column("after", sa.String(4096), nullable=False),
        sa.Column("is_for_front_end", sa.Boolean, nullable=False),
        sa.Column("account_id", sa.String(36), sa.ForeignKey("accounts.id", ondelete="CASCADE")),
        sa.Column("session_id", sa.String(36)),
        sa.Column("expires", UtcDateTime, nullable=False),
    )
    op.create_index("ix_pending_sign_ins_expires", "pending_sign_ins", ["expires"])
    op.add_column("challenges", sa.Column("amr", sa.String(50)))
