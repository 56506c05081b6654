"""The handler of the dashboard."""

from services.users.dashboard.asking import Dashboard
from services.users.dashboard.schemas import DashboardSummary
from shared.caller import Caller


async def show_dashboard_summary(caller: Caller, dashboard: Dashboard) -> DashboardSummary:
    """Show a few numbers of every service: your own, or as an admin those of everybody.

    They may be 10 seconds old.
    """
    return await dashboard.summary(caller)
