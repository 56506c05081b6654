"""The endpoints of the orders service."""

from contracts.summaries import summary_operation
from services.orders import summary
from services.orders.errors import (
    AlreadyInvoiced,
    IllegalStep,
    NotEnoughStock,
    NotInvoiced,
    NotOnHand,
    OrderHasLines,
    OrderInvoiced,
    OrderLocked,
    OrderNotBillable,
    OrderNotCancelled,
    OrderNotConfirmed,
    OtherCurrency,
    OutOfStock,
    PiecesOwed,
    SellerNotSet,
    SkuTaken,
    StepNeedsAdmin,
    TooManyLocations,
    TooManyRows,
)
from services.orders.handlers import invoices, orders, products, purchases, reports, stock
from services.orders.invoices.media import PDF
from shared.errors import NotFound, Overloaded, TooLarge, Unavailable, UnsupportedMediaType
from shared.http.operations import Operation
from shared.identity.tokens import admin, internal
from shared.pdf.errors import NotRendered
from shared.reports.operations import report_operations

PRODUCT = "/products/{product_id}"
READ, WRITE = "orders:read", "orders:write"
READ_PRODUCTS, ADMINISTER = "products:read", "admin:products"

_NO_PDF = (NotRendered, Overloaded)

OPERATIONS = [
    summary_operation(summary.rows_of),
    Operation("GET", "/orders", orders.list_orders, scope=READ, errors=(NotFound,)),
    Operation(
        "POST",
        "/orders",
        orders.place_order,
        scope=WRITE,
        status=201,
        location="/orders/{id}",
        idempotent=True,
        errors=(OutOfStock, TooManyLocations),
        together=lambda body: body.is_simple,
    ),
    Operation("GET", "/orders/user/{user_id}", orders.list_orders_of_user, scope=READ),
    Operation("GET", "/orders/purchases/{product_id}", purchases.show_purchase, scope=READ),
    Operation("GET", "/orders/{order_id}", orders.show_order, scope=READ),
    Operation(
        "PUT",
        "/orders/{order_id}",
        orders.change_order,
        scope=WRITE,
        errors=(StepNeedsAdmin, IllegalStep, OrderLocked, OrderHasLines, NotOnHand),
    ),
    Operation(
        "DELETE",
        "/orders/{order_id}",
        orders.delete_order,
        scope=WRITE,
        status=204,
        errors=(OrderLocked, OrderInvoiced),
    ),
    Operation(
        "GET",
        "/orders/{order_id}/history",
        orders.list_history,
        scope=READ,
        action="LIST_ORDER_HISTORY",
    ),
    Operation(
        "POST",
        "/orders/{order_id}/invoice",
        invoices.issue_invoice,
        scope=WRITE,
        status=201,
        location="/orders/{order_id}/invoice",
        idempotent=True,
        errors=(
            AlreadyInvoiced,
            OrderNotBillable,
            OrderNotConfirmed,
            OtherCurrency,
            SellerNotSet,
            Unavailable,
        ),
    ),
    Operation(
        "GET",
        "/orders/{order_id}/invoice",
        invoices.show_invoice,
        scope=READ,
        also={200: PDF},
        errors=_NO_PDF,
    ),
    Operation(
        "POST",
        "/orders/{order_id}/credit-note",
        invoices.issue_credit_note,
        scope=WRITE,
        status=201,
        location="/orders/{order_id}/credit-note",
        idempotent=True,
        errors=(AlreadyInvoiced, NotInvoiced, OrderNotCancelled, Unavailable),
    ),
    Operation(
        "GET",
        "/orders/{order_id}/credit-note",
        invoices.show_credit_note,
        scope=READ,
        also={200: PDF},
        errors=_NO_PDF,
    ),
    Operation(
        "GET",
        "/internal/invoices/{invoice_id}/pdf",
        invoices.open_invoice,
        access=internal,
        answer_types=(PDF,),
        errors=(NotFound, *_NO_PDF),
    ),
    Operation("GET", "/invoices", invoices.list_invoices, scope=READ, errors=(NotFound,)),
    *report_operations(
        "/reports",
        reports.start_report,
        access=admin,
        scopes=("admin:orders", "admin:orders"),
        jobs_scope="orders",
    ),
    Operation("GET", "/products", products.list_products, scope=READ_PRODUCTS, errors=(NotFound,)),
    Operation(
        "POST",
        "/products",
        products.create_product,
        access=admin,
        scope=ADMINISTER,
        status=201,
        location="/products/{id}",
        idempotent=True,
        errors=(SkuTaken,),
    ),
    Operation(
        "POST",
        "/products/import",
        products.import_products,
        access=admin,
        scope=ADMINISTER,
        body_type="text/csv",
        errors=(SkuTaken, TooLarge, TooManyRows, UnsupportedMediaType),
    ),
    Operation("GET", PRODUCT, products.show_product, scope=READ_PRODUCTS),
    Operation(
        "PUT",
        PRODUCT,
        products.change_product,
        access=admin,
        scope=ADMINISTER,
        errors=(SkuTaken, PiecesOwed),
    ),
    Operation("DELETE", PRODUCT, products.delete_product, access=admin, scope=ADMINISTER, status=204),
    Operation("GET", f"{PRODUCT}/stock", stock.show_stock, access=admin, scope=ADMINISTER),
    Operation("GET", f"{PRODUCT}/stock/moves", stock.list_moves, access=admin, scope=ADMINISTER),
    Operation(
        "POST",
        f"{PRODUCT}/stock/moves",
        stock.move_stock,
        access=admin,
        scope=ADMINISTER,
        status=201,
        idempotent=True,
        errors=(NotEnoughStock, TooManyLocations),
    ),
]
