"""What auth itself stores about a person: everything but secrets and their hashes."""

from sqlalchemy import select

from contracts.exports import section, table_section
from services.auth.models import (
    ACCESS_KEYS,
    ACCOUNTS,
    CLIENTS,
    CONSENTS,
    DEVICES,
    FACTORS,
    IDENTITIES,
    PASSKEYS,
    SESSIONS,
)

_CONSENTS = select(CONSENTS, CLIENTS.c.name).join(CLIENTS, CLIENTS.c.id == CONSENTS.c.client_id)

EXPORTED = [
    table_section("identities", IDENTITIES, "account_id", without=("account_id",)),
    table_section("account", ACCOUNTS, "id", without=("username_key", "password_hash", "token_version")),
    table_section("sessions", SESSIONS, "account_id", without=("account_id", "token_hash", "previous_hash")),
    table_section("personal_access_tokens", ACCESS_KEYS, "account_id", without=("account_id", "secret_hash")),
    table_section("second_factors", FACTORS, "account_id", without=("account_id", "secret", "last_step")),
    table_section("passkeys", PASSKEYS, "account_id", without=("account_id", "public_key", "credential_id")),
    table_section(
        "known_devices", DEVICES, "account_id", key="device_id", without=("account_id", "device_id")
    ),
    section(
        "connected_apps", _CONSENTS, CONSENTS.c.account_id, CONSENTS.c.client_id, without=("account_id",)
    ),
]
