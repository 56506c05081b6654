"""Step-up: confirming one's identity for operations that require a recent sign-in."""

from sqlmodel import Session

from services.auth.models import Account
from services.auth.own_account.identity_check import IdentityCheck
from services.auth.own_account.schemas import ConfirmIdentity
from services.auth.schemas import StepUpOut
from services.auth.sessions.own_password import Person
from services.auth.sessions.sessions import Sessions
from services.auth.sessions.tokens import AccessTokens
from shared.caller import Caller
from shared.errors import InvalidToken
from shared.events import Trail


async def confirm_identity(
    body: ConfirmIdentity,
    caller: Caller,
    identity: IdentityCheck,
    sessions: Sessions,
    tokens: AccessTokens,
    trail: Trail,
) -> StepUpOut:
    """Confirm your identity, and get an access token of this session that counts as a recent sign-in.

    Send your password, with a code if a second factor is required, or a passkey.
    """
    session_id, person = caller.session_id, Person.of(caller)
    if session_id is None:
        raise InvalidToken

    def renew(session: Session, account: Account, amr: str) -> str:
        return tokens.issue(account, session_id, sessions.confirm(session, session_id, amr), amr)

    if body.credential is not None:
        token = await identity.by_passkey(person, body.credential, trail, renew)
    else:
        password = body.current_password or ""
        token = await identity.by_password(person, password, body.code, trail, renew)
    return StepUpOut(token=token, expires_in=tokens.lifetime_seconds)
