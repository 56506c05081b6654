"""The data of an invoice as its template wants it: texts, formatted once, in English."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from services.orders.invoices.snapshots import Line, Party, Snapshot
from services.orders.models import InvoiceKind
from services.orders.schemas import percent
from shared.data.money import from_minor

ADDRESS_LINES_MAX = 8
BREAK = "\u200b"  # zero-width space
_LONG_WORD = re.compile(r"\S{31,}")
_PIECE = re.compile(r".{1,15}")
TITLES = {InvoiceKind.INVOICE: "Invoice", InvoiceKind.CREDIT_NOTE: "Credit note"}


def document_of(invoice: Mapping[str, Any]) -> dict[str, Any]:
    snapshot = Snapshot.model_validate_json(invoice["snapshot"])
    currency = snapshot.currency
    is_taxed = any(one.tax_basis_points for one in snapshot.taxes)
    return {
        "kind": invoice["kind"],
        "title": TITLES[InvoiceKind(invoice["kind"])],
        "number": invoice["number"],
        "issued": f"{invoice['issued'].day} {invoice['issued']:%B %Y}",
        "order": invoice["order_id"],
        "corrects": snapshot.corrects,
        "seller": _party(snapshot.seller),
        "buyer": _party(snapshot.buyer),
        "note": snapshot.note if invoice["kind"] == InvoiceKind.INVOICE else "",
        "currency": currency,
        "is_taxed": is_taxed,
        "lines": [_line(line, currency) for line in snapshot.lines],
        "taxes": [
            {
                "rate": _rate(sums.tax_basis_points),
                "net": money(sums.net_minor, currency),
                "tax": money(sums.tax_minor, currency),
            }
            for sums in snapshot.taxes
        ],
        "net": money(snapshot.net_minor, currency),
        "total": money(snapshot.total_minor, currency),
    }


def money(minor: int, currency: str) -> str:
    """Format an amount without its currency: `1,234.50`."""
    return f"{from_minor(minor, currency):,f}"


def breakable(text: str) -> str:
    """Let lines break within words that are too long for a line, so that they stay on the page."""
    return _LONG_WORD.sub(lambda word: BREAK.join(_PIECE.findall(word[0])), text)


def _party(party: Party) -> dict[str, Any]:
    address = [breakable(line) for line in _lines_of(party.address or "")]
    return {"name": breakable(party.name), "address": address, "tax_id": party.tax_id}


def _lines_of(address: str) -> Sequence[str]:
    lines = [line.strip() for line in address.splitlines() if line.strip()]
    first, rest = lines[: ADDRESS_LINES_MAX - 1], lines[ADDRESS_LINES_MAX - 1 :]
    return [*first, ", ".join(rest)] if rest else first


def _line(line: Line, currency: str) -> dict[str, Any]:
    return {
        "name": breakable(line.name),
        "sku": line.sku,
        "quantity": f"{line.quantity:,}",
        "unit": "" if line.unit_minor is None else money(line.unit_minor, currency),
        "rate": _rate(line.tax_basis_points),
        "net": money(line.net_minor, currency),
    }


def _rate(basis_points: int) -> str:
    return f"{percent(basis_points).normalize():f}%"
