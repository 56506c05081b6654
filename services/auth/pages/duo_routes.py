"""The routes of Duo: its page in the account, the button on the sign-in page, and the returns from Duo."""

from services.auth.duo.duo import Use
from services.auth.errors import DuoDenied, DuoDown, DuoInUse, DuoUntrusted, NoDuo, StrangeSignIn
from services.auth.pages import duo_handlers
from services.auth.pages.duo_handlers import DUO_PAGE
from services.auth.pages.operations import HTML, PAGE_TYPE, Handler, form, shown
from services.auth.pages.visit import SIGN_IN
from shared.errors import InvalidToken, Problem
from shared.http.operations import Operation
from shared.identity.tokens import public

_PAGES = {303: "", **dict.fromkeys((400, 401, 409, 429, 502, 503), PAGE_TYPE)}
_BACK = (StrangeSignIn, DuoDenied, NoDuo, DuoUntrusted, DuoDown)


def _return(use: Use, handler: Handler, action: str, *errors: type[Problem]) -> Operation:
    return Operation(
        "GET",
        use.callback,
        handler,
        access=public,
        errors=(*_BACK, *errors),
        answer_types=HTML,
        also=_PAGES,
        action=action,
    )


OPERATIONS = [
    form(f"{SIGN_IN}/duo", "BEGIN_DUO_SIGN_IN", duo_handlers.begin_duo_by_form, _PAGES),
    _return(Use.SIGN_IN, duo_handlers.finish_duo_sign_in, "SIGN_IN_WITH_DUO"),
    _return(Use.ENROL, duo_handlers.finish_adding_duo, "ADD_DUO", InvalidToken, DuoInUse),
    _return(Use.STEP_UP, duo_handlers.finish_duo_step_up, "CONFIRM_IDENTITY", InvalidToken),
    shown(DUO_PAGE, duo_handlers.show_duo, _PAGES),
    form(DUO_PAGE, "ADD_DUO", duo_handlers.add_duo_by_form, _PAGES),
    form(f"{DUO_PAGE}/remove", "REMOVE_DUO", duo_handlers.remove_duo_by_form, _PAGES),
]
