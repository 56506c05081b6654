"""The JSON endpoints for invitations, e-mail addresses and forgotten passwords."""

from sqlmodel import Session
from starlette.requests import Request

from services.auth.lifecycle.addresses import Addresses
from services.auth.lifecycle.invitations import Invitations
from services.auth.lifecycle.requests import MailRequests
from services.auth.lifecycle.resets import PasswordResets
from services.auth.lifecycle.schemas import (
    AcceptedOut,
    AcceptInvitation,
    ChangeEmail,
    ConfirmEmail,
    ForgotPassword,
    InvitationOut,
    Invite,
    ResetPassword,
)
from services.auth.schemas import AccountOut
from services.auth.sessions.own_password import Person
from shared.caller import Caller
from shared.data.database import Database
from shared.events import Trail
from shared.http.schemas import Id, Page
from shared.lists.pagination import PageQuery
from shared.process.proxies import Proxies


def forgot_password(
    body: ForgotPassword, request: Request, session: Session, asked: MailRequests, proxies: Proxies
) -> AcceptedOut:
    """Send a link that sets a new password.

    The response and the time it takes are the same whether or not such an account exists.
    """
    asked.ask(session, proxies.network_of(request), body.email)
    return AcceptedOut()


async def reset_password(body: ResetPassword, resets: PasswordResets, trail: Trail) -> None:
    """Set a new password with the token from a link. Ends all sessions and forgets all devices."""
    await resets.reset(body.token, body.new_password, trail)


async def confirm_email(
    body: ConfirmEmail, caller: Caller | None, database: Database, addresses: Addresses, trail: Trail
) -> None:
    """Confirm an e-mail address with the token from a link.

    Unless the link creates the account, you must be signed in to it.
    """
    signed_in = None if caller is None else Person.of(caller)
    await database.run(addresses.confirm, body.token, signed_in, trail)


def verify_my_email(caller: Caller, session: Session, addresses: Addresses) -> AcceptedOut:
    """Send the link that confirms your e-mail address again."""
    addresses.send_again(session, caller)
    return AcceptedOut()


async def change_my_email(
    body: ChangeEmail, caller: Caller, addresses: Addresses, trail: Trail
) -> AcceptedOut:
    """Send a link to a new e-mail address; using the link makes it your address.

    The response is the same if another account has the address.
    """
    await addresses.ask_to_change(Person.of(caller), body.email, body.current_password, trail)
    return AcceptedOut()


def invite(body: Invite, caller: Caller, session: Session, invitations: Invitations) -> InvitationOut:
    """Invite a person by e-mail. An earlier link to the address becomes invalid."""
    return invitations.send(session, body, caller)


def list_invitations(query: PageQuery, session: Session, invitations: Invitations) -> Page[InvitationOut]:
    """List invitations not accepted yet."""
    return invitations.list(session, query)


def withdraw_invitation(invitation_id: Id, session: Session, invitations: Invitations) -> None:
    """Withdraw an invitation. Its link becomes invalid."""
    invitations.withdraw(session, invitation_id)


async def accept_invitation(body: AcceptInvitation, invitations: Invitations, trail: Trail) -> AccountOut:
    """Create your account with the token from an invitation. Then sign in."""
    return AccountOut.model_validate(await invitations.accept(body, trail))
