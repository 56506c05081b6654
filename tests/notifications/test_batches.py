"""Mails of one batch: their texts are read once, and they are counted together."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, select

from services.notifications.digests import Digests
from services.notifications.events import keep_accounts
from services.notifications.kinds import NoticeType
from services.notifications.languages import Language
from services.notifications.mail import texts
from services.notifications.mail.mails import Mails
from services.notifications.mail.templates import NOTICE, Text, built_in
from services.notifications.models import DELIVERIES
from services.notifications.notices import Desk, Notice
from services.notifications.preferences import plan
from services.notifications.settings import Settings
from services.notifications.sms.messages import TextMessages
from services.notifications.sms.notices import Texts
from services.notifications.sms.phones import Phones
from services.notifications.suppressions import Suppressions
from services.notifications.timing import Timing
from services.notifications.unsubscribing import Links
from services.notifications.webhooks.outbox import Outbox
from services.notifications.wording import Words
from shared.data.database import Database
from shared.data.migrate import upgrade
from shared.ids import new_id
from shared.work.changes import Changes
from tests.notifications.support import account

PEOPLE = 60
ONCE = ("SELECT mail_texts.", "SELECT suppressions.", "INSERT INTO deliveries ", "INSERT INTO work ")
CHANGED = Text("Von Admins: {{ title }}", "{{ content }}")


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    upgrade(settings.database_url, Path("services/notifications/migrations"))
    with closing(Database(settings.database_url, pool_size=1)) as database:
        yield database


def desk_of(settings: Settings) -> Desk:
    changes, suppressions, links = Changes(), Suppressions(settings), Links(settings)
    mails, messages = Mails(settings, changes, suppressions), TextMessages(settings, changes, suppressions)
    sms, digests = Texts(messages, Phones(settings, messages)), Digests(mails, links, settings)
    return Desk(changes, mails, Outbox(settings, changes), links, digests, sms, settings)


def readers(database: Database, number: int) -> list[str]:
    """Create accounts with confirmed addresses; every other one reads German, in a text of the admins."""
    people = [new_id() for _ in range(number)]
    with database.transaction() as session:
        keep_accounts(
            session, [account(one, email=f"{one}@example.com", email_verified=True) for one in people]
        )
        for one in people[::2]:
            plan(session, one, Timing(language="de"))
        texts.change(session, NOTICE, Language.GERMAN, CHANGED, new_id())
    return people


def news(user_id: str) -> Notice:
    return Notice(user_id, NoticeType.ANNOUNCEMENT, Words("News", "The service pauses."))


def test_texts_are_read_and_mails_are_stored_once_for_all_recipients(
    settings: Settings, database: Database
) -> None:
    people, statements = readers(database, PEOPLE), list[str]()

    def note(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        statements.append(statement)

    with database.transaction() as session:
        event.listen(session.connection(), "before_cursor_execute", note)
        desk_of(settings).deliver(session, map(news, people))
    with database.transaction(write=False) as session:
        columns = select(DELIVERIES.c.user_id, DELIVERIES.c.state, DELIVERIES.c.text_version)
        stored = {one: rest for one, *rest in session.connection().execute(columns)}

    assert {one: sum(made.startswith(one) for made in statements) for one in ONCE} == dict.fromkeys(ONCE, 1)
    german, english = CHANGED.version, built_in(NOTICE, Language.ENGLISH).version
    assert stored == {one: ["queued", english if place % 2 else german] for place, one in enumerate(people)}


def test_daily_limit_counts_earlier_mails_and_those_of_the_same_batch(
    settings: Settings, database: Database
) -> None:
    desk = desk_of(settings.model_copy(update={"mail_per_address_daily": 3}))
    often, once = readers(database, 2)
    for batch in ([often, often], [often, once, often, often]):
        with database.transaction() as session:
            desk.deliver(session, map(news, batch))
    with database.transaction(write=False) as session:
        columns = select(DELIVERIES.c.user_id, DELIVERIES.c.state, DELIVERIES.c.code).order_by(
            DELIVERIES.c.id
        )
        stored = [tuple(row) for row in session.connection().execute(columns)]

    assert [rest for one, *rest in stored if one == often] == (
        [["queued", None]] * 3 + [["suppressed", "too_many"]] * 2
    )
    assert [rest for one, *rest in stored if one == once] == [["queued", None]]
