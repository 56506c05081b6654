"""Uploading a file as a form."""

from starlette.requests import Request

from services.files.schemas import FileOut
from services.files.settings import Settings
from services.files.uploads.form import receive
from services.files.uploads.intake import Intake
from shared.caller import Caller
from shared.data.database import Database
from shared.events import Trail


async def upload_file(
    request: Request, caller: Caller, intake: Intake, settings: Settings, database: Database, trail: Trail
) -> FileOut:
    """Upload a file: a form with the field `file`, and optionally `visibility` and `metadata`."""
    return FileOut.of(await receive(request, caller, intake, settings, database, trail))
