"""What happens when the owner of an address takes over an account whose address was never confirmed."""

from sqlalchemy import delete
from sqlmodel import Session

from services.auth.access_keys.access_keys import delete_keys
from services.auth.credentials.devices import forget_devices
from services.auth.events import tell_changed
from services.auth.factors.challenges import close_challenges
from services.auth.factors.factors import Factors
from services.auth.mails.links import forget_links
from services.auth.models import CONSENTS, DEVICE_CODES, IDENTITIES, Account
from services.auth.sessions.sessions import Sessions
from shared.clock import now


def claim(session: Session, account: Account, sessions: Sessions, factors: Factors) -> None:
    """Confirm the address of a locked account, and remove all its credentials.

    Its creator never proved that the address is theirs; the owner just did.
    """
    account.password_hash = None
    account.verified = now()
    sessions.end_all(session, account)
    factors.remove_all(session, account.id)
    close_challenges(session, account.id)
    delete_keys(session, account.id)
    forget_devices(session, account.id)
    forget_links(session, account.id)
    for table in (CONSENTS, DEVICE_CODES, IDENTITIES):
        session.connection().execute(delete(table).where(table.c.account_id == account.id))
    account.touch()
    tell_changed(session, account)
