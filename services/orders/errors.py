"""Refusals of the orders service."""

from shared.errors import Conflict, Forbidden


class IllegalStep(Conflict):
    """The order cannot take this step in its current state; `allowed` lists the steps it can take."""

    code = "illegal_step"


class OrderLocked(Conflict):
    """Only pending orders can be changed; only pending and cancelled orders can be deleted."""

    code = "order_locked"


class StepNeedsAdmin(Forbidden):
    """Only an admin may take this step; the owner of an order may only cancel it."""

    code = "step_needs_admin"
