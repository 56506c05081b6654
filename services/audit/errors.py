"""Refusals of the audit service."""

from shared.errors import Conflict, NotFound, Problem, Unavailable


class NotYetSigned(NotFound):
    """No checkpoint covers this yet; try again in a few seconds."""

    code = "not_yet_signed"


class VerificationRunning(Conflict):
    """The log is already being verified; try again when that has finished."""

    code = "verification_running"


class CheckpointDamaged(Unavailable):
    """The log's key did not sign the newest checkpoint in the database. Ask an admin to run /audit/verify."""

    code = "log_damaged"


class AnchorUnusable(Unavailable):
    """The anchor file cannot be read or written. Its path and the error are in the log of the service."""

    code = "anchor_unusable"


class NotErased(Problem):
    """Some accounts could not be erased. The log of the service names them (audit_erasure_failed)."""


class OnlyRead(Unavailable):
    """This is a copy of the log that is only read (BACKGROUND=off): it signs no statements."""

    code = "only_read"
