"""Refusals of the audit service."""

from shared.errors import Conflict, NotFound


class NotYetSigned(NotFound):
    """No checkpoint covers this yet; try again in a few seconds."""

    code = "not_yet_signed"


class VerificationRunning(Conflict):
    """The log is already being verified; try again when that has finished."""

    code = "verification_running"
