"""The life of an account as JSON: a forgotten password, and addresses that are confirmed."""

from sqlmodel import Session
from starlette.requests import Request

from services.auth.lifecycle.addresses import Addresses
from services.auth.lifecycle.requests import MailRequests
from services.auth.lifecycle.resets import PasswordResets
from services.auth.lifecycle.schemas import AcceptedOut, ConfirmEmail, ForgotPassword, ResetPassword
from services.auth.sessions.sign_in import household_of
from shared.caller import Caller
from shared.events import Trail
from shared.process.proxies import Proxies


def forgot_password(
    body: ForgotPassword, request: Request, session: Session, asked: MailRequests, proxies: Proxies
) -> AcceptedOut:
    """Have a link sent that sets a new password.

    The response is the same, after the same work, whether there is such an account or not.
    """
    asked.ask(session, household_of(request, proxies), body.email)
    return AcceptedOut()


async def reset_password(body: ResetPassword, resets: PasswordResets, trail: Trail) -> None:
    """Set a new password with the token of a link; ends all sessions and forgets all devices."""
    await resets.reset(body.token, body.new_password, trail)


def confirm_email(body: ConfirmEmail, session: Session, addresses: Addresses, trail: Trail) -> None:
    """Confirm an e-mail address with the token of a link."""
    addresses.confirm(session, body.token, trail)


def verify_my_email(caller: Caller, session: Session, addresses: Addresses) -> AcceptedOut:
    """Have the link sent again that confirms your e-mail address."""
    addresses.send_again(session, caller)
    return AcceptedOut()
