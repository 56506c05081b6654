"""The endpoints that begin a prompt of Duo, and that remove Duo from an account."""

from collections.abc import Awaitable

from sqlmodel import Session
from starlette.requests import Request

from services.auth.duo.duo import Duo, Sent
from services.auth.duo.schemas import BeginDuo, SentToDuoOut
from services.auth.providers.refusals import Refused
from services.auth.schemas import CurrentPassword
from services.auth.sessions.own_password import Person
from shared.caller import Caller
from shared.events import Trail


async def begin_duo_sign_in(body: BeginDuo, request: Request, duo: Duo, trail: Trail) -> SentToDuoOut:
    """Finish signing in with Duo: get the URL of its prompt.

    An mfa_token allows five attempts, with any method.
    """
    return await _sent(duo.begin_sign_in(body.mfa_token, "", request, trail), trail)


async def add_duo(caller: Caller, request: Request, duo: Duo, trail: Trail) -> SentToDuoOut:
    """Start using Duo as a second factor: get the URL of the prompt that confirms it."""
    return await _sent(duo.begin_enrolling(Person.of(caller), request), trail)


def remove_duo(caller: Caller, session: Session, duo: Duo, trail: Trail) -> None:
    """Remove Duo. Without another factor, signing in then needs only the password. Sends a mail."""
    duo.remove(session, Person.of(caller), trail)


async def begin_duo_step_up(
    body: CurrentPassword, caller: Caller, request: Request, duo: Duo, trail: Trail
) -> SentToDuoOut:
    """Confirm your identity with your password and Duo: get the URL of its prompt."""
    person = Person.of(caller)
    return await _sent(duo.begin_step_up(person, body.current_password, "", request), trail)


async def _sent(beginning: Awaitable[Sent], trail: Trail) -> SentToDuoOut:
    try:
        sent = await beginning
    except Refused as error:
        trail.add(reason=error.reason)
        raise error.problem from error
    return SentToDuoOut(url=sent.url).with_header("set-cookie", sent.cookie)
