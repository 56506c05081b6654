"""`python -m gateway.worker`: one of several workers, started by their parent.

Metrics are labelled with the worker's number instead of its process id, so that a successor continues the
counts and there is one set of metric files per worker.
"""

import os

from prometheus_client import values

NUMBER = "GATEHOUSE_WORKER"  # in its environment

# Must run before any import that creates metrics.
values.ValueClass = values.MultiProcessValue(lambda: os.environ[NUMBER])  # type: ignore[no-untyped-call]

from gateway.__main__ import main  # noqa: E402

if __name__ == "__main__":
    main()
