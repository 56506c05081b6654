"""The job that makes an approved change at AWS.

It may run twice: setting a property again is harmless, and AWS refuses a change while an earlier one lasts.
"""

import json
from functools import partial
from typing import Any

import structlog
from sqlmodel import Session

from services.inventory import accounts, changing
from services.inventory.aws import Aws, AwsFailed, Call, Tally
from services.inventory.changing import APPROVED, DONE, FAILED, PROPERTIES
from services.inventory.settings import Settings
from shared.data.database import Database
from shared.errors import NotFound
from shared.work.jobs import Running

ACTION = "workspaces:ModifyWorkspaceProperties"
RESULT_CHARACTERS_MAX = 500

log = structlog.get_logger(__name__)


class Applier:
    """Runs jobs of the kind `change`."""

    def __init__(self, database: Database, aws: Aws, settings: Settings) -> None:
        self._database, self._aws, self._settings = database, aws, settings

    async def run(self, job: Running) -> dict[str, Any]:
        row = await self._database.read(changing.found, job.input["change"])
        if row["state"] != APPROVED:
            return {"state": row["state"]}
        state, result = await self._apply(row)
        log.info("aws_change", change_id=row["id"], workspace_id=row["workspace_id"], state=state)
        work = partial(_finish, change_id=row["id"], state=state, result=result[:RESULT_CHARACTERS_MAX])
        await job.do(work, cursor=None, progress=1, total=1)
        return {"state": state}

    async def _apply(self, row: dict[str, Any]) -> tuple[str, str]:
        if not self._settings.aws_changes:
            return FAILED, "AWS_CHANGES was switched off before the change was made."
        wanted = {PROPERTIES[name]: value for name, value in json.loads(row["wanted"]).items()}
        asked, made = {"WorkspaceId": row["workspace_id"]}, list[str]()
        try:
            account = await self._database.read(accounts.read, row["account"])
            for name, value in wanted.items():  # AWS changes one property per request
                given = {**asked, "WorkspaceProperties": {name: value}}
                call = Call("workspaces", "modify_workspace_properties", ACTION, given)
                await self._aws.call(accounts.target_of(account), row["region"], call, Tally())
                made.append(name)
        except NotFound:
            return FAILED, "The account was deleted."
        except AwsFailed as error:
            before = f" Changed before: {', '.join(made)}." if made else ""
            return FAILED, f"{error.action} failed with {error.code}: {error.message}{before}"
        return DONE, "AWS accepted the change; the next sync shows it."


def _finish(session: Session, change_id: str, state: str, result: str) -> None:
    row = changing.found(session, change_id, locked=True)
    changing.change(session, row, state=state, result=result)
