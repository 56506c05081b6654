"""The endpoints of the orders service."""

from services.orders import handlers
from services.orders.errors import IllegalStep, OrderLocked, StepNeedsAdmin
from shared.errors import NotFound
from shared.http.operations import Operation

OPERATIONS = [
    Operation("GET", "/orders", handlers.list_orders, errors=(NotFound,)),
    Operation("POST", "/orders", handlers.place_order, status=201, location="/orders/{id}", idempotent=True),
    Operation("GET", "/orders/user/{user_id}", handlers.list_orders_of_user),
    Operation("GET", "/orders/{order_id}", handlers.show_order),
    Operation(
        "PUT", "/orders/{order_id}", handlers.change_order, errors=(StepNeedsAdmin, IllegalStep, OrderLocked)
    ),
    Operation("DELETE", "/orders/{order_id}", handlers.delete_order, status=204, errors=(OrderLocked,)),
    Operation("GET", "/orders/{order_id}/history", handlers.list_history, action="LIST_ORDER_HISTORY"),
]
