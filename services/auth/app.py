"""Assembles the auth service."""

from contextlib import aclosing
from functools import partial
from typing import Any

from starlette.applications import Starlette

from contracts.events import SUBSCRIBERS
from services.auth.accounts.first_admin import create_first_admin
from services.auth.credentials.devices import Devices
from services.auth.credentials.passwords import Passwords
from services.auth.credentials.policy import PasswordPolicy
from services.auth.duo.duo import Duo
from services.auth.duo.prompt import DuoPrompt
from services.auth.explanations.explanations import Explanations
from services.auth.exports.downloads import Downloads
from services.auth.exports.exports import TIDY_SECONDS, Exports
from services.auth.factors.challenges import ChallengeCookie
from services.auth.factors.factors import Factors
from services.auth.keys.signing_keys import REFRESH_SECONDS, SigningKeys
from services.auth.lifecycle.addresses import Addresses
from services.auth.lifecycle.invitations import Invitations
from services.auth.lifecycle.registration import Registration
from services.auth.lifecycle.requests import WORK_SECONDS, MailRequests
from services.auth.lifecycle.resets import PasswordResets
from services.auth.mails.links import Links, delete_expired_links
from services.auth.mails.mails import Mails, warn_without_origin
from services.auth.models import EVENTS, IDEMPOTENCY
from services.auth.oauth.issuer import Issuer
from services.auth.oauth.server import OAuthServer
from services.auth.own_account.authenticator_app import AuthenticatorApp
from services.auth.own_account.deletion import OwnDeletion
from services.auth.own_account.identity_check import IdentityCheck
from services.auth.own_account.password_change import PasswordChange
from services.auth.own_account.profile import OwnProfile
from services.auth.pages.render import Pages
from services.auth.pages.visit import Site
from services.auth.passkeys.own_passkeys import OwnPasskeys
from services.auth.passkeys.passkeys import Passkeys
from services.auth.providers.connected import Connected
from services.auth.providers.linking import Linking
from services.auth.providers.registry import Providers
from services.auth.providers.sign_ins import ProviderSignIns
from services.auth.revocations.delivery import DeliverFirst
from services.auth.revocations.feed import RevocationFeed
from services.auth.revocations.log import RevocationLog
from services.auth.routes import OPERATIONS
from services.auth.sessions.browser import BrowserSessions
from services.auth.sessions.login import PasswordLogin
from services.auth.sessions.own_password import OwnPassword
from services.auth.sessions.sessions import Sessions
from services.auth.sessions.sign_in import PasswordCheck, SecondStep
from services.auth.sessions.tokens import AccessTokens
from services.auth.settings import Settings
from shared.data.database import Database
from shared.data.sealed import Sealer
from shared.events import Events
from shared.http.idempotency import IdempotencyStore
from shared.identity.tokens import TokenVerifier
from shared.peers.client import HttpClient
from shared.process.proxies import Proxies
from shared.service import create_service
from shared.work.duties import Duties, Duty

LINKS_TIDIED_SECONDS = 600.0


def create_app(settings: Settings) -> Starlette:
    client, database = HttpClient(), Database(settings.database_url, settings.database_pool)
    keys, passwords = SigningKeys(settings, database), Passwords(settings.bcrypt_cost)
    devices, proxies = Devices(settings), Proxies(settings.trusted_proxies)
    # Keys and revocations are local, so the service does not request them from itself over HTTP.
    verifier = TokenVerifier(settings, client, fetch_keys=keys.document)
    revocations = RevocationLog(settings)
    sessions, tokens = Sessions(settings, revocations), AccessTokens(settings, keys)
    sealer = Sealer(settings.service, [settings.key_secret.get_secret_value()])
    factors = Factors(sealer, offers_duo=settings.has_duo)
    responses = IDEMPOTENCY.sealed_by(sealer)  # the first response shows a token or a secret
    issuer, browsers = Issuer(settings, keys, tokens), BrowserSessions(settings, sessions)
    own_password = OwnPassword(database, passwords, sessions)
    life = _life_of_accounts(settings, own_password, factors, devices, proxies)
    elsewhere = _signing_in(settings, own_password, factors, life, browsers, devices, proxies, tokens)
    feed = RevocationFeed(database, revocations, verifier.revocations, on_kill=keys.refresh)
    return create_service(
        settings,
        OPERATIONS,
        client=client,
        database=database,
        idempotency=responses,
        provide={
            AccessTokens: tokens,
            BrowserSessions: browsers,
            Devices: devices,
            Factors: factors,
            IdempotencyStore: responses,
            Issuer: issuer,
            OAuthServer: OAuthServer.of(
                issuer, _oauth_verifier(settings, client, verifier, keys), sessions, revocations
            ),
            Site: Site(settings, database, browsers, devices, Pages(settings)),
            Passwords: passwords,
            Proxies: proxies,
            RevocationFeed: feed,
            RevocationLog: revocations,
            Sessions: sessions,
            SigningKeys: keys,
            TokenVerifier: verifier,
            **life,
            **elsewhere,
            **_own_account(settings, own_password, factors, life),
        },
        on_start=[
            keys.prepare,
            partial(create_first_admin, database, settings),
            partial(warn_without_origin, settings),
        ],
        on_stop=[passwords.close],
        verifier=verifier,
        follower=feed,
        in_front=partial(DeliverFirst, feed=feed),
        beside=[
            aclosing(elsewhere[Providers]),
            aclosing(elsewhere[Duo].prompt),
            Duties(database, _duties(database, life, keys)),
        ],
        events=Events(EVENTS, life[Exports].consumes, SUBSCRIBERS),
    )


