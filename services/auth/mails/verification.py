"""The mail that asks a person to confirm their e-mail address."""

from datetime import timedelta

from sqlmodel import Session

from services.auth.credentials.throttle import Pace
from services.auth.mails.links import Links, Purpose
from services.auth.mails.mails import Mails, Template
from services.auth.models import Account

# Per address, whoever asks: more mails would be a nuisance, and the previous link is still valid.
PER_ADDRESS = Pace(at_once=5, interval=timedelta(minutes=15))
# Per network that causes mails, to any addresses.
PER_NETWORK = Pace(at_once=20, interval=timedelta(minutes=3))


def ask_to_verify(session: Session, account: Account, links: Links, mails: Mails) -> None:
    """Send a link that confirms the account's address, unless too many were sent."""
    if (
        account.email is None
        or account.email_verified
        or PER_ADDRESS.wait(session, to_address(account.email))
    ):
        return
    link = links.issue(session, Purpose.VERIFY, account.id, account.email)
    mails.send(session, Template.VERIFY_EMAIL, account.email, account_id=account.id, link=link)


def to_address(email: str) -> str:
    return f"mails to {email}"


def from_network(network: str) -> str:
    return f"mails caused by {network}"
