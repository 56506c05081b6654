"""Rendering of the pages, on the server and without script."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from services.auth.settings import Settings

HERE = Path(__file__).parent
# No form-action: browsers also apply it to the redirect to an app after a form.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'"
)
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
        self._templates.globals["may_register"] = settings.registration != "closed"

    def show(self, page: str, status: int = 200, /, **values: Any) -> HTMLResponse:
        text = self._templates.get_template(f"{page}.html").render(values)
        return HTMLResponse(text, status, headers=HEADERS)

    def say(
        self, title: str, words: str, onwards: str, label: str, kind: str = "info", *, status: int = 200
    ) -> HTMLResponse:
        """Show a message page with one link."""
        return self.show("message", status, title=title, words=words, onwards=onwards, label=label, kind=kind)

    def refuse(self, title: str, reason: str, status: int = 400) -> HTMLResponse:
        """Show an error page, without a redirect."""
        return self.show("error", status, title=title, reason=reason)
