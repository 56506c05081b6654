"""A small made-up service that uses every part of the chassis; tests run it in-process and as a process."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field
from starlette.applications import Starlette

from shared.data.database import Database
from shared.errors import Conflict
from shared.events import Events, Recorded, Subscriber
from shared.http.idempotency import IdempotencyStore
from shared.http.operations import Operation
from shared.identity.tokens import admin, internal, public
from shared.peers.client import HttpClient
from shared.process.settings import ServiceSettings
from shared.service import create_service
from tests.shared.notes import handlers
from tests.shared.notes.models import EVENTS, IDEMPOTENCY

MIGRATIONS = Path(__file__).parent / "migrations"


class Settings(ServiceSettings):
    service: ClassVar[str] = "notes"

    port: int = Field(default=18080, ge=1, le=65535)
    gate: Path = Path("gate")


OPERATIONS = [
    Operation("GET", "/notes", handlers.list_notes),
    Operation(
        "POST",
        "/notes",
        handlers.add_note,
        status=201,
        location="/notes/{id}",
        idempotent=True,
        body_bytes_max=10_000,
    ),
    Operation("GET", "/notes/{note_id}", handlers.show_note),
    Operation("PUT", "/notes/{note_id}", handlers.change_note, errors=(Conflict,)),
    Operation("DELETE", "/notes/{note_id}", handlers.delete_note, status=204),
    Operation("POST", "/notes/{note_id}/copies", handlers.copy_note, status=201, idempotent=True),
    Operation("PUT", "/notes/{note_id}/mark", handlers.mark_note),
    Operation("GET", "/notes/newest", handlers.show_newest),
    Operation("POST", "/numbers", handlers.add_numbers, access=public),
    Operation("GET", "/greeting", handlers.greet, access=public),
    Operation("GET", "/picture", handlers.show_picture, access=public),
    Operation("GET", "/gate", handlers.wait_at_the_gate, access=public),
    Operation("POST", "/accidents/{kind}", handlers.have_an_accident, access=public),
    Operation("GET", "/internal/count", handlers.count_notes, access=internal),
    Operation("DELETE", "/internal/notes", handlers.delete_notes, access=internal, status=204),
    Operation("GET", "/admin/count", handlers.count_notes_for_admins, access=admin),
]


def create_app(settings: Settings) -> Starlette:
    return create_app_with(OPERATIONS)(settings)


def create_app_with(
    operations: Sequence[Operation], *, idempotency: IdempotencyStore | None = IDEMPOTENCY
) -> Callable[[Settings], Starlette]:
    """Return the app factory of the same service with other operations."""

    def create(settings: Settings) -> Starlette:
        return create_service(
            settings,
            operations,
            client=HttpClient(),
            database=Database(settings.database_url, settings.database_pool),
            idempotency=idempotency,
            events=Events(EVENTS, {}, {"keeper": Subscriber("http://127.0.0.1:9", Recorded)}),
            provide={handlers.Gate: handlers.Gate(settings.gate)},
        )

    return create
