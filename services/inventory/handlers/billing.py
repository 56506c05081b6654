"""Reading what AWS bills."""

from sqlmodel import Session

from services.inventory import costs
from services.inventory.costs import CostOut, ListCosts, SumCosts, SumsOut
from shared.http.schemas import Page


def list_costs(query: ListCosts, session: Session) -> Page[CostOut]:
    """List what was billed by day and usage type, the newest days first."""
    return costs.find(session, query)


def sum_costs(query: SumCosts, session: Session) -> SumsOut:
    """Sum what was billed by month, day, usage type, WorkSpace, region or account, exactly."""
    return costs.sums(session, query)
