"""Every endpoint of the auth service: the tables of its rooms."""

from services.auth.administration import routes as administration
from services.auth.keys import routes as keys
from services.auth.own_account import routes as own_account
from services.auth.revocations import routes as revocations
from services.auth.sessions import routes as sessions

OPERATIONS = [
    *sessions.OPERATIONS,
    *own_account.OPERATIONS,
    *keys.OPERATIONS,
    *revocations.OPERATIONS,
    *administration.OPERATIONS,
]
