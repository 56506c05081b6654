"""Compares the stored tiles of the tree with each other.

A check computes the tree from the records that it reads, and compares it with roots. These read few hashes:
none of the records that were cut off, and not the last hash of a full tile. Proofs read all of them.
"""

from collections.abc import Sequence
from itertools import pairwise

from sqlalchemy import func, select, union_all
from sqlmodel import Session

from services.audit.models import TILES
from services.audit.statements import Report
from services.audit.tree import HASH_BYTES, TILE_BITS, TILE_BYTES, TILE_HASHES, tile_root
from shared.data.database import Database

LEVELS = 7  # enough for every position that the log can have
TILES_AT_ONCE = 256
# Comparing 64 hashes takes about as long as checking one record.
HASHES_PER_RECORD = 64

_NOT_ITS_ROOT = "the hashes of records {} to {} in the tree do not match the hash above them"


def check_levels(database: Database, report: Report) -> None:
    """Check that every level has exactly the hashes of the full tiles below it.

    The lowest level is not read: its hashes are compared with the records, or by `check_cut_off`.
    """
    with database.transaction(write=False) as session:
        sizes = _sizes(session)
    for level, (below, here) in enumerate(pairwise(sizes), start=1):
        if here != below // TILE_BYTES * HASH_BYTES:  # surplus bytes would be read once the tree has grown
            what = f"level {level} of the tree has {here} bytes of hashes for {below} below it"
            report("changed", None, what)
            return
    for level, size in enumerate(sizes[1:], start=1):
        _compare(database, report, level, range(size // TILE_BYTES))


def check_cut_off(database: Database, report: Report, first: int, end: int, limit: int) -> int:
    """Check the hashes of records that were cut off, about `limit` of them; return the first not checked."""
    tiles = range(first >> TILE_BITS, end >> TILE_BITS)[: max(1, limit >> TILE_BITS)]
    _compare(database, report, 0, tiles)
    # Hashes in the same tile as the first kept record are checked with the kept records.
    return end if tiles.stop == end >> TILE_BITS else tiles.stop << TILE_BITS


def _sizes(session: Session) -> list[int]:
    """Return the bytes of hashes of each level; in one query, because the log may grow meanwhile."""
    length = func.length(TILES.c.hashes).label("length")
    last = [
        select(
            select(TILES.c.level, TILES.c.number, length)
            .where(TILES.c.level == level)
            .order_by(TILES.c.number.desc())
            .limit(1)
            .subquery()
        )
        for level in range(LEVELS)
    ]
    sizes = [0] * LEVELS
    for level, number, length_of_last in session.connection().execute(union_all(*last)):
        sizes[level] = number * TILE_BYTES + length_of_last
    return sizes


def _compare(database: Database, report: Report, level: int, tiles: Sequence[int]) -> None:
    """Report each of these full tiles whose root is not the hash above it."""
    for start in range(0, len(tiles), TILES_AT_ONCE):
        some = tiles[start : start + TILES_AT_ONCE]
        with database.transaction(write=False) as session:
            below = _read(session, level, some)
            above = _read(session, level + 1, [number >> TILE_BITS for number in some])
        for number in some:
            tile, place = below.get(number, b""), number % TILE_HASHES * HASH_BYTES
            wanted = above.get(number >> TILE_BITS, b"")[place : place + HASH_BYTES]
            if len(tile) != TILE_BYTES or tile_root(tile) != wanted:
                covers = TILE_HASHES << TILE_BITS * level
                first = number * covers
                report("changed", first, _NOT_ITS_ROOT.format(first, first + covers - 1))


def _read(session: Session, level: int, numbers: Sequence[int]) -> dict[int, bytes]:
    within = TILES.c.number.between(min(numbers), max(numbers))
    found = session.connection().execute(
        select(TILES.c.number, TILES.c.hashes).where(TILES.c.level == level, within)
    )
    return {row.number: bytes(row.hashes) for row in found}
