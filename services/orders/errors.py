"""Why the orders service refuses."""

from shared.errors import Conflict, Forbidden


class IllegalStep(Conflict):
    """The order cannot take this step from where it is; `allowed` lists the steps it can take."""

    code = "illegal_step"


class OrderLocked(Conflict):
    """What was ordered changes only while it is pending; only pending and cancelled orders can be deleted."""

    code = "order_locked"


class StepNeedsAdmin(Forbidden):
    """Only an admin may take this step; the owner of an order may only cancel it."""

    code = "step_needs_admin"
