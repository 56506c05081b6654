"""The event of invoices and credit notes. It holds no name and no address."""

from datetime import datetime

from shared.events import Event

INVOICE_BYTES_MAX = 1024 * 1024  # of a PDF; orders renders none that is larger


class InvoiceIssued(Event):
    """An invoice or a credit note was issued. What it states is read from orders."""

    topic = "invoice.issued"
    key = "order_id"
    source = "orders"

    invoice_id: str
    order_id: str
    user_id: str
    kind: str
    number: str
    total_minor: int
    currency: str
    issued: datetime
