"""Tries at the current password of whoever is signed in."""

from services.auth.credentials.throttle import Attempt
from shared.caller import Caller


def attempt_of(caller: Caller) -> Attempt:
    """A try at the password of the caller."""
    return attempt_in(caller.session_id)


def attempt_in(session_id: str | None) -> Attempt:
    """Counted for the session alone.

    Whoever holds a stolen access token may not guess the password either, nor keep its owner, who has
    another session, from changing it.
    """
    return Attempt(f"password in {session_id}")
