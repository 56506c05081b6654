"""Named steps at which tests kill the process, as a power failure would; no effect in production."""

import os
import signal

_STEP = os.environ.get("GATEHOUSE_FAILPOINT")
_IS_DEVELOPMENT = os.environ.get("ENVIRONMENT", "development") == "development"


def reached(step: str) -> None:
    if step == _STEP and _IS_DEVELOPMENT:
        os.kill(os.getpid(), signal.SIGKILL)
        signal.pause()  # do nothing until the signal arrives
