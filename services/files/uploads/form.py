"""Receives a file that is sent as a form."""

from functools import partial
from typing import Any

from sqlmodel import Session
from starlette.requests import Request

from services.files.errors import FileTooLarge
from services.files.models import FileState
from services.files.names import good_name, last_part
from services.files.settings import Settings
from services.files.storage.staging import Landed
from services.files.uploads.description import Described, describe, permitted
from services.files.uploads.intake import Intake, add_file
from shared.caller import Caller
from shared.data.database import Database
from shared.errors import FieldFault
from shared.events import Trail
from shared.http.forms import Expected, FilePart, Form

FILE_FIELD, FIELDS = "file", frozenset({"visibility", "metadata"})


async def receive(
    request: Request, caller: Caller, intake: Intake, settings: Settings, database: Database, trail: Trail
) -> dict[str, Any]:
    """Store the file of the form; return its row."""
    limit = settings.max_file_size
    form = Form(request, Expected(FILE_FIELD, FIELDS, limit, partial(too_large, limit)))
    pieces = aiter(form)
    part = await anext(pieces)
    assert isinstance(part, FilePart)  # an empty form is refused, and a FilePart always comes first
    name = good_name(last_part(part.name))
    room = limit if part.bytes_at_most is None else min(part.bytes_at_most, limit)
    async with intake.room(caller.id, room) as place:
        async for piece in pieces:
            assert isinstance(piece, bytes)
            if place.inflow.size + len(piece) > limit:
                raise too_large(limit)
            await place.inflow.add(piece)
        described = permitted(describe(name, part.declared_type, form.fields), caller)
        landed = await place.finish(intake.blobs)
        await intake.keep(place.key, landed.sha256)
        return await database.run(
            _write_down, caller, place.key, described, landed, intake.first_state, trail
        )


def too_large(limit: int) -> FileTooLarge:
    fault = FieldFault(field=FILE_FIELD, code="too_large", message=f"at most {limit} bytes")
    return FileTooLarge(
        f"Form uploads are limited to {limit} bytes; send larger files to /files/uploads in chunks.",
        limit_bytes=limit,
        errors=[fault],
    )


def _write_down(
    session: Session,
    caller: Caller,
    key: str,
    described: Described,
    landed: Landed,
    state: FileState,
    trail: Trail,
) -> dict[str, Any]:
    return add_file(session, caller.id, key, described, landed, state, trail).model_dump()
