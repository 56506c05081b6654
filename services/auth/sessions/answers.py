"""The response to a sign-in."""

from services.auth.schemas import AccountOut, SignedInOut
from services.auth.sessions.sessions import SignedIn
from services.auth.sessions.tokens import AccessTokens


def signed_in_out(signed_in: SignedIn, tokens: AccessTokens) -> SignedInOut:
    return SignedInOut(
        user=AccountOut.model_validate(signed_in.account),
        token=tokens.issue(signed_in.account, signed_in.session_id, signed_in.authenticated, signed_in.amr),
        expires_in=tokens.lifetime_seconds,
        refresh_token=signed_in.refresh_token,
    )
