"""The background work of the users service."""

from collections.abc import Callable, Sequence
from functools import partial

from sqlmodel import Session

from services.users import profiles
from services.users.models import WORK
from services.users.stored_settings import store
from services.users.team import cards
from shared.data.database import Database
from shared.data.sealed import SealedColumn
from shared.work.duties import TIDY_SECONDS, Duties, Duty

RENEW_SECONDS = 24 * 3600
FOLLOW_SECONDS = TIDY_SECONDS

Found = tuple[str | None, Sequence[str]]  # where the next batch begins, and the people to catch up with


def duties(database: Database, sealed: SealedColumn) -> Duties:
    renewing = Duty("renew_settings", RENEW_SECONDS, partial(sealed.renew, database), alone=True)
    following = Duty("follow_profiles", FOLLOW_SECONDS, partial(follow_profiles, database), alone=True)
    return Duties(database, [renewing, following], WORK)


def follow_profiles(database: Database, is_stopping: Callable[[], bool]) -> None:
    """Bring settings and team entries in line with their profiles.

    During an upgrade, a replica that does not know these tables may delete or change a profile.
    """
    for find in (cards.outdated, store.orphaned):
        _follow(database, find, is_stopping)


def _follow(
    database: Database, find: Callable[[Session, str], Found], is_stopping: Callable[[], bool]
) -> None:  # fmt: skip
    after: str | None = ""
    while after is not None and not is_stopping():
        with database.transaction(write=False) as session:
            after, user_ids = find(session, after)
        if user_ids:
            with database.transaction() as session:
                profiles.catch_up(session, user_ids)
