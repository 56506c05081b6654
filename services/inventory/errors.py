"""Why the inventory service refuses."""

from shared.errors import Conflict, Forbidden, Invalid, Unavailable


class NameTaken(Conflict):
    """There is an AWS account of this name already."""

    code = "name_taken"


class SyncRunning(Conflict):
    """A sync is running or waiting already; `sync_id` names it."""

    code = "sync_running"


class NothingToSync(Conflict):
    """There is no AWS account to synchronise: add one, or test those whose status is error."""

    code = "nothing_to_sync"


class SyncNeedsAdmin(Forbidden):
    """Only admins may start a sync; the setting `SYNC_BY=all` lets everybody."""

    code = "sync_needs_admin"


class AwsAway(Unavailable):
    """AWS did not answer in time; try again in a moment."""

    code = "aws_unavailable"


class QuestionNotUnderstood(Invalid):
    """Some words of the question have no meaning here; `suggestions` are questions that have."""

    code = "not_understood"
