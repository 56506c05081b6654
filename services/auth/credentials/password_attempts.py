"""Attempts of a signed-in person to enter their current password."""

from services.auth.credentials.throttle import Attempt
from shared.caller import Caller


def attempt_of(caller: Caller) -> Attempt:
    """Return the attempt at the caller's password."""
    return attempt_in(caller.session_id)


def attempt_in(session_id: str | None) -> Attempt:
    """Return an attempt that is counted for this session alone.

    So a thief with a stolen access token can neither guess the password without limit nor keep the owner,
    who has another session, from changing it.
    """
    return Attempt(f"password in {session_id}")
