import sys

try:
    from gatehouse.cli import main

    sys.exit(main())
except ModuleNotFoundError as error:
    if sys.prefix != sys.base_prefix:  # in a virtual environment it is ours to mend
        raise
    sys.exit(
        f"This Python lacks the package {error.name}. `make up` makes an environment that has them all; "
        "then use .venv/bin/gatehouse, or `. .venv/bin/activate` before this."
    )
