"""The endpoints for the caller's passkeys, and for signing in with one."""

from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from services.auth.accounts.accounts import locked_account
from services.auth.credentials.devices import Devices, remember
from services.auth.errors import UnknownPasskey
from services.auth.mails.mails import Mails
from services.auth.mails.texts import Template
from services.auth.models import PASSKEYS, Account
from services.auth.passkeys.passkeys import METHOD, PER_NETWORK, Passkeys
from services.auth.passkeys.schemas import AddPasskey, PasskeyOut, ShowPasskey
from services.auth.schemas import SignedInOut
from services.auth.sessions.answers import signed_in_out
from services.auth.sessions.sessions import Sessions
from services.auth.sessions.sign_in import household_of
from services.auth.sessions.tokens import AccessTokens
from shared.caller import Caller
from shared.errors import NotFound
from shared.events import Trail
from shared.http.schemas import Id, Page
from shared.lists.pagination import PageQuery, paginate_equal
from shared.process.proxies import Proxies

JSON = "application/json"
NOT_STORED = {"Cache-Control": "no-store"}


def begin_passkey(caller: Caller, session: Session, sessions: Sessions, passkeys: Passkeys) -> Response:
    """Get the options to create a passkey (for `navigator.credentials.create`)."""
    options = passkeys.options_to_add(session, _person(caller, session, sessions))
    return Response(options, headers=NOT_STORED, media_type=JSON)


def add_passkey(
    body: AddPasskey,
    caller: Caller,
    session: Session,
    sessions: Sessions,
    passkeys: Passkeys,
    mails: Mails,
) -> PasskeyOut:
    """Add the passkey created with those options. You are notified by mail."""
    account = _person(caller, session, sessions)
    made = passkeys.add(session, account, body.name, body.credential)
    _tell(session, account, mails, Template.FACTOR_ADDED)
    return PasskeyOut.unchecked(made.model_dump())


def list_passkeys(query: PageQuery, caller: Caller, session: Session, sessions: Sessions) -> Page[PasskeyOut]:
    """List your passkeys, newest first."""
    owner = _person(caller, session, sessions)
    return paginate_equal(session, PASSKEYS, {"account_id": owner.id}, query, PasskeyOut.unchecked)


def remove_passkey(
    passkey_id: Id, caller: Caller, session: Session, sessions: Sessions, passkeys: Passkeys, mails: Mails
) -> None:
    """Remove one of your passkeys. You are notified by mail."""
    account = _person(caller, session, sessions)
    if passkeys.remove(session, account.id, passkey_id) is None:
        raise NotFound
    _tell(session, account, mails, Template.FACTOR_REMOVED)


def begin_passkey_sign_in(
    request: Request, session: Session, passkeys: Passkeys, proxies: Proxies
) -> Response:
    """Get the options to sign in with a passkey (for `navigator.credentials.get`)."""
    PER_NETWORK.take(session, f"passkey challenges for {household_of(request, proxies)}")
    return Response(passkeys.options_to_sign_in(session), headers=NOT_STORED, media_type=JSON)


def sign_in_with_passkey(
    body: ShowPasskey,
    request: Request,
    session: Session,
    passkeys: Passkeys,
    sessions: Sessions,
    devices: Devices,
    tokens: AccessTokens,
    trail: Trail,
) -> SignedInOut:
    """Sign in with a passkey that signed those options. It counts as two factors."""
    account_id, passkey_id = passkeys.account_of(session, body.credential)
    account = locked_account(session, account_id)
    if account is None or not account.may_sign_in:
        raise UnknownPasskey
    trail.user_id, trail.resource = account.id, passkey_id
    trail.add(amr=METHOD)
    signed_in = sessions.open(session, account, amr=METHOD)
    device_id = remember(session, account.id, devices.device_of(request))
    return signed_in_out(signed_in, tokens).with_header("set-cookie", devices.cookie(device_id))


def _person(caller: Caller, session: Session, sessions: Sessions) -> Account:
    return sessions.account_of(session, caller)


def _tell(session: Session, account: Account, mails: Mails, template: Template) -> None:
    mails.send(session, template, account.email, account_id=account.id, factor="a passkey")
