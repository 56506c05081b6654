"""Let a personal access token say with how many factors it was created; for older ones this is unknown."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.add_column("access_keys", sa.Column("factors", sa.Integer, nullable=False, server_default="1"))
