"""The public keys."""

from starlette.responses import JSONResponse, Response

from services.auth.keys.signing_keys import SigningKeys


async def show_keys(keys: SigningKeys) -> Response:
    """Show the public keys that access tokens are verified with."""
    return JSONResponse(await keys.document(), headers={"Cache-Control": "public, max-age=300"})
