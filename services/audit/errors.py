"""Why the audit service refuses."""

from shared.errors import Conflict, NotFound


class NotYetSigned(NotFound):
    """No checkpoint covers this yet; try again in a few seconds."""

    code = "not_yet_signed"


class VerificationRunning(Conflict):
    """The log is being verified already; try again when that is done."""

    code = "verification_running"
