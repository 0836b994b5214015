"""Packing: several sentence pairs share one row of fixed length, to reduce padding."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

PACKINGS = ("pack", "none")


class Layout(NamedTuple):
    """Positions of N pairs in the rows.

    Attributes:
      row: int64 [N], row of each pair.
      segment: int64 [N], number of the pair within its row, from 1.
      starts: int64 [2, N], first position of the source and of the target.
      rows: number of rows.
    """

    row: np.ndarray
    segment: np.ndarray
    starts: np.ndarray
    rows: int


def one_per_row(lengths: np.ndarray) -> Layout:
    """Returns the layout with one pair in each row; `lengths` is int [2, N]."""
    size = lengths.shape[1]
    return Layout(np.arange(size), np.ones(size, np.int64), np.zeros((2, size), np.int64), size)


def pack(lengths: np.ndarray, limits: Sequence[int]) -> Layout:
    """Fills rows with pairs greedily: the longest pair first, then always the longest that still fits.

    Pairs of equal lengths are interchangeable. A row is therefore chosen as a pattern of lengths, longest first, and
    the pattern is repeated while there are pairs for it: the work hardly depends on N.

    Args:
      lengths: int [2, N], lengths of source and target, from 1 to the limit.
      limits: (S, T), the lengths of a row.

    Returns:
      A Layout, always the same for the same input.
    """
    bounds = np.asarray(limits)
    kinds, kind_N, count_K = np.unique(lengths, axis=1, return_inverse=True, return_counts=True)
    patterns, repeats = _patterns(kinds, count_K, bounds)
    pattern_sizes = np.array([len(pattern) for pattern in patterns], np.int64)
    rows = int(repeats.sum())
    # One slot for each pair, in the order of rows.
    kind = np.concatenate([np.tile(p, r) for p, r in zip(patterns, repeats)])
    width = np.repeat(pattern_sizes, repeats)
    row = np.repeat(np.arange(rows), width)
    first = np.concatenate([[0], np.cumsum(width)[:-1]])
    segment = np.arange(len(kind)) - first[row] + 1
    ends = np.cumsum(kinds[:, kind], axis=1)
    starts = ends - kinds[:, kind]
    starts -= starts[:, first[row]]
    # The n-th slot of a kind takes the n-th pair of that kind.
    pair = np.empty(len(kind), np.int64)
    pair[np.argsort(kind, kind="stable")] = np.argsort(kind_N.reshape(-1), kind="stable")
    place = np.argsort(pair)
    return Layout(row[place], segment[place], starts[:, place], rows)


def _patterns(kinds: np.ndarray, count_K: np.ndarray, bounds: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Returns row patterns (lists of kinds), and the number of rows for each, that use up all pairs."""
    share_K = (kinds / bounds[:, None]).sum(0)
    order = np.argsort(-share_K, kind="stable")
    (s_K, t_K), left_K = kinds[:, order], count_K[order].copy()
    patterns, repeats = [], []
    while left_K.any():
        pattern, (s, t) = [], bounds
        while True:
            # Kinds are sorted by size: the first that fits is the largest.
            fits = (left_K > 0) & (s_K <= s) & (t_K <= t)
            k = int(fits.argmax())
            if not fits[k]:
                break
            pattern.append(k)
            left_K[k] -= 1
            s, t = s - s_K[k], t - t_K[k]
        used, times = np.unique(pattern, return_counts=True)
        more = int((left_K[used] // times).min())
        left_K[used] -= more * times
        patterns.append(order[pattern])
        repeats.append(1 + more)
    return patterns, np.array(repeats)


def fill(ids: np.ndarray, lengths: np.ndarray, layout: Layout, side: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Copies sentences into rows.

    Args:
      ids: [sum of lengths], one sentence after another.
      lengths: int [N].
      layout: positions of the sentences.
      side: 0 for sources, 1 for targets.
      length: length of a row.

    Returns:
      Tokens and segments, both [rows, length] and 0 on padding.
    """
    begin = layout.row * length + layout.starts[side]
    ends = np.cumsum(lengths)
    place = np.repeat(begin - (ends - lengths), lengths) + np.arange(len(ids))
    tokens = np.zeros(layout.rows * length, ids.dtype)
    segments = np.zeros(layout.rows * length, np.min_scalar_type(int(layout.segment.max(initial=0))))
    tokens[place] = ids
    segments[place] = np.repeat(layout.segment, lengths)
    return tokens.reshape(-1, length), segments.reshape(-1, length)
