"""The keys by which a person gets a message only once."""

from collections.abc import Sequence

from sqlmodel import Session

from services.notifications.models import USED_KEYS
from shared.data.database import insert_into
from shared.ids import new_id


def use(session: Session, people: Sequence[str], dedupe_key: str | None) -> set[str]:
    """Note the key for these people; return those who have not had a message with it.

    Two transactions lock the same people in the same order, so neither waits for the other for ever.
    """
    if dedupe_key is None or not people:
        return set(people)
    rows = [{"id": new_id(), "user_id": one, "dedupe_key": dedupe_key} for one in sorted(people)]
    adding = insert_into(session, USED_KEYS).values(rows).on_conflict_do_nothing()
    return {*session.connection().execute(adding.returning(USED_KEYS.c.user_id)).scalars()}
