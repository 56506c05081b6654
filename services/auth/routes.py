"""Every endpoint of the auth service."""

from services.auth.access_keys import routes as access_keys
from services.auth.administration import routes as administration
from services.auth.classic import routes as classic
from services.auth.clients import routes as clients
from services.auth.duo import routes as duo
from services.auth.explanations import routes as explanations
from services.auth.exports import routes as exports
from services.auth.impersonation import routes as impersonation
from services.auth.keys import routes as keys
from services.auth.lifecycle import routes as lifecycle
from services.auth.oauth import routes as oauth
from services.auth.own_account import routes as own_account
from services.auth.pages import routes as pages
from services.auth.passkeys import routes as passkeys
from services.auth.providers import routes as providers
from services.auth.revocations import routes as revocations
from services.auth.sessions import routes as sessions

OPERATIONS = [
    *sessions.OPERATIONS,
    *lifecycle.OPERATIONS,
    *own_account.OPERATIONS,
    *access_keys.OPERATIONS,
    *passkeys.OPERATIONS,
    *duo.OPERATIONS,
    *pages.OPERATIONS,
    *providers.OPERATIONS,
    *oauth.OPERATIONS,
    *clients.OPERATIONS,
    *keys.OPERATIONS,
    *revocations.OPERATIONS,
    *administration.OPERATIONS,
    *exports.OPERATIONS,
    *impersonation.OPERATIONS,
    *explanations.OPERATIONS,
    *classic.OPERATIONS,
]
