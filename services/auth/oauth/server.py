"""The parts of the OAuth server."""

from dataclasses import dataclass

from sqlmodel import Session

from services.auth.oauth.authorization import AuthorizationEndpoint
from services.auth.oauth.issuer import Issuer
from services.auth.oauth.storage import Storage
from services.auth.oauth.tokens_endpoint import TokenEndpoint
from services.auth.revocations.log import RevocationLog
from services.auth.sessions.sessions import Sessions
from shared.caller import Caller
from shared.errors import InvalidToken
from shared.identity.tokens import TokenVerifier


@dataclass(frozen=True, slots=True)
class OAuthServer:
    """The logic behind the endpoints, without HTTP, and its dependencies."""

    issuer: Issuer
    authorization: AuthorizationEndpoint
    tokens: TokenEndpoint
    verifier: TokenVerifier  # accepts tokens for the OAuth server as well as for services
    sessions: Sessions
    revocations: RevocationLog

    @classmethod
    def of(
        cls, issuer: Issuer, verifier: TokenVerifier, sessions: Sessions, revocations: RevocationLog
    ) -> "OAuthServer":
        authorization, tokens = AuthorizationEndpoint(issuer), TokenEndpoint(issuer)
        return cls(issuer, authorization, tokens, verifier, sessions, revocations)

    async def caller_of(self, token: str) -> Caller | None:
        """Return the caller of an access token; None for anything else, including refresh tokens."""
        try:
            return await self.verifier.verify(token)
        except InvalidToken:
            return None

    def storage(self, session: Session) -> Storage:
        return Storage(session, self.sessions, self.revocations)
