"""The endpoints for the caller's own account."""

from sqlmodel import Session
from starlette.requests import Request

from contracts.ports import FIRST_PORT
from services.auth.credentials.devices import Devices
from services.auth.models import Account
from services.auth.own_account.deletion import OwnDeletion
from services.auth.own_account.password_change import PasswordChange
from services.auth.schemas import AccountOut, ChangePassword, CurrentPassword, ImpersonatorOut, MeOut
from services.auth.sessions.own_password import Person
from services.auth.sessions.sessions import Sessions
from services.auth.settings import Settings
from shared.caller import Caller
from shared.events import Trail


def show_me(caller: Caller, sessions: Sessions, settings: Settings, session: Session) -> MeOut:
    """Show your account, the admin who impersonates you, if any, and the ports that your boxes may lease.

    A lease that names no port gets the lowest free one from `port_start`. The account can hold one lease for
    each port up to `port_end`.
    """
    account = AccountOut.model_validate(sessions.account_of(session, caller))
    admin = session.get(Account, caller.impersonator_id) if caller.impersonator_id else None
    by = None if admin is None else ImpersonatorOut.model_validate(admin)
    last = FIRST_PORT + settings.ports_per_user - 1
    return MeOut(**account.model_dump(), impersonated_by=by, port_start=FIRST_PORT, port_end=last)


async def change_password(
    body: ChangePassword,
    request: Request,
    caller: Caller,
    change: PasswordChange,
    devices: Devices,
    trail: Trail,
) -> None:
    """Change your password. Ends all your other sessions and forgets your other devices."""
    this_device = devices.device_of(request)
    await change.change(Person.of(caller), body.current_password, body.new_password, this_device, trail)


async def delete_own_account(
    body: CurrentPassword, caller: Caller, deletion: OwnDeletion, trail: Trail
) -> None:
    """Delete your account permanently. The other services then delete what they store about you."""
    await deletion.delete(Person.of(caller), body.current_password, trail)
