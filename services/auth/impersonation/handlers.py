"""Impersonation by admins: short, with a reason, and visible to the owner and in the audit log."""

from sqlmodel import Session

from services.auth.accounts.accounts import locked_account
from services.auth.errors import CannotImpersonate, ImpersonationOff
from services.auth.impersonation.schemas import Impersonate, ImpersonationOut
from services.auth.mails.mails import Mails, Template
from services.auth.models import Role, Status
from services.auth.sessions.sessions import Sessions
from services.auth.sessions.tokens import AccessTokens
from services.auth.settings import Settings
from shared.caller import Caller
from shared.errors import Forbidden, InvalidToken, NotFound, NotInteractive
from shared.events import Trail
from shared.http.schemas import Id


def impersonate(
    account_id: Id,
    body: Impersonate,
    caller: Caller,
    settings: Settings,
    sessions: Sessions,
    tokens: AccessTokens,
    mails: Mails,
    session: Session,
    trail: Trail,
) -> ImpersonationOut:
    """Get a short-lived token to act as this account. Admins cannot be impersonated."""
    if caller.is_limited:  # programs cannot impersonate, whatever their scopes
        raise NotInteractive
    seconds = settings.impersonation_seconds
    if not seconds:
        raise ImpersonationOff
    if caller.session_id is None:  # the impersonation ends with this session, so there must be one
        raise InvalidToken
    admin = sessions.locked_account_in(session, caller.id, caller.session_id)
    if not admin.is_active_admin:
        raise Forbidden
    account = locked_account(session, account_id)
    if account is None or account.status == Status.DELETED:
        raise NotFound
    if account.role != Role.USER or not account.may_sign_in:
        raise CannotImpersonate
    opened = sessions.open_for_admin(session, account, admin.id, caller.session_id, seconds)
    trail.resource = account.id
    trail.add(session_id=opened.id, seconds=seconds, **body.recorded)
    if settings.impersonation_mails:
        mails.send(
            session,
            Template.IMPERSONATED,
            account.email,
            account_id=account.id,
            admin=admin.username or admin.email or admin.id,
            minutes=f"{max(1, seconds // 60)}",
        )
    return ImpersonationOut(
        token=tokens.issue_for_admin(account, opened.id, admin.id, seconds),
        expires_in=seconds,
        session_id=opened.id,
    )


def end_impersonations(account_id: Id, sessions: Sessions, session: Session) -> None:
    """End all impersonations of this account; their tokens are refused within a second."""
    account = locked_account(session, account_id)
    if account is None or account.status == Status.DELETED:
        raise NotFound
    sessions.end_of_admins(session, account.id)
