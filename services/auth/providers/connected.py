"""The provider accounts that a user has connected."""

from dataclasses import dataclass

from sqlmodel import Session

from services.auth.accounts.accounts import locked_account
from services.auth.mails.mails import Template
from services.auth.providers.identities import remove_identity
from services.auth.providers.linking import Linking
from services.auth.providers.registry import Providers
from shared.errors import InvalidToken
from shared.events import Trail

CONNECTED = "/auth/account/providers"  # the page that lists them


@dataclass(frozen=True, slots=True)
class Connected:
    """Disconnects provider accounts, in the transaction of the caller."""

    providers: Providers
    linking: Linking

    def disconnect(self, session: Session, account_id: str, identity_id: str, trail: Trail) -> None:
        """Remove an identity of this account, unless it is the only way to sign in, and send a mail."""
        account = locked_account(session, account_id)
        if account is None or not account.may_sign_in:
            raise InvalidToken
        removed = remove_identity(session, account, identity_id)
        label = self.providers.label_of(removed.provider)
        trail.resource = identity_id
        trail.add(provider=removed.provider)
        self.linking.tell(session, account, Template.PROVIDER_DISCONNECTED, label)
