"""Let a browser that was sent to Duo refer to the sign-in that waits for its second factor."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.add_column("pending_sign_ins", sa.Column("challenge_hash", sa.String(64)))
