"""The invoices that mails contain: fetched from orders when a mail is sent, and never stored here.

The file is named after the number of the invoice, and nothing that people wrote gets into a header.
"""

import asyncio
import re
import time
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from contracts.invoices import INVOICE_BYTES_MAX
from services.notifications.mail.messages import Attachment
from shared.errors import Unavailable
from shared.peers.client import AnswerLate, AnswerLost, AnswerTooLarge, NotReached, Peer, PeerRefusal

# While orders does not respond, each mail with an invoice would hold up those claimed together with it.
REST_SECONDS = 20.0
_NUMBER = re.compile(r"[A-Za-z0-9-]{1,40}")


class Orders(Peer):
    """The orders service."""


@dataclass(frozen=True, slots=True)
class WantedInvoice:
    """The invoice or credit note that a mail contains."""

    invoice_id: str
    number: str

    @property
    def file_name(self) -> str:
        return f"{self.number if _NUMBER.fullmatch(self.number) else 'document'}.pdf"


class NotFetched(Exception):
    """The invoice is not available. `code` is one word for admins.

    `unready` means for the moment, `missing` that orders does not know it, and `refused` is final.
    """

    def __init__(self, code: str, kind: Literal["unready", "missing", "refused"] = "unready") -> None:
        self.code, self.kind = code, kind
        super().__init__(code)


class Invoices:
    """Fetches invoices, and does not ask orders for a while after it did not respond."""

    def __init__(self, orders: Orders, seconds_max: float) -> None:
        self._orders, self._seconds_max = orders, seconds_max
        self._rests_until = 0.0

    async def fetch(self, wanted: WantedInvoice) -> Attachment:
        """Return the PDF; raise NotFetched if there is none, or none within the time."""
        if time.monotonic() < self._rests_until:
            raise NotFetched("orders_resting")
        path = f"/internal/invoices/{quote(wanted.invoice_id, safe='')}/pdf"
        try:
            async with asyncio.timeout(self._seconds_max):
                content = await self._orders.download(path, bytes_max=INVOICE_BYTES_MAX)
        except PeerRefusal as error:
            # An orders service of an earlier version knows no invoice here, so this is tried again.
            raise NotFetched("no_such_invoice", "missing") from error
        except AnswerTooLarge as error:
            raise NotFetched("invoice_too_large", "refused") from error
        except (NotReached, AnswerLate, AnswerLost, TimeoutError) as error:
            self._rests_until = time.monotonic() + REST_SECONDS
            raise NotFetched("orders_away") from error
        except Unavailable as error:  # such as a PDF that cannot be rendered at the moment
            raise NotFetched("invoice_not_ready") from error
        return Attachment(wanted.file_name, content)
