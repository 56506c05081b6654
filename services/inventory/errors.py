"""The inventory service's error responses."""

from shared.errors import BadRequest, Conflict, Forbidden, Invalid, Unavailable


class NameTaken(Conflict):
    """This name is taken already; choose another one."""

    code = "name_taken"


class SyncRunning(Conflict):
    """A sync is already running or waiting; follow or cancel it by its `sync_id`."""

    code = "sync_running"


class NothingToSync(Conflict):
    """There is no AWS account to sync: add one, or test those whose status is error."""

    code = "nothing_to_sync"


class AdviceState(Conflict):
    """The state of this advice does not allow that; `allowed` lists the states it may change to."""

    code = "illegal_state"


class SyncNeedsAdmin(Forbidden):
    """Only admins may start or cancel a sync, unless the operator sets `SYNC_BY=all`."""

    code = "sync_needs_admin"


class AccountRefused(BadRequest):
    """AWS refused the account's credentials; check its keys."""

    code = "account_refused"


class ServerRefused(BadRequest):
    """The LDAP server could not be used; check its address and its credentials."""

    code = "server_refused"


class SetByOperator(Conflict):
    """Settings are set by the operator, as environment variables."""

    code = "set_by_operator"


class AwsAway(Unavailable):
    """AWS did not respond in time; try again later."""

    code = "aws_unavailable"


class QuestionNotUnderstood(Invalid):
    """Some words of the question were not understood; `suggestions` lists similar questions that work."""

    code = "not_understood"


class ChangesOff(Forbidden):
    """Changes at AWS are switched off; the operator can set `AWS_CHANGES=on`. Dry runs are possible."""

    code = "changes_off"


class DryRunFirst(Conflict):
    """There was no dry run of exactly this change within the last day; do one first."""

    code = "dry_run_first"


class OwnChange(Forbidden):
    """You asked for this change, so another admin has to approve it."""

    code = "own_change"


class ChangeState(Conflict):
    """Only changes that were asked for can be approved or refused."""

    code = "illegal_state"
