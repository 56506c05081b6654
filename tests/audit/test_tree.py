"""The Merkle tree, compared with known vectors and with a naive implementation of RFC 9162."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.audit.proofs import EMPTY_ROOT, Frontier, leaf_hash, node_hash, root_by_inclusion
from services.audit.tree import HASH_BYTES, TILE_BYTES, TileMissing, Tree, grown

# Inputs and roots from the tests of Certificate Transparency.
KNOWN_INPUTS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657"]
KNOWN_INPUTS.append("606162636465666768696a6b6c6d6e6f")
KNOWN_ROOTS = """
    6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d
    fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125
    aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77
    d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7
    4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4
    76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef
    ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c
    5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328
""".split()


class Tiles:
    """Tiles in memory, which grow as in the database."""

    def __init__(self) -> None:
        self.kept: dict[tuple[int, int], bytes] = {}
        self.reads = 0

    def append(self, leaves: list[bytes]) -> int:
        changed = grown(self.last, leaves)
        self.kept.update(changed)
        return len(changed)

    def last(self, level: int) -> tuple[int, bytes]:
        number = max((number for at, number in self.kept if at == level), default=0)
        tile = self.kept.get((level, number), b"")
        return (number, tile) if len(tile) < TILE_BYTES else (number + 1, b"")

    def tree(self) -> Tree:
        def read(level: int, number: int) -> bytes:
            self.reads += 1
            return self.kept.get((level, number), b"")

        return Tree(read)


def leaves_of(count: int) -> list[bytes]:
    return [leaf_hash(str(number).encode()) for number in range(count)]


def tree_of(count: int) -> Tree:
    tiles = Tiles()
    tiles.append(leaves_of(count))
    return tiles.tree()


def naive_root(leaves: list[bytes]) -> bytes:
    """MTH of section 2.1.1, implemented literally."""
    if len(leaves) < 2:
        return leaves[0] if leaves else hashlib.sha256().digest()
    k = naive_split(len(leaves))
    return node_hash(naive_root(leaves[:k]), naive_root(leaves[k:]))


def naive_split(n: int) -> int:
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def naive_path(m: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of section 2.1.3.1."""
    if len(leaves) == 1:
        return []
    k = naive_split(len(leaves))
    if m < k:
        return [*naive_path(m, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_path(m - k, leaves[k:]), naive_root(leaves[:k])]


def naive_subproof(m: int, leaves: list[bytes], *, b: bool) -> list[bytes]:
    """SUBPROOF of section 2.1.4.1."""
    if m == len(leaves):
        return [] if b else [naive_root(leaves)]
    k = naive_split(len(leaves))
    if m <= k:
        return [*naive_subproof(m, leaves[:k], b=b), naive_root(leaves[k:])]
    return [*naive_subproof(m - k, leaves[k:], b=False), naive_root(leaves[:k])]


def roots_by_consistency(m: int, n: int, old_root: bytes, proof: list[bytes]) -> tuple[bytes, bytes]:
    """Return the roots to which a proof leads for both sizes, as section 2.1.4.2 computes them."""
    path = list(proof) if m & (m - 1) else [old_root, *proof]
    fn, sn = m - 1, n - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        assert sn
        if fn & 1 or fn == sn:
            fr, sr = node_hash(c, fr), node_hash(c, sr)
            while fn and not fn & 1:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, c)
        fn, sn = fn >> 1, sn >> 1
    assert sn == 0
    return fr, sr


sizes = st.integers(min_value=1, max_value=1200)


