"""The order in which transactions lock rows, without which two of them could wait for each other."""

from pathlib import Path
from typing import Any

from sqlalchemy import event

from services.notifications.mail.mails import Mail, Mails
from services.notifications.models import DELIVERIES, WORK
from services.notifications.settings import Settings
from services.notifications.suppressions import Suppressions
from shared.data.database import Database
from shared.data.migrate import upgrade
from shared.work.changes import Changes


def test_acceptance_and_bounce_lock_the_work_before_its_delivery(settings: Settings) -> None:
    upgrade(settings.database_url, Path("services/notifications/migrations"))
    database, written = Database(settings.database_url, pool_size=1), list[str]()
    mails, mail = Mails(settings, Changes(), Suppressions(settings)), Mail("test", "ann@example.com", {})
    tables = {WORK.work.name, DELIVERIES.name}

    def note(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        verb, *words = statement.split()
        if verb in ("UPDATE", "DELETE"):
            written.extend(one for one in words[:2] if one in tables)

    with database.transaction() as session:
        mails.add(session, mail)
    for change in (mails.accepted, mails.bounced):
        with database.transaction() as session:
            event.listen(session.connection(), "before_cursor_execute", note)
            change(session, mail.id, "sendgrid:1")
    database.close()

    assert written == [WORK.work.name, DELIVERIES.name] * 2
