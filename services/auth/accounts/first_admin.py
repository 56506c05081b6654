"""The first admin, who can create others."""

import secrets

import structlog
from starlette.requests import Request

from contracts.demo import PASSWORD as DEMO_PASSWORD
from services.auth.accounts.accounts import add_account, any_admin
from services.auth.credentials.passwords import hash_password
from services.auth.errors import EmailTaken, UsernameTaken
from services.auth.models import Account, Role
from services.auth.settings import DEFAULT_ADMIN_PASSWORD, Settings, is_loopback, only_this_machine
from shared.data.database import Database
from shared.process.proxies import forwarded_for
from shared.process.settings import SettingsError

RANDOM_PASSWORD_BYTES = 18
# The public passwords of development, with the event logged when one is refused.
REFUSALS = {
    DEFAULT_ADMIN_PASSWORD: "default_admin_password_refused",
    DEMO_PASSWORD: "demo_password_refused",
}

log = structlog.get_logger(__name__)


def create_first_admin(database: Database, settings: Settings) -> None:
    """Create the admin from the settings unless one exists. If replicas start together, one creates it."""
    if _has_admin(database):
        return
    chosen = settings.first_admin_password()
    password = chosen or secrets.token_urlsafe(RANDOM_PASSWORD_BYTES)
    account = Account(
        email=settings.admin_email,
        password_hash=hash_password(password, settings.bcrypt_cost),
        role=Role.ADMIN,
        # Anyone who can read the log or the settings knows this password. The default works only on this
        # machine.
        must_change_password=password != DEFAULT_ADMIN_PASSWORD,
    )
    account.name(settings.admin_username)
    try:
        with database.transaction() as session:
            add_account(session, account)
    except (EmailTaken, UsernameTaken) as error:
        if _has_admin(database):  # another replica created it first
            return
        raise SettingsError(
            "auth: there is no admin, and ADMIN_USERNAME or ADMIN_EMAIL belongs to an account that is not an "
            "admin. Choose another name and address."
        ) from error
    if chosen is None:
        # Logged once and never stored: the database has only its hash.
        log.warning("admin_created", username=settings.admin_username, password=password)
    else:
        log.info("admin_created", username=settings.admin_username)


def is_known_to_everybody(password: str, request: Request, settings: Settings) -> bool:
    """Whether this is the password of the first admin or the demo company, used from another machine.

    Auth may listen on loopback behind a public gateway, and a development database may be moved to a public
    deployment. The addresses in X-Forwarded-For are checked too. Clients can forge the header, but that gains
    them nothing: another address in it can only cause a refusal.
    """
    refusal = REFUSALS.get(password)
    if refusal is None:
        return False
    through = (forwarded_for(request) or b"").decode("latin-1").replace(" ", "").split(",")
    askers = [request.client.host if request.client else "", *filter(None, through)]
    if only_this_machine(dict(settings)) and all(map(is_loopback, askers)):
        return False
    log.warning(refusal, askers=askers)
    return True


def _has_admin(database: Database) -> bool:
    with database.transaction(write=False) as session:
        return any_admin(session)
