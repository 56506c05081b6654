"""Index files by parts of their name and by type; exclude the trash from the indexes of lists."""

from alembic import op

from shared.data.database import rows_where
from shared.lists.search import Part
from shared.lists.search_migrations import create_search_index_1

revision = "0007"
down_revision = "0006"

_KEPT, _IN_TRASH = "trashed IS NULL", "trashed IS NOT NULL"


def upgrade() -> None:
    for name in ("user_id_id", "visibility_id", "trashed"):
        op.drop_index(f"ix_files_{name}", "files")
    for columns, rows in (
        (["user_id", "visibility", "id"], _KEPT),
        (["visibility", "id"], _KEPT),
        (["trashed"], _IN_TRASH),
    ):
        op.create_index(f"ix_files_{'_'.join(columns)}", "files", columns, **rows_where(rows))
    op.create_index("ix_files_trash_user_id_id", "files", ["user_id", "id"], **rows_where(_IN_TRASH))
    create_search_index_1(
        "files",
        {"user_id": Part.END, "visibility": Part.START, "mime_type": Part.ALL, "folded_name": Part.ALL},
        where="{row}.trashed IS NULL",
    )
