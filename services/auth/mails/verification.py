"""The mail that asks whether an e-mail address belongs to its account."""

from datetime import timedelta

from sqlmodel import Session

from services.auth.credentials.throttle import Pace
from services.auth.mails.links import Links, Purpose
from services.auth.mails.mails import Mails
from services.auth.mails.texts import Template
from services.auth.models import Account

# To one address, whoever asks: more would be a nuisance, and the link before is still good.
PER_ADDRESS = Pace(at_once=5, interval=timedelta(minutes=15))
# Caused by one network, whatever the addresses.
PER_NETWORK = Pace(at_once=20, interval=timedelta(minutes=3))


def ask_to_verify(session: Session, account: Account, links: Links, mails: Mails) -> None:
    """Send a link that confirms the address of the account, unless it was sent too often."""
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


def from_network(household: str) -> str:
    return f"mails caused by {household}"
