"""What `gatehouse doctor` checks for the terminal service: the Docker engine and the image of boxes."""

from collections.abc import Iterator

from services.terminal.engine import has_image
from services.terminal.settings import Settings
from shared.process.checkup import Finding, fault, good, warning


def checks(settings: Settings) -> Iterator[Finding]:
    if settings.backend == "process":
        words = "shells run as plain processes of this machine, without isolation"
        yield warning("terminal boxes", words, "This is for development only; install Docker to try boxes.")
    elif has_image(settings.docker_socket, settings.box_image):
        yield good("terminal boxes", f"the engine has {settings.box_image}")
    else:
        words = f"no engine at {settings.docker_socket}, or it lacks {settings.box_image}"
        yield fault(
            "terminal boxes",
            words,
            "See services/terminal/README.md for how to start it and build the image.",
        )
