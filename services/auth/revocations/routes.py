"""The route of the revocation feed."""

from services.auth.revocations import handlers
from shared.http.operations import Operation
from shared.identity.revocations import FEED
from shared.identity.tokens import internal

OPERATIONS = [Operation("GET", FEED, handlers.follow_revocations, access=internal)]
