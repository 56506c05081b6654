"""What people have switched on and off."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field

from sqlalchemy import select
from sqlmodel import Session

from services.notifications.errors import AlwaysOn
from services.notifications.kinds import KINDS, Channel, NoticeType
from services.notifications.models import PREFERENCES
from services.notifications.timing import Timing
from shared.clock import now
from shared.data.database import insert_into


@dataclass(frozen=True, slots=True)
class Choices:
    """The choices of one person. Those that were never made follow the defaults, even if these change."""

    made: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)

    def wants(self, kind: NoticeType, channel: Channel) -> bool:
        known = KINDS[kind]
        if channel in known.fixed:
            return True
        return self.made.get(kind, {}).get(channel, channel in known.on)


NO_CHOICES = Choices()


def choices_of(session: Session, people: Collection[str]) -> dict[str, Choices]:
    """Return the choices of those who have made any, by account id."""
    columns = select(PREFERENCES.c.user_id, PREFERENCES.c.choices)
    found = session.connection().execute(columns.where(PREFERENCES.c.user_id.in_(people)))
    return {user_id: Choices(json.loads(choices)) for user_id, choices in found}


def timings_of(session: Session, people: Collection[str]) -> dict[str, Timing]:
    """Return when, and in which language, those who have chosen it want mails, by account id."""
    table = PREFERENCES.c
    when = table.quiet_from, table.quiet_to, table.zone, table.digest
    columns = select(table.user_id, *when, table.language).where(table.user_id.in_(people))
    found = session.connection().execute(columns).mappings()
    return {row["user_id"]: Timing.of(dict(row)) for row in found}


def plan(session: Session, user_id: str, timing: Timing) -> None:
    """Store when the person wants mails, and in which language."""
    lock(session, user_id)
    mine = PREFERENCES.update().where(PREFERENCES.c.user_id == user_id)
    session.connection().execute(mine.values(**asdict(timing), updated=now()))


def choose(session: Session, user_id: str, wanted: Iterable[tuple[NoticeType, Channel, bool]]) -> Choices:
    """Store choices, keep the others, and return all of them; refuse to switch off what must stay on."""
    lock(session, user_id)
    made = {kind: dict(channels) for kind, channels in choices_of(session, [user_id])[user_id].made.items()}
    for kind, channel, is_on in wanted:
        if channel in KINDS[kind].fixed and not is_on:
            detail = f"Notifications of the type {kind} cannot be switched off on the channel {channel}."
            raise AlwaysOn(detail, notification_type=kind, channel=channel)
        made.setdefault(kind, {})[channel] = is_on
    row = {"choices": json.dumps(made, sort_keys=True), "updated": now()}
    mine = PREFERENCES.update().where(PREFERENCES.c.user_id == user_id)
    session.connection().execute(mine.values(row))
    return Choices(made)


def lock(session: Session, user_id: str) -> None:
    """Make sure that the person has a row, and lock it until commit: changes wait for each other."""
    row = insert_into(session, PREFERENCES).values(user_id=user_id, choices="{}", updated=now())
    again = row.on_conflict_do_update(index_elements=["user_id"], set_={"user_id": user_id})
    session.connection().execute(again)
