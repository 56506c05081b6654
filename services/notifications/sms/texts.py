"""The text of a message as it is counted and charged: in segments, of one of two alphabets."""

SEGMENTS_MAX = 3
# GSM 03.38: the letters of an unpacked septet, and those that take two.
_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENDED = frozenset("^{}\\[~]|€")
_SINGLE = {True: 160, False: 70}
_JOINED = {True: 153, False: 67}  # each segment of several begins with a header
_CUT = "..."


def segments(text: str) -> int:
    """Return how many segments a text takes: as GSM letters if it has only these, else as UTF-16."""
    is_gsm = _BASIC.union(_EXTENDED).issuperset(text)
    sizes = [_size(letter, is_gsm=is_gsm) for letter in text]
    if sum(sizes) <= _SINGLE[is_gsm]:
        return 1
    number, room = 1, _JOINED[is_gsm]
    for size in sizes:  # no letter is split between two segments
        if size > room:
            number, room = number + 1, _JOINED[is_gsm]
        room -= size
    return number


def _size(letter: str, *, is_gsm: bool) -> int:
    if is_gsm:
        return 2 if letter in _EXTENDED else 1
    return len(letter.encode("utf-16-le")) // 2


def shortened(text: str) -> str:
    """Return a text of one line that takes at most SEGMENTS_MAX segments."""
    text = " ".join(text.split())
    if segments(text) <= SEGMENTS_MAX:
        return text
    fits, too_long = 0, len(text)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if segments(text[:middle] + _CUT) <= SEGMENTS_MAX:
            fits = middle
        else:
            too_long = middle
    return text[:fits].rstrip() + _CUT
