"""Add tokens of links in mails, the time an e-mail address was confirmed, and leased work."""

import sqlalchemy as sa
from alembic import op

from shared.data.database import UtcDateTime
from shared.work.migrations import create_work_tables_1

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("accounts", sa.Column("verified", UtcDateTime))
    op.create_table(
        "mail_tokens",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("subject", sa.String(254), nullable=False),
        sa.Column("email", sa.String(254), nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("details", sa.String),
        sa.Column("created_by", sa.String(36)),
        sa.Column("created", UtcDateTime, nullable=False),
        sa.Column("expires", UtcDateTime, nullable=False),
    )
    op.create_index("ux_mail_tokens_subject_kind", "mail_tokens", ["subject", "kind"], unique=True)
    op.create_index("ix_mail_tokens_kind_id", "mail_tokens", ["kind", "id"])
    op.create_index("ix_mail_tokens_expires", "mail_tokens", ["expires"])
    create_work_tables_1()
