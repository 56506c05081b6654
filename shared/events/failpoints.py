"""Named steps at which a test kills the process, as a power failure would; without effect in production."""

import os
import signal

_STEP = os.environ.get("GATEHOUSE_FAILPOINT")
_IS_DEVELOPMENT = os.environ.get("ENVIRONMENT", "development") == "development"


def reached(step: str) -> None:
    if step == _STEP and _IS_DEVELOPMENT:
        os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()  # the kill may take a moment, and nothing more is to happen
