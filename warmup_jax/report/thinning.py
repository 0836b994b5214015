"""Curves with fewer points that look the same."""

import numpy as np


def thin(steps: np.ndarray, values: np.ndarray, most: int) -> np.ndarray:
    """Chooses points of a curve such that a picture of it stays the same.

    The steps are divided into equal parts, each about a pixel wide; of each part the points with the lowest
    and the highest value stay, and the first one that is not finite, where the curve has a gap.

    Args:
      steps: ascending, [N].
      values: [N].
      most: a number of points, 6 or more.

    Returns:
      Indices of the chosen points, ascending: all of them if there are at most `most`, else at most `most`.
    """
    if len(steps) <= most:
        return np.arange(len(steps))
    finite = np.isfinite(values)
    parts, span = most // (2 if finite.all() else 3), float(steps[-1]) - float(steps[0])
    part = np.minimum(((steps.astype(float) - float(steps[0])) / (span or 1.0) * parts).astype(int), parts - 1)
    order = np.lexsort((np.where(finite, values, 0.0), part))
    order = order[finite[order]]
    lowest = order[np.unique(part[order], return_index=True)[1]]
    highest = order[len(order) - 1 - np.unique(part[order][::-1], return_index=True)[1]]
    gaps = np.flatnonzero(~finite)
    gaps = gaps[np.unique(part[gaps], return_index=True)[1]]
    return np.unique(np.concatenate([lowest, highest, gaps]))
