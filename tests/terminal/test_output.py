"""The pure modules: start of a replay, cached output, frames, the holder's ring, control messages."""

import asyncio
import struct

import pytest

from services.terminal import protocol
from services.terminal.holder.ring import Ring
from services.terminal.holder.wire import FRAME_BYTES_MAX, FrameError, Frames, frame
from services.terminal.output import AT_ONCE, COALESCE_SECONDS, TAIL_BYTES_MAX, Pace, Tail, safe_start
from services.terminal.protocol import Close, Hello, ProtocolError, Resume
from services.terminal.viewers import CONTROLS_MAX, Viewer


@pytest.mark.parametrize(
    ("data", "is_alternate", "start"),
    [
        (b"rest of a line\nnext", False, 15),
        (b"no line ends here", False, None),
        (b"\x1b[31mred\nplain", False, 9),
        (b"\x1b]0;a title\nof two lines\x07text\nnext", False, 30),
        (b"\x1bPq a picture\nin lines\x1b\\\nnext", False, 25),
        (b"a editor's screen\nmore of it\n", True, None),
        (b"a editor's screen\n\x1b[?1049lback\nnext", True, 31),
        (b"\x1b[?1049h\n\x1b[?1049l\nnext", True, 18),
    ],
)
def test_replay_begins_at_a_line_outside_escape_sequences(
    data: bytes, is_alternate: bool, start: int | None
) -> None:
    assert safe_start(data, is_alternate=is_alternate) == start


def test_tail_keeps_the_newest_bytes_and_finds_them_by_offset() -> None:
    tail = Tail()
    tail.append(0, b"abc")
    tail.append(3, b"def")
    assert [tail.read(start, 3) for start in range(6)] == [b"abc", b"bcd", b"cde", b"def", b"ef", b"f"]
    tail.forget_before(4)
    assert (tail.start, tail.end, tail.read(4, 9)) == (3, 6, b"ef")
    tail.append(6, b"x" * TAIL_BYTES_MAX)
    assert tail.end - tail.start == TAIL_BYTES_MAX


def test_tail_starts_over_after_a_gap() -> None:
    tail = Tail()
    tail.append(0, b"abc")
    tail.append(10, b"xyz")

    assert (tail.start, tail.read(10, 5)) == (10, b"xyz")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_frames_are_reassembled_from_pieces_of_any_size(size: int) -> None:
    sent = [(b"D", b"some data"), (b"X", b""), (b"I", b"\0" * 300)]
    whole = b"".join(frame(*one) for one in sent)
    frames = Frames()
    received = [one for at in range(0, len(whole), size) for one in frames.feed(whole[at : at + size])]

    assert received == sent


def test_frame_that_is_too_large_is_refused_by_its_header() -> None:
    with pytest.raises(FrameError):
        list(Frames().feed(struct.pack("!cI", b"D", FRAME_BYTES_MAX + 1)))


def test_ring_drops_the_oldest_bytes_and_tracks_the_alternate_screen_at_its_start() -> None:
    ring = Ring(10)
    ring.append(b"\x1b[?10")
    ring.append(b"49h0123456789")
    assert (ring.base, ring.head, ring.is_alternate_at_base) == (8, 18, True)
    assert ring.read(7, 5) == b""
    assert ring.read(8, 5) == b"01234"
    assert ring.read(16, 5) == b"89"
    ring.append(b"\x1b[?1049l..........")
    assert ring.is_alternate_at_base is False


def test_client_that_does_not_read_its_responses_is_closed() -> None:
    viewer = Viewer(may_write=False)
    for _ in range(CONTROLS_MAX + 1):
        viewer.tell("pong", time=1)

    assert len(viewer.controls) == CONTROLS_MAX
    assert viewer.closing is not None
    assert viewer.closing[0] == Close.TOO_LARGE


def test_hello_is_parsed_with_its_resume_position() -> None:
    text = '{"type":"hello","rows":24,"cols":80,"resume":{"epoch":"e","offset":7}}'

    assert protocol.read_control(text) == Hello(24, 80, Resume("e", 7))


@pytest.mark.parametrize(
    "resume",
    ["7", "[]", '{"epoch":1,"offset":0}', '{"epoch":"e","offset":-1}', '{"epoch":"e","offset":true}'],
)
def test_hello_with_a_malformed_resume_position_is_refused(resume: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        protocol.read_control(f'{{"type":"hello","rows":24,"cols":80,"resume":{resume}}}')

    assert caught.value.code == Close.BAD_MESSAGE


@pytest.mark.parametrize("time", ["NaN", "1e400", "true", '"1"'])
def test_ping_with_an_invalid_time_is_refused(time: str) -> None:
    with pytest.raises(ProtocolError):
        protocol.read_control(f'{{"type":"ping","time":{time}}}')


def test_first_pieces_are_sent_at_once_and_a_stream_in_larger_ones() -> None:
    pace = Pace()
    delays = []
    for _ in range(AT_ONCE + 2):
        delays.append(pace.delay(100.0))
        pace.note(100.0)
    assert delays[:AT_ONCE] == [0.0] * AT_ONCE
    assert delays[AT_ONCE:] == pytest.approx([COALESCE_SECONDS] * 2)
    assert pace.delay(100.0 + COALESCE_SECONDS) == pytest.approx(0.0)
    pace.expect_echo()
    assert pace.delay(100.0) == 0.0


def test_stream_that_waits_has_one_piece_per_interval() -> None:
    pace, now = Pace(), 100.0
    for _ in range(AT_ONCE + 100):
        now += pace.delay(now)
        pace.note(now)
    assert now == pytest.approx(100.0 + 100 * COALESCE_SECONDS)


def test_piece_after_a_fast_replay_waits_no_longer_than_any_other() -> None:
    pace, now = Pace(), 100.0
    for _ in range(1_000):  # of full size, for which the writer does not wait
        now += COALESCE_SECONDS / 40
        pace.note(now)
    assert pace.delay(now) == pytest.approx(COALESCE_SECONDS)


async def test_typing_ends_the_wait_of_the_next_piece() -> None:
    pace = Pace()
    for _ in range(AT_ONCE):
        pace.note(100.0)
    async with asyncio.timeout(20):
        waiting = asyncio.create_task(pace.until_due(0.0))  # for a hundred seconds
        await asyncio.sleep(0)
        assert not waiting.done()
        pace.expect_echo()
        await waiting
