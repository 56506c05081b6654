"""Handlers for changes to WorkSpaces at AWS; admins only."""

from sqlmodel import Session

from services.inventory import changing
from services.inventory.changing import AskChange, AwsChangeOut, ChangeFilters, DecideChange
from services.inventory.settings import Settings
from shared.caller import Caller
from shared.events import Trail
from shared.http.preconditions import IfMatch
from shared.http.schemas import Id, Page
from shared.identity.tokens import in_person
from shared.work.jobs import Jobs


def list_aws_changes(query: ChangeFilters, session: Session) -> Page[AwsChangeOut]:
    """List changes at AWS and dry runs of them, newest first."""
    return changing.find(session, query)


def ask_aws_change(
    body: AskChange, caller: Caller, settings: Settings, session: Session, trail: Trail
) -> AwsChangeOut:
    """Say what a change would do (`dry_run`, the default), or ask for it; another admin has to approve it."""
    in_person(caller)  # otherwise an admin who impersonates another one would count as two
    trail.add(workspace_id=body.workspace_id, dry_run=body.dry_run)
    return changing.ask(session, body, caller, settings)


def decide_aws_change(
    change_id: Id,
    body: DecideChange,
    if_match: IfMatch,
    caller: Caller,
    jobs: Jobs,
    settings: Settings,
    session: Session,
    trail: Trail,
) -> AwsChangeOut:
    """Approve a change, which is then made at AWS, or refuse it."""
    in_person(caller)
    trail.add(state=body.state)
    return changing.decide(session, change_id, body, if_match, caller, jobs, settings)
