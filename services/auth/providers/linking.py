"""Finds the account that a user of a provider signs in to.

Identities are found by issuer and subject, never by e-mail address. A new identity gets the existing account
with its address only if the operator trusts the provider with addresses, and never an admin's. In all other
cases the user signs in as before and connects the provider there, or gets a new account.
"""

from dataclasses import dataclass

from sqlmodel import Session

from services.auth.accounts.accounts import account_named, add_account, locked_account
from services.auth.errors import (
    AccountExists,
    AccountInactive,
    EmailNotVerified,
    IdentityTaken,
    RegistrationClosed,
    WrongDomain,
)
from services.auth.factors.factors import Factors
from services.auth.lifecycle.claims import claim
from services.auth.mails.links import Links
from services.auth.mails.mails import Mails, Template
from services.auth.mails.verification import PER_NETWORK, ask_to_verify, from_network
from services.auth.models import Account, Role
from services.auth.provider_settings import Provider
from services.auth.providers.identities import (
    ChangedMeanwhile,
    connect,
    identity_of,
    note_use,
)
from services.auth.providers.pending import Purpose
from services.auth.providers.person import Person
from services.auth.providers.refusals import Refused
from services.auth.sessions.sessions import Sessions
from services.auth.settings import Settings
from shared.clock import now


@dataclass(frozen=True, slots=True)
class Linking:
    """Finds, connects and creates accounts, in the transaction of the caller."""

    settings: Settings
    sessions: Sessions
    factors: Factors
    links: Links
    mails: Mails

    def account_of(
        self, session: Session, provider: Provider, person: Person, network: str
    ) -> tuple[Account, str]:
        """Return the account, locked, and how it was found: known, linked, claimed or created."""
        _require_domain(provider, person)
        known = identity_of(session, person)
        if known is not None:
            owner = _active(locked_account(session, known.account_id))
            note_use(session, known.id, provider.name, person)
            return owner, "known"
        email = person.verified_email
        if email is None:
            raise Refused(EmailNotVerified(), "email_not_verified")
        is_trusted = provider.trust_email and person.is_authoritative
        holder = account_named(session, email)
        if holder is None:
            return self._new(session, provider, person, email, network, is_trusted=is_trusted), "created"
        account = locked_account(session, holder.id)
        # Another sign-in of this person may have created the account since the first look.
        if account is None or account.email != email or identity_of(session, person) is not None:
            raise ChangedMeanwhile
        if not is_trusted or account.role == Role.ADMIN:
            raise Refused(AccountExists(), "account_exists")
        _active(account)
        is_claimed = not account.email_verified
        if is_claimed:
            claim(session, account, self.sessions, self.factors)
        connect(session, account, provider.name, person)
        self.tell(session, account, Template.PROVIDER_CONNECTED, provider.label)
        return account, "claimed" if is_claimed else "linked"

    def connect(self, session: Session, provider: Provider, person: Person, purpose: Purpose) -> Account:
        """Connect the identity to the account that requested it, if the session of the request is alive."""
        _require_domain(provider, person)
        account = self.sessions.locked_account_in(session, str(purpose.account_id), purpose.session_id)
        known = identity_of(session, person)
        if known is not None and known.account_id != account.id:
            raise Refused(IdentityTaken(), "identity_taken")
        if known is None:
            connect(session, account, provider.name, person)
            self.tell(session, account, Template.PROVIDER_CONNECTED, provider.label)
        return account

    def tell(self, session: Session, account: Account, template: Template, label: str) -> None:
        """Send the owner a mail about a way to sign in that was added or removed."""
        self.mails.send(session, template, account.email, account_id=account.id, provider=label)

    def _new(
        self,
        session: Session,
        provider: Provider,
        person: Person,
        email: str,
        network: str,
        *,
        is_trusted: bool,
    ) -> Account:
        if self.settings.registration == "closed":
            raise Refused(RegistrationClosed(), "registration_closed")
        if self.settings.registration == "verified" and not is_trusted:
            # An account is created only after its address is confirmed.
            raise Refused(EmailNotVerified(), "provider_not_trusted")
        account = Account(
            email=email,
            first_name=person.first_name,
            last_name=person.last_name,
            verified=now() if is_trusted else None,
        )
        add_account(session, account)
        connect(session, account, provider.name, person)
        if not is_trusted and not PER_NETWORK.wait(session, from_network(network)):
            ask_to_verify(session, account, self.links, self.mails)
        return account


def _active(account: Account | None) -> Account:
    if account is None or not account.may_sign_in:
        raise Refused(AccountInactive(), "account_inactive")
    return account


def _require_domain(provider: Provider, person: Person) -> None:
    if provider.domains and person.domain not in provider.domains:
        raise Refused(WrongDomain(), "wrong_domain")
