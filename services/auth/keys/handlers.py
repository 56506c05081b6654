"""The endpoint for the public keys."""

from starlette.responses import JSONResponse, Response

from services.auth.keys.signing_keys import SigningKeys


async def show_keys(keys: SigningKeys) -> Response:
    """Show the public keys that verify access tokens."""
    return JSONResponse(await keys.document(), headers={"Cache-Control": "public, max-age=300"})
