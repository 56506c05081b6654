"""Which backups are kept: the newest of each of the last days, weeks and months."""

import re
from collections.abc import Callable
from datetime import datetime

from gatehouse.backup import NotDone
from gatehouse.backup.places import Place

_RULE = re.compile(r"([1-9]\d{0,3})([dwmy])")
_PERIODS: dict[str, Callable[[datetime], object]] = {
    "d": lambda moment: moment.date(),
    "w": lambda moment: moment.isocalendar()[:2],
    "m": lambda moment: (moment.year, moment.month),
    "y": lambda moment: moment.year,
}


def parsed(rules: str) -> dict[str, int]:
    """Parse rules such as 7d,4w,6m: the newest backup of each of 7 days, 4 weeks and 6 months."""
    found = {}
    for rule in filter(None, (part.strip() for part in rules.split(","))):
        match = _RULE.fullmatch(rule)
        if match is None:
            raise NotDone(f"--keep: {rule!r} is not a rule such as 7d, 4w, 6m or 2y")
        found[match[2]] = int(match[1])
    return found


def remove(place: Place, keep: dict[str, int]) -> list[str]:
    """Remove the backups that no rule keeps; the newest is always kept. Return where they were."""
    dated = place.backups()
    kept = {name for _, name in dated[:1]}
    for unit, number in keep.items():
        newest: dict[object, str] = {}
        for moment, name in dated:
            newest.setdefault(_PERIODS[unit](moment), name)
        kept |= set(list(newest.values())[:number])
    return [place.remove(name) for _, name in dated if name not in kept]
