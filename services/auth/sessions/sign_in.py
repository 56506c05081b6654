"""Sign-in with a password: the attempt is counted, the password checked, then one transaction finishes it."""

from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Row
from sqlmodel import Session
from starlette.requests import Request

from contracts.demo import DOMAIN
from services.auth.accounts.accounts import account_named, known_account, locked_account
from services.auth.accounts.first_admin import is_known_to_everybody
from services.auth.credentials.devices import Devices, forget_devices, is_known, remember
from services.auth.credentials.passwords import Passwords
from services.auth.credentials.policy import PasswordPolicy
from services.auth.credentials.throttle import Attempt
from services.auth.errors import InvalidCredentials, InvalidMfaToken, PasswordChangeNeeded
from services.auth.factors.challenges import (
    close_challenge,
    close_challenges,
    open_challenge,
    try_challenge,
    waiting_challenge,
)
from services.auth.factors.factors import Factors
from services.auth.mails.links import forget_links
from services.auth.mails.mails import Mails, Template
from services.auth.models import Account
from services.auth.sessions.sessions import Sessions
from services.auth.settings import Settings
from shared.data.database import Database
from shared.errors import FieldFault, Invalid
from shared.events import Trail
from shared.hashing import sha256_hex
from shared.process.proxies import Proxies

PASSKEY, PROMPT = "hwk", "mca"  # names from RFC 8176; a prompt on another device


@dataclass(frozen=True, slots=True)
class Candidate:
    """The account of a name, as it was before the password was checked."""

    account_id: str
    password_hash: str | None
    may_sign_in: bool
    is_admin: bool
    is_of_demo: bool
    device_id: str | None
    attempt: Attempt
    must_change: bool
    names: tuple[str | None, ...]
    new_hash: str | None = None


