"""The endpoints of the orders service."""

from services.orders import handlers
from services.orders.errors import IllegalStep, OrderLocked, StepNeedsAdmin
from shared.errors import NotFound
from shared.http.operations import Operation

OPERATIONS = [
    Operation("GET", "/orders", handlers.list_orders, scope="orders:read", errors=(NotFound,)),
    Operation(
        "POST",
        "/orders",
        handlers.place_order,
        scope="orders:write",
        status=201,
        location="/orders/{id}",
        idempotent=True,
    ),
    Operation("GET", "/orders/user/{user_id}", handlers.list_orders_of_user, scope="orders:read"),
    Operation("GET", "/orders/{order_id}", handlers.show_order, scope="orders:read"),
    Operation(
        "PUT",
        "/orders/{order_id}",
        handlers.change_order,
        scope="orders:write",
        errors=(StepNeedsAdmin, IllegalStep, OrderLocked),
    ),
    Operation(
        "DELETE",
        "/orders/{order_id}",
        handlers.delete_order,
        scope="orders:write",
        status=204,
        errors=(OrderLocked,),
    ),
    Operation(
        "GET",
        "/orders/{order_id}/history",
        handlers.list_history,
        scope="orders:read",
        action="LIST_ORDER_HISTORY",
    ),
]
