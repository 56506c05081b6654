"""Rendering of the pages, on the server. Only passkeys need a script."""

from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from services.auth.passkeys.site import passkey_site
from services.auth.settings import Settings

HERE = Path(__file__).parent
# No form-action: browsers also apply it to the redirect to an app after a form.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)
WITH_PASSKEYS = ("sign_in", "second_factor", "step_up", "account_passkeys", "account_passkey_make")
SCRIPTS = {**dict.fromkeys(WITH_PASSKEYS, "passkeys.js"), "form_post": "submit.js"}
SCRIPT_POLICY = f"{CONTENT_SECURITY_POLICY}; script-src 'self'; connect-src 'self'"
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Pages:
    """Renders the templates of this folder."""

    def __init__(self, settings: Settings) -> None:
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters["moment"] = _moment
        passkeys = passkey_site(settings.oauth_issuer)
        self._templates.globals["with_passkeys"] = passkeys is not None
        self._templates.globals["passkeys_at"] = passkeys.origin if passkeys else None
        self._templates.globals["providers"] = settings.identity_providers
        self._templates.globals["with_duo_here"] = settings.has_duo
        self._templates.globals["password_min"] = settings.password_min
        self._templates.globals["may_register"] = settings.registration != "closed"

    def show(self, page: str, status: int = 200, /, **values: Any) -> HTMLResponse:
        with_script = SCRIPTS.get(page)
        text = self._templates.get_template(f"{page}.html").render(values, with_script=with_script)
        policy = {"Content-Security-Policy": SCRIPT_POLICY} if with_script else {}
        return HTMLResponse(text, status, headers=HEADERS | policy)

    def say(
        self, title: str, words: str, onwards: str, label: str, kind: str = "info", *, status: int = 200
    ) -> HTMLResponse:
        """Show a message page with one link."""
        return self.show("message", status, title=title, words=words, onwards=onwards, label=label, kind=kind)

    def refuse(self, title: str, reason: str, status: int = 400) -> HTMLResponse:
        """Show an error page, without a redirect."""
        return self.show("error", status, title=title, reason=reason)


def _moment(moment: datetime) -> str:
    """Format a timestamp for people."""
    return f"{moment.day} {moment:%b %Y, %H:%M} UTC"
