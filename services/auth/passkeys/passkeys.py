"""Passkeys (WebAuthn), which replace both the password and the second factor.

User verification on the device (fingerprint, face or PIN) is required. So a passkey counts as two factors:
the device, and the verification.
"""

import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, TypeVar

from sqlalchemy import Row, delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from services.auth.accounts.accounts import locked_account
from services.auth.credentials.throttle import Pace
from services.auth.errors import InvalidPasskey, NoPasskeySite, TooManyPasskeys, UnknownPasskey
from services.auth.models import PASSKEY_CHALLENGES, PASSKEYS, Account, delete_expired
from services.auth.passkey_models import Passkey, PasskeyChallenge
from services.auth.passkeys.site import PasskeySite, passkey_site
from services.auth.settings import Settings
from shared.clock import now
from shared.hashing import sha256_hex

T = TypeVar("T")

PRODUCT = "Gatehouse"
LIFETIME = timedelta(minutes=5)
CHALLENGE_BYTES = 32
PER_ACCOUNT_MAX = 20
# Per network, because anyone may request a challenge.
PER_NETWORK = Pace(at_once=30, interval=timedelta(seconds=5))


class Passkeys:
    """The passkeys of accounts. Every method runs inside the caller's transaction.

    The library is imported when first needed, because that takes longer than the rest of the startup.
    """

    def __init__(self, settings: Settings) -> None:
        self._site = passkey_site(settings.oauth_issuer)

    def options_to_add(self, session: Session, account: Account) -> str:
        """Return the JSON options with which a browser creates a passkey for this account."""
        import webauthn
        from webauthn.helpers import structs

        own = select(PASSKEYS.c.credential_id).where(PASSKEYS.c.account_id == account.id)
        known = [_bytes(one) for one in session.connection().execute(own).scalars()]
        if len(known) >= PER_ACCOUNT_MAX:
            raise TooManyPasskeys
        options = webauthn.generate_registration_options(
            rp_id=self._require_site().host,
            rp_name=PRODUCT,
            user_id=account.id.encode(),
            user_name=account.email or account.username or account.id,
            challenge=self._challenge(session, account.id),
            authenticator_selection=structs.AuthenticatorSelectionCriteria(
                resident_key=structs.ResidentKeyRequirement.REQUIRED,
                user_verification=structs.UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=[structs.PublicKeyCredentialDescriptor(id=one) for one in known],
        )
        return webauthn.options_to_json(options)

    def use_challenge(self, session: Session, credential: Mapping[str, Any], account_id: str | None) -> bytes:
        """Consume the signed challenge and return it. Commit this before the signature is checked.

        With an account, the challenge must be one for adding a passkey to it; otherwise, one for signing in.
        """
        challenge, table = _signed_challenge(credential), PASSKEY_CHALLENGES
        of_account = table.c.account_id.is_not_distinct_from(account_id)
        mine = table.c.challenge_hash == sha256_hex(challenge), of_account, table.c.expires > now()
        if session.connection().execute(delete(table).where(*mine)).rowcount != 1:
            raise UnknownPasskey if account_id is None else InvalidPasskey
        return challenge

    def add(
        self, session: Session, account_id: str, name: str, credential: dict[str, Any], challenge: bytes
    ) -> Passkey:
        """Add the passkey that a browser created with those options."""
        import webauthn

        found = _checked(
            lambda: webauthn.verify_registration_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=self._require_site().host,
                expected_origin=self._require_site().origin,
                require_user_verification=True,
            )
        )
        locked_account(session, account_id)  # so that concurrent additions are counted
        mine = select(func.count()).select_from(PASSKEYS).where(PASSKEYS.c.account_id == account_id)
        if session.connection().execute(mine).scalar_one() >= PER_ACCOUNT_MAX:
            raise TooManyPasskeys
        made = Passkey(
            account_id=account_id,
            credential_id=_text(found.credential_id),
            public_key=_text(found.credential_public_key),
            sign_count=found.sign_count,
            name=name,
        )
        session.add(made)
        try:
            session.flush()
        except IntegrityError as error:
            raise InvalidPasskey from error
        return made

    def options_to_sign_in(self, session: Session) -> str:
        """Return the JSON options with which a browser asks for any passkey of this site."""
        import webauthn
        from webauthn.helpers import structs

        options = webauthn.generate_authentication_options(
            rp_id=self._require_site().host,
            challenge=self._challenge(session, None),
            user_verification=structs.UserVerificationRequirement.REQUIRED,
        )
        return webauthn.options_to_json(options)

    def account_of(self, session: Session, credential: dict[str, Any], challenge: bytes) -> tuple[str, str]:
        """Return the account and passkey ids of a signed challenge."""
        import webauthn

        row = _row_of(session, credential)
        try:
            found = _checked(
                lambda: webauthn.verify_authentication_response(
                    credential=credential,
                    expected_challenge=challenge,
                    expected_rp_id=self._require_site().host,
                    expected_origin=self._require_site().origin,
                    credential_public_key=_bytes(row.public_key),
                    credential_current_sign_count=row.sign_count,
                    require_user_verification=True,
                )
            )
        except InvalidPasskey as error:
            raise UnknownPasskey from error
        mine = PASSKEYS.c.id == row.id
        used = update(PASSKEYS).where(mine).values(sign_count=found.new_sign_count, used=now())
        session.connection().execute(used)
        return row.account_id, row.id

    def remove(self, session: Session, account_id: str, passkey_id: str) -> str | None:
        """Remove one passkey of an account; return its name, or None if it does not exist."""
        mine = PASSKEYS.c.id == passkey_id, PASSKEYS.c.account_id == account_id
        gone = delete(PASSKEYS).where(*mine).returning(PASSKEYS.c.name)
        name: str | None = session.connection().execute(gone).scalar_one_or_none()
        return name

    def _require_site(self) -> PasskeySite:
        if self._site is None:
            raise NoPasskeySite
        return self._site

    def _challenge(self, session: Session, account_id: str | None) -> bytes:
        expired = PASSKEY_CHALLENGES.c.expires <= now()
        delete_expired(session, PASSKEY_CHALLENGES.c.challenge_hash, expired)
        challenge = secrets.token_bytes(CHALLENGE_BYTES)
        expires = now() + LIFETIME
        session.add(
            PasskeyChallenge(challenge_hash=sha256_hex(challenge), account_id=account_id, expires=expires)
        )
        return challenge


