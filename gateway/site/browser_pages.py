"""The start page, and error pages for browsers. Clients that do not ask for HTML get JSON."""

from html import escape
from string import Template

from starlette.requests import Request
from starlette.responses import HTMLResponse

from gateway.errors import Refusal
from gateway.forwarding.client_protocol import ALIAS
from gateway.site.console import FILES, Console
from shared import __version__
from shared.process.observe import REQUEST_ID

POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; script-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
TITLES = {
    404: "There is no page here",
    405: "This page cannot be used like that",
    500: "The gateway has a fault",
}
HEADERS = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer", "Vary": "Accept"}


class BrowserPages:
    """Pages without a shell, in the look of the console."""

    def __init__(self, console: Console) -> None:
        self._version = console.version
        self._start = Template((FILES / "start.html").read_text())
        self._error = Template((FILES / "error.html").read_text())

    def start(self) -> HTMLResponse:
        page = self._start.substitute(files=self._version, version=escape(__version__))
        return HTMLResponse(page, headers={**HEADERS, "Cache-Control": "no-cache"})

    def error(self, request: Request, refusal: Refusal) -> HTMLResponse:
        """Say what went wrong, and where to go on."""
        page = self._error.substitute(
            files=self._version,
            title=escape(TITLES.get(refusal.kind.status, "The gateway refused this")),
            text=escape(refusal.detail),
            request_id=escape(request.scope[REQUEST_ID]),
        )
        headers = {**HEADERS, "Cache-Control": "no-store", **refusal.headers}
        return HTMLResponse(page, refusal.kind.status, headers=headers)


def wants_page(request: Request) -> bool:
    """Whether to show a page: the client asks for HTML, and not under an alias, which is for programs."""
    if request.scope.get(ALIAS) is not None:
        return False
    accepted = {}
    for part in request.headers.get("accept", "").lower().split(","):
        media_type, *parameters = (one.strip() for one in part.split(";"))
        accepted[media_type] = next(
            (one.removeprefix("q=") for one in parameters if one.startswith("q=")), "1"
        )
    weight = _weight(accepted.get("text/html", "0"))
    return weight > 0 and weight >= _weight(accepted.get("application/json", "0"))


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
