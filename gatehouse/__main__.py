import sys

try:
    from gatehouse.cli import main

    sys.exit(main())
except ModuleNotFoundError as error:
    if sys.prefix != sys.base_prefix:  # in a virtual environment this is a defect: show the traceback
        raise
    sys.exit(
        f"This Python lacks the package {error.name}. `make up` creates an environment with all packages; "
        "then run .venv/bin/gatehouse, or run `. .venv/bin/activate` first."
    )
