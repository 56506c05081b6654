"""What `gatehouse doctor` checks for the gateway: the routes file."""

from collections.abc import Iterator

from gateway.config.routes_file import Unreadable, examine, read
from gateway.settings import Settings
from shared.process.checkup import Finding, fault, good


def checks(settings: Settings) -> Iterator[Finding]:
    file = settings.routes_file
    try:
        table, faults = examine(read(file), str(file), development=settings.environment == "development")
    except Unreadable as error:
        yield fault("routes file", str(error), "Check ROUTES_FILE and the mode of the file.")
        return
    if table is None:
        first = faults.findings[0].as_text(str(file))
        words = f"{len(faults.findings)} faults, the first: {first}"
        yield fault("routes file", words, f"Run gatehouse routes check {file}")
    else:
        yield good("routes file", f"{file}, {len(table.routes)} routes")
