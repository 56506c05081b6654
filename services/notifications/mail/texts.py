"""The texts of mails: those that admins have changed, and the built-in ones."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import delete, select
from sqlmodel import Session

from services.notifications.mail.rendering import check
from services.notifications.mail.templates import TEMPLATES, Text
from services.notifications.models import MAIL_TEXTS
from shared.clock import now
from shared.data.database import insert_into


def changed(session: Session, names: Collection[str]) -> dict[str, Text]:
    """Return the changed texts of these templates."""
    columns = select(MAIL_TEXTS.c.name, MAIL_TEXTS.c.subject, MAIL_TEXTS.c.body)
    found = session.connection().execute(columns.where(MAIL_TEXTS.c.name.in_(names)))
    return {row.name: Text(row.subject, row.body) for row in found}


def rows(session: Session) -> dict[str, dict[str, Any]]:
    """Return the rows of all changed texts, by name; there are as many as templates at most."""
    found = select(MAIL_TEXTS).where(MAIL_TEXTS.c.name.in_(TEMPLATES))
    return {row["name"]: dict(row) for row in session.connection().execute(found).mappings()}


def change(session: Session, name: str, text: Text, by: str) -> None:
    """Replace the text of a template; raise TextFault if it cannot be filled."""
    check(text, TEMPLATES[name].sample)
    row = {"subject": text.subject, "body": text.body, "by": by, "updated": now()}
    adding = insert_into(session, MAIL_TEXTS).values(name=name, version=1, **row)
    again = {**row, "version": MAIL_TEXTS.c.version + 1}
    session.connection().execute(adding.on_conflict_do_update(index_elements=["name"], set_=again))


def restore(session: Session, name: str) -> bool:
    """Restore the built-in text; return whether it had been changed."""
    gone = delete(MAIL_TEXTS).where(MAIL_TEXTS.c.name == name)
    return bool(session.connection().execute(gone).rowcount)
