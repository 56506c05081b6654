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
    """More pieces are reserved than there are; `backorder` can be turned off once they have arrived."""

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
