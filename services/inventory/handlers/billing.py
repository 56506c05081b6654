"""Handlers for costs."""

from sqlmodel import Session

from services.inventory import costs
from services.inventory.costs import CostOut, ListCosts, SumCosts, SumsOut
from shared.http.schemas import Page


def list_costs(query: ListCosts, session: Session) -> Page[CostOut]:
    """List costs by day and usage type, newest days first."""
    return costs.find(session, query)


def sum_costs(query: SumCosts, session: Session) -> SumsOut:
    """Sum costs exactly by month, day, usage type, WorkSpace, region or account."""
    return costs.sums(session, query)
