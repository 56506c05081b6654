"""Handlers of support staff."""

from sqlmodel import Session

from services.support import desk, staff
from services.support.peers import Account, Accounts, find_account
from services.support.schemas import StaffOut, StatsOut
from shared.caller import Caller
from shared.http.schemas import Id


def show_ticket_stats(caller: Caller, session: Session) -> StatsOut:
    """Show how many tickets are unsolved, and how quickly they are answered."""
    desk.require_staff(session, caller)
    return staff.stats(session)


def list_staff(caller: Caller, session: Session) -> list[StaffOut]:
    """List the accounts that are support staff without being admins."""
    desk.require_staff(session, caller)
    return [StaffOut.unchecked(row) for row in staff.everybody(session)]


async def find_new_staff(user_id: Id, accounts: Accounts) -> Account:
    return await find_account(accounts, user_id)


def add_staff(user_id: Id, account: Account, caller: Caller, session: Session) -> StaffOut:
    """Make an account support staff."""
    return StaffOut.model_validate(staff.add(session, user_id, account, caller.id))


def remove_staff(user_id: Id, session: Session) -> None:
    """Make someone an ordinary account again; their tickets stay assigned to them."""
    staff.remove(session, user_id)
