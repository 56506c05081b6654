import asyncio
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field
from sqlalchemy import delete, func, select
from sqlmodel import Session
from starlette.responses import Response

from shared.caller import Caller
from shared.data.tables import table_of
from shared.errors import Conflict, NotFound
from shared.http.preconditions import IfMatch
from shared.http.schemas import Id, Input, Output, Page, Text, Versioned
from shared.lists.pagination import PageQuery, paginate
from tests.shared.notes.models import Note

NOTES = table_of(Note)
SECRET = "the-launch-code-is-0000"


class Gate:
    """Holds requests until a file appears, so that a test decides when a slow response is ready."""

    def __init__(self, file: Path) -> None:
        self.file = file

    async def open(self) -> None:
        self.file.with_suffix(".reached").touch()
        while not self.file.exists():  # noqa: ASYNC110 - the other side is another process
            await asyncio.sleep(0.01)


class ListNotes(PageQuery):
    owner: list[Id] = Field(default=[])


class NoteIn(Input):
    text: Annotated[Text, Field(max_length=200)]


class Mark(Input):
    colour: str


class Numbers(Input):
    whole: int = 0
    real: float = 0.0
    when: datetime | None = None
    nested: Any = None


class NoteOut(Versioned):
    id: str
    owner: str
    text: str
    created: datetime


class Count(Output):
    count: int


class Greeting(BaseModel):
    hello: str


def list_notes(query: ListNotes, session: Session) -> Page[NoteOut]:
    """List notes."""
    statement = select(NOTES)
    if query.owner:
        statement = statement.where(NOTES.c.owner.in_(query.owner))
    return paginate(session, statement, NOTES.c.id, query, NoteOut.unchecked)


def add_note(body: NoteIn, caller: Caller, session: Session) -> NoteOut:
    """Add a note."""
    note = Note(owner=caller.id, text=body.text)
    session.add(note)
    if body.text == "refuse after writing":
        session.flush()
        raise Conflict("No.", allowed=["yes"])
    return NoteOut.model_validate(note)


def copy_note(note_id: Id, caller: Caller, session: Session) -> NoteOut:
    """Add a copy of a note."""
    note = Note(owner=caller.id, text=f"copy of {show_note(note_id, session).id}")
    session.add(note)
    return NoteOut.model_validate(note)


def show_note(note_id: Id, session: Session) -> NoteOut:
    """Show a note."""
    return NoteOut.model_validate(_note(session, note_id))


def show_newest(session: Session) -> NoteOut:
    """Show the newest note."""
    newest = session.connection().execute(select(NOTES).order_by(NOTES.c.id.desc()).limit(1)).first()
    if newest is None:
        raise NotFound
    return NoteOut.model_validate(newest)


def change_note(note_id: Id, body: NoteIn, if_match: IfMatch, session: Session) -> NoteOut:
    """Change a note."""
    note = _note(session, note_id)
    if_match.check(note.version)
    note.text = body.text
    note.version += 1
    return NoteOut.model_validate(note)


def mark_note(note_id: Id, body: Mark | None, session: Session) -> Greeting:
    """Mark a note, in red by default."""
    _note(session, note_id)
    return Greeting(hello="red" if body is None else body.colour)


def delete_note(note_id: Id, session: Session) -> None:
    """Delete a note."""
    session.delete(_note(session, note_id))


def delete_notes(session: Session) -> None:
    """Delete all notes."""
    session.connection().execute(delete(NOTES))


def count_notes(session: Session) -> Count:
    """Count all notes."""
    return Count(count=session.connection().execute(select(func.count()).select_from(NOTES)).scalar_one())


def count_notes_for_admins(session: Session) -> Count:
    """Count all notes, for admins."""
    return count_notes(session)


def add_numbers(body: Numbers) -> Numbers:
    """Return the numbers."""
    return body


def greet(caller: Caller | None) -> Greeting:
    """Greet the caller."""
    return Greeting(hello="stranger" if caller is None else caller.id)


def show_picture() -> Response:
    """Show a picture."""
    return Response(b"\x89PNG", media_type="image/png", headers={"X-Size": "4"})


async def wait_at_the_gate(gate: Gate) -> Greeting:
    """Wait until the gate is opened."""
    await gate.open()
    return Greeting(hello="you waited")


def have_an_accident(kind: str, session: Session) -> Any:
    """Write a row, then fail in the given way."""
    session.add(Note(owner=SECRET, text=SECRET))
    session.flush()
    if kind == "serialisation":
        return {"answer": object()}
    if kind == "database":
        session.add(Note(owner=SECRET, text=SECRET))
        session.flush()
    raise RuntimeError(f"unexpected; {kind}")


def _note(session: Session, note_id: str) -> Note:
    note = session.get(Note, note_id)
    if note is None:
        raise NotFound
    return note
