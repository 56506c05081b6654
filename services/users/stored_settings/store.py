"""Settings in the database: one row for each owner and key."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import bindparam, delete, func, select, update
from sqlmodel import Session

from contracts.events import SettingChanged
from services.users.errors import SettingExists, TooManySettings
from services.users.models import PROFILES, SETTINGS, SYSTEM, Status
from services.users.stored_settings.known import KNOWN, Readers
from services.users.stored_settings.schemas import OpenedSetting, PublicSetting, PutSetting, SettingOut
from services.users.stored_settings.values import fault_of
from shared.clock import now
from shared.data.database import insert_into
from shared.data.sealed import KeyMissing, SealBroken, SealedColumn
from shared.data.statements import Rows
from shared.errors import FieldFault, Invalid, NotFound, Unavailable
from shared.events import emit
from shared.http.preconditions import IfMatch
from shared.http.schemas import Page
from shared.ids import new_id
from shared.lists.pagination import PageQuery, paginate_equal

PERSONAL_MAX = 500
SYSTEM_MAX = 1000
BATCH_OWNERS = 100
BY_KEY = select(SETTINGS).where(
    SETTINGS.c.owner == bindparam("owner"), SETTINGS.c.key == bindparam("key")
)  # fmt: skip
FOUND, LOCKED = Rows(BY_KEY), Rows(BY_KEY.with_for_update())

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """Whose setting it is, and its key; `owner` is empty for the system."""

    owner: str
    key: str

    @property
    def is_system(self) -> bool:
        return self.owner == SYSTEM


def find(session: Session, place: Place) -> dict[str, Any] | None:
    return FOUND.one(session, owner=place.owner, key=place.key)


def show(session: Session, place: Place) -> SettingOut:
    """Return the setting; a known one that is not stored has its default."""
    row = find(session, place)
    if row is not None:
        return SettingOut.of(row)
    known = KNOWN.get(place.key) if place.is_system else None
    if known is None:
        raise NotFound
    return SettingOut.by_default(place.key, known)


def listed(session: Session, owner: str, query: PageQuery) -> Page[SettingOut]:
    return paginate_equal(session, SETTINGS, {"owner": owner}, query, SettingOut.of)


def public(session: Session, readers: Readers) -> list[PublicSetting]:
    """Return the known settings that these readers may read, with defaults for those not stored."""
    readable = {key: known for key, known in KNOWN.items() if known.readers <= readers}
    stored = select(SETTINGS.c.key, SETTINGS.c.value).where(
        SETTINGS.c.owner == SYSTEM, SETTINGS.c.key.in_(readable)
    )
    values = {row.key: row.value for row in session.connection().execute(stored)}
    return [
        PublicSetting(
            key=key, value=values.get(key, known.default), type=str(known.kind), description=known.description
        )
        for key, known in readable.items()
    ]


def opened(session: Session, place: Place, sealed: SealedColumn) -> OpenedSetting:
    """Return the setting for a service, including its value if it is sealed."""
    row = find(session, place)
    if row is None:
        shown = show(session, place)
        return OpenedSetting.unchecked(vars(shown))
    if row["sealed"] is None:
        return OpenedSetting.unchecked(row)
    try:
        value = sealed.open(row["id"], row["sealed"])
    except (KeyMissing, SealBroken) as error:
        log.error("setting_unreadable", id=row["id"], error=repr(error))  # noqa: TRY400 - no traceback needed
        raise Unavailable("The key of this setting is missing; set KEY_SECRET_PREVIOUS.") from error
    return OpenedSetting.unchecked(row, value=value)


def add(
    session: Session, place: Place, body: PutSetting, sealed: SealedColumn, by: str
) -> SettingOut:  # fmt: skip
    """Store a new setting."""
    require_valid(place, body)
    if find(session, place) is not None:
        raise SettingExists
    row = _insert(session, place, body, sealed, by)
    if row is None:
        raise SettingExists  # another request stored it a moment ago
    return SettingOut.of(row)


def put(
    session: Session, place: Place, body: PutSetting, sealed: SealedColumn, by: str, if_match: IfMatch
) -> SettingOut:
    """Store a setting, or replace it."""
    require_valid(place, body)
    row = locked(session, place)
    if row is None:
        if_match.check(0)
        added = _insert(session, place, body, sealed, by)
        if added is not None:
            return SettingOut.of(added)
        row = locked(session, place)  # another request stored it a moment ago
        if row is None:
            raise NotFound  # and a third one deleted it
    if_match.check(row["version"])
    return SettingOut.of(_replace(session, place, row, body, sealed, by))


def remove(session: Session, place: Place, if_match: IfMatch) -> None:
    row = locked(session, place)
    if row is None:
        raise NotFound
    if_match.check(row["version"])
    session.connection().execute(delete(SETTINGS).where(SETTINGS.c.id == row["id"]))
    _tell(session, place, is_sealed=row["sealed"] is not None, is_deleted=True)


def forget(session: Session, user_id: str) -> None:
    """Delete the settings of a person whose account is deleted."""
    session.connection().execute(delete(SETTINGS).where(SETTINGS.c.owner == user_id))


def orphaned(session: Session, after: str) -> tuple[str | None, list[str]]:
    """Return the last owner of the next batch (None if there is no further batch), and its deleted owners."""
    batch = select(SETTINGS.c.owner).distinct().where(SETTINGS.c.owner > after)
    execute = session.connection().execute
    owners = execute(batch.order_by(SETTINGS.c.owner).limit(BATCH_OWNERS)).scalars().all()
    deleted = select(PROFILES.c.id).where(PROFILES.c.id.in_(owners), PROFILES.c.status == Status.DELETED)
    last = owners[-1] if len(owners) == BATCH_OWNERS else None
    return last, list(execute(deleted).scalars())


def locked(session: Session, place: Place) -> dict[str, Any] | None:
    return LOCKED.one(session, owner=place.owner, key=place.key)


def require_valid(place: Place, body: PutSetting) -> None:
    """Refuse a value that does not fit its type, or a known key with another type or a bad value."""
    faults = list(_faults(place, body))
    if faults:
        raise Invalid(errors=faults)


def _faults(place: Place, body: PutSetting) -> Iterator[FieldFault]:
    known = KNOWN.get(place.key) if place.is_system else None
    if known is not None and body.type != known.kind:
        yield FieldFault(field="type", code="wrong_type", message=f"must be {known.kind} for this key")
        return
    message = fault_of(body.type, body.value)
    if message is None and known is not None:
        message = known.check(body.value)
    if message is not None:
        yield FieldFault(field="value", code="wrong_value", message=message)
    if known is not None and body.is_sealed:
        message = "must be false for this key, because others read it"
        yield FieldFault(field="is_sealed", code="not_secret", message=message)


def _insert(
    session: Session, place: Place, body: PutSetting, sealed: SealedColumn, by: str
) -> dict[str, Any] | None:
    """Insert the row and return it; None if it exists."""
    most = SYSTEM_MAX if place.is_system else PERSONAL_MAX
    some = select(SETTINGS.c.id).where(SETTINGS.c.owner == place.owner).limit(most).subquery()
    if session.connection().execute(select(func.count()).select_from(some)).scalar_one() >= most:
        raise TooManySettings(f"There are {most} settings, which is the limit; delete one first.")
    row_id, moment = new_id(), now()
    row = {"id": row_id, "owner": place.owner, "key": place.key, "created": moment, "version": 1}
    row |= _content(row_id, body, sealed, by) | {"updated": moment}
    adding = insert_into(session, SETTINGS).values(row).on_conflict_do_nothing().returning(SETTINGS.c.id)
    if session.connection().execute(adding).first() is None:
        return None
    _tell(session, place, is_sealed=body.is_sealed, is_deleted=False)
    return row


def _replace(
    session: Session, place: Place, row: dict[str, Any], body: PutSetting, sealed: SealedColumn, by: str
) -> dict[str, Any]:
    changes = _content(row["id"], body, sealed, by) | {"version": row["version"] + 1, "updated": now()}
    session.connection().execute(update(SETTINGS).where(SETTINGS.c.id == row["id"]).values(changes))
    _tell(session, place, is_sealed=body.is_sealed, is_deleted=False)
    return row | changes


def _content(row_id: str, body: PutSetting, sealed: SealedColumn, by: str) -> dict[str, Any]:
    return {
        "value": None if body.is_sealed else body.value,
        "sealed": sealed.seal(row_id, body.value) if body.is_sealed else None,
        "type": str(body.type),
        "description": body.description,
        "changed_by": by,
    }


def _tell(session: Session, place: Place, *, is_sealed: bool, is_deleted: bool) -> None:
    owner = None if place.is_system else place.owner
    event = {"setting": place.key, "user_id": owner, "is_sealed": is_sealed, "is_deleted": is_deleted}
    emit(session, SettingChanged(**event))
