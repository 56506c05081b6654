"""The endpoint that explains credentials."""

from services.auth.explanations import handlers
from shared.http.operations import Operation
from shared.identity.tokens import internal

OPERATIONS = [
    Operation("POST", "/internal/credentials/explain", handlers.explain_credential, access=internal)
]
