"""Handlers for advice."""

from sqlmodel import Session

from services.inventory import advices
from services.inventory.advices import AdviceOut, AdviceSums, DecideAdvice, ListAdvice
from services.inventory.backtest import BacktestOut, BacktestQuery, Backtests
from shared.caller import Caller
from shared.events import Trail
from shared.http.preconditions import IfMatch
from shared.http.schemas import Id, Page


def list_advice(query: ListAdvice, session: Session) -> Page[AdviceOut]:
    """List advice, newest first; open advice unless another state is given."""
    return advices.find(session, query)


def sum_advice(session: Session) -> AdviceSums:
    """Sum the savings of open advice by kind. Unknown savings count as zero."""
    return AdviceSums(sums=advices.sums(session))


def decide_advice(
    advice_id: Id, body: DecideAdvice, if_match: IfMatch, caller: Caller, session: Session, trail: Trail
) -> AdviceOut:
    """Accept or dismiss advice, say that it is done, or open it again."""
    trail.add(state=body.state)
    return advices.decide(session, advice_id, body, caller.id, if_match)


def backtest_advice(query: BacktestQuery, backtests: Backtests, session: Session) -> BacktestOut:
    """Compare past months with what they would have cost with the advice to switch modes.

    The figures are at most a minute old.
    """
    return backtests.show(session, query)
