"""The endpoint of the revocation feed."""

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from services.auth.revocations.feed import RevocationFeed
from services.auth.schemas import FollowRevocations
from shared.identity.revocations import VERIFIER, VERIFIER_NAME_MAX
from shared.process.server import is_draining


async def follow_revocations(query: FollowRevocations, request: Request, feed: RevocationFeed) -> Response:
    """Return the revocations with higher numbers than `after` as soon as there are any."""
    name = request.headers.get(VERIFIER, "")[:VERIFIER_NAME_MAX]
    pieces = await feed.answer(query.after, lambda: is_draining(request.scope), name)
    return StreamingResponse(pieces, headers={"Cache-Control": "no-store"}, media_type="application/json")
