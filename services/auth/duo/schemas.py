"""Requests and responses of the endpoints for Duo."""

from services.auth.fields import MfaToken
from shared.http.schemas import Input, WithHeaders, example


class BeginDuo(Input):
    model_config = example({"mfa_token": "VG8gYmUgc2hvd24gd2l0aCBhIGNvZGUgb2YgdGhlIGFwcA"})

    mfa_token: MfaToken


class SentToDuoOut(WithHeaders):
    """The URL to send the browser to, within five minutes. A cookie binds it to this browser.

    Duo sends the browser back to this server, where it gets a session. A client that follows the redirects
    itself, and does not accept text/html, gets the result as JSON.
    """

    model_config = example({"url": "https://api-1234abcd.duosecurity.com/oauth/v1/authorize?client_id=…"})

    url: str
