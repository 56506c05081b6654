"""The endpoints of the audit service."""

from contracts.summaries import summary_operation
from services.audit import handlers, summary
from services.audit.errors import NotYetSigned, VerificationRunning
from shared.errors import NotFound
from shared.http.operations import Operation
from shared.identity.tokens import admin, public

_HOLD = "/audit/holds/{user_id}"

OPERATIONS = [
    summary_operation(summary.rows_of),
    Operation("GET", "/audit/logs", handlers.list_logs, scope="audit:read", errors=(NotFound,)),
    Operation(
        "GET",
        "/audit/export",
        handlers.export_logs,
        scope="audit:read",
        errors=(NotFound, NotYetSigned),
        answer_types=("application/x-ndjson", "text/csv"),
    ),
    Operation(
        "GET",
        "/audit/checkpoint",
        handlers.show_checkpoint,
        access=public,
        errors=(NotYetSigned,),
        answer_types=("text/plain",),
    ),
    Operation("GET", "/audit/key", handlers.show_key, access=public),
    Operation(
        "GET", "/audit/verifier", handlers.download_verifier, access=public, answer_types=("text/x-python",)
    ),
    Operation(
        "GET", "/audit/proof/inclusion", handlers.prove_inclusion, scope="audit:read", errors=(NotYetSigned,)
    ),
    Operation(
        "GET", "/audit/proof/consistency", handlers.prove_consistency, access=public, errors=(NotYetSigned,)
    ),
    Operation(
        "GET",
        "/audit/verify",
        handlers.verify_log,
        scope="admin:audit",
        access=admin,
        errors=(VerificationRunning, NotYetSigned),
    ),
    Operation("GET", "/audit/holds", handlers.list_holds, scope="admin:audit", access=admin),
    Operation("PUT", _HOLD, handlers.place_hold, scope="admin:audit", access=admin),
    Operation(
        "DELETE", _HOLD, handlers.lift_hold, scope="admin:audit", access=admin, status=204, errors=(NotFound,)
    ),
]
