"""What `gatehouse up` shows on a terminal while it waits, and what it prints for programs."""

import io
import json
import re
import sys

import pytest

from gatehouse.screen import Screen


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal_of(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Called by each test itself, because pytest replaces stdout after the fixtures."""
    made = Terminal()
    monkeypatch.setattr(sys, "stdout", made)
    monkeypatch.setenv("COLUMNS", "60")
    return made


def shown(terminal: Terminal) -> list[str]:
    """Return the lines left on the terminal; `n lines up, clear below` removes n of them."""
    lines: list[str] = []
    for written in terminal.getvalue().split("\n"):
        part = written
        while match := re.match(r"\x1b\[(\d+)A\x1b\[J", part):
            del lines[-int(match[1]) :]
            part = part[match.end() :]
        lines.append(part)
    return lines[:-1]


def test_status_stays_below_what_is_written_and_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    screen = Screen(as_json=False, width=6)
    screen.show_status([("auth", "importing (5 s)"), ("orders", "importing (5 s)")])
    screen.pass_on("auth", "a line")
    screen.show_status([("orders", "migrating (6 s)")])
    assert [line.partition("│ ")[2] for line in shown(terminal)] == ["a line", "migrating (6 s)"]

    screen.show_status([])
    assert [line.partition("│ ")[2] for line in shown(terminal)] == ["a line"]


def test_status_is_cut_to_the_width_so_each_entry_takes_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    screen = Screen(as_json=False, width=6)
    screen.show_status([("auth", "x" * 200)])

    assert shown(terminal)[0].endswith("│ " + "x" * 50)


def test_json_never_contains_a_status_or_a_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    screen = Screen(as_json=True, width=6)
    assert not screen.redraws
    screen.pass_on("auth", "Traceback (most recent call last):")
    screen.pass_on("auth", '{"event":"x"}')
    screen.say("ended", "ended (exit code 1)", program="auth", level="error", ending="exit code 1")

    entries = [json.loads(line) for line in terminal.getvalue().splitlines()]
    assert [entry["event"] for entry in entries] == ["output", "x", "ended"]
    assert entries[0]["text"] == "Traceback (most recent call last):"
    assert (entries[2]["program"], entries[2]["ending"]) == ("auth", "exit code 1")
