"""The endpoints for the caller's passkeys, and for signing in with one."""

from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import Response

from services.auth.credentials.devices import Devices, remember
from services.auth.errors import UnknownPasskey
from services.auth.models import PASSKEYS, Account
from services.auth.passkeys.own_passkeys import OwnPasskeys
from services.auth.passkeys.passkeys import PER_NETWORK, Passkeys
from services.auth.passkeys.schemas import AddPasskey, NewPasskeyOut, PasskeyOut, ShowFactor, ShowPasskey
from services.auth.schemas import SignedInOut
from services.auth.sessions.answers import signed_in_out
from services.auth.sessions.own_password import Person
from services.auth.sessions.sessions import Sessions, SignedIn
from services.auth.sessions.sign_in import PASSKEY, SecondStep, begin_second_step
from services.auth.sessions.tokens import AccessTokens
from services.auth.sessions.user_agents import device_named
from shared.caller import Caller
from shared.data.database import Database
from shared.events import Trail
from shared.http.schemas import Id, Page
from shared.lists.pagination import PageQuery, paginate_equal
from shared.process.proxies import Proxies

JSON = "application/json"
NOT_STORED = {"Cache-Control": "no-store"}


def begin_passkey(caller: Caller, session: Session, own: OwnPasskeys) -> Response:
    """Get the options to create a passkey (for `navigator.credentials.create`)."""
    return Response(own.options(session, Person.of(caller)), headers=NOT_STORED, media_type=JSON)


async def add_passkey(body: AddPasskey, caller: Caller, own: OwnPasskeys, trail: Trail) -> NewPasskeyOut:
    """Add the passkey created with those options. You are notified by mail.

    Signing in with the password then requires a second factor. The first factor comes with recovery codes.
    """
    made, codes = await own.add(Person.of(caller), body.name, body.credential, trail)
    return NewPasskeyOut.unchecked(made.model_dump(), recovery_codes=codes)


def list_passkeys(query: PageQuery, caller: Caller, session: Session, sessions: Sessions) -> Page[PasskeyOut]:
    """List your passkeys, newest first."""
    owner = sessions.account_of(session, caller)
    return paginate_equal(session, PASSKEYS, {"account_id": owner.id}, query, PasskeyOut.unchecked)


def remove_passkey(passkey_id: Id, caller: Caller, session: Session, own: OwnPasskeys) -> None:
    """Remove one of your passkeys. You are notified by mail."""
    own.remove(session, Person.of(caller), passkey_id)


def begin_passkey_sign_in(
    request: Request, session: Session, passkeys: Passkeys, proxies: Proxies
) -> Response:
    """Get the options to sign in with a passkey (for `navigator.credentials.get`)."""
    PER_NETWORK.take(session, f"passkey challenges for {proxies.network_of(request)}")
    return Response(passkeys.options_to_sign_in(session), headers=NOT_STORED, media_type=JSON)


async def sign_in_with_passkey(
    body: ShowPasskey,
    request: Request,
    own: OwnPasskeys,
    sessions: Sessions,
    devices: Devices,
    tokens: AccessTokens,
    trail: Trail,
) -> SignedInOut:
    """Sign in with a passkey that signed those options. It counts as two factors."""

    def work(session: Session, account: Account) -> tuple[SignedIn, str]:
        device_id = remember(session, account.id, devices.device_of(request))
        device = device_named(request.headers.get("user-agent"))
        return sessions.open(session, account, amr=PASSKEY, device=device), device_id

    signed_in, device_id = await own.show(body.credential, trail, work)
    return signed_in_out(signed_in, tokens).with_header("set-cookie", devices.cookie(device_id))


async def verify_mfa_with_passkey(
    body: ShowFactor,
    request: Request,
    database: Database,
    own: OwnPasskeys,
    second: SecondStep,
    sessions: Sessions,
    devices: Devices,
    tokens: AccessTokens,
    trail: Trail,
) -> SignedInOut:
    """Finish signing in with a passkey that has signed options from `/auth/passkeys/options`.

    A token allows five attempts.
    """
    challenge = await database.run(begin_second_step, body.mfa_token)
    trail.user_id = trail.resource = challenge.account_id

    def work(session: Session, account: Account) -> tuple[SignedIn, str]:
        proved = second.after_passkey(session, challenge, account)
        if proved is None:
            raise UnknownPasskey
        trail.add(amr=proved.amr, **proved.details)
        device = device_named(request.headers.get("user-agent"))
        return sessions.open(session, proved.account, amr=proved.amr, device=device), proved.device_id

    signed_in, device_id = await own.show(body.credential, trail, work)
    return signed_in_out(signed_in, tokens).with_header("set-cookie", devices.cookie(device_id))
