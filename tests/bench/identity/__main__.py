"""`python -m tests.bench.identity [revocations] [sign_ins] [clients] [cookies]`: the figures of identity."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.identity import revocations, throughput

PARTS: dict[str, Callable[[Path], None]] = {
    "revocations": lambda folder: asyncio.run(revocations.main(folder)),
    "sign_ins": throughput.sign_ins,
    "clients": throughput.clients,
    "cookies": throughput.cookies,
}


def main(names: list[str]) -> None:
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        sys.exit(f"unknown: {' '.join(unknown)}; there are {' '.join(PARTS)}")
    for name in names or PARTS:
        with TemporaryDirectory() as folder:
            PARTS[name](Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
