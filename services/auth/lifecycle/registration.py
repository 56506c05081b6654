"""Registration: open, closed, or only after the e-mail address is confirmed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from sqlmodel import Session
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.auth.accounts.accounts import add_account, new_account
from services.auth.credentials.devices import Devices, remember
from services.auth.credentials.passwords import Passwords
from services.auth.credentials.policy import PasswordPolicy
from services.auth.errors import RegistrationClosed, UsernameTaken
from services.auth.lifecycle.addresses import AFTER, is_username_taken
from services.auth.lifecycle.requests import MailRequests
from services.auth.mails.links import Links
from services.auth.mails.mails import Mails
from services.auth.mails.verification import PER_NETWORK, ask_to_verify, from_network
from services.auth.models import Account
from services.auth.schemas import Register, SignedInOut
from services.auth.sessions.answers import signed_in_out
from services.auth.sessions.sessions import Sessions, SignedIn
from services.auth.sessions.tokens import AccessTokens
from services.auth.sessions.user_agents import device_named
from services.auth.settings import Settings
from shared.data.database import Database
from shared.events import Trail
from shared.process.proxies import Proxies

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Registration:
    """Registers accounts as the setting REGISTRATION allows."""

    settings: Settings
    database: Database
    passwords: Passwords
    policy: PasswordPolicy
    devices: Devices
    proxies: Proxies
    links: Links
    mails: Mails
    asked: MailRequests

    async def register(
        self,
        body: Register,
        request: Request,
        trail: Trail,
        open_session: Callable[[Session, Account], T],
        *,
        after: str = "",
    ) -> tuple[T, str] | None:
        """Create the account and a session; return it and the device id, or None if a mail comes first.

        The page that confirms the address then leads on to `after`.
        """
        if self.settings.registration == "closed":
            raise RegistrationClosed
        self.policy.require(body.password, "password", body.email, body.username)
        account = new_account(body, await self.passwords.hash(body.password))
        asker = self.proxies.network_of(request)
        if self.settings.registration == "verified":
            await self.database.run(self._ask, account, after, asker, trail)
            return None
        device_id = self.devices.device_of(request)

        def make(session: Session) -> tuple[T, str]:
            opened = open_session(session, add_account(session, account))
            trail.resource = trail.user_id = account.id
            trail.write(session)
            if not PER_NETWORK.wait(session, from_network(asker)):
                ask_to_verify(session, account, self.links, self.mails)
            return opened, remember(session, account.id, device_id)

        return await self.database.run(make)

    def _ask(self, session: Session, account: Account, after: str, asker: str, trail: Trail) -> None:
        """Queue the registration until the address is confirmed. A taken username is refused at once."""
        if account.username is not None and is_username_taken(session, account.username):
            raise UsernameTaken
        wanted = account.model_dump(include={"username", "first_name", "last_name", "password_hash"})
        assert account.email is not None
        self.asked.ask(session, asker, account.email, {**wanted, AFTER: after})
        trail.write(session)


async def register(
    body: Register,
    request: Request,
    registration: Registration,
    sessions: Sessions,
    devices: Devices,
    tokens: AccessTokens,
    trail: Trail,
) -> SignedInOut | Response:
    """Create an account and sign in. A link to confirm the e-mail address is sent.

    If REGISTRATION is `verified`, the response is always 202, and the link creates the account.
    """
    device = device_named(request.headers.get("user-agent"))

    def open_session(session: Session, account: Account) -> SignedIn:
        return sessions.open(session, account, device=device)

    opened = await registration.register(body, request, trail, open_session)
    if opened is None:
        return JSONResponse({"status": "accepted"}, 202)
    signed_in, device_id = opened
    return signed_in_out(signed_in, tokens).with_header("set-cookie", devices.cookie(device_id))
