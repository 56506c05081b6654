"""The handler of the status."""

from starlette.responses import Response

from services.users.status.board import StatusBoard
from services.users.status.schemas import HealthOut, StatusOut
from shared.clock import now


async def show_classic_status(board: StatusBoard) -> StatusOut | Response:
    """Show whether the database and Redis respond, as of the last 5 seconds; 503 if one does not."""
    status = await board.status()
    if status.status == "healthy":
        return status
    headers = {"Cache-Control": "no-store"}
    return Response(status.model_dump_json(), 503, headers, "application/json")


async def show_classic_health() -> HealthOut:
    """Show that requests arrive. `…/status` also shows whether the database and Redis respond."""
    return HealthOut(time=now())
