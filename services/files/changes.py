"""Changes of a file by its owner, inside the caller's transaction."""

from sqlmodel import Session

from services.files.access import locked
from services.files.events import tell_changed, tell_deleted
from services.files.models import File
from services.files.names import folded
from services.files.schemas import ChangeFile, dumped
from shared.caller import Caller
from shared.clock import now
from shared.http.preconditions import IfMatch
from shared.identity.tokens import in_person


def change(session: Session, file_id: str, body: ChangeFile, caller: Caller, if_match: IfMatch) -> File:
    file = locked(session, caller, file_id)
    if_match.check(file.version)
    if body.name is not None:
        file.name, file.folded_name = body.name, folded(body.name)
    if body.visibility is not None and body.visibility != file.visibility:
        in_person(caller)  # what an impersonating admin makes public would stay public
        file.visibility = body.visibility
    if body.metadata is not None:
        file.details = dumped(body.metadata)
    file.touch()
    tell_changed(session, file)
    return file


def move_to_trash(session: Session, file_id: str, caller: Caller, if_match: IfMatch) -> None:
    file = locked(session, caller, file_id)
    if_match.check(file.version)
    file.trashed = now()
    file.touch()
    tell_deleted(session, file, permanent=False)
