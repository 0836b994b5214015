"""A network small enough for its whole Hessian, and batches for it."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

# These programs run once: to optimise them would take longer than it saves.
jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


class Observed(NamedTuple):
    """Stands in for `models.Intermediates`, so that these tests need no model."""

    outputs: dict[str, Any]
    relus: dict[str, Any]
    masks: dict[str, Any]


FEATURES, WIDTH, CLASSES, BATCH = 4, 6, 3, 32


@jax.jit
def make_params(seed):
    keys = jax.random.split(jax.random.key(seed))
    return {
        "hidden": {"kernel": jax.random.normal(keys[0], (FEATURES, WIDTH)), "bias": jnp.full(WIDTH, 0.1)},
        "head": {"kernel": jax.random.normal(keys[1], (WIDTH, CLASSES))},
    }


@jax.jit
def make_batch(seed):
    keys = jax.random.split(jax.random.key(seed))
    return {"x": jax.random.normal(keys[0], (BATCH, FEATURES)), "y": jax.random.normal(keys[1], (BATCH, CLASSES))}


def outputs(params, batch):
    hidden = jnp.tanh(batch["x"] @ params["hidden"]["kernel"] + params["hidden"]["bias"])
    return {"hidden": hidden, "head": hidden @ params["head"]["kernel"]}


def loss(params, batch):
    return jnp.mean(jnp.square(outputs(params, batch)["head"] - batch["y"]).sum(-1))


@jit
def dense_hessian(params, batch):
    flat, unravel = ravel_pytree(params)
    return jax.hessian(lambda flat: loss(unravel(flat), batch))(flat)


def stack(*trees):
    """Trees as one, with leaves [R, ...]."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)
