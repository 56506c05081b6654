"""Duo as a second factor: each prompt is begun in one request and finished when the browser returns."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import structlog
from sqlmodel import Session
from starlette.requests import Request

from services.auth.duo.prompt import Prompt, Unreachable
from services.auth.errors import DuoDenied, DuoInUse, NoDuo, StrangeSignIn
from services.auth.factors.challenges import waiting_challenge
from services.auth.factors.factors import DUO, Factors
from services.auth.mails.mails import Mails, Template
from services.auth.models import Account
from services.auth.providers.openid import plain_word
from services.auth.providers.pending import PendingSignIns, Purpose
from services.auth.providers.person import Secrets
from services.auth.providers.refusals import Refused
from services.auth.providers.sign_ins import CODE_CHARACTERS_MAX, parameters_of
from services.auth.sessions.own_password import OwnPassword, Person
from services.auth.sessions.sessions import Sessions
from services.auth.sessions.sign_in import PROMPT, Proved, SecondStep, begin_second_step, factor_attempt
from services.auth.settings import Settings
from shared.data.database import Database
from shared.events import Trail

T = TypeVar("T")

log = structlog.get_logger(__name__)

AMR = f"pwd {PROMPT}"


class Use(StrEnum):
    """What a prompt is for. Each has its own callback, so that none can be used for another."""

    SIGN_IN = "sign-in"
    ENROL = "enrol"
    STEP_UP = "step-up"
    OPEN = "open"  # a sign-in without Duo while Duo cannot be reached; uses the callback of SIGN_IN

    @property
    def callback(self) -> str:
        return f"/auth/duo/{Use.SIGN_IN if self is Use.OPEN else self}"

    @property
    def pending(self) -> str:
        """The name under which its pending sign-ins are stored; no provider can have this name."""
        return f"@duo {self}"


@dataclass(frozen=True, slots=True)
class Sent:
    """Where to send the browser, and the Set-Cookie value that binds the prompt to it."""

    url: str
    cookie: str


@dataclass(frozen=True, slots=True)
class _Back:
    """A browser that has returned, with the code that Duo gave it."""

    purpose: Purpose
    code: str
    secrets: Secrets


@dataclass(frozen=True, slots=True)
class Duo:
    """Begins and finishes prompts."""

    settings: Settings
    database: Database
    prompt: Prompt
    pending: PendingSignIns
    factors: Factors
    second: SecondStep
    own_password: OwnPassword
    sessions: Sessions
    mails: Mails

    async def begin_sign_in(self, token: str, after: str, request: Request, trail: Trail) -> Sent:
        """Begin the second step of a sign-in; counts an attempt, so that no phone can be flooded."""
        challenge = await self.database.run(begin_second_step, token)
        trail.user_id = trail.resource = challenge.account_id
        purpose = Purpose(after, challenge_hash=challenge.token_hash)
        try:
            return await self._begin(Use.SIGN_IN, challenge.account_id, purpose, request)
        except Refused as error:
            if not isinstance(error, Unreachable) or not await self.database.read(
                self._may_go_on, challenge.account_id
            ):
                raise
            return await self._begin_open(challenge.account_id, error.reason, purpose, request, trail)

    def _may_go_on(self, session: Session, account_id: str) -> bool:
        """Whether this account, whose only factor is Duo, may sign in without it while Duo is down."""
        account = session.get(Account, account_id)
        if account is None or account.role not in self.settings.roles_without_duo:
            return False
        return self.factors.kinds_of(session, account_id) == [DUO]

    async def _begin_open(
        self, account_id: str, reason: str, purpose: Purpose, request: Request, trail: Trail
    ) -> Sent:
        """Let the browser return as if from Duo.

        The stored state, not the URL, decides that Duo was skipped.
        """
        log.error("duo_skipped", account_id=account_id, reason=reason)
        trail.add(duo="skipped", reason=reason)
        state, cookie = self.pending.new_state(), request.cookies.get(self.pending.cookie_name)
        kept = await self.database.run(self.pending.keep, state, Use.OPEN.pending, cookie, purpose)
        return Sent(f"{self._callback(Use.OPEN)}?state={state}&without=duo", kept)

    async def finish_sign_in(
        self, request: Request, trail: Trail, opened: Callable[[Session, Proved], T]
    ) -> tuple[T, str]:
        """Finish the sign-in: `opened` opens the session. Also returns the path to continue at."""
        if "without" in parameters_of(request):
            return await self._finish_open(request, trail, opened)
        back = await self._returned(Use.SIGN_IN, request)
        waiting = back.purpose.challenge_hash or ""
        challenge = await self.database.read(waiting_challenge, waiting)
        if challenge is None:
            raise Refused(StrangeSignIn(), "challenge_ended")
        trail.user_id = trail.resource = challenge.account_id
        name = await self._allowed(Use.SIGN_IN, challenge.account_id, back)

        def finish(session: Session) -> T:
            proved = None
            if self.factors.duo_name(session, challenge.account_id) == name:
                proved = self.second.after_duo(session, challenge)
            if proved is None:
                raise Refused(StrangeSignIn(), "challenge_ended")
            trail.add(amr=proved.amr, **proved.details)
            trail.write(session)
            return opened(session, proved)

        return await self.database.run(finish), back.purpose.after

    async def _finish_open(
        self, request: Request, trail: Trail, opened: Callable[[Session, Proved], T]
    ) -> tuple[T, str]:
        given, cookie = parameters_of(request), request.cookies.get(self.pending.cookie_name)
        purpose = await self.database.run(self.pending.use, Use.OPEN.pending, given, cookie)

        def finish(session: Session) -> T:
            challenge = waiting_challenge(session, purpose.challenge_hash or "")
            if challenge is None or not self._may_go_on(session, challenge.account_id):
                raise Refused(StrangeSignIn(), "challenge_ended")
            trail.user_id = trail.resource = challenge.account_id
            proved = self.second.without_duo(session, challenge)
            if proved is None:
                raise Refused(StrangeSignIn(), "challenge_ended")
            trail.add(amr=proved.amr, duo="skipped", **proved.details)
            trail.write(session)
            return opened(session, proved)

        return await self.database.run(finish), purpose.after

    async def begin_enrolling(self, person: Person, request: Request) -> Sent:
        """Begin a prompt after which sign-ins of this account require Duo."""
        if not self.settings.has_duo:
            raise NoDuo
        name = await self.database.run(self._name_to_enrol, person)
        return await self._send(Use.ENROL, name, _own(person), request)

    def _name_to_enrol(self, session: Session, person: Person) -> str:
        account = self.sessions.account_in(session, person.account_id, person.session_id)
        if self.factors.has_duo(session, account.id):
            raise DuoInUse
        factor_attempt(account.id).count(session)
        return _name_of(account)

    async def finish_enrolling(self, request: Request, trail: Trail) -> tuple[Account, list[str]]:
        """Require Duo of this account from now on; returns recovery codes if this is the first factor."""
        back = await self._returned(Use.ENROL, request)
        person = Person(str(back.purpose.account_id), back.purpose.session_id)
        trail.user_id = trail.resource = person.account_id
        account = await self.database.read(self.sessions.account_in, person.account_id, person.session_id)
        name = _name_of(account)
        await self.prompt.require_allowed(back.code, name, back.secrets, self._callback(Use.ENROL))

        def finish(session: Session) -> tuple[Account, list[str]]:
            account = self.sessions.locked_account_in(session, person.account_id, person.session_id)
            if self.factors.has_duo(session, account.id):
                raise DuoInUse
            codes = self.factors.add_duo(session, account.id, name)
            factor_attempt(account.id).succeeded(session)
            self._tell(session, account, Template.FACTOR_ADDED)
            trail.write(session)
            return account, codes

        return await self.database.run(finish)

    def remove(self, session: Session, person: Person, trail: Trail) -> None:
        """Remove Duo from the person's account."""
        account = self.sessions.locked_account_in(session, person.account_id, person.session_id)
        if not self.factors.remove_duo(session, account.id):
            raise NoDuo
        self._tell(session, account, Template.FACTOR_REMOVED)
        trail.user_id = trail.resource = account.id
        trail.write(session)

    async def begin_step_up(self, person: Person, password: str, after: str, request: Request) -> Sent:
        """Check the password, then begin a prompt that confirms who the person is."""

        def check(session: Session, account: Account) -> None:
            factor_attempt(account.id).count(session)

        await self.own_password.step_up(person, password, check)
        return await self._begin(Use.STEP_UP, person.account_id, _own(person, after), request)

    async def finish_step_up(
        self,
        request: Request,
        trail: Trail,
        renew: Callable[[Session, Account, str, str], T],
        expected: str | None = None,
    ) -> tuple[T, str]:
        """Record the renewed sign-in with `renew`, which receives the id of the session and its new `amr`.

        If `expected` is given, it must be the id of the session.
        """
        back = await self._returned(Use.STEP_UP, request)
        account_id, session_id = str(back.purpose.account_id), back.purpose.session_id
        if session_id is None or expected not in (None, session_id):
            raise Refused(StrangeSignIn(), "another_session")
        trail.user_id, trail.resource = account_id, session_id
        name = await self._allowed(Use.STEP_UP, account_id, back)

        def finish(session: Session) -> T:
            account = self.sessions.locked_account_in(session, account_id, session_id)
            if self.factors.duo_name(session, account.id) != name:
                raise Refused(StrangeSignIn(), "duo_removed")
            factor_attempt(account.id).succeeded(session)
            trail.add(amr=AMR)
            trail.write(session)
            return renew(session, account, session_id, AMR)

        return await self.database.run(finish), back.purpose.after

    async def _begin(self, use: Use, account_id: str, purpose: Purpose, request: Request) -> Sent:
        name = await self.database.read(self.factors.duo_name, account_id)
        if name is None:
            raise NoDuo
        return await self._send(use, name, purpose, request)

    async def _send(self, use: Use, name: str, purpose: Purpose, request: Request) -> Sent:
        state, cookie = self.pending.new_state(), request.cookies.get(self.pending.cookie_name)
        # First, so that nothing is stored while Duo is down.
        url = await self.prompt.url(name, self.pending.secrets_of(state), self._callback(use))
        kept = await self.database.run(self.pending.keep, state, use.pending, cookie, purpose)
        return Sent(url, kept)

    async def _returned(self, use: Use, request: Request) -> _Back:
        """Use up the state of a browser that returns from Duo."""
        given, cookie = parameters_of(request), request.cookies.get(self.pending.cookie_name)
        purpose = await self.database.run(self.pending.use, use.pending, given, cookie)
        if "error" in given:
            raise Refused(DuoDenied(), f"duo_said_{plain_word(given['error'])}")
        code = given.get("duo_code", "")
        if not 1 <= len(code) <= CODE_CHARACTERS_MAX:
            raise Refused(StrangeSignIn(), "code_missing")
        return _Back(purpose, code, self.pending.secrets_of(given["state"]))

    async def _allowed(self, use: Use, account_id: str, back: _Back) -> str:
        """Return the account's name at Duo, once Duo has confirmed it."""
        name = await self.database.read(self.factors.duo_name, account_id)
        if name is None:
            raise Refused(NoDuo(), "duo_removed")
        await self.prompt.require_allowed(back.code, name, back.secrets, self._callback(use))
        return name

    def _callback(self, use: Use) -> str:
        return f"{self.settings.link_origin}{use.callback}"

    def _tell(self, session: Session, account: Account, template: Template) -> None:
        self.mails.send(session, template, account.email, account_id=account.id, factor="Duo")


def _own(person: Person, after: str = "") -> Purpose:
    return Purpose(after, account_id=person.account_id, session_id=person.session_id)


def _name_of(account: Account) -> str:
    """Return the name that the person has at Duo."""
    return account.username or account.email or account.id
