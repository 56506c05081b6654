"""Add the language that people read, and the language and version of the text of each delivery."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("preferences", sa.Column("language", sa.String(35)))
    op.add_column("deliveries", sa.Column("language", sa.String(35)))
    op.add_column("deliveries", sa.Column("text_version", sa.String(12)))
