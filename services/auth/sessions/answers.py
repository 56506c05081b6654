"""The response to a sign-in."""

from services.auth.schemas import AccountOut, ClassicSignedInOut, SignedInOut
from services.auth.sessions.sessions import SignedIn
from services.auth.sessions.tokens import AccessTokens


def signed_in_out(signed_in: SignedIn, tokens: AccessTokens) -> SignedInOut:
    return SignedInOut(
        user=AccountOut.model_validate(signed_in.account),
        token=tokens.issue(signed_in.account, signed_in.session_id, signed_in.authenticated, signed_in.amr),
        expires_in=tokens.lifetime_seconds,
        refresh_token=signed_in.refresh_token,
    )


def classic_out(answer: SignedInOut) -> ClassicSignedInOut:
    """Return the response in the form that the first web interface of the inventory expects."""
    user = answer.user.model_copy(update={"role": answer.user.role.upper()})
    made = ClassicSignedInOut(**{**dict(answer), "user": user})
    for name, value in answer.headers:
        made = made.with_header(name, value)
    return made
