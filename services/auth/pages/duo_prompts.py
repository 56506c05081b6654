"""Prompts of Duo that pages begin, and what is recorded of their refusals."""

import structlog
from starlette.responses import Response

from services.auth.duo.duo import Duo
from services.auth.pages.forms import FormFault, read_as
from services.auth.pages.visit import Visit
from services.auth.providers.refusals import Refused
from services.auth.providers.sign_ins import as_refusal
from services.auth.schemas import CurrentPassword
from services.auth.sessions.own_password import Person
from shared.errors import Problem

log = structlog.get_logger(__name__)


async def step_up_by_duo(
    visit: Visit, duo: Duo, person: Person, form: dict[str, str], after: str
) -> Response:
    """Check the password, then send the browser to Duo; raises one of REFUSALS."""
    password = read_as(CurrentPassword, form).current_password
    try:
        sent = await duo.begin_step_up(person, password, after, visit.request)
    except Refused as error:
        await noted(visit, error)
        raise FormFault(error.problem.detail) from error
    return visit.to(sent.url, sent.cookie)


async def noted(visit: Visit, error: Refused | Problem) -> Problem:
    problem = problem_of(visit, error)
    await keep(visit, problem)
    return problem


async def keep(visit: Visit, problem: Problem) -> None:
    if not visit.trail.is_written:
        await visit.trail.keep(refused_with=problem.status)


def problem_of(visit: Visit, error: Refused | Problem) -> Problem:
    """Log the reason, which the person does not see."""
    refused = as_refusal(error) if isinstance(error, Problem) else error
    tell = log.warning if refused.problem.status >= 500 else log.info
    tell("duo_refused", reason=refused.reason)
    visit.trail.add(reason=refused.reason)
    return refused.problem
