"""Rotation and emergency revocation of the keys that sign tokens, while the suite runs.

A new key is published before it signs, so that every verifier has it by then. The old key stays published
until its last token has expired. A killed key is no longer published, and its tokens are revoked.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise

from sqlalchemy import select, text
from sqlmodel import Session

from services.auth.key_models import SigningKey
from services.auth.keys.signing_keys import PUBLISHED_MAX, SigningKeys
from services.auth.models import SIGNING_KEYS
from services.auth.revocations.log import RevocationLog
from shared.clock import now
from shared.identity.revocations import Kind
from shared.identity.tokens import KEY_LIFE_SECONDS

OVERLAP_SECONDS = int(2 * KEY_LIFE_SECONDS)  # verifiers cache the key set for half this time


class NotPossible(Exception):
    """The change is not possible; the message says why."""


class State(StrEnum):
    WAITING = "waiting"
    SIGNING = "signing"
    OLD = "old"  # no longer signs, but its tokens are valid
    RETIRED = "retired"
    KILLED = "killed"


@dataclass(frozen=True, slots=True)
class KeyState:
    key: SigningKey
    state: State


class KeyRotation:
    """Rotates and kills keys. Each method works in the caller's transaction."""

    def __init__(self, keys: SigningKeys, revocations: RevocationLog) -> None:
        self._keys = keys
        self._revocations = revocations

    def states(self, session: Session) -> list[KeyState]:
        """Return all keys, newest first."""
        return states(_all(session), now())

    def rotate(self, session: Session, made: SigningKey, after: timedelta) -> SigningKey:
        """Add a key that signs after this time; return the one that it will replace."""
        rows, moment = self._locked(session), now()
        found = states(rows, moment)
        waiting = [one.key for one in found if one.state is State.WAITING]
        if waiting:
            begins = f"{waiting[0].signs_from:%Y-%m-%dT%H:%M:%SZ}"
            raise NotPossible(f"the key {waiting[0].id} is already waiting to sign, from {begins}")
        if sum(one.state in (State.SIGNING, State.OLD) for one in found) >= PUBLISHED_MAX:
            raise NotPossible(f"{PUBLISHED_MAX} keys are published; wait until the oldest is retired")
        signing = next((one.key for one in found if one.state is State.SIGNING), None)
        if signing is None:
            raise NotPossible("there is no key yet; auth creates the first one when it starts")
        self._add(session, rows, made, moment + after)
        return signing

    def kill(self, session: Session, key_id: str, spare: SigningKey) -> tuple[SigningKey, SigningKey]:
        """Refuse all tokens of a key from now on; return it and the key that signs instead.

        If that key was signing, a waiting key replaces it at once, or else the spare one.
        """
        rows, moment = self._locked(session), now()
        killed = _named(rows, key_id)
        if killed.killed is not None:
            raise NotPossible(f"the key {killed.id} was killed at {killed.killed:%Y-%m-%dT%H:%M:%SZ}")
        killed.killed, killed.private_pem = moment, ""
        # Permanent: someone who has the private key can sign tokens that expire at any time they choose.
        self._revocations.add(session, Kind.KEY, [killed.id], for_good=True)
        if not any(one.state is State.SIGNING for one in states(rows, moment)):
            waiting = [one.key for one in states(rows, moment) if one.state is State.WAITING]
            if waiting:
                waiting[-1].signs_from = moment
            else:
                self._add(session, rows, spare, moment)
        self._plan(rows, moment)
        return killed, next(one.key for one in states(rows, moment) if one.state is State.SIGNING)

    def _add(self, session: Session, rows: list[SigningKey], made: SigningKey, signs_from: datetime) -> None:
        made.number = max((row.number for row in rows), default=0) + 1
        made.signs_from = signs_from
        session.add(made)
        rows.append(made)
        self._plan(rows, now())

    def _plan(self, rows: Sequence[SigningKey], moment: datetime) -> None:
        plan_retirement(rows, moment, self._revocations.kept)

    def _locked(self, session: Session) -> list[SigningKey]:
        """Lock the table against other changes until this transaction ends, and return all keys."""
        if session.connection().dialect.name == "postgresql":
            session.connection().execute(text("LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE"))
        return _all(session)


def states(rows: Iterable[SigningKey], moment: datetime) -> list[KeyState]:
    """Return the state of each key at a given time, newest first."""
    found: list[KeyState] = []
    is_taken = False
    for row in sorted(rows, key=lambda row: -row.number):
        if row.killed is not None:
            state = State.KILLED
        elif row.retires is not None and row.retires <= moment:
            state = State.RETIRED
        elif row.signs_from > moment:
            state = State.WAITING
        else:
            state = State.OLD if is_taken else State.SIGNING
            is_taken = True
        found.append(KeyState(row, state))
    return found


def plan_retirement(rows: Iterable[SigningKey], moment: datetime, kept: timedelta) -> None:
    """Let each key retire once the last token that it signed has expired."""
    living = [row for row in sorted(rows, key=lambda row: row.number) if row.killed is None]
    living = [row for row in living if row.retires is None or row.retires > moment]
    for row, successor in pairwise(living):
        row.retires = row.retires or successor.signs_from + kept
    if living:
        living[-1].retires = None


def _all(session: Session) -> list[SigningKey]:
    return [*session.execute(select(SigningKey).order_by(SIGNING_KEYS.c.number)).scalars()]


def _named(rows: Sequence[SigningKey], key_id: str) -> SigningKey:
    found = [row for row in rows if row.id.startswith(key_id)]
    if len(found) != 1:
        several = "several keys begin with" if found else "no key has the id"
        raise NotPossible(f"{several} {key_id!r}")
    return found[0]
