"""The signed-in user's authenticator app: enrolled, confirmed by a code, removed."""

from dataclasses import dataclass
from io import BytesIO

import segno
from sqlmodel import Session

from services.auth.errors import InvalidCode, NoFactor
from services.auth.factors.factors import Enrolled, Factors
from services.auth.factors.totp import address_of
from services.auth.mails.mails import Mails, Template
from services.auth.models import Account
from services.auth.sessions.own_password import OwnPassword, Person
from services.auth.sessions.sessions import Sessions
from services.auth.sessions.sign_in import factor_attempt
from shared.data.database import Database
from shared.events import Trail


@dataclass(frozen=True, slots=True)
class Shown:
    """A secret in the forms its owner can use: as text, as a link and as a QR code."""

    secret: str
    uri: str
    qr_svg: str


@dataclass(frozen=True, slots=True)
class AuthenticatorApp:
    """Operations on the signed-in user's authenticator app."""

    database: Database
    own_password: OwnPassword
    sessions: Sessions
    factors: Factors
    mails: Mails

    async def enrol(self, person: Person, password: str, trail: Trail) -> Shown:
        """Create a secret, which takes effect once a code has confirmed it."""

        def work(session: Session, account: Account) -> Shown:
            enrolled = self.factors.enrol_totp(session, account.id)
            trail.resource = enrolled.factor_id
            trail.write(session)
            return _shown(enrolled, account)

        return await self.own_password.change(person, password, work)

    async def waiting(self, person: Person) -> Shown | None:
        """Return the secret that awaits confirmation, if any."""
        return await self.database.read(self._waiting, person)

    def _waiting(self, session: Session, person: Person) -> Shown | None:
        account = self.sessions.account_in(session, person.account_id, person.session_id)
        enrolled = self.factors.waiting_totp(session, account.id)
        return None if enrolled is None else _shown(enrolled, account)

    async def confirm(self, person: Person, code: str, trail: Trail) -> list[str]:
        """Activate the secret and return new recovery codes, or raise InvalidCode."""
        await self.database.run(self._count_try, person)
        codes = await self.database.run(self._confirm, person, code, trail)
        if codes is None:
            raise InvalidCode
        return codes

    def _count_try(self, session: Session, person: Person) -> None:
        account = self.sessions.account_in(session, person.account_id, person.session_id)
        factor_attempt(account.id).count(session)

    def _confirm(self, session: Session, person: Person, code: str, trail: Trail) -> list[str] | None:
        account = self.sessions.locked_account_in(session, person.account_id, person.session_id)
        codes = self.factors.confirm_totp(session, account, code)
        if codes is None:
            return None
        self._tell(session, account, Template.FACTOR_ADDED)
        factor_attempt(account.id).succeeded(session)
        trail.write(session)
        return codes

    async def remove(self, person: Person, password: str, trail: Trail) -> None:
        """Remove the app."""

        def work(session: Session, account: Account) -> None:
            if not self.factors.has_totp(session, account.id):
                raise NoFactor
            self.factors.remove_totp(session, account.id)
            self._tell(session, account, Template.FACTOR_REMOVED)
            trail.write(session)

        await self.own_password.change(person, password, work)

    def _tell(self, session: Session, account: Account, template: Template) -> None:
        self.mails.send(session, template, account.email, account_id=account.id, factor="authenticator app")


def _shown(enrolled: Enrolled, account: Account) -> Shown:
    uri = address_of(enrolled.secret, account.email or account.username or account.id)
    drawn = BytesIO()
    # With a unit the picture has a viewBox, so that style sheets can resize it.
    options = {"scale": 4, "unit": "px", "light": "#fff", "xmldecl": False, "svgns": True}
    segno.make(uri, error="m").save(drawn, kind="svg", **options)
    return Shown(enrolled.secret, uri, drawn.getvalue().decode().strip())