class TestRoots:
    def test_roots_are_those_of_the_published_vectors(self) -> None:
        leaves = [leaf_hash(bytes.fromhex(one)) for one in KNOWN_INPUTS]
        tiles, frontier = Tiles(), Frontier()
        for number, root in enumerate(KNOWN_ROOTS):
            tiles.append([leaves[number]])
            frontier.add(leaves[number])

            assert tiles.tree().root(number + 1).hex() == root
            assert frontier.root().hex() == root

    def test_root_of_an_empty_tree_is_the_hash_of_nothing(self) -> None:
        assert tree_of(0).root(0) == Frontier().root() == EMPTY_ROOT == hashlib.sha256().digest()

    @given(st.lists(st.integers(min_value=1, max_value=400), max_size=6))
    def test_root_does_not_depend_on_the_batches(self, batches: list[int]) -> None:
        leaves, tiles = leaves_of(sum(batches)), Tiles()
        for start, count in zip([sum(batches[:n]) for n in range(len(batches))], batches, strict=True):
            tiles.append(leaves[start : start + count])

        assert tiles.tree().root(len(leaves)) == naive_root(leaves)

    def test_root_over_three_levels_of_tiles(self) -> None:
        leaves = leaves_of(256 * 256 + 300)
        tiles = Tiles()
        tiles.append(leaves)
        frontier = Frontier()
        for leaf in leaves:
            frontier.add(leaf)

        assert {level for level, _ in tiles.kept} == {0, 1, 2}
        assert tiles.tree().root(len(leaves)) == frontier.root()
        proof = tiles.tree().inclusion(70, len(leaves))
        assert root_by_inclusion(leaves[70], 70, len(leaves), proof) == frontier.root()

    @given(sizes, st.data())
    def test_root_of_every_earlier_size(self, size: int, data: st.DataObject) -> None:
        earlier = data.draw(st.integers(min_value=0, max_value=size))

        assert tree_of(size).root(earlier) == naive_root(leaves_of(earlier))

    def test_missing_tile_is_reported(self) -> None:
        tiles = Tiles()
        tiles.append(leaves_of(600))
        del tiles.kept[0, 2]

        with pytest.raises(TileMissing):
            tiles.tree().root(600)


class TestInclusion:
    @given(sizes, st.data())
    def test_inclusion_proof_is_that_of_the_rfc(self, size: int, data: st.DataObject) -> None:
        seq = data.draw(st.integers(min_value=0, max_value=size - 1))
        leaves = leaves_of(size)
        proof = tree_of(size).inclusion(seq, size)

        assert proof == naive_path(seq, leaves)
        assert root_by_inclusion(leaves[seq], seq, size, proof) == naive_root(leaves)

    @given(sizes, st.data())
    def test_wrong_proof_leads_to_another_root(self, size: int, data: st.DataObject) -> None:
        seq = data.draw(st.integers(min_value=0, max_value=size - 1))
        proof = tree_of(size).inclusion(seq, size)
        root = naive_root(leaves_of(size))
        other = leaf_hash(b"something else")

        assert root_by_inclusion(other, seq, size, proof) != root
        for place in range(len(proof)):
            wrong = [*proof[:place], other, *proof[place + 1 :]]
            assert root_by_inclusion(leaves_of(size)[seq], seq, size, wrong) != root
        with pytest.raises(ValueError, match="too long"):
            root_by_inclusion(other, seq, size, [*proof, other])
        if proof:
            with pytest.raises(ValueError, match="too short"):
                root_by_inclusion(other, seq, size, proof[:-1])

    def test_proof_of_a_missing_leaf_is_rejected(self) -> None:
        with pytest.raises(ValueError, match="no such leaf"):
            root_by_inclusion(b"", 7, 7, [])


class TestConsistency:
    @given(sizes, st.data())
    def test_consistency_proof_is_that_of_the_rfc(self, to: int, data: st.DataObject) -> None:
        size = data.draw(st.integers(min_value=1, max_value=to))
        leaves = leaves_of(to)
        proof = tree_of(to).consistency(size, to)
        old = naive_root(leaves[:size])

        assert proof == naive_subproof(size, leaves, b=True)
        if size < to:
            assert roots_by_consistency(size, to, old, proof) == (old, naive_root(leaves))


class TestCost:
    def test_append_changes_one_tile_per_level_at_most(self) -> None:
        tiles = Tiles()
        tiles.append(leaves_of(256 * 256 - 1))

        assert tiles.append(leaves_of(1)) == 3
        assert tiles.append(leaves_of(200)) == 1

    def test_proof_reads_few_tiles(self) -> None:
        tiles = Tiles()
        tiles.append(leaves_of(256 * 256 + 77))
        tiles.reads = 0
        tiles.tree().inclusion(40_000, 256 * 256 + 77)

        assert tiles.reads <= 4

    @given(sizes)
    def test_frontier_can_be_continued(self, size: int) -> None:
        hashes = tree_of(size).frontier(size)
        frontier = Frontier(size, hashes)

        assert frontier.root() == naive_root(leaves_of(size))
        frontier.add(leaf_hash(b"more"))
        assert frontier.root() == naive_root([*leaves_of(size), leaf_hash(b"more")])

    def test_frontier_of_another_size_is_rejected(self) -> None:
        with pytest.raises(ValueError, match="subtrees"):
            Frontier(3, [bytes(HASH_BYTES)])
