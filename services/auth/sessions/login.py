"""Sign-in by password, in two steps if the account has a second factor."""

from dataclasses import dataclass

from sqlmodel import Session
from starlette.requests import Request

from services.auth.credentials.devices import Devices
from services.auth.factors.challenges import CHALLENGE_SECONDS, ChallengeCookie
from services.auth.schemas import Login, MfaNeededOut, SignedInOut
from services.auth.sessions.answers import signed_in_out
from services.auth.sessions.sessions import Sessions, SignedIn
from services.auth.sessions.sign_in import Candidate, FactorNeeded, PasswordCheck, Proved, SecondStep
from services.auth.sessions.tokens import AccessTokens
from services.auth.sessions.user_agents import device_named
from shared.data.database import Database
from shared.events import Trail


@dataclass(frozen=True, slots=True)
class PasswordLogin:
    """Signs people in who know their password."""

    database: Database
    check: PasswordCheck
    second: SecondStep
    sessions: Sessions
    devices: Devices
    tokens: AccessTokens
    cookie: ChallengeCookie

    async def sign_in(self, body: Login, request: Request, trail: Trail) -> SignedInOut | MfaNeededOut:
        """Check the password; open a session, or ask for a second factor."""
        candidate = await self.check.candidate(body.name, body.password, request, trail, body.new_password)
        device = device_named(request.headers.get("user-agent"))
        outcome = await self.database.run(self._finish, candidate, device, trail)
        if isinstance(outcome, FactorNeeded):
            needed = MfaNeededOut(
                mfa_token=outcome.mfa_token, methods=outcome.methods, expires_in=CHALLENGE_SECONDS
            )
            return needed.with_header("set-cookie", self.cookie.holding(outcome.mfa_token))
        signed_in, device_id = outcome
        return signed_in_out(signed_in, self.tokens).with_header("set-cookie", self.devices.cookie(device_id))

    def _finish(
        self, session: Session, candidate: Candidate, device: str | None, trail: Trail
    ) -> tuple[SignedIn, str] | FactorNeeded:
        proved = self.second.after_password(session, candidate)
        trail.add(second_factor="needed" if isinstance(proved, FactorNeeded) else "none")
        if isinstance(proved, Proved):
            trail.add(**proved.details)
        trail.write(session)
        if isinstance(proved, FactorNeeded):
            return proved
        return open_proved(session, proved, device, self.sessions), proved.device_id


def open_proved(session: Session, proved: Proved, device: str | None, sessions: Sessions) -> SignedIn:
    return sessions.open(session, proved.account, amr=proved.amr, device=device)
