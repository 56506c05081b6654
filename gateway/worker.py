"""`python -m gateway.worker`: one of several workers, started by their parent.

It counts under its number instead of its process id, so that its successor counts on where it ended, and
the files of counts stay as many as there are workers.
"""

import os

from prometheus_client import values

NUMBER = "GATEHOUSE_WORKER"  # in its environment

# Before anything is imported that counts.
values.ValueClass = values.MultiProcessValue(lambda: os.environ[NUMBER])  # type: ignore[no-untyped-call]

from gateway.__main__ import main  # noqa: E402

if __name__ == "__main__":
    main()
