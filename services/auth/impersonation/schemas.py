"""The input and output of the endpoints for impersonation."""

from services.auth.administration.schemas import WithReason
from shared.http.schemas import Output, example


class Impersonate(WithReason):
    model_config = example({"reason": "support", "note": "ticket 4711: cannot see an order"})


class ImpersonationOut(Output):
    """A token that cannot be refreshed, and its session."""

    model_config = example(
        {
            "token": "eyJhbGciOiJSUzI1NiIs…",
            "token_type": "Bearer",
            "expires_in": 900,
            "session_id": "0198c0de-4b20-7c31-9000-a7d8e9f01234",
        }
    )

    token: str
    token_type: str = "Bearer"  # noqa: S105 - the scheme
    expires_in: int
    session_id: str
