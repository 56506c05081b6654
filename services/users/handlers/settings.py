"""Handlers of settings: those of the system, and everybody's own."""

from sqlmodel import Session

from services.users import profiles
from services.users.models import SYSTEM
from services.users.schemas import ProfileOut
from services.users.stored_settings import store
from services.users.stored_settings.known import readers_of
from services.users.stored_settings.schemas import (
    AddSetting,
    AskSetting,
    Key,
    OpenedSetting,
    PublicSetting,
    PutSetting,
    SettingOut,
)
from services.users.stored_settings.store import Place
from shared.caller import Caller
from shared.data.sealed import SealedColumn
from shared.http.preconditions import IfMatch
from shared.http.schemas import Page
from shared.lists.pagination import PageQuery


def list_public_settings(caller: Caller | None, session: Session) -> list[PublicSetting]:
    """List the known settings of the system that the caller may read; without an account the public ones."""
    return store.public(session, readers_of(caller))


def list_system_settings(query: PageQuery, session: Session) -> Page[SettingOut]:
    """List the stored settings of the system, newest first."""
    return store.listed(session, SYSTEM, query)


def add_system_setting(
    body: AddSetting, caller: Caller, sealed: SealedColumn, session: Session
) -> SettingOut:
    """Add a setting of the system."""
    return store.add(session, Place(SYSTEM, body.key), body, sealed, caller.id)


def show_system_setting(key: Key, session: Session) -> SettingOut:
    """Show one setting of the system; a known one that is not stored has its default."""
    return store.show(session, Place(SYSTEM, key))


def put_system_setting(
    key: Key, body: PutSetting, caller: Caller, if_match: IfMatch, sealed: SealedColumn, session: Session
) -> SettingOut:
    """Store a setting of the system, or replace it."""
    return store.put(session, Place(SYSTEM, key), body, sealed, caller.id, if_match)


def delete_system_setting(key: Key, if_match: IfMatch, session: Session) -> None:
    """Delete a setting of the system; a known one has its default again."""
    store.remove(session, Place(SYSTEM, key), if_match)


def list_own_settings(query: PageQuery, caller: Caller, session: Session) -> Page[SettingOut]:
    """List your own settings, newest first."""
    return store.listed(session, caller.id, query)


def add_own_setting(
    body: AddSetting, caller: Caller, owner: ProfileOut, sealed: SealedColumn, session: Session
) -> SettingOut:
    """Add a setting of your own."""
    profiles.require_alive(session, owner.id)
    return store.add(session, Place(owner.id, body.key), body, sealed, caller.id)


def show_own_setting(key: Key, caller: Caller, session: Session) -> SettingOut:
    """Show one setting of your own."""
    return store.show(session, Place(caller.id, key))


def put_own_setting(
    key: Key,
    body: PutSetting,
    caller: Caller,
    owner: ProfileOut,
    if_match: IfMatch,
    sealed: SealedColumn,
    session: Session,
) -> SettingOut:
    """Store a setting of your own, or replace it."""
    profiles.require_alive(session, owner.id)
    return store.put(session, Place(owner.id, key), body, sealed, caller.id, if_match)


def delete_own_setting(key: Key, caller: Caller, if_match: IfMatch, session: Session) -> None:
    """Delete a setting of your own."""
    store.remove(session, Place(caller.id, key), if_match)


def open_setting(key: Key, query: AskSetting, sealed: SealedColumn, session: Session) -> OpenedSetting:
    """Return a setting to another service, including its value if it is sealed."""
    return store.opened(session, Place(query.user_id or SYSTEM, key), sealed)
