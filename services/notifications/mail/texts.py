"""The texts of mails: those that admins have changed, and the built-in ones."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import delete, select
from sqlmodel import Session

from services.notifications.languages import Language
from services.notifications.mail.rendering import check
from services.notifications.mail.templates import TEMPLATES, Text, built_in
from services.notifications.models import MAIL_TEXTS
from shared.clock import now
from shared.data.database import insert_into


def current(session: Session, wanted: Collection[tuple[str, Language]]) -> dict[tuple[str, Language], Text]:
    """Return the texts of these templates as they are now, changed or built in."""
    names = {_stored(*one) for one in wanted}
    columns = select(MAIL_TEXTS.c.name, MAIL_TEXTS.c.subject, MAIL_TEXTS.c.body)
    found = session.connection().execute(columns.where(MAIL_TEXTS.c.name.in_(names)))
    changed = {row.name: Text(row.subject, row.body) for row in found}
    return {one: changed.get(_stored(*one)) or built_in(*one) for one in wanted}


def rows(session: Session, language: Language) -> dict[str, dict[str, Any]]:
    """Return the rows of all changed texts of a language, by template; there are at most as many."""
    names = {_stored(name, language): name for name in TEMPLATES}
    found = select(MAIL_TEXTS).where(MAIL_TEXTS.c.name.in_(names))
    return {names[row["name"]]: dict(row) for row in session.connection().execute(found).mappings()}


def change(session: Session, name: str, language: Language, text: Text, by: str) -> None:
    """Replace the text of a template; raise TextFault if it cannot be filled."""
    check(text, TEMPLATES[name].sample_in(language))
    row = {"subject": text.subject, "body": text.body, "by": by, "updated": now()}
    adding = insert_into(session, MAIL_TEXTS).values(name=_stored(name, language), version=1, **row)
    again = {**row, "version": MAIL_TEXTS.c.version + 1}
    session.connection().execute(adding.on_conflict_do_update(index_elements=["name"], set_=again))


def restore(session: Session, name: str, language: Language) -> bool:
    """Restore the built-in text; return whether it had been changed."""
    gone = delete(MAIL_TEXTS).where(MAIL_TEXTS.c.name == _stored(name, language))
    return bool(session.connection().execute(gone).rowcount)


def _stored(name: str, language: Language) -> str:
    """Return the key of a row. An English text has that of earlier versions, which knew no other language."""
    return name if language is Language.ENGLISH else f"{name}.{language}"
