"""Measurements by layer of a parameter tree: its top-level children, stacked layers taken apart."""

from collections.abc import Callable
from typing import Any

import jax

from warmup_jax.diagnostics.inputs import Metrics
from warmup_jax.numerics import STACKED, divide


def each_layer(function: Callable[..., Any], *trees: Any) -> dict[str, Any]:
    """Returns function(leaves, ...) for each layer, called with the list of its leaves in each tree.

    A layer is a top-level child of the nested dict. A child in `STACKED`, whose leaves are [N, ...], counts as the
    layers name_0 to name_{N-1}, the names of the same blocks when they are not stacked. Children without leaves are
    left out.

    Args:
      function: lists of leaves -> a tree of arrays; mapped over stacked layers, so that the program does not grow
        with N.
      *trees: of the same structure.

    Returns:
      {layer: result}.
    """
    results = {}
    for name in trees[0]:
        leaves = [jax.tree.leaves(tree[name]) for tree in trees]
        if not leaves[0]:
            continue
        if name in STACKED:
            stacked = jax.vmap(function)(*leaves)
            for i in range(leaves[0][0].shape[0]):
                results[f"{name}_{i}"] = jax.tree.map(lambda values, i=i: values[i], stacked)
        else:
            results[name] = function(*leaves)
    return results


def metrics(name: str, function: Callable[..., Any], *trees: Any, layers: bool) -> Metrics:
    """Returns {"diag/NAME": function of all leaves} and, if `layers`, "diag/NAME/LAYER" for each layer."""
    values = {f"diag/{name}": function(*map(jax.tree.leaves, trees))}
    if layers:
        values |= {f"diag/{name}/{layer}": value for layer, value in each_layer(function, *trees).items()}
    return values


def relative_size(size: jax.Array, reference: jax.Array) -> jax.Array:
    """Returns size / reference for norms: 0 where both are 0, inf where only the reference is."""
    return divide(size, reference, size != 0, 0)
