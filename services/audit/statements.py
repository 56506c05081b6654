"""Statements of the log about itself, and whether they explain what is cleared or missing.

Whoever owns the database can append a well-formed record, and the service will sign a tree that includes it.
So a record about the log itself counts only if the log's key signed it for exactly that position, after
exactly those records. A statement PERSON_ERASED names an account; it explains cleared fields of that account
only, and only in older records.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from services.audit.proofs import (
    Emptied,
    Erasure,
    Key,
    canonical,
    signed_text,
)

LOG_ITSELF = "log"  # the actor of statements
LOG_SERVICE = "audit"
LOG_OPENED = "LOG_OPENED"  # from here on every statement is signed
PERSON_ERASED, RETENTION_CUT = "PERSON_ERASED", "RETENTION_CUT"
HOLD_PLACED, HOLD_LIFTED = "HOLD_PLACED", "HOLD_LIFTED"
LASTING = (LOG_OPENED, RETENTION_CUT, HOLD_PLACED, HOLD_LIFTED)  # affect later records
ACCOUNT_DELETED = ("auth", "DELETE_ACCOUNT", "success")  # service, action and outcome of such a record
SIGNATURE = "signature"
ROOT = "root"  # of the tree over all records before the statement, which is therefore valid in no other log
DELETED = "deleted"  # the record of the deletion, which the service had found before it erased the account
# The record from which statements are signed, and the record from which they have a root. A cut repeats both,
# because it may remove the statements that show them.
SINCE, SIGNED, ROOTED = "since", "signed", "rooted"
MONTH = slice(0, 7)  # of an RFC 3339 timestamp
# A deletion may be recorded in one month, and late records erased in the next.
ERASED_LATE = timedelta(days=4)
WHOLE = ("", "~")  # before any month, and after any
# The members of an unsigned statement of an older version that count. Anybody can write one of any size.
UNSIGNED = ("kept_from", "before", "first", "places", "digest")
UNSIGNED_CHARACTERS_MAX = 100
ACCOUNT_CHARACTERS_MAX = 100  # an id has 36; a hostile export could name accounts of any length
NO_LIMIT = 2**63
REPEAT_IT = "is newer than this check: repeat it"


class Fault(NamedTuple):
    """A fault and its position: the sequence number of the first record concerned, if any."""

    kind: str
    seq: int | None
    detail: str


Report = Callable[[str, int | None, str], None]
Doubt = Callable[[int | None, str], None]


def statement_text(name: str, seq: int, action: str, resource: str, said: Mapping[str, Any]) -> str:
    """Return the signed form of a statement."""
    return f"{name}/statement\n{canonical([seq, action, resource, dict(said)])}\n"


class Statement(NamedTuple):
    """A record of the log about itself."""

    seq: int
    action: str
    resource: str
    received: str
    said: Mapping[str, Any]
    is_signed: bool

    @classmethod
    def of(cls, record: Mapping[str, Any], text: str, keys: Sequence[Key]) -> "Statement":
        """`text` is the metadata of the record, already checked against its commitment."""
        said = json.loads(text)
        said = dict(said) if isinstance(said, dict) else {}
        signature = said.pop(SIGNATURE, None)
        seq, action, resource = record["seq"], record["action"], record["resource"]
        is_signed = isinstance(signature, str) and any(
            signed_text(f"{wanted}\n{signature}", [key]) == wanted
            for key in keys
            for wanted in [statement_text(key.name, seq, action, resource, said)]
        )
        if is_signed:
            return cls(seq, action, resource, record["received"], said, is_signed)
        said = {name: _short(said[name]) for name in UNSIGNED if type(said.get(name)) in (int, str)}
        return cls(seq, _short(action), _short(resource), _short(record["received"]), said, is_signed)

    @property
    def root(self) -> str | None:
        """The root over the records before it; versions before it was introduced did not sign it."""
        root = self.said.get(ROOT) if self.is_signed else None
        return root if isinstance(root, str) else None

    def may_lift(self, placed: "Statement") -> bool:
        """Whether it can lift this hold. Without a root it may be from another log, or precede the hold."""
        return self.root is not None or placed.root is None

    def since(self, form: str) -> int | None:
        """Return the first record from which it shows that statements have this form."""
        has_form = self.is_signed if form == SIGNED else self.root is not None
        carried = self.said.get(SINCE)
        seq = carried.get(form) if has_form and isinstance(carried, dict) else None
        return min(seq, self.seq) if type(seq) is int else self.seq if has_form else None


def owners_of(record: Mapping[str, Any], part: str) -> list[str]:
    """Return the accounts whose erasure may clear this part; actions by others lose only the details."""
    names = (record["user_id"], record["resource"] if part == "details" else None)
    return [name for name in names if isinstance(name, str) and len(name) <= ACCOUNT_CHARACTERS_MAX]


def is_deletion(record: Mapping[str, Any]) -> bool:
    """Whether this records the deletion of the account that its resource names."""
    return (record["service"], record["action"], record["outcome"]) == ACCOUNT_DELETED


class Ledger:
    """Collects the statements of a log and its cleared fields, and compares them at the end.

    It remembers at most `room` statements, as many deletions, and as many months of erasures, because an
    export can claim any number of them.
    """

    def __init__(self, report: Report, doubt: Doubt, room: int = NO_LIMIT) -> None:
        self._report, self._doubt, self._room = report, doubt, room
        self.statements: dict[int, Statement] = {}
        self.here: list[Statement] = []  # those in the range that is checked
        self.deleted: set[str] = set()
        self._emptied: dict[int, Emptied] = {}
        self.held_from: dict[str, int] = {}  # by account, the first record that must stay
        self.holds: dict[str, int] = {}  # by account, the record that placed the hold
        self._placed: dict[str, Statement] = {}  # by account, the newest statement of its hold
        self.first = 0  # the first record of what is checked
        # Erasures of older versions in a part of the log, which do not name the deletion.
        self.unexplained = 0

    def empty(self, record: Mapping[str, Any], part: str, by: int) -> None:
        """Note that a part of this record was cleared, and that it names record `by` as the reason."""
        seq, owners = record["seq"], owners_of(record, part)
        if record["actor"] == LOG_ITSELF and record["service"] == LOG_SERVICE:
            self._report("erased", seq, "a statement of the log was cleared, which no erasure does")
        found, month = self._emptied.get(by), record["received"][MONTH]
        if (found is None or month not in found.months) and not self._take_room():
            return
        if found is None:
            found = self._emptied[by] = Emptied.beginning_with(seq, owners)
        found.add(seq, part, month, owners)

    def pass_by(self, record: Mapping[str, Any]) -> None:
        """Note any record, in the order of the log."""
        account = record["resource"]
        is_new = is_deletion(record) and account not in self.deleted
        if is_new and len(account) <= ACCOUNT_CHARACTERS_MAX and self._take_room():
            self.deleted.add(account)

    def state(self, statement: Statement, *, is_elsewhere: bool = False) -> None:
        """Add a statement; one from elsewhere only explains others."""
        if not self._take_room():
            return
        self.statements[statement.seq] = statement
        if not is_elsewhere:
            self.here.append(statement)

    @property
    def is_full(self) -> bool:
        """Whether something was not remembered, so that nothing can be compared at the end."""
        return self._room < 0

    def _take_room(self) -> bool:
        self._room -= 1
        return self._room >= 0

    def _follow_holds(self) -> None:
        """Find the holds in force, and what was done despite them.

        Statements are followed in the order of the log. A part of the log can have another order, because a
        clock may have been set back.
        """
        here = {one.seq for one in self.here}
        for statement in sorted(self.statements.values()):
            if statement.is_signed:
                self._follow_hold(statement, is_elsewhere=statement.seq not in here)

    def _follow_hold(self, statement: Statement, *, is_elsewhere: bool) -> None:
        account = statement.resource
        if statement.action == HOLD_PLACED:
            self.held_from.setdefault(account, _whole(statement.said, "first", statement.seq))
            self.holds.setdefault(account, statement.seq)
            self._placed[account] = statement
        elif statement.action == HOLD_LIFTED:
            if account in self._placed and statement.may_lift(self._placed[account]):
                del self.held_from[account], self.holds[account], self._placed[account]
        elif is_elsewhere:
            return
        elif statement.action == PERSON_ERASED and account in self.held_from:
            self._report("erased", statement.seq, "it erased an account whose records were under a hold")
        elif statement.action == RETENTION_CUT:
            first_held = min(self.held_from.values(), default=None)
            if first_held is not None and _whole(statement.said, "kept_from", 0) > first_held:
                self._report("removed", statement.seq, f"records from {first_held} on were under a hold")

    def since(self, form: str) -> int | None:
        """Return the first record from which all statements have this form."""
        return min(
            (seq for one in self.statements.values() if (seq := one.since(form)) is not None), default=None
        )

    def finish_statements(self) -> None:
        """Report what broke a hold, and statements of an older form after the first one of a newer form."""
        self._follow_holds()
        signed, rooted = self.since(SIGNED), self.since(ROOTED)
        for one in self.statements.values():
            if not one.is_signed and signed is not None and one.seq > signed:
                what = "it claims to be a statement of the log, but the log's key did not sign it"
                self._report("forged", one.seq, what)
            elif one.is_signed and one.root is None and rooted is not None and one.seq > rooted:
                what = "an older version of the service signed it, perhaps for another log: it has no root"
                self._doubt(one.seq, what)

    def finish_cut(self, first: int, received: str | None) -> str:
        """Check that a cut explains why the log begins with this record; return the month it begins with."""
        cuts = [one for one in sorted(self.statements.values()) if one.action == RETENTION_CUT]
        last = cuts[-1] if cuts else None
        if not first:
            cut_to = _whole(last.said, "kept_from", 0) if last is not None and last.is_signed else 0
            if cut_to > 0:
                self._doubt(0, f"records 0 to {cut_to - 1} were cut off, but are there again")
            return ""
        if last is None or last.said.get("kept_from") != first:
            detail = f"records 0 to {first - 1} are missing, and no retention cut explains why"
            self._report("removed", 0, detail)
            return (received or "")[MONTH]
        if last.root is None:
            what = "the only explanation is a retention cut that the log's key did not sign for this log"
            self._doubt(0, f"records 0 to {first - 1} are missing: {what}")
        before = str(last.said.get("before"))
        is_month = re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])-01T00:00:00\.000000Z", before) is not None
        if not is_month or first > last.seq or before > last.received:
            self._report("removed", last.seq, "it claims to have cut records that were not old enough")
            return (received or "")[MONTH]
        if received is not None and received < before:
            self._report(
                "removed",
                last.seq,
                f"it says that records older than {before} were cut off, but some were not",
            )
        return before[MONTH]

    def finish_erasures(
        self, size: int, months: tuple[str, str], *, is_partial: bool, old: list[int]
    ) -> None:
        """Check that each cleared field is explained. `months` are those of which every record was seen.

        Erasures by versions that did not sign statements are collected in `old`.
        """
        for by, found in sorted(self._emptied.items()):
            said = self.statements.get(by)
            first = found.erasure.first
            if said is None and by >= size:
                self._report(
                    "erased", first, f"it was cleared, and record {by}, the given reason, {REPEAT_IT}"
                )
            elif said is None and is_partial and by > found.last:
                self._doubt(
                    first, f"it was cleared, and record {by}, the given reason, is not in this export"
                )
            elif said is None or said.action != PERSON_ERASED:
                detail = f"it was cleared, but record {by}, the given reason, does not record an erasure"
                self._report("erased", first, detail)
            elif found.last >= by:
                self._report(
                    "erased", found.last, f"it was cleared, but record {by}, the given reason, is older"
                )
            elif said.is_signed:
                self._judge(said, found)
            else:
                old.append(found.erasure.places)
                self._judge_old(said, found, months, is_partial=is_partial)
        if not is_partial:
            for statement in sorted(self.statements.values()):
                if statement.action == PERSON_ERASED and statement.is_signed:
                    self._compare_months(statement, months)

    def _judge(self, said: Statement, found: Emptied) -> None:
        odd = found.not_of(said.resource)
        if odd is not None:
            detail = f"it was cleared, but is not about the account that record {said.seq} erased"
            self._report("erased", odd, detail)

    def _compare_months(self, statement: Statement, months: tuple[str, str]) -> None:
        """Compare month by month, because a later cut removes whole months with their digests."""
        emptied = self._emptied.get(statement.seq)
        found = emptied.months if emptied is not None else {}
        said = statement.said.get("months")
        said = said if isinstance(said, dict) else {}
        for month in sorted({*said, *found}):
            if not months[0] <= month < months[1]:
                continue
            here = found.get(month)
            if here is None or said.get(month) != month_of(here):
                first = here.first if here is not None else None
                detail = f"the cleared fields of {month} are not those erased by record {statement.seq}"
                self._report("erased", first if first is not None else statement.seq, detail)
                return

    def _judge_old(
        self, said: Statement, found: Emptied, months: tuple[str, str], *, is_partial: bool
    ) -> None:
        """Check an erasure that names no account and has one digest over all of its fields."""
        erasure, first = found.erasure, found.erasure.first
        begin, places = _whole(said.said, "first", first), _whole(said.said, "places", 0)
        agrees = (places, said.said.get("digest")) == (erasure.places, erasure.digest.hexdigest())
        is_of_one = any(odd is None for odd in found.accounts.values())
        if not is_of_one or first < begin or erasure.places > places:
            detail = f"the cleared fields from here on are not those erased by record {said.seq}"
            self._report("erased", first, detail)
        elif is_partial or (not agrees and self._is_incomplete(begin, months)):
            detail = (
                f"record {said.seq}, which cleared it, can only be compared as a whole, which is not here"
            )
            self._doubt(first, detail)
        elif not agrees:
            detail = f"the cleared fields from here on are not those erased by record {said.seq}"
            self._report("erased", first, detail)

    def _is_incomplete(self, begin: int, months: tuple[str, str]) -> bool:
        return begin < self.first or months[1] != WHOLE[1]

    def erased_but_not_deleted(self, *, is_partial: bool = False) -> Iterator[Statement]:
        """Erasures of accounts of which no record says that they were deleted; the first of each account.

        That record may have been cut off. Then the erasure says where it was, unless an older version
        made the erasure.
        """
        cuts = [one for one in self.statements.values() if one.action == RETENTION_CUT and one.is_signed]
        cut_before = max((str(one.said.get("before")) for one in cuts), default="")
        known = set(self.deleted)
        rooted = self.since(ROOTED)
        for one in sorted(self.statements.values() if is_partial else self.here):
            if one.action != PERSON_ERASED or not one.is_signed or one.resource in known:
                continue
            if self._says_it_was_deleted(one, is_partial=is_partial):
                continue
            known.add(one.resource)
            is_older = one.root is None and (rooted is None or one.seq < rooted)
            if is_older and is_partial and rooted is not None:
                self.unexplained += 1  # only the whole log shows the deletion
            elif not is_older or not cut_before or _is_long_after(one.received, cut_before):
                yield one

    def _says_it_was_deleted(self, one: Statement, *, is_partial: bool) -> bool:
        """This counts only if the named record is not here; otherwise that record must say so itself."""
        seq = one.said.get(DELETED) if one.root is not None else None
        return type(seq) is int and seq < one.seq and (is_partial or seq < self.first)


def month_of(erasure: Erasure) -> dict[str, Any]:
    """Return the entry of a statement for the cleared fields of one month."""
    return {"places": erasure.places, "digest": erasure.digest.hexdigest()}


def _whole(said: Mapping[str, Any], name: str, default: int) -> int:
    value = said.get(name)
    return value if type(value) is int else default


def _is_long_after(received: str, cut_before: str) -> bool:
    """Whether it is too late for the deletion to be among the records that were cut off."""
    try:
        return datetime.fromisoformat(received[:10]) >= datetime.fromisoformat(cut_before[:10]) + ERASED_LATE
    except ValueError:  # the record was changed, so its date explains nothing
        return True


def _short(value: Any) -> Any:
    return value[:UNSIGNED_CHARACTERS_MAX] if isinstance(value, str) else value
