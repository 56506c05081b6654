"""Secrets that the operator gives to the command, and to no program of the suite."""

import os
from pathlib import Path

from gatehouse.backup import NotDone


def secret(variable: str) -> str | None:
    """Return the value of a variable, or the content of the file that VARIABLE_FILE names."""
    file = os.environ.get(f"{variable}_FILE")
    try:
        found = Path(file).read_text().strip() if file else os.environ.get(variable)
    except OSError as error:
        raise NotDone(f"{variable}_FILE: {file} cannot be read ({error.strerror})") from None
    return found or None
