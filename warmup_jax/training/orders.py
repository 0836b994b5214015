"""The order of the data: one that all lanes of a group share, or one for each lane, by the seed of its run.

`batch_axis` is None or 0 accordingly, the axis of the lanes in batches and keys. Shapes: R lanes, C steps of a chunk,
B examples of a batch.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from warmup_jax import data

# Streams of the seed of an order. Streams 0 (initialisation) and 1 (dropout) are of each run's seed.
AUGMENTATION, DECODING = 2, 3


def batches(
    dataset: data.Dataset, orders: Sequence[int], batch_axis: int | None, *, batch_size: int, start: int, stop: int
) -> Iterator[dict[str, Any]]:
    """Returns the training batches of the steps `start` to `stop - 1`, with leaves [B, ...] or [R, B, ...].

    Args:
      dataset: of the job.
      orders: the seed of each lane's order, or the one that they share.
      batch_axis: see above.
      batch_size: B.
      start: first step.
      stop: step after the last one.
    """
    by_seed = {
        seed: data.train_batches(dataset, seed=seed, batch_size=batch_size, start=start, stop=stop)
        for seed in dict.fromkeys(orders)  # a stream is read once for each order
    }
    if batch_axis is None:
        return by_seed[orders[0]]
    return (by_lane(dict(zip(by_seed, of_step)), orders) for of_step in zip(*by_seed.values()))


def by_lane(by_seed: Mapping[int, dict[str, Any]], orders: Sequence[int]) -> dict[str, Any]:
    """Returns the batch of each lane as one, with leaves [R, B, ...]."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *(by_seed[seed] for seed in orders))


def stack_steps(of_steps: Iterable[dict[str, Any]], batch_axis: int | None) -> dict[str, Any]:
    """Returns the batches of the C steps of a chunk as one, with leaves [C, B, ...] or [R, C, B, ...]."""
    return jax.tree.map(lambda *leaves: np.stack(leaves, step_axis(batch_axis)), *of_steps)


def step_axis(batch_axis: int | None) -> int:
    """Returns the axis of the steps in the batches of a chunk."""
    return 0 if batch_axis is None else 1


def augmentation_key(orders: tuple[int, ...], batch_axis: int | None) -> jax.Array:
    """Returns the key of the augmentation, or the keys [R] of all lanes."""
    return random_key(orders[0], AUGMENTATION) if batch_axis is None else _random_keys(orders, AUGMENTATION)


@functools.cache  # every number is a program of its own, and the loop asks at every chunk
def random_key(seed: int, index: int) -> jax.Array:
    """Returns the key of one of the random streams of a seed."""
    return jax.random.fold_in(jax.random.key(seed), index)


@functools.cache
def _random_keys(seeds: tuple[int, ...], index: int) -> jax.Array:
    return jnp.stack([random_key(seed, index) for seed in seeds])
