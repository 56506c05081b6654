"""A background worker for requests that name an e-mail address without authentication.

So the response and the time it takes are the same whether or not such an account exists.
"""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import structlog
from sqlmodel import Session

from services.auth.accounts.accounts import account_named, locked_account
from services.auth.mails.links import Links, Purpose
from services.auth.mails.mails import Mails, Template
from services.auth.mails.verification import PER_ADDRESS, PER_NETWORK, from_network, to_address
from services.auth.models import WORK
from services.auth.settings import Settings
from shared.data.database import Database
from shared.data.sealed import Sealer
from shared.ids import new_id
from shared.work.duties import IsStopping
from shared.work.leased import Leased, Queue

WORK_SECONDS = 1.0
TAKEN_AT_ONCE = 20
ATTEMPTS_MAX = 5
RETRY_AFTER = timedelta(seconds=10)
_QUEUE = "requests by address"

log = structlog.get_logger(__name__)


class MailRequests:
    """A queue of such requests. Addresses are encrypted, because most belong to people without an account."""

    def __init__(self, settings: Settings, database: Database, links: Links, mails: Mails) -> None:
        self._database, self._links, self._mails = database, links, mails
        self._sealer = Sealer(settings.service, [settings.key_secret.get_secret_value()])
        self.queue = Queue(WORK, _QUEUE, attempts_max=ATTEMPTS_MAX)

    def ask(
        self, session: Session, network: str, email: str, account: Mapping[str, Any] | None = None
    ) -> None:
        """Queue a password reset, or the creation of `account`; refuse a network that asks too often."""
        PER_NETWORK.take(session, from_network(network))
        work_id = new_id()
        body = self._sealer.seal(json.dumps({"email": email, "account": account}), _QUEUE, work_id)
        self.queue.add(session, body, work_id=work_id)

    def work(self, is_stopping: IsStopping) -> None:
        """Process all queued requests. A failed one is retried later and does not hold up the others."""
        while not is_stopping():
            with self._database.transaction(write=False) as session:
                if not self.queue.is_due(session):
                    return
            with self._database.transaction() as session:
                taken = self.queue.claim(session, TAKEN_AT_ONCE)
            for leased in taken:
                self._handle(leased)

    def _handle(self, leased: Leased) -> None:
        try:
            with self._database.transaction() as session:
                asked = json.loads(self._sealer.open(leased.body, _QUEUE, leased.id))
                if asked["account"] is None:
                    self._offer_reset(session, asked["email"])
                else:
                    self._offer_account(session, asked["email"], asked["account"])
                self.queue.finish(session, leased)
        except Exception as error:
            log.exception("mail_request_failed", work_id=leased.id)
            with self._database.transaction() as session:
                self.queue.retry(session, leased, RETRY_AFTER, type(error).__name__)

    def _offer_reset(self, session: Session, email: str) -> None:
        found = account_named(session, email)
        account = None if found is None else locked_account(session, found.id)
        if account is None or account.email != email or not account.may_sign_in:
            return
        if PER_ADDRESS.wait(session, to_address(email)):
            return
        link = self._links.issue(session, Purpose.RESET, account.id, email)
        self._mails.send(session, Template.RESET_PASSWORD, email, account_id=account.id, link=link)

    def _offer_account(self, session: Session, email: str, account: Mapping[str, Any]) -> None:
        """Send the link that creates the account; an existing account gets a notice instead."""
        if PER_ADDRESS.wait(session, to_address(email)):
            return
        found = account_named(session, email)
        if found is not None:
            self._mails.send(session, Template.REGISTERED_ALREADY, email, account_id=found.id)
            return
        link = self._links.issue(session, Purpose.REGISTER, email, email, details=account)
        self._mails.send(session, Template.CONFIRM_REGISTRATION, email, link=link)
