"""Uploading a file as a form."""

from sqlmodel import Session
from starlette.requests import Request

from services.files.forms import FilePart, Form, too_large
from services.files.intake import Described, Intake, add_file
from services.files.models import Visibility
from services.files.names import good_name, last_part
from services.files.schemas import METADATA, VISIBILITY, FileOut, dumped
from services.files.settings import Settings
from services.files.staging import Landed
from shared.database import Database
from shared.identity import Caller
from shared.inputs import valid_field

FIELDS = frozenset({"visibility", "metadata"})


async def upload_file(
    request: Request, caller: Caller, intake: Intake, settings: Settings, database: Database
) -> FileOut:
    """Upload a file: a form with the field `file`, and `visibility` and `metadata` if you like."""
    limit = settings.max_file_size
    form = Form(request, FIELDS, limit)
    pieces = aiter(form)
    part = await anext(pieces)
    assert isinstance(
        part, FilePart
    )  # a form with nothing in it is refused, and the file's beginning comes first
    name = good_name(last_part(part.name))
    room = limit if part.bytes_at_most is None else min(part.bytes_at_most, limit)
    async with intake.room(caller.id, room) as (key, inflow):
        async for piece in pieces:
            assert isinstance(piece, bytes)
            if inflow.size + len(piece) > limit:
                raise too_large(limit)
            await inflow.add(piece)
        described = describe(name, part.declared_type, form.fields)
        landed = await inflow.finish()
        await intake.keep(key, landed.sha256)
        return await database.run(_write_down, caller, key, described, landed)


def describe(name: str, declared_type: str | None, fields: dict[str, str]) -> Described:
    """What the fields of a form, which are text, say about a file."""
    visibility = valid_field("visibility", VISIBILITY.validate_python, fields.get("visibility", "private"))
    metadata = valid_field("metadata", METADATA.validate_json, fields.get("metadata", "{}"))
    return Described(name, declared_type, Visibility(visibility), dumped(metadata))


def _write_down(session: Session, caller: Caller, key: str, described: Described, landed: Landed) -> FileOut:
    return FileOut.of(add_file(session, caller.id, key, described, landed).model_dump())