class PasswordCheck:
    """The password check shared by all ways to sign in."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        passwords: Passwords,
        policy: PasswordPolicy,
        devices: Devices,
        proxies: Proxies,
    ) -> None:
        self._settings = settings
        self._policy = policy
        self._database = database
        self._passwords = passwords
        self._devices = devices
        self._proxies = proxies

    async def candidate(
        self, name: str, password: str, request: Request, trail: Trail, new_password: str | None = None
    ) -> Candidate:
        """Return the account with this name and password, or raise InvalidCredentials.

        An unknown name, a wrong password and a disabled account get the same refusal after the same time.
        A password that somebody else has set is replaced by `new_password`. If there is none, raise
        PasswordChangeNeeded.
        """
        shown, asker = self._devices.device_of(request), self._proxies.network_of(request)
        found = await self._database.run(_begin, name, shown, asker)
        trail.user_id = trail.resource = found.account_id if found else None
        password_hash = found.password_hash if found else None
        is_right = await self._passwords.matches(password, password_hash)
        if found is None or password_hash is None or not is_right or not found.may_sign_in:
            raise InvalidCredentials
        is_public = found.is_admin or found.is_of_demo
        if is_public and is_known_to_everybody(password, request, self._settings):
            raise InvalidCredentials
        if found.must_change:
            try:
                password = await self._chosen(found, new_password)
            except Invalid as error:
                await trail.keep(refused_with=error.status)
                raise
        elif not self._passwords.is_outdated(password_hash):
            return found
        return replace(found, new_hash=await self._passwords.hash(password))

    async def _chosen(self, found: Candidate, new_password: str | None) -> str:
        if new_password is None:
            raise PasswordChangeNeeded
        self._policy.require(new_password, "new_password", *found.names)
        # Compared as at sign-in, where different characters can be the same password.
        if await self._passwords.matches(new_password, found.password_hash):
            fault = FieldFault(field="new_password", code="value_error", message="must differ from password")
            raise Invalid(errors=[fault])
        return new_password


def accept(session: Session, candidate: Candidate) -> tuple[Account, str]:
    """Return the account, for a session opened in this transaction, and the id of its device.

    Raise InvalidCredentials if the account was changed while its password was being checked.
    """
    account = locked_account(session, candidate.account_id)
    if account is None or not account.may_sign_in or account.password_hash != candidate.password_hash:
        raise InvalidCredentials
    if candidate.new_hash is not None and not candidate.must_change:
        account.choose_password(candidate.new_hash)
    candidate.attempt.succeeded(session)
    return account, remember(session, account.id, candidate.device_id)


@dataclass(frozen=True, slots=True)
class FactorNeeded:
    """The token of a challenge for a second factor, and the methods it accepts."""

    mfa_token: str
    methods: list[str]


@dataclass(frozen=True, slots=True)
class Proved:
    """A user who has passed every factor the account requires."""

    account: Account
    device_id: str
    amr: str
    chose_password: bool = False  # in this sign-in, because somebody else had set it

    @property
    def details(self) -> dict[str, bool]:
        """What the audit log keeps about this sign-in."""
        return {"chose_password": True} if self.chose_password else {}


class SecondStep:
    """The step after the first factor: a session at once, or a challenge for a second factor."""

    def __init__(self, factors: Factors, sessions: Sessions, mails: Mails) -> None:
        self._factors, self._sessions, self._mails = factors, sessions, mails

    def after_password(self, session: Session, candidate: Candidate) -> Proved | FactorNeeded:
        """Return the user, or the challenge if a second factor is needed.

        Open the user's session in the same transaction.
        """
        account, device_id = accept(session, candidate)
        chosen = candidate.new_hash if candidate.must_change else None
        return self.after_first(session, account, device_id, "pwd", chosen)

    def after_first(
        self, session: Session, account: Account, device_id: str, amr: str, chosen: str | None = None
    ) -> Proved | FactorNeeded:
        """Do the same after any first factor; `amr` is its method.

        `chosen` is the hash of a new password, which is set once every factor has been shown.
        """
        if not self._factors.are_needed(session, account.id):
            if chosen is not None:
                self._choose(session, account, device_id, chosen)
            return Proved(account, device_id, amr, chosen is not None)
        token = open_challenge(session, account.id, device_id, amr, chosen)
        return FactorNeeded(token, self._factors.methods_of(session, account.id))

    def methods_of(self, session: Session, challenge: Row[Any]) -> list[str]:
        """Return the methods that a challenge accepts."""
        return self._factors.methods_of(session, challenge.account_id)

    def methods_waiting(self, session: Session, token: str) -> list[str]:
        """Return the methods that the challenge of this token accepts; none if it has ended."""
        challenge = waiting_challenge(session, sha256_hex(token))
        return [] if challenge is None else self.methods_of(session, challenge)

    def after_factor(self, session: Session, challenge: Row[Any], code: str) -> Proved | None:
        """Return the user if the code is valid, and consume the code and the challenge."""
        account = locked_account(session, challenge.account_id)
        if account is None or not account.may_sign_in:
            return None
        method = self._factors.passes(session, account.id, code)
        return None if method is None else self._proved(session, challenge, account, method)

    def after_passkey(self, session: Session, challenge: Row[Any], account: Account) -> Proved | None:
        """Return the user if passkey and password belong to one account; consumes the challenge."""
        if account.id != challenge.account_id:
            return None
        return self._proved(session, challenge, account, PASSKEY)

    def after_duo(self, session: Session, challenge: Row[Any]) -> Proved | None:
        """Return the user whom Duo has allowed; consumes the challenge."""
        account = locked_account(session, challenge.account_id)
        if account is None or not account.may_sign_in:
            return None
        return self._proved(session, challenge, account, PROMPT)

    def without_duo(self, session: Session, challenge: Row[Any]) -> Proved | None:
        """Return the user, who has shown the first factor only; consumes the challenge."""
        account = locked_account(session, challenge.account_id)
        if account is None or not account.may_sign_in:
            return None
        return self._proved(session, challenge, account)

    def _proved(
        self, session: Session, challenge: Row[Any], account: Account, method: str = ""
    ) -> Proved | None:
        if not close_challenge(session, challenge):
            return None
        factor_attempt(account.id).succeeded(session)
        if challenge.new_hash is not None:
            if not account.must_change_password:
                return None  # another password has been set meanwhile
            self._choose(session, account, challenge.device_id, challenge.new_hash)
        amr = f"{challenge.amr or 'pwd'} {method}".strip()
        return Proved(account, challenge.device_id, amr, challenge.new_hash is not None)

    def _choose(self, session: Session, account: Account, device_id: str, new_hash: str) -> None:
        """Set the chosen password, and end what the old one opened, as every change of a password does."""
        account.choose_password(new_hash)
        self._sessions.end_others(session, account.id, None)
        forget_devices(session, account.id, but=device_id)
        close_challenges(session, account.id)
        forget_links(session, account.id)
        self._mails.send(session, Template.PASSWORD_CHANGED, account.email, account_id=account.id)


def begin_second_step(session: Session, token: str, username: str | None = None) -> Row[Any]:
    """Return the challenge for this token; count the attempt against it and the account.

    With a `username`, the challenge must be that account's.
    """
    challenge = try_challenge(session, token)
    if challenge is None:
        raise InvalidMfaToken
    if username is not None:
        named = account_named(session, username.lower())
        if named is None or named.id != challenge.account_id:
            raise InvalidMfaToken
    factor_attempt(challenge.account_id).count(session)
    return challenge


def factor_attempt(account_id: str) -> Attempt:
    return Attempt(f"factor of {account_id}")


def _begin(session: Session, name: str, device_id: str | None, asker: str) -> Candidate | None:
    account = known_account(session, name)
    # An unknown name takes the same path, with the same queries and counters.
    counted_as = f"name {name}" if account is None else f"account {account.id}"
    is_device_known = device_id is not None and is_known(session, account.id if account else "", device_id)
    known_device = device_id if is_device_known else None
    attempt = Attempt.at_login(counted_as, network=asker, known_device=known_device)
    attempt.count(session)
    if account is None:
        return None
    return Candidate(
        account_id=account.id,
        password_hash=account.password_hash,
        may_sign_in=account.may_sign_in,
        is_admin=account.is_active_admin,
        is_of_demo=(account.email or "").endswith(f"@{DOMAIN}"),
        device_id=device_id,
        attempt=attempt,
        must_change=account.must_change_password,
        names=(account.email, account.username),
    )
