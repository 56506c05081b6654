"""Short descriptions of the browsers and programs that sign in, for the list of sessions."""

import re

# The first match counts: most browsers also name the ones they are compatible with.
_BROWSERS = (
    ("Edge", r"Edg(?:e|A|iOS)?/"),
    ("Opera", r"OPR/"),
    ("Samsung Internet", r"SamsungBrowser/"),
    ("Firefox", r"(?:Firefox|FxiOS)/"),
    ("Chrome", r"(?:Chrome|CriOS|HeadlessChrome)/"),
    ("Safari", r"Version/[\d.]+ .*Safari/"),
)
_SYSTEMS = (
    ("iPhone", r"iPhone"),
    ("iPad", r"iPad"),
    ("Android", r"Android"),
    ("ChromeOS", r"CrOS"),
    ("Windows", r"Windows"),
    ("macOS", r"Mac OS X|Macintosh"),
    ("Linux", r"Linux|X11"),
)
_PROGRAM = re.compile(r"([A-Za-z][A-Za-z0-9 ._-]{0,30})/")
HEADER_CHARACTERS_MAX = 300


def device_named(user_agent: str | None) -> str | None:
    """Return the browser and its system, or the name of a program; None if the header says neither."""
    header = (user_agent or "")[:HEADER_CHARACTERS_MAX]
    browser = _first(_BROWSERS, header)
    system = _first(_SYSTEMS, header)
    if browser is not None:
        return browser if system is None else f"{browser} on {system}"
    program = _PROGRAM.match(header)
    return program[1] if program is not None and program[1] != "Mozilla" else system


def _first(patterns: tuple[tuple[str, str], ...], header: str) -> str | None:
    return next((name for name, pattern in patterns if re.search(pattern, header)), None)
