"""Index files by their whole name, because trigrams hardly distinguish many similar names."""

from alembic import op

from shared.data.database import rows_where

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    for columns in (["user_id", "visibility", "name", "id"], ["visibility", "name", "id"]):
        op.create_index(f"ix_files_{'_'.join(columns)}", "files", columns, **rows_where("trashed IS NULL"))
