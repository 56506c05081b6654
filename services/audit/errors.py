"""Why the audit service refuses."""

from shared.errors import Conflict, NotFound


class NotYetSigned(NotFound):
    """No checkpoint covers this yet; ask again in some seconds."""

    code = "not_yet_signed"


class VerificationRunning(Conflict):
    """Somebody is verifying the log already; ask again when that is done."""

    code = "verification_running"
