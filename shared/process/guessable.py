"""Recognises secrets and passwords that an attacker would try first."""

import re

DISTINCT_MIN = 6  # characters left after removing words and series
_WORDS = (
    "password passwort passwd secret admin administrator root user login welcome letmein changeme token test "
    "qwerty qwertz asdfgh zxcvbn iloveyou monkey dragon master sunshine princess football baseball trustno "
    "default guest gatehouse internal production abc"
).split()
_WORD = re.compile("|".join(sorted(_WORDS, key=len, reverse=True)))
_LOOKALIKES = str.maketrans("@4301!$5", "aaeoiiss")


def is_guessable(text: str) -> bool:
    """Whether the text is repetitive, or consists of well-known words and character series."""
    if text in (text + text)[1:-1]:
        return True
    return any(
        len(set(_WORD.sub("", _without_series(each)))) < DISTINCT_MIN
        for each in (text.lower(), text.lower().translate(_LOOKALIKES))
    )


def _without_series(text: str) -> str:
    """Remove runs of three or more characters that repeat, count up or count down."""
    kept: list[str] = []
    start = 0
    while start < len(text):
        end = start + 1
        step = ord(text[end]) - ord(text[start]) if end < len(text) else 2
        while abs(step) <= 1 and end < len(text) and ord(text[end]) - ord(text[end - 1]) == step:
            end += 1
        if end - start < 3:
            end = start + 1
            kept.append(text[start])
        start = end
    return "".join(kept)
