"""The endpoints for the caller's authenticator app."""

from services.auth.own_account.authenticator_app import AuthenticatorApp
from services.auth.schemas import ConfirmFactor, CurrentPassword, FactorOut, RecoveryCodesOut
from services.auth.sessions.own_password import Person
from shared.caller import Caller
from shared.events import Trail


async def enrol_totp(body: CurrentPassword, caller: Caller, app: AuthenticatorApp, trail: Trail) -> FactorOut:
    """Start enrolling an authenticator app. It takes effect once a code has confirmed it."""
    shown = await app.enrol(Person.of(caller), body.current_password, trail)
    return FactorOut(secret=shown.secret, uri=shown.uri, qr_svg=shown.qr_svg)


async def confirm_totp(
    body: ConfirmFactor, caller: Caller, app: AuthenticatorApp, trail: Trail
) -> RecoveryCodesOut:
    """Confirm the authenticator app with a code; sign-in then requires one. Returns recovery codes."""
    return RecoveryCodesOut(recovery_codes=await app.confirm(Person.of(caller), body.code, trail))


async def remove_totp(body: CurrentPassword, caller: Caller, app: AuthenticatorApp, trail: Trail) -> None:
    """Remove the authenticator app. Without another factor, signing in then needs only the password."""
    await app.remove(Person.of(caller), body.current_password, trail)
