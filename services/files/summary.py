"""What the dashboard shows of files."""

from sqlalchemy import select

from contracts.summaries import Rows
from services.files.models import FILES, Visibility


def rows_of(user_id: str | None) -> Rows:
    """Return what is counted: the files of a person, or all."""
    mine = select(FILES.c.id) if user_id is None else select(FILES.c.id).where(FILES.c.user_id == user_id)
    kept, in_trash = mine.where(FILES.c.trashed.is_(None)), mine.where(FILES.c.trashed.is_not(None))
    seen = {str(one): kept.where(FILES.c.visibility == str(one)) for one in Visibility}
    return {**seen, "trash": in_trash}
