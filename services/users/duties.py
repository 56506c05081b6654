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
TEAM_SECONDS = TIDY_SECONDS
SETTINGS_SECONDS = 24 * 3600  # as many people may have settings as there are accounts

Found = tuple[str | None, Sequence[str]]  # where the next batch begins, and the people to catch up with


def duties(database: Database, sealed: SealedColumn) -> Duties:
    renew = partial(sealed.renew, database)
    in_team, in_settings = (
        partial(follow_profiles, database, find) for find in (cards.outdated, store.orphaned)
    )
    every = [
        Duty("renew_settings", RENEW_SECONDS, renew, alone=True),
        Duty("follow_in_team", TEAM_SECONDS, in_team, alone=True),
        Duty("follow_in_settings", SETTINGS_SECONDS, in_settings, alone=True),
    ]
    return Duties(database, every, WORK)


def follow_profiles(
    database: Database, find: Callable[[Session, str], Found], is_stopping: Callable[[], bool]
) -> None:
    """Bring team entries or settings in line with their profiles.

    During an upgrade, a replica that does not know these tables may delete or change a profile.
    """
    after: str | None = ""
    while after is not None and not is_stopping():
        with database.transaction(write=False) as session:
            after, user_ids = find(session, after)
        if user_ids:
            with database.transaction() as session:
                profiles.catch_up(session, user_ids)
