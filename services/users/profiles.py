"""Work on profiles within one transaction; handlers run it in a thread, between their calls to auth."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, select
from sqlmodel import Session

from contracts.events import ProfileChanged
from services.users.accounts import Account
from services.users.errors import ProfileDeleted
from services.users.models import (
    PREFERENCES,
    PROFILES,
    SEARCH,
    Preferences,
    Profile,
    Role,
    Status,
)
from services.users.schemas import ListUsers, PreferencesOut, ProfileOut
from services.users.stored_settings import store
from services.users.team import cards
from shared.clock import now
from shared.data.database import insert_into
from shared.data.reading import Reader
from shared.data.statements import Rows
from shared.errors import NotFound
from shared.events import emit
from shared.http.preconditions import IfMatch
from shared.http.schemas import Page
from shared.lists.search import Search, find_page, searchable

ANY_VERSION = IfMatch(None)
PROFILE_BY_ID = Rows(select(PROFILES).where(PROFILES.c.id == bindparam("id")))


def find(reader: Reader, user_id: str) -> ProfileOut | None:
    row = PROFILE_BY_ID.one(reader, id=user_id)
    return None if row is None else ProfileOut.unchecked(row)


def search(session: Session, query: ListUsers) -> Page[ProfileOut]:
    """Search profiles; deleted ones only by that status. Each pair of status and role is one index scan."""
    statuses = [query.status] if query.status else [one for one in Status if one is not Status.DELETED]
    roles = [query.role] if query.role else list(Role)
    scopes = [{"status": status, "role": role} for status in statuses for role in roles]
    wanted = {} if query.q is None else {"search": searchable(query.q)}
    return find_page(session, SEARCH, Search(scopes, wanted), query, ProfileOut.unchecked)


def keep_accounts(session: Session, accounts: Sequence[Account]) -> None:
    """Create the missing profiles and update the others from their accounts.

    All transactions lock the rows in the same order, which prevents deadlocks.
    """
    if not accounts:
        return
    by_id = {account.id: account for account in sorted(accounts, key=lambda account: account.id)}
    rows = [Profile.of(account).model_dump() for account in by_id.values()]
    session.connection().execute(insert_into(session, PROFILES).on_conflict_do_nothing(), rows)
    kept = select(Profile).where(PROFILES.c.id.in_(by_id)).order_by(PROFILES.c.id).with_for_update()
    changed: list[Profile] = []
    for profile in session.scalars(kept).all():
        was_deleted, version = profile.is_deleted, profile.version
        profile.take_over(by_id[profile.id])
        if profile.is_deleted and not was_deleted:
            _forget_own(session, profile.id)
        elif profile.version != version:
            changed.append(profile)
    cards.follow(session, changed)


def keep_account(session: Session, account: Account) -> ProfileOut:
    keep_accounts(session, [account])
    return ProfileOut.of(_locked(session, account.id))


def claim(session: Session, user_id: str, if_match: IfMatch) -> None:
    """Increment the version that the caller has read, before auth is asked to change the account.

    No transaction may stay open during a call to another service. Of several callers with the same version
    only the first reaches auth; the others are refused here, before anything has changed.
    """
    profile = _locked(session, user_id)
    if_match.check(profile.version)
    profile.touch()


def change(
    session: Session, user_id: str, changes: dict[str, Any], *, if_match: IfMatch = ANY_VERSION
) -> ProfileOut:
    profile = _locked(session, user_id)
    if_match.check(profile.version)
    changed = profile.change(changes)
    _tell(session, user_id, changed)
    cards.follow(session, [profile] if changed else [])
    return ProfileOut.of(profile)


def change_with_account(session: Session, account: Account, changes: dict[str, Any]) -> ProfileOut:
    """Update the copy and the profile's own fields, after auth has changed or created the account."""
    keep_accounts(session, [account])
    return change(session, account.id, changes)


def anonymise(session: Session, user_id: str) -> None:
    profile = _locked(session, user_id)
    if not profile.is_deleted:
        profile.anonymise()
        _forget_own(session, user_id)


def forget(session: Session, deleted: Mapping[str, datetime]) -> None:
    """Anonymise deleted people, including those without a profile yet.

    The latter get a blank profile; otherwise a late response of auth could still create one with their data.
    """
    for user_id, moment in sorted(deleted.items()):  # the order in which all transactions lock the rows
        blank = Profile.blank(user_id, moment).model_dump()
        session.connection().execute(insert_into(session, PROFILES).on_conflict_do_nothing(), blank)
        anonymise(session, user_id)


def catch_up(session: Session, user_ids: Sequence[str]) -> None:
    """Delete what deleted people still have beside their profiles; write the cards of the others again."""
    found = select(Profile).where(PROFILES.c.id.in_(user_ids)).order_by(PROFILES.c.id).with_for_update()
    kept = session.scalars(found).all()
    for profile in kept:
        if profile.is_deleted:
            _forget_own(session, profile.id)
    cards.follow(session, [profile for profile in kept if not profile.is_deleted])


def show_preferences(session: Session, user_id: str) -> PreferencesOut:
    profile = session.get(Profile, user_id)
    if profile is not None and profile.is_deleted:
        raise NotFound
    kept = session.get(Preferences, user_id)
    if kept is None:
        return PreferencesOut(entries={}, version=0)
    return PreferencesOut.unchecked(kept.model_dump())


def put_preferences(
    session: Session, user_id: str, entries: dict[str, Any], if_match: IfMatch
) -> PreferencesOut:
    """Replace all preferences. The profile's lock serialises first writes, which have no row to lock yet."""
    require_alive(session, user_id)
    kept = session.get(Preferences, user_id) or Preferences(user_id=user_id, entries={}, version=0)
    if_match.check(kept.version)
    kept.entries, kept.version, kept.updated = entries, kept.version + 1, now()
    session.add(kept)
    _tell(session, user_id, [PREFERENCES.name])
    return PreferencesOut.unchecked(kept.model_dump())


def require_alive(session: Session, user_id: str) -> Profile:
    """Lock the profile, so that what is stored now cannot outlive an account that is being deleted."""
    profile = _locked(session, user_id)
    if profile.is_deleted:
        raise ProfileDeleted
    return profile


def _locked(session: Session, user_id: str) -> Profile:
    """Read and lock the profile until this transaction ends."""
    profile = session.get(Profile, user_id, with_for_update=True)
    assert profile is not None  # handlers have read it before, and profiles are never deleted
    return profile


def _tell(session: Session, user_id: str, changed: Sequence[str]) -> None:
    if changed:
        emit(session, ProfileChanged(user_id=user_id, fields=tuple(changed)))


def _forget_own(session: Session, user_id: str) -> None:
    """Delete what is stored beside the profile."""
    store.forget(session, user_id)
    cards.forget(session, user_id)
    session.connection().execute(delete(PREFERENCES).where(PREFERENCES.c.user_id == user_id))
