"""Handlers of registration and sign-in in the older form; they do what those of the native form do."""

from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.auth.classic.schemas import (
    OldAccount,
    OldChangePassword,
    OldLogin,
    OldLogout,
    OldRegister,
    OldRegisteredOut,
    OldSignedInOut,
)
from services.auth.credentials.devices import Devices
from services.auth.lifecycle.registration import Registration
from services.auth.models import Account
from services.auth.own_account.password_change import PasswordChange
from services.auth.schemas import AccountOut, Login, MfaNeededOut
from services.auth.sessions.login import PasswordLogin
from services.auth.sessions.logout import sign_out
from services.auth.sessions.own_password import Person
from services.auth.sessions.sessions import Sessions
from shared.caller import Caller
from shared.data.database import Database
from shared.events import Trail
from shared.http.schemas import Done
from shared.identity.tokens import TokenVerifier


async def register_classic(
    body: OldRegister, request: Request, registration: Registration, devices: Devices, trail: Trail
) -> OldRegisteredOut | Response:
    """Create an account, without signing in. A link to confirm the e-mail address is sent.

    If REGISTRATION is `verified`, the response is always 202, and the link creates the account.
    """
    registered = await registration.register(body, request, trail, _account)
    if registered is None:
        return JSONResponse({"status": "accepted"}, 202)
    account, device_id = registered
    answer = OldRegisteredOut(user=OldAccount.of(AccountOut.model_validate(account)))
    return answer.with_header("set-cookie", devices.cookie(device_id))


def _account(_: Session, account: Account) -> Account:
    return account


async def log_in_classic(
    body: OldLogin, request: Request, by_password: PasswordLogin, trail: Trail
) -> OldSignedInOut | MfaNeededOut:
    """Sign in with the e-mail address. An account with a second factor continues at /auth/mfa/verify."""
    done = await by_password.sign_in(Login(**body.model_dump()), request, trail)
    return done if isinstance(done, MfaNeededOut) else OldSignedInOut.of(done)


async def log_out_classic(
    body: OldLogout | None,
    request: Request,
    database: Database,
    sessions: Sessions,
    verifier: TokenVerifier,
    trail: Trail,
) -> Done:
    """Sign out: end the session of the refresh token, or else of the bearer token."""
    token = None if body is None else body.refresh_token
    await sign_out(token, request, database, sessions, verifier, trail)
    return Done()


async def change_classic_password(
    body: OldChangePassword,
    request: Request,
    caller: Caller,
    change: PasswordChange,
    devices: Devices,
    trail: Trail,
) -> Done:
    """Change your password. Ends all your other sessions and forgets your other devices."""
    this_device = devices.device_of(request)
    await change.change(Person.of(caller), body.old_password, body.new_password, this_device, trail)
    return Done()
