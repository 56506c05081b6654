"""The route of the public keys."""

from services.auth.keys import handlers
from shared.http.operations import Operation
from shared.identity.tokens import public

OPERATIONS = [Operation("GET", "/.well-known/jwks.json", handlers.show_keys, access=public)]
