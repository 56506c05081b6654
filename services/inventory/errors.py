"""The inventory service's error responses."""

from shared.errors import BadRequest, Conflict, Forbidden, Invalid, Unavailable


class NameTaken(Conflict):
    """An AWS account with this name already exists; choose another name."""

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


class AwsAway(Unavailable):
    """AWS did not respond in time; try again later."""

    code = "aws_unavailable"


class QuestionNotUnderstood(Invalid):
    """Some words of the question were not understood; `suggestions` lists similar questions that are."""

    code = "not_understood"
