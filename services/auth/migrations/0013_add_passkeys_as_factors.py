"""Add passkeys as second factors; existing ones came without recovery codes and stay optional."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column(
        "passkeys", sa.Column("is_second_factor", sa.Boolean, nullable=False, server_default=sa.false())
    )
