"""Layers of a parameter tree: its top-level children, and what is measured of each of them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

STACKED = ("encoder", "decoder")  # children whose leaves have a leading axis of layers


def by_layer(tree: Any) -> dict[str, list]:
    """The leaves of each layer of a nested dict.

    A layer is a top-level child; a child in `STACKED`, whose leaves are [N, ...], is the layers name_0 to
    name_{N-1}, the names that the same blocks have when they are not stacked. Children without leaves are left out.
    """
    return each_layer(lambda leaves: leaves, tree)


def each_layer(function: Callable, *trees: Any) -> dict[str, Any]:
    """function(leaves, ...) of each layer, with a list of leaves from each tree; layers as in `by_layer`.

    `function` returns any tree of arrays; for stacked layers it is mapped, so that a program does not grow with N.
    """
    results = {}
    for name in trees[0]:
        leaves = [jax.tree.leaves(tree[name]) for tree in trees]
        if not leaves[0]:
            continue
        if name in STACKED:
            stacked = jax.vmap(function)(*leaves)
            for i in range(leaves[0][0].shape[0]):
                results[f"{name}_{i}"] = jax.tree.map(lambda values: values[i], stacked)
        else:
            results[name] = function(*leaves)
    return results


def metrics(name: str, function: Callable, *trees: Any, layers: bool) -> dict[str, jax.Array]:
    """{"diag/NAME": function of all leaves}, and if `layers` also "diag/NAME/LAYER" for each layer."""
    values = {f"diag/{name}": function(*map(jax.tree.leaves, trees))}
    if layers:
        values |= {f"diag/{name}/{layer}": value for layer, value in each_layer(function, *trees).items()}
    return values


def norm(leaves: list) -> jax.Array:
    """The Euclidean norm over all leaves, in float32 at least."""
    return jnp.sqrt(sum(jnp.sum(jnp.square(wide(leaf))) for leaf in leaves))


def dot(leaves: list, others: list) -> jax.Array:
    """The inner product over all leaves, in float32 at least: a sum, whose factors no accelerator rounds."""
    return sum(jnp.sum(wide(a) * wide(b)) for a, b in zip(leaves, others, strict=True))


def ratio(size: jax.Array, of: jax.Array) -> jax.Array:
    """size / of for norms: 0 where both are 0, inf where only `of` is."""
    return jnp.where(size == 0, 0, size / jnp.where(size == 0, 1, of))


def wide(x: jax.Array) -> jax.Array:
    """x in float32 at least."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
