"""`python -m` with arguments, in a process of the fork server, which accepts only the name of a module."""

import importlib
import json
import os
import runpy
import sys

from shared.events import failpoints

COMMAND = "TEST_COMMAND"
FAIL_POINT = "GATEHOUSE_FAILPOINT"

if __name__ == "__main__":
    importlib.reload(failpoints)  # the fork server has imported it with its own environment
    sys.argv = json.loads(os.environ.pop(COMMAND))
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
