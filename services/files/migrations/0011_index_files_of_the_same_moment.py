"""Let SQLite's search index contain files whose ids were made at the same moment."""

from shared.lists.search import Part
from shared.lists.search_migrations import spread_search_index_2

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    spread_search_index_2(
        "files",
        {"user_id": Part.END, "visibility": Part.START, "mime_type": Part.ALL, "folded_name": Part.ALL},
        where="{row}.trashed IS NULL",
    )
