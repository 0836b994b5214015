"""Runs of a sweep spread over devices: each trains its share of the lanes of a group."""

import contextlib
import ctypes
import math
import os
import platform
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

RUNS = "runs"  # the mesh axis
ALL, SHARE = PartitionSpec(), PartitionSpec(RUNS)
# glibc's mallopt: no memory of its own for a large block, none given back, one heap for all threads.
KEEP_MEMORY = {"M_MMAP_MAX": (-4, 0), "M_TRIM_THRESHOLD": (-1, -1), "M_ARENA_MAX": (-8, 1)}


def one_for_each_core() -> None:
    """Makes a device of every CPU core, unless JAX has begun or the user has said how many there are.

    One run leaves cores idle; runs side by side do not, and each gives the same numbers.
    """
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "") or jax.config.jax_num_cpu_devices > 0:
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(RuntimeError):  # JAX has begun: in a notebook, say
        jax.config.update("jax_num_cpu_devices", cores)


def keep_freed_memory() -> None:
    """Makes the C library keep what is freed for the next update, where it is glibc and the user has not tuned it.

    It would return a large block to the system as soon as it is free and take it back page by page, which costs a ResNet
    on CPU a third of its time. To be called before JAX begins: it does not change the heaps of threads that run already.
    """
    tuned = "GLIBC_TUNABLES" in os.environ or any(name.startswith("MALLOC_") for name in os.environ)
    if platform.libc_ver()[0] == "glibc" and not tuned:
        for parameter, value in KEEP_MEMORY.values():
            ctypes.CDLL(None).mallopt(parameter, value)


def mesh(runs: int, at_once: int) -> Mesh | None:
    """As many of this machine's devices as there are lanes for; None: one, whose programs need no mesh."""
    count = min(jax.local_device_count(), runs, at_once)
    return None if count == 1 else Mesh(np.array(jax.local_devices()[:count]), (RUNS,))


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


def spread(function: Callable, over: Mesh | None, axes: tuple) -> Callable:
    """A function of lanes [R, ...] in which each device computes its share of them.

    Args:
      function: its results have leaves [R, ...].
      over: the devices; None: the function itself.
      axes: for each argument 0 if its leaves are [R, ...], None if all lanes share it.
    """
    if over is None:
        return function
    specs = tuple(ALL if axis is None else SHARE for axis in axes)
    return jax.shard_map(function, mesh=over, in_specs=specs, out_specs=SHARE, check_vma=False)


def put(tree: Any, over: Mesh | None, axis: int | None) -> Any:
    """Arrays where `spread` wants them: lanes [R, ...] with axis 0, the same on every device with None."""
    if over is None:
        return jax.device_put(tree)
    return jax.device_put(tree, NamedSharding(over, ALL if axis is None else SHARE))
