"""The mesh of devices: how the lanes of a group, or the examples of each batch, are spread over it.

A lane is a position along the leading axis [R] of a group's states. A mesh has one axis: "runs", over which the lanes
are spread, or "data", over which the examples of every batch are. None stands for one device, which needs no mesh.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.stages import Wrapped

from warmup_jax.runtime import process

RUNS, DATA = "runs", "data"


def make_mesh(runs: int, at_once: int, sharing: int = 1) -> Mesh | None:
    """Returns the mesh that groups of lanes train on, or None for a single device.

    Args:
      runs: number of runs.
      at_once: the most runs that train together.
      sharing: number of devices that share each batch if there is only one lane.

    Returns:
      A mesh with the axis "runs" over as many local devices as there are lanes for; with a single lane, one with the
      axis "data" over `sharing` devices.
    """
    count, axis = min(jax.local_device_count(), runs, at_once), RUNS
    if count == 1:
        count, axis = sharing, DATA
    return None if count == 1 else Mesh(np.array(jax.local_devices()[:count]), (axis,))


def lane_devices(mesh: Mesh | None) -> int:
    """Returns the number of devices over which lanes are spread."""
    return mesh.shape.get(RUNS, 1) if mesh is not None else 1


def largest_state(mesh: Mesh | None, num_lanes: int) -> float:
    """Returns the most bytes that the state of a lane may have, for the lanes of a group to fit in memory together."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return process.memory() / num_lanes
    limit = (device.memory_stats() or {}).get("bytes_limit", math.inf)
    return limit / -(-num_lanes // lane_devices(mesh))


def lanes_per_group(runs: int, at_once: int, devices: int) -> int:
    """Returns the number of lanes of each group: a multiple of `devices`, at most `at_once`, groups nearly equal.

    All groups have the same number of lanes, so that they share one compiled program. If the runs do not fill the
    last group, its last run is trained more than once.

    >>> lanes_per_group(144, 1, 1), lanes_per_group(144, 32, 1), lanes_per_group(144, 32, 8)
    (1, 29, 32)
    >>> lanes_per_group(3, 32, 2), lanes_per_group(9, 5, 4)
    (4, 4)
    """
    most = max(1, at_once // devices)
    groups = math.ceil(runs / (most * devices))
    return math.ceil(runs / (groups * devices)) * devices


def jit_over_lanes(function: Callable, axes: Any, mesh: Mesh | None, **options: Any) -> Wrapped:
    """Returns `jax.jit(function)`, spread over a mesh.

    With the axis "runs" each device computes its share of the lanes. With the axis "data" each device computes its
    share of every batch that passed through `shard_batch`; sums over the batch go over all devices, and every device
    holds the results.

    Args:
      function: a function whose results have leaves [R, ...].
      axes: a tuple with an entry for each argument, 0 if its leaves are [R, ...] and None if all lanes share it; or a
        tree of such entries that is a prefix of the argument.
      mesh: of `make_mesh`.
      **options: of `jax.jit`.
    """
    if lane_devices(mesh) > 1:
        specs = jax.tree.map(
            lambda axis: PartitionSpec() if axis is None else PartitionSpec(RUNS),
            axes,
            is_leaf=lambda axis: axis is None,
        )
        function = jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=PartitionSpec(RUNS), check_vma=False)
    elif mesh is not None:
        options["out_shardings"] = NamedSharding(mesh, PartitionSpec())
    return jax.jit(function, **options)


def place(tree: Any, mesh: Mesh | None, axis: int | None) -> Any:
    """Puts arrays where `jit_over_lanes` expects them: lanes [R, ...] for axis 0, arrays of all lanes for None."""
    return jax.device_put(tree, _sharding(mesh, axis))


def placed_shapes(shapes: Any, mesh: Mesh | None, axis: int | None) -> Any:
    """Returns ShapeDtypeStructs with the sharding that `place` would give to arrays of these shapes."""
    return jax.tree.map(lambda shape: shape.update(sharding=_sharding(mesh, axis)), shapes)


def shard_batch(batch: Any, mesh: Mesh | None) -> Any:
    """Spreads a batch with leaves [B, ...] over the axis "data", if the mesh has one that divides B."""
    if mesh is None or lane_devices(mesh) > 1:
        return batch
    size = len(jax.tree.leaves(batch)[0])
    if size % mesh.size:
        return batch
    return jax.lax.with_sharding_constraint(batch, NamedSharding(mesh, PartitionSpec(DATA)))


def _sharding(mesh: Mesh | None, axis: int | None) -> NamedSharding | None:
    if mesh is None:
        return None
    return NamedSharding(mesh, PartitionSpec() if axis is None or lane_devices(mesh) == 1 else PartitionSpec(RUNS))
