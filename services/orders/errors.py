"""Why the orders service refuses."""

from shared.errors import Conflict, Forbidden


class IllegalStep(Conflict):
    """The order cannot take this step from where it is; `allowed` lists the steps it can take."""

    code = "illegal_step"


class OrderLocked(Conflict):
    """Only a pending order changes what was ordered; only a pending or cancelled one can be deleted."""

    code = "order_locked"


class StepNeedsAdmin(Forbidden):
    """Only an admin takes this step; the owner of an order may cancel it."""

    code = "step_needs_admin"
