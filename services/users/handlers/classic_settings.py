"""Handlers of settings in the older form; they do what the handlers of the native form do."""

from sqlmodel import Session

from services.users import profiles
from services.users.models import SETTINGS, SYSTEM
from services.users.schemas import ProfileOut
from services.users.stored_settings import store
from services.users.stored_settings.classic import (
    AddOldSetting,
    NamedSetting,
    OldSetting,
    PutOldSetting,
    SettingPage,
)
from services.users.stored_settings.schemas import Key, SettingOut
from services.users.stored_settings.store import Place
from shared.caller import Caller
from shared.data.sealed import SealedColumn
from shared.errors import NotFound
from shared.http.preconditions import IfMatch
from shared.http.schemas import Done
from shared.lists.numbered import ByNumber, page_of

ANY_VERSION = IfMatch(None)


def list_classic_system_settings(query: ByNumber, session: Session) -> SettingPage:
    """List the stored settings of the system, newest first."""
    return _page(session, SYSTEM, query)


def add_classic_system_setting(
    body: AddOldSetting, caller: Caller, sealed: SealedColumn, session: Session
) -> NamedSetting:
    """Add a setting of the system."""
    added = store.add(session, Place(SYSTEM, body.key), body.native(), sealed, caller.id)
    return NamedSetting(setting=OldSetting.of(added, SYSTEM))


def show_classic_system_setting(key: Key, session: Session) -> NamedSetting:
    """Show one stored setting of the system."""
    return _named(session, Place(SYSTEM, key))


def put_classic_system_setting(
    key: Key, body: PutOldSetting, caller: Caller, sealed: SealedColumn, session: Session
) -> NamedSetting:
    """Replace a setting of the system."""
    place = Place(SYSTEM, key)
    if store.locked(session, place) is None:
        raise NotFound
    put = store.put(session, place, body.native(), sealed, caller.id, ANY_VERSION)
    return NamedSetting(setting=OldSetting.of(put, SYSTEM))


def delete_classic_system_setting(key: Key, session: Session) -> Done:
    """Delete a setting of the system."""
    store.remove(session, Place(SYSTEM, key), ANY_VERSION)
    return Done()


def list_own_classic_settings(query: ByNumber, caller: Caller, session: Session) -> SettingPage:
    """List your own settings, newest first."""
    return _page(session, caller.id, query)


def show_own_classic_setting(key: Key, caller: Caller, session: Session) -> NamedSetting:
    """Show one setting of your own."""
    return _named(session, Place(caller.id, key))


def put_own_classic_setting(
    key: Key, body: PutOldSetting, owner: ProfileOut, sealed: SealedColumn, session: Session
) -> NamedSetting:
    """Store a setting of your own, or replace it."""
    profiles.require_alive(session, owner.id)
    put = store.put(session, Place(owner.id, key), body.native(), sealed, owner.id, ANY_VERSION)
    return NamedSetting(setting=OldSetting.of(put, owner.id))


def delete_own_classic_setting(key: Key, caller: Caller, session: Session) -> Done:
    """Delete a setting of your own."""
    store.remove(session, Place(caller.id, key), ANY_VERSION)
    return Done()


def _page(session: Session, owner: str, query: ByNumber) -> SettingPage:
    rows, total = page_of(session, SETTINGS, [{"owner": owner}], query)
    settings = [OldSetting.of(SettingOut.of(row), owner) for row in rows]
    return SettingPage(settings=settings, **query.described(total))


def _named(session: Session, place: Place) -> NamedSetting:
    row = store.find(session, place)
    if row is None:
        raise NotFound
    return NamedSetting(setting=OldSetting.of(SettingOut.of(row), place.owner))
