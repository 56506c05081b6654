"""Attempts of a signed-in person to enter their current password."""

from services.auth.credentials.throttle import Attempt


def attempt_in(session_id: str | None) -> Attempt:
    """Return an attempt that is counted for this session alone.

    So a thief with a stolen access token can neither guess the password without limit nor keep the owner,
    who has another session, from changing it.
    """
    return Attempt(f"password in {session_id}")
