import numpy as np
import pytest

from warmup_jax.data.text import packing


def lengths(size, limits, seed=0):
    generator = np.random.default_rng(seed)
    shared = generator.lognormal(2.3, 0.5, size)
    both = np.stack([shared * generator.lognormal(0, 0.2, size) for _ in limits])
    return np.clip(both.round().astype(np.int64), 1, np.array(limits)[:, None])


def rows_of(layout, both, limits):
    """Yields the pairs in each row, and checks that they are contiguous and in the order of their segments."""
    for row in range(layout.rows):
        members = np.flatnonzero(layout.row == row)
        members = members[np.argsort(layout.segment[members])]
        assert len(members) and layout.segment[members].tolist() == list(range(1, len(members) + 1))
        for side, limit in enumerate(limits):
            ends = np.cumsum(both[side, members])
            assert layout.starts[side, members].tolist() == [0, *ends[:-1]] and ends[-1] <= limit
        yield members


@pytest.mark.parametrize("limits", [(40, 40), (64, 32), (256, 256)])
@pytest.mark.parametrize("size", [1, 2, 500])
def test_every_pair_is_placed_once_within_its_row(size, limits):
    both = lengths(size, limits)
    layout = packing.pack(both, limits)
    members = np.concatenate(list(rows_of(layout, both, limits)))
    assert sorted(members) == list(range(size))
    again = packing.pack(both, limits)
    assert all(np.array_equal(*pair) for pair in zip(layout, again))


def test_rows_are_full():
    both = lengths(20_000, (64, 64))
    layout = packing.pack(both, (64, 64))
    assert 1 - both.sum() / (layout.rows * 128) < 0.08
    # Short and long pairs that complete one another exactly.
    both = np.array([[3] * 50 + [7] * 50, [6] * 50 + [4] * 50])
    assert packing.pack(both, (10, 10)).rows == 50


def test_equal_pairs_share_one_search():
    # A million pairs of 16 kinds: a search for each would take minutes.
    kinds = np.unique(lengths(16, (64, 64)), axis=1)
    counts = np.full(kinds.shape[1], 62_500)
    patterns, repeats = packing._patterns(kinds, counts, np.array([64, 64]))
    assert len(patterns) < 100
    used = sum(r * np.bincount(p, minlength=len(counts)) for p, r in zip(patterns, repeats))
    assert used.tolist() == counts.tolist()


def test_one_pair_per_row():
    both = np.array([[3, 1], [2, 4]])
    layout = packing.one_per_row(both)
    assert [members.tolist() for members in rows_of(layout, both, (4, 4))] == [[0], [1]]


def test_fill_by_hand():
    # Three sentences of 2, 3 and 1 tokens; the third follows the first in its row.
    layout = packing.Layout(
        row=np.array([0, 1, 0]), segment=np.array([1, 1, 2]), starts=np.array([[0, 0, 2], [0, 0, 0]]), rows=2
    )
    ids = np.array([11, 12, 21, 22, 23, 31], np.uint16)
    tokens, segments = packing.fill(ids, np.array([2, 3, 1]), layout, 0, 4)
    assert tokens.tolist() == [[11, 12, 31, 0], [21, 22, 23, 0]] and tokens.dtype == np.uint16
    assert segments.tolist() == [[1, 1, 2, 0], [1, 1, 1, 0]] and segments.dtype == np.uint8


def test_more_segments_than_a_byte_holds():
    both = np.ones((2, 700), np.int64)
    layout = packing.pack(both, (600, 600))
    _, segments = packing.fill(np.ones(700, np.uint8), both[0], layout, 0, 600)
    assert layout.rows == 2 and segments.max() == 600
