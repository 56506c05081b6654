"""The routes of the account pages. Each form is audited under the same action as its JSON endpoint."""

from services.auth.pages import (
    account_factor_handlers,
    account_handlers,
    account_token_handlers,
    life_handlers,
    step_up_handlers,
)
from services.auth.pages.account_factor_handlers import PASSKEYS_PAGE, TOTP
from services.auth.pages.account_handlers import APPS, DELETION, PASSWORD, SECURITY, SESSIONS
from services.auth.pages.account_token_handlers import TOKENS
from services.auth.pages.life_handlers import EMAIL
from services.auth.pages.operations import form, page_with_form, shown
from services.auth.pages.visit import ACCOUNT, STEP_UP

_TO_SIGN_IN = {303: "", 400: "text/html"}

OPERATIONS = [
    *page_with_form(
        ACCOUNT, "CHANGE_MY_NAMES", account_handlers.show_profile, account_handlers.change_names, _TO_SIGN_IN
    ),
    *page_with_form(
        EMAIL,
        "CHANGE_MY_EMAIL",
        life_handlers.show_email_change,
        life_handlers.change_email_by_form,
        _TO_SIGN_IN,
    ),
    shown(SECURITY, account_handlers.show_security, _TO_SIGN_IN),
    *page_with_form(
        PASSWORD,
        "CHANGE_PASSWORD",
        account_handlers.show_password_change,
        account_handlers.change_password_by_form,
        _TO_SIGN_IN,
    ),
    *page_with_form(
        TOTP,
        "ENROL_TOTP",
        account_factor_handlers.show_totp,
        account_factor_handlers.enrol_totp_by_form,
        _TO_SIGN_IN,
    ),
    form(f"{TOTP}/confirm", "CONFIRM_TOTP", account_factor_handlers.confirm_totp_by_form),
    form(f"{TOTP}/remove", "REMOVE_TOTP", account_factor_handlers.remove_totp_by_form),
    *page_with_form(
        PASSKEYS_PAGE,
        "BEGIN_PASSKEY",
        account_factor_handlers.show_passkeys,
        account_factor_handlers.begin_passkey_by_form,
        _TO_SIGN_IN,
    ),
    form(f"{PASSKEYS_PAGE}/add", "ADD_PASSKEY", account_factor_handlers.add_passkey_by_form),
    form(f"{PASSKEYS_PAGE}/remove", "REMOVE_PASSKEY", account_factor_handlers.remove_passkey_by_form),
    *page_with_form(
        SESSIONS,
        "END_SESSION",
        account_handlers.show_sessions,
        account_handlers.end_session_by_form,
        _TO_SIGN_IN,
    ),
    *page_with_form(
        APPS,
        "DISCONNECT_APP",
        account_handlers.show_apps,
        account_handlers.disconnect_app_by_form,
        _TO_SIGN_IN,
    ),
    *page_with_form(
        TOKENS,
        "CREATE_ACCESS_KEY",
        account_token_handlers.show_tokens,
        account_token_handlers.create_token_by_form,
        _TO_SIGN_IN,
    ),
    form(f"{TOKENS}/revoke", "REVOKE_ACCESS_KEY", account_token_handlers.revoke_token_by_form),
    *page_with_form(
        DELETION,
        "DELETE_OWN_ACCOUNT",
        account_handlers.show_deletion,
        account_handlers.delete_account_by_form,
        _TO_SIGN_IN,
    ),
    *page_with_form(
        STEP_UP,
        "CONFIRM_IDENTITY",
        step_up_handlers.show_step_up,
        step_up_handlers.step_up,
        _TO_SIGN_IN,
    ),
]
