"""Several devices, each of which trains its share of the lanes of a group or of the examples of every batch; and
several programs on one, side by side."""

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

RUNS, DATA = "runs", "data"  # what the one axis of a mesh shares out


def mesh(runs: int, at_once: int, sharing: int = 1) -> Mesh | None:
    """The devices of this machine that a group of lanes trains on; None: one, whose programs need no mesh.

    With an axis "runs" as many as there are lanes for. Where that is one, with an axis "data" as many as are to share
    each batch.
    """
    count, axis = min(jax.local_device_count(), runs, at_once), RUNS
    if count == 1:
        count, axis = sharing, DATA
    return None if count == 1 else Mesh(np.array(jax.local_devices()[:count]), (axis,))


def lanes(runs: int, at_once: int, devices: int) -> int:
    """Lanes of a group: at most `at_once`, a multiple of `devices`, and groups of nearly equal size.

    All groups have as many, so that they share one program; where the runs do not fill the last one, its last run is
    trained more than once.

    >>> lanes(144, 1, 1), lanes(144, 32, 1), lanes(144, 32, 8), lanes(3, 32, 2), lanes(9, 5, 4)
    (1, 29, 32, 4, 4)
    """
    most = max(1, at_once // devices)
    groups = math.ceil(runs / (most * devices))
    return math.ceil(runs / (groups * devices)) * devices


def compiled(function: Callable, axes: tuple, over: Mesh | None, **options) -> Callable:
    """`jax.jit` of a function of lanes [R, ...], over some devices.

    Of an axis "runs" each device computes its share of the lanes. Of an axis "data" each computes its share of
    what follows from a batch of `shared`, sums over the batch go over all of them, and results are on each.

    Args:
      function: its results have leaves [R, ...].
      axes: for each argument 0 if its leaves are [R, ...], None if all lanes share it.
      over: the devices, see `mesh`.
      options: of `jax.jit`.
    """
    if lanes_of(over) > 1:
        specs = tuple(PartitionSpec() if axis is None else PartitionSpec(RUNS) for axis in axes)
        function = jax.shard_map(function, mesh=over, in_specs=specs, out_specs=PartitionSpec(RUNS), check_vma=False)
    elif over is not None:
        options["out_shardings"] = NamedSharding(over, PartitionSpec())
    return jax.jit(function, **options)


def put(tree: Any, over: Mesh | None, axis: int | None) -> Any:
    """Arrays where `compiled` wants them: lanes [R, ...] with axis 0, the same for all lanes with None."""
    return jax.device_put(tree, placement(over, axis))


def promised(shapes: Any, over: Mesh | None, axis: int | None) -> Any:
    """The shapes of arrays that are not there yet, said to be where `put` would have them."""
    return jax.tree.map(lambda shape: shape.update(sharding=placement(over, axis)), shapes)


def placement(over: Mesh | None, axis: int | None) -> NamedSharding | None:
    """Where `compiled` wants arrays, see `put`; None: the device that is there."""
    if over is None:
        return None
    return NamedSharding(over, PartitionSpec() if axis is None or lanes_of(over) == 1 else PartitionSpec(RUNS))


def side_by_side(function: Callable, items: Iterable, at_once: int) -> Iterator:
    """`map(function, items)`, in order; of more than one `at_once`, so many are computed at a time, in threads.

    Programs that one thread hands to JAX are computed one after another on CPU; those of several are not. The first
    goes alone, so that it is compiled once. Items are taken in the caller's thread, and not before they are needed.

    >>> list(side_by_side(abs, [3, -2, 1], 2))
    [3, 2, 1]
    """
    items = iter(items)
    if at_once == 1:
        yield from map(function, items)
        return
    yield from map(function, itertools.islice(items, 1))
    results = deque()
    with ThreadPoolExecutor(at_once) as threads:
        for item in items:
            results.append(threads.submit(lambda item: jax.block_until_ready(function(item)), item))
            if len(results) == at_once:
                yield results.popleft().result()
        while results:
            yield results.popleft().result()


def shared(batch: Any, over: Mesh | None) -> Any:
    """A batch with leaves [B, ...], of which each device of an axis "data" holds its share if B can be divided."""
    if over is None or lanes_of(over) > 1:
        return batch
    size = len(jax.tree.leaves(batch)[0])
    return (
        batch if size % over.size else jax.lax.with_sharding_constraint(batch, NamedSharding(over, PartitionSpec(DATA)))
    )


def lanes_of(over: Mesh | None) -> int:
    """The devices among which lanes are shared out."""
    return over.shape.get(RUNS, 1) if over is not None else 1
