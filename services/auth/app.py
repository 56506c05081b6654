"""How the auth service is put together."""

from functools import partial

from starlette.applications import Starlette

from contracts.events import SUBSCRIBERS
from services.auth.accounts.first_admin import create_first_admin
from services.auth.credentials.devices import Devices
from services.auth.credentials.passwords import Passwords
from services.auth.events import CONSUMES
from services.auth.keys.signing_keys import SigningKeys
from services.auth.models import EVENTS
from services.auth.revocations.feed import RevocationFeed
from services.auth.revocations.log import RevocationLog
from services.auth.routes import OPERATIONS
from services.auth.sessions.sessions import Sessions
from services.auth.sessions.tokens import AccessTokens
from services.auth.settings import Settings
from shared.data.database import Database
from shared.events import Events
from shared.identity.tokens import TokenVerifier
from shared.peers.client import HttpClient
from shared.process.proxies import Proxies
from shared.service import create_service


def create_app(settings: Settings) -> Starlette:
    client = HttpClient()
    database = Database(settings.database_url, settings.database_pool)
    keys = SigningKeys(settings, database)
    passwords = Passwords(settings.bcrypt_cost)
    # The keys and the revocations are here, so the service does not ask itself for them over HTTP.
    verifier = TokenVerifier(settings, client, fetch_keys=keys.document)
    revocations = RevocationLog(settings)
    feed = RevocationFeed(database, revocations, verifier.revocations)
    return create_service(
        settings,
        OPERATIONS,
        client=client,
        database=database,
        provide={
            AccessTokens: AccessTokens(settings, keys),
            Devices: Devices(settings),
            Passwords: passwords,
            Proxies: Proxies(settings.trusted_proxies),
            RevocationFeed: feed,
            Sessions: Sessions(settings, revocations),
            SigningKeys: keys,
            TokenVerifier: verifier,
        },
        on_start=[keys.prepare, partial(create_first_admin, database, settings)],
        on_stop=[passwords.close],
        verifier=verifier,
        follower=feed,
        events=Events(EVENTS, CONSUMES, SUBSCRIBERS),
    )
