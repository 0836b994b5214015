"""Several sentence pairs in one row of fixed lengths, so that little of it is padding."""

from typing import NamedTuple

import numpy as np

PACKINGS = ("pack", "none")


class Layout(NamedTuple):
    """Where N pairs lie.

    row: int64 [N]. segment: int64 [N], 1, 2, ... within a row.
    starts: int64 [2, N], the first position of the source and of the target.
    rows: number of rows.
    """

    row: np.ndarray
    segment: np.ndarray
    starts: np.ndarray
    rows: int


def one_each(lengths):
    """The layout with one pair a row. lengths: int [2, N]."""
    size = lengths.shape[1]
    return Layout(np.arange(size), np.ones(size, np.int64), np.zeros((2, size), np.int64), size)


def pack(lengths, limits):
    """Puts pairs together, the longest first, each row filled up with what fits best.

    Pairs of equal lengths are interchangeable. So a row is chosen as a pattern of
    lengths, largest first, and the pattern repeated as long as there are pairs for it:
    the work hardly depends on N.

    Args:
      lengths: int [2, N] of source and target, 1 to the limit.
      limits: (S, T), the lengths of a row.

    Returns:
      A Layout, the same for the same input.
    """
    limits = np.asarray(limits)
    kinds, kind_N, count_K = np.unique(lengths, axis=1, return_inverse=True, return_counts=True)
    patterns, repeats = _patterns(kinds, count_K, limits)
    pattern_sizes = np.array([len(pattern) for pattern in patterns], np.int64)
    rows = int(repeats.sum())
    # Slots: one for each pair, in the order of rows.
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


def _patterns(kinds, count_K, limits):
    """Row patterns (lists of kinds) and how often each is used, until no pair is left."""
    share_K = (kinds / limits[:, None]).sum(0)
    order = np.argsort(-share_K, kind="stable")
    (s_K, t_K), left_K = kinds[:, order], count_K[order].copy()
    patterns, repeats = [], []
    while left_K.any():
        pattern, (s, t) = [], limits
        while True:
            # Sorted by size: the first that fits is the largest.
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


def fill(ids, lengths, layout, side, length):
    """Lays sentences into rows.

    Args:
      ids: [sum of lengths], one sentence after another.
      lengths: int [N].
      layout: where they go.
      side: 0 for sources, 1 for targets.
      length: of a row.

    Returns:
      tokens and segments, [rows, length], both 0 on padding.
    """
    begin = layout.row * length + layout.starts[side]
    ends = np.cumsum(lengths)
    place = np.repeat(begin - (ends - lengths), lengths) + np.arange(len(ids))
    tokens = np.zeros(layout.rows * length, ids.dtype)
    segments = np.zeros(layout.rows * length, np.min_scalar_type(int(layout.segment.max(initial=0))))
    tokens[place] = ids
    segments[place] = np.repeat(layout.segment, lengths)
    return tokens.reshape(-1, length), segments.reshape(-1, length)
