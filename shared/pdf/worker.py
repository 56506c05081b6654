"""The process that renders: it reads data from its standard input, and writes documents to its output.

It holds the compiler, which may use much memory or end with an abort, and no secrets. Data reaches a template
only as JSON in `sys.inputs.data`, so nothing in it is ever read as source.
"""

import json
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any, BinaryIO

from shared.pdf.characters import Spelling
from shared.pdf.frames import LENGTH_BYTES, packed

# The compiler keeps results of earlier documents. Beyond this, a new process is cheaper than a failed one.
KEPT_SHARE = 0.5


class NotCompiledError(Exception):
    """The template or its data are refused; the message is the compiler's first line."""


class Press:
    """Renders documents from the templates of one folder."""

    def __init__(self, templates: Path, fonts: Path | None) -> None:
        import typst

        self._refusal = typst.TypstError
        self._templates = templates
        self._compiler = typst.Compiler(
            root=str(templates),
            font_paths=[str(fonts)] if fonts else [],
            ignore_system_fonts=True,  # the same input has the same bytes on every machine
            package_path=os.devnull,
            package_cache_path=os.devnull,
        )

    def render(self, template: str, data: dict[str, Any], issued: int) -> tuple[bytes, list[str]]:
        """Return the document, and the numbers of the characters that it could not show."""
        spelling = Spelling()
        while True:
            spelled = spelling.of(data)
            try:
                made = self._compiler.compile(
                    str(self._templates / template),
                    format="pdf",
                    sys_inputs={"data": json.dumps({**spelled, "unshown": spelling.numbers})},
                    pdf_standards=["a-2a", "ua-1"],
                    timestamp=issued,
                )
            except self._refusal as error:
                if not spelling.learn(error.diagnostic):
                    raise NotCompiledError(error.message) from error
            except BaseException as error:
                # Long texts in scripts that no font has, written from right to left, fail in this way.
                if type(error).__name__ != "PanicException" or not spelling.doubt_more():
                    raise
            else:
                assert isinstance(made, bytes)
                return made, spelling.numbers


def address_space() -> int:
    """Return the bytes of address space that this process has reserved, which is what RLIMIT_AS counts.

    Return 0 on systems other than Linux, which neither report it nor have such a limit.
    """
    if sys.platform != "linux":
        return 0
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def serve(press: Press, incoming: BinaryIO, outgoing: BinaryIO, memory: int, seconds: int) -> None:
    """Render until the service closes our input, or until the kept results take too much memory."""
    is_last = False
    while not is_last and (length := incoming.read(LENGTH_BYTES)):
        asked = json.loads(incoming.read(int.from_bytes(length)))
        signal.alarm(seconds)  # ends this process even if nobody is left to kill it
        try:
            made, unshown = press.render(asked["template"], asked["data"], asked["issued"])
        except NotCompiledError as error:
            answer: dict[str, Any] = {"error": str(error)}
            made = b""
        else:
            answer = {"unshown": unshown}
        signal.alarm(0)
        is_last = address_space() > memory * KEPT_SHARE
        outgoing.write(packed({**answer, "bytes": len(made), "is_last": is_last}) + made)
        outgoing.flush()


def main() -> None:
    templates, fonts, memory, seconds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    press = Press(templates, Path(fonts) if fonts else None)
    sys.stdout.buffer.write(packed({"ready": True}))
    sys.stdout.buffer.flush()
    serve(press, sys.stdin.buffer, sys.stdout.buffer, memory, seconds)


if __name__ == "__main__":
    main()
