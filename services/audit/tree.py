"""The Merkle tree (RFC 9162, section 2.1) in tiles, so that appends and proofs touch few rows.

A tile holds up to 256 adjacent hashes. Those of level 0 are the leaves; each hash of a higher level is the
root of one full tile below it. Hashes inside a tile are computed on demand.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache

from services.audit.proofs import EMPTY_ROOT, node_hash
from shared.errors import Unavailable

HASH_BYTES = 32
TILE_BITS = 8
TILE_HASHES = 1 << TILE_BITS
TILE_BYTES = TILE_HASHES * HASH_BYTES
CACHED_NODES = 64 * 1024

ReadTile = Callable[[int, int], bytes]


class Tree:
    """The tree over stored leaves, read tile by tile through `read_tile(level, number)`."""

    def __init__(self, read_tile: ReadTile) -> None:
        self._tile = lru_cache(maxsize=64)(read_tile)
        self._inside = lru_cache(maxsize=CACHED_NODES)(self._root_inside)
        self._written_out = lru_cache(maxsize=8)(lambda number: self._tile(0, number).hex())

    def leaf(self, seq: int) -> str:
        """Return the hash of a record in hexadecimal; converted tiles are cached."""
        start = seq % TILE_HASHES * HASH_BYTES * 2
        found = self._written_out(seq >> TILE_BITS)[start : start + HASH_BYTES * 2]
        if not found:
            raise TileMissing
        return found

    def root(self, size: int) -> bytes:
        return self.span(0, size) if size else EMPTY_ROOT

    def inclusion(self, seq: int, size: int) -> list[bytes]:
        """Return the siblings on the path from a leaf to the root of a tree of this size (2.1.3.1)."""
        proof, low, high = [], 0, size
        while high - low > 1:
            middle = low + _largest_power_below(high - low)
            if seq < middle:
                proof.append((middle, high))
                high = middle
            else:
                proof.append((low, middle))
                low = middle
        return [self.span(*side) for side in reversed(proof)]

    def consistency(self, size: int, to: int) -> list[bytes]:
        """Return the proof that the tree of `to` leaves extends that of `size` (2.1.4.1)."""
        proof, low, high, is_known = [], 0, to, True
        while size != high:
            middle = low + _largest_power_below(high - low)
            if size <= middle:
                proof.append((middle, high))
                high = middle
            else:
                proof.append((low, middle))
                low, is_known = middle, False
        if not is_known:
            proof.append((low, high))
        return [self.span(*side) for side in reversed(proof)]

    def frontier(self, size: int) -> list[bytes]:
        """Return the roots of the complete subtrees of a tree of this size, the largest first."""
        hashes, low = [], 0
        for level in reversed(range(size.bit_length())):
            if size >> level & 1:
                hashes.append(self.node(level, low >> level))
                low += 1 << level
        return hashes

    def span(self, low: int, high: int) -> bytes:
        """Return the root over the leaves from `low` up to `high`; `low` is where a subtree begins."""
        count = high - low
        if count & (count - 1) == 0:
            level = count.bit_length() - 1
            return self.node(level, low >> level)
        middle = low + _largest_power_below(count)
        return node_hash(self.span(low, middle), self.span(middle, high))

    def node(self, level: int, index: int) -> bytes:
        """Return the root of a complete subtree of 2^level leaves."""
        tile_level, depth = divmod(level, TILE_BITS)
        first = index << depth
        return self._inside(tile_level, first >> TILE_BITS, first % TILE_HASHES, 1 << depth)

    def _root_inside(self, level: int, number: int, first: int, count: int) -> bytes:
        if count == 1:
            start = first * HASH_BYTES
            found = self._tile(level, number)[start : start + HASH_BYTES]
            if len(found) < HASH_BYTES:
                raise TileMissing
            return found
        half = count // 2
        return node_hash(
            self._inside(level, number, first, half), self._inside(level, number, first + half, half)
        )


class TileMissing(Unavailable):
    """A part of the log's tree is missing. Ask an admin to run /audit/verify."""

    code = "log_damaged"


def tile_root(tile: bytes) -> bytes:
    """Return the root of a full tile."""
    hashes = [tile[start : start + HASH_BYTES] for start in range(0, TILE_BYTES, HASH_BYTES)]
    while len(hashes) > 1:
        hashes = [node_hash(*pair) for pair in zip(hashes[::2], hashes[1::2], strict=True)]
    return hashes[0]


def grown(
    last_tile: Callable[[int], tuple[int, bytes]], leaves: Iterable[bytes]
) -> dict[tuple[int, int], bytes]:
    """Return the tiles that change when leaves are appended, by level and number.

    `last_tile` returns the number and the hashes of the last tile of a level.
    """
    changed: dict[tuple[int, int], bytes] = {}
    level, coming = 0, b"".join(leaves)
    while coming:
        number, tile = last_tile(level)
        tile += coming
        coming = b""
        while len(tile) >= TILE_BYTES:
            full, tile = tile[:TILE_BYTES], tile[TILE_BYTES:]
            changed[level, number] = full
            coming += tile_root(full)
            number += 1
        if tile:
            changed[level, number] = tile
        level += 1
    return changed


def _largest_power_below(count: int) -> int:
    """Return the largest power of two that is smaller than the count."""
    return 1 << ((count - 1).bit_length() - 1)
