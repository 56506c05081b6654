"""The events that the inventory service emits and consumes."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import update
from sqlmodel import Session

from contracts.events import AccountDeleted, SyncFinished, WorkspaceChanged, WorkspaceFound, WorkspaceGone
from contracts.exports import exporting, table_section
from services.inventory.models import ADVICE, AWS_CHANGES, JOBS, SYNCS
from shared.events import Consumers, emit
from shared.work.jobs import Jobs

LONG = frozenset(("tags",))  # fields whose values are too long for an event


def tell_found(session: Session, row: Mapping[str, Any]) -> None:
    names = ("workspace_id", "account", "region", "user_name", "state", "running_mode")
    emit(session, WorkspaceFound(**{name: row[name] for name in names}))


def tell_changed(session: Session, workspace_id: str, changes: Mapping[str, tuple[Any, Any]]) -> None:
    short = {
        name: values
        for name, values in changes.items()
        if name not in LONG and not any(isinstance(value, datetime) for value in values)
    }
    before = {name: values[0] for name, values in short.items()}
    after = {name: values[1] for name, values in short.items()}
    emit(
        session,
        WorkspaceChanged(workspace_id=workspace_id, fields=tuple(changes), before=before, after=after),
    )


def tell_gone(session: Session, row: Mapping[str, Any]) -> None:
    names = ("workspace_id", "account", "region", "user_name")
    emit(session, WorkspaceGone(**{name: row[name] for name in names}))


def tell_finished(session: Session, sync: Mapping[str, Any], accounts: Sequence[str]) -> None:
    names = ("kind", "state", "seen", "changed", "gone", "workspaces_gone")
    values = {name: sync[name] for name in names}
    emit(session, SyncFinished(sync_id=sync["id"], accounts=tuple(accounts), **values))


def forget_people(session: Session, events: Sequence[AccountDeleted]) -> None:
    """Keep what deleted accounts started and decided, without the account ids."""
    gone = [event.account_id for event in events]
    for table in (SYNCS, ADVICE):
        session.connection().execute(update(table).where(table.c.by.in_(gone)).values(by=None))
    for column in (AWS_CHANGES.c.asked_by, AWS_CHANGES.c.approved_by):
        one = update(AWS_CHANGES).where(column.in_(gone))
        session.connection().execute(one.values({column: None}))
    jobs = Jobs(JOBS, {})
    for account_id in gone:
        jobs.forget(session, account_id)


# Most of what this service stores is about workspaces, and its accounts are those of AWS. A person may have
# started syncs and decided on advice; the figures of advice say nothing about the person.
FIGURES = ("saving_low", "saving_high", "currency", "basis")
EXPORTED = [
    table_section("syncs", SYNCS, "by", without=("by",)),
    table_section("advice", ADVICE, "by", without=("by", *FIGURES)),
    table_section("changes_asked", AWS_CHANGES, "asked_by", without=("asked_by", "approved_by")),
    table_section("changes_approved", AWS_CHANGES, "approved_by", without=("asked_by", "approved_by")),
]
CONSUMES: Consumers = {AccountDeleted: forget_people, **exporting("inventory", EXPORTED)}