def _signed_challenge(credential: Mapping[str, Any]) -> bytes:
    """Return the challenge in a credential; empty if it has none, which matches no issued challenge."""
    try:
        client_data = json.loads(_bytes(credential["response"]["clientDataJSON"]))
        return _bytes(client_data["challenge"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return b""


def _row_of(session: Session, credential: Mapping[str, Any]) -> Row[Any]:
    named = credential.get("id")
    # Databases refuse a surrogate or a zero byte, which JSON may contain.
    if not isinstance(named, str) or not named.isascii() or not named.isprintable():
        raise UnknownPasskey
    which = PASSKEYS.c.credential_id == named.rstrip("=")
    owner_id = session.connection().execute(select(PASSKEYS.c.account_id).where(which)).scalar_one_or_none()
    if owner_id is not None:
        locked_account(session, owner_id)  # locked before its passkeys everywhere, to avoid deadlocks
    row = session.connection().execute(select(PASSKEYS).where(which).with_for_update()).first()
    if row is None:
        raise UnknownPasskey
    return row


def _checked(check: Callable[[], T]) -> T:
    """Run a check of the library; any fault of a credential gets the same refusal."""
    from webauthn.helpers.exceptions import WebAuthnException

    try:
        return check()
    except (WebAuthnException, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidPasskey from error


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")