def _life_of_accounts(
    settings: Settings, own_password: OwnPassword, factors: Factors, devices: Devices, proxies: Proxies
) -> dict[type, Any]:
    """Build what registration, invitations, address changes and password resets need."""
    database, passwords, sessions = own_password.database, own_password.passwords, own_password.sessions
    policy, links, mails = PasswordPolicy(settings), Links(settings), Mails(settings)
    asked = MailRequests(settings, database, links, mails)
    return {
        Downloads: Downloads(database),
        Exports: Exports(settings, database, mails),
        Explanations: Explanations(settings),
        Addresses: Addresses(own_password, sessions, links, mails),
        Invitations: Invitations(database, passwords, policy, links, mails),
        Links: links,
        MailRequests: asked,
        Mails: mails,
        PasswordCheck: PasswordCheck(settings, database, passwords, policy, devices, proxies),
        PasswordPolicy: policy,
        PasswordResets: PasswordResets(database, passwords, policy, sessions, factors, links, mails),
        Registration: Registration(
            settings, database, passwords, policy, devices, proxies, links, mails, asked
        ),
    }


def _signing_in(
    settings: Settings,
    own_password: OwnPassword,
    factors: Factors,
    life: dict[type, Any],
    browsers: BrowserSessions,
    devices: Devices,
    proxies: Proxies,
    tokens: AccessTokens,
) -> dict[type, Any]:
    """Build what sign-ins need: with a password, and those that continue at a provider or at Duo."""
    database, sessions, mails = own_password.database, own_password.sessions, life[Mails]
    second = SecondStep(factors, sessions, mails)
    linking = Linking(settings, sessions, factors, life[Links], mails)
    sign_ins = ProviderSignIns.of(settings, database, linking, second, browsers, devices, proxies)
    prompt, pending = DuoPrompt(settings), sign_ins.pending
    cookie = ChallengeCookie(settings)
    return {
        ChallengeCookie: cookie,
        PasswordLogin: PasswordLogin(
            database, life[PasswordCheck], second, sessions, devices, tokens, cookie
        ),
        ProviderSignIns: sign_ins,
        Connected: Connected(sign_ins.providers, linking),
        Duo: Duo(settings, database, prompt, pending, factors, second, own_password, sessions, mails),
        Providers: sign_ins.providers,
        SecondStep: second,
    }


def _own_account(
    settings: Settings, own_password: OwnPassword, factors: Factors, life: dict[type, Any]
) -> dict[type, Any]:
    """Build what people need to manage their own account, on pages and over JSON."""
    database, passwords, sessions = own_password.database, own_password.passwords, own_password.sessions
    mails, passkeys = life[Mails], Passkeys(settings)
    own_passkeys = OwnPasskeys(database, sessions, passkeys, factors, mails)
    return {
        AuthenticatorApp: AuthenticatorApp(database, own_password, sessions, factors, mails),
        IdentityCheck: IdentityCheck(database, own_password, sessions, factors, own_passkeys),
        OwnDeletion: OwnDeletion(database, own_password, sessions, factors),
        OwnPasskeys: own_passkeys,
        OwnProfile: OwnProfile(sessions),
        Passkeys: passkeys,
        PasswordChange: PasswordChange(own_password, passwords, life[PasswordPolicy], sessions, mails),
    }


def _duties(database: Database, life: dict[type, Any], keys: SigningKeys) -> list[Duty]:
    return [
        Duty("signing_keys", REFRESH_SECONDS, keys.refresh),
        Duty("exports", TIDY_SECONDS, life[Exports].tidy),
        Duty("mail_requests", WORK_SECONDS, life[MailRequests].work),
        Duty("tidy_links", LINKS_TIDIED_SECONDS, partial(delete_expired_links, database)),
    ]


def _oauth_verifier(
    settings: Settings, client: HttpClient, verifier: TokenVerifier, keys: SigningKeys
) -> TokenVerifier:
    """Build the verifier of introspection and userinfo, which also accepts tokens for the OAuth server."""
    audience = [one for one in (settings.jwt_audience, settings.oauth_issuer, *settings.resources) if one]
    return TokenVerifier(
        settings, client, fetch_keys=keys.document, audience=audience, revocations=verifier.revocations
    )
