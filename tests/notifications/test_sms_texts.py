"""The length of text messages, as it is charged."""

import pytest

from services.notifications.sms.texts import SEGMENTS_MAX, segments, shortened


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("Ж" * 70, 1),
        ("Ж" * 71, 2),
        ("😀" * 35, 1),
        ("😀" * 67, 3),  # 33 fit into a segment, because none is split
    ],
)
def test_segments_are_counted_as_they_are_charged(text: str, expected: int) -> None:
    assert segments(text) == expected


def test_long_text_is_cut_to_three_segments() -> None:
    for text in ("word " * 200, "Ж" * 500, "😀" * 300):
        cut = shortened(text)
        assert segments(cut) == SEGMENTS_MAX
        assert cut.endswith("...")
    assert shortened("a\nb\tc") == "a b c"
