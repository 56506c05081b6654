"""The background work of the users service."""

from functools import partial

from services.users.models import WORK
from shared.data.database import Database
from shared.data.sealed import SealedColumn
from shared.work.duties import Duties, Duty

RENEW_SECONDS = 24 * 3600


def duties(database: Database, sealed: SealedColumn) -> Duties:
    renewing = Duty("renew_settings", RENEW_SECONDS, partial(sealed.renew, database), alone=True)
    return Duties(database, [renewing], WORK)
