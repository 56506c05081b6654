"""Refusals of the orders service."""

from shared.errors import Conflict, Forbidden, Problem


class IllegalStep(Conflict):
    """The order cannot take this step in its current state; `allowed` lists the steps it can take."""

    code = "illegal_step"


class OrderLocked(Conflict):
    """Only pending orders can be changed; only pending and cancelled orders can be deleted."""

    code = "order_locked"


class StepNeedsAdmin(Forbidden):
    """Only an admin may take this step; the owner of an order may only cancel it."""

    code = "step_needs_admin"


class OrderHasLines(Conflict):
    """The content of this order is its lines, which do not change; cancel it and place another."""

    code = "order_has_lines"


class OrderInvoiced(Conflict):
    """An order with an invoice is kept for accounting and cannot be deleted."""

    code = "order_invoiced"


class OrderNotConfirmed(Conflict):
    """The order is still pending and may change; an admin must confirm it before the invoice is issued."""

    code = "order_not_confirmed"


class OrderNotBillable(Conflict):
    """The order was cancelled or returned before it had an invoice, so there is nothing to charge."""

    code = "order_not_billable"


class AlreadyInvoiced(Conflict):
    """The order has this document already, with the given `number`; read it with GET on the same path."""

    code = "already_invoiced"


class NotInvoiced(Conflict):
    """The order has no invoice, so there is nothing to credit."""

    code = "not_invoiced"


class OrderNotCancelled(Conflict):
    """Only a cancelled or returned order is credited: cancel it or take it back first."""

    code = "order_not_cancelled"


class SellerNotSet(Conflict):
    """The operator must set SELLER_NAME, SELLER_ADDRESS and SELLER_TAX_ID before invoices can be issued."""

    code = "seller_not_set"


class OtherCurrency(Conflict):
    """The seller issues invoices only in the given `currency`, and this order has another."""

    code = "other_currency"


class OutOfStock(Conflict):
    """There are not enough pieces; `lines` lists what is available of each product that is short."""

    code = "out_of_stock"


class NotOnHand(Conflict):
    """Pieces reserved for this order have not arrived yet; `lines` lists the products that are short."""

    code = "not_on_hand"


class NotEnoughStock(Conflict):
    """The location has fewer free pieces than this takes away; `available` says how many."""

    code = "not_enough_stock"


class PiecesOwed(Conflict):
    """More pieces are reserved than there are. `backorder` can be turned off once the rest has arrived."""

    code = "pieces_owed"


class TooManyLocations(Conflict):
    """A product may have stock at 100 locations at most."""

    code = "too_many_locations"


class SkuTaken(Conflict):
    """Another product has this SKU."""

    code = "sku_taken"


class TooManyRows(Problem):
    """The file has more rows than one import accepts; nothing was imported. Split it."""

    status = 413
    code = "too_many_rows"
