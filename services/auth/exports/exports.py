"""Exports of all data about a person: requested by an event, collected in pieces, kept for days."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import structlog
from sqlalchemy import ColumnElement, and_, func, select
from sqlmodel import Session

from contracts.events import SUBSCRIBERS, ExportPart, ExportRequested
from contracts.exports import exporting
from services.auth.accounts.accounts import locked_account
from services.auth.errors import TooManyExports
from services.auth.export_models import Export
from services.auth.exports.own_part import EXPORTED
from services.auth.mails.mails import Mails, Template
from services.auth.models import EXPORTS, PIECES, Account, delete_expired
from services.auth.settings import Settings
from shared.clock import now
from shared.data.database import Database, insert_into
from shared.events import Consumers, emit

DAY = timedelta(days=1)
WAIT = timedelta(hours=1)  # for services that do not respond
TIDY_SECONDS = 60.0
LATE_AT_ONCE = 100

log = structlog.get_logger(__name__)


class Exports:
    """Requests and collects exports. Methods with a session work in the caller's transaction."""

    def __init__(self, settings: Settings, database: Database, mails: Mails) -> None:
        self._per_day = settings.exports_per_day
        self._kept = timedelta(hours=settings.export_hours)
        self._database = database
        self._mails = mails

    @property
    def consumes(self) -> Consumers:
        return {ExportPart: self.take, **exporting("auth", EXPORTED)}

    def request(self, session: Session, account: Account) -> Export:
        """Request the part of every service, unless the daily limit is reached."""
        locked_account(session, account.id)  # so that concurrent requests are counted
        recently = EXPORTS.c.account_id == account.id, EXPORTS.c.created > now() - DAY
        counted = select(func.count(), func.min(EXPORTS.c.created)).where(*recently)
        number, first = session.connection().execute(counted).one()
        if number >= self._per_day:
            raise TooManyExports(headers={"Retry-After": str(_seconds_until(first + DAY))})
        export = Export(
            account_id=account.id, services=" ".join(asked_services()), expires=now() + WAIT + self._kept
        )
        session.add(export)
        session.flush()
        emit(session, ExportRequested(export_id=export.id, account_id=account.id))
        return export

    def take(self, session: Session, events: Sequence[ExportPart]) -> None:
        """Store the pieces that services send; finish the export after the last one."""
        for event in events:
            export = session.get(Export, event.export_id, with_for_update=True, populate_existing=True)
            if export is None or not export.is_open or event.service not in export.services.split():
                continue  # deleted, or late
            piece = {**event.model_dump(), "export_id": export.id}
            session.connection().execute(insert_into(session, PIECES).values(piece).on_conflict_do_nothing())
            if event.is_last and not missing_services(session, export):
                self._finish(session, export)

    def tidy(self, is_stopping: Callable[[], bool]) -> None:
        """Finish exports without the services that did not respond, and delete expired exports."""
        with self._database.transaction(write=False) as session:
            unfinished = select(EXPORTS.c.id).where(
                EXPORTS.c.finished.is_(None), EXPORTS.c.created < now() - WAIT, EXPORTS.c.expires > now()
            )
            late = session.connection().execute(unfinished.limit(LATE_AT_ONCE)).scalars().all()
            expired = select(EXPORTS.c.id).where(*_is_over()).limit(1)
            is_any_over = session.connection().execute(expired).first() is not None
        for export_id in late:
            if is_stopping():
                return
            with self._database.transaction() as session:
                export = session.get(Export, export_id, with_for_update=True, populate_existing=True)
                if export is not None and export.is_open:
                    self._finish(session, export)
        if is_any_over:
            with self._database.transaction() as session:
                delete_expired(session, EXPORTS.c.id, and_(*_is_over()))

    def _finish(self, session: Session, export: Export) -> None:
        missing = missing_services(session, export)
        export.missing, export.finished = " ".join(missing), now()
        export.expires = export.finished + self._kept
        session.add(export)
        session.flush()
        account = session.get(Account, export.account_id)
        if missing:
            log.warning("export_incomplete", export_id=export.id, missing=missing)
        if account is not None and account.may_sign_in:
            self._mails.send(session, Template.EXPORT_READY, account.email, account_id=account.id)


def asked_services() -> list[str]:
    return [name for name, one in SUBSCRIBERS.items() if ExportRequested.topic in one.topics]


def missing_services(session: Session, export: Export) -> list[str]:
    """Return the services that have not sent their last piece."""
    done = select(PIECES.c.service).where(PIECES.c.export_id == export.id, PIECES.c.is_last)
    answered = set(session.connection().execute(done).scalars())
    return [name for name in export.services.split() if name not in answered]


def forget(session: Session, export: Export) -> None:
    """Delete the content of an export; the row stays for a day, because it counts towards the limit."""
    session.connection().execute(PIECES.delete().where(PIECES.c.export_id == export.id))
    export.expires = now()
    session.add(export)


def delete_exports(session: Session, account_id: str) -> None:
    """Delete all exports of a deleted account."""
    session.connection().execute(EXPORTS.delete().where(EXPORTS.c.account_id == account_id))


def _is_over() -> tuple[ColumnElement[bool], ...]:
    return EXPORTS.c.expires <= now(), EXPORTS.c.created <= now() - DAY


def _seconds_until(moment: datetime) -> int:
    return max(1, int((moment - now()).total_seconds()) + 1)
