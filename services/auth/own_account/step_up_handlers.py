"""Step-up: confirming one's identity for operations that require a recent sign-in."""

from sqlmodel import Session

from services.auth.accounts.accounts import locked_account
from services.auth.credentials.password_attempts import attempt_of
from services.auth.credentials.passwords import Passwords
from services.auth.errors import InvalidCode, WrongPassword
from services.auth.factors.factors import Factors
from services.auth.schemas import ConfirmIdentity, StepUpOut
from services.auth.sessions.sessions import Sessions
from services.auth.sessions.sign_in import factor_attempt
from services.auth.sessions.tokens import AccessTokens
from shared.caller import Caller
from shared.data.database import Database
from shared.errors import InvalidToken
from shared.events import Trail


async def confirm_identity(
    body: ConfirmIdentity,
    caller: Caller,
    database: Database,
    passwords: Passwords,
    sessions: Sessions,
    factors: Factors,
    tokens: AccessTokens,
    trail: Trail,
) -> StepUpOut:
    """Confirm your identity, and get an access token of this session that counts as a recent sign-in.

    Send your password, and a code of your authenticator app if you have one.
    """
    session_id = caller.session_id
    if session_id is None:
        raise InvalidToken
    before = await database.run(_begin, caller, sessions)
    if not await passwords.matches(body.current_password, before):
        raise WrongPassword

    def confirm(session: Session) -> str | None:
        account = locked_account(session, caller.id)
        if account is None or account.password_hash != before or not account.may_sign_in:
            raise WrongPassword  # the password was changed while this request was being checked
        amr = "pwd"
        if factors.are_needed(session, account.id):
            factor_attempt(account.id).count(session)
            method = factors.passes(session, account.id, body.code or "")
            if method is None:
                return None  # not raised, so that the counted attempt is committed
            factor_attempt(account.id).succeeded(session)
            amr = f"pwd {method}"
        attempt_of(caller).succeeded(session)
        since = sessions.confirm(session, session_id, amr)
        trail.resource = session_id
        trail.add(amr=amr)
        trail.write(session)
        return tokens.issue(account, session_id, since, amr)

    token = await database.run(confirm)
    if token is None:
        raise InvalidCode
    return StepUpOut(token=token, expires_in=tokens.lifetime_seconds)


def _begin(session: Session, caller: Caller, sessions: Sessions) -> str | None:
    account = sessions.account_of(session, caller)
    attempt_of(caller).count(session)
    return account.password_hash
