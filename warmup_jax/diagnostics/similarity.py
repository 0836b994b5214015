"""Change since an earlier step, of the weights and of the representations they compute."""

from typing import Any

import jax
import jax.numpy as jnp

from warmup_jax.diagnostics.by_layer import metrics, relative_size
from warmup_jax.diagnostics.inputs import Metrics, ProbeInput
from warmup_jax.numerics import norm, wide


def linear_cka(x_NxD: jax.Array, y_NxE: jax.Array) -> jax.Array:
    """Computes the linear centred kernel alignment of two representations of N examples, in [0, 1].

    It is |Y'X|^2 / (|X'X| |Y'Y|) for columns of mean 0, in Frobenius norms, invariant under rotation and scaling of
    either. With fewer examples than features the same number comes from the Gram matrices [N, N], <XX', YY'> /
    (|XX'| |YY'|).

    Args:
      x_NxD: one representation.
      y_NxE: the other.

    Returns:
      The alignment; NaN where a representation is the same for all examples.

    Raises:
      ValueError: if the numbers of examples differ.

    References:
      Kornblith et al., `Similarity of Neural Network Representations Revisited
      <https://arxiv.org/abs/1905.00414>`_, 2019;
      Gotmare et al., `A Closer Look at Deep Learning Heuristics: Learning rate restarts, Warmup and Distillation
      <https://arxiv.org/abs/1810.13243>`_, 2019 (for warmup, with CCA)
    """
    x_NxD, y_NxE = _centred(x_NxD), _centred(y_NxE)
    size = x_NxD.shape[0]
    if y_NxE.shape[0] != size:
        raise ValueError(f"representations of {size} and {y_NxE.shape[0]} examples; allowed: the same")

    def product(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.matmul(a, b, precision="highest")

    if size < max(x_NxD.shape[1], y_NxE.shape[1]):
        x_NxN, y_NxN = product(x_NxD, x_NxD.T), product(y_NxE, y_NxE.T)
        common, own = jnp.sum(x_NxN * y_NxN), (x_NxN, y_NxN)
    else:
        common, own = jnp.sum(product(y_NxE.T, x_NxD) ** 2), (product(x_NxD.T, x_NxD), product(y_NxE.T, y_NxE))
    return common / (jnp.linalg.norm(own[0]) * jnp.linalg.norm(own[1]))


def distance(params: list[jax.Array], reference: list[jax.Array]) -> jax.Array:
    """Returns |w - w_0| over lists of leaves."""
    return norm([wide(w) - wide(w_0) for w, w_0 in zip(params, reference, strict=True)])


def weight_distance(params: Any, reference: Any, name: str, *, layers: bool) -> Metrics:
    """Measures `diag/distance_NAME`, |w - w_0|, and `diag/relative_distance_NAME`, the same over |w_0|.

    The relative distance of weights that were 0 is inf once they move. Cost: no pass.

    Args:
      params: the weights w.
      reference: the weights w_0.
      name: of the reference, in the names of the metrics.
      layers: True to measure each layer too.

    Returns:
      The metrics by name.
    """
    return metrics(f"distance_{name}", distance, params, reference, layers=layers) | metrics(
        f"relative_distance_{name}",
        lambda w, w_0: relative_size(distance(w, w_0), norm(w_0)),
        params,
        reference,
        layers=layers,
    )


def init_carry(params: Any) -> dict[str, Any]:
    """Returns the parameters at initialisation and, NaN for now, at the end of the warmup."""
    return {"init": jax.tree.map(jnp.copy, params), "warmup": jax.tree.map(lambda w: jnp.full_like(w, jnp.nan), params)}


def probe_weight_distance(probe: ProbeInput, *, layers: bool) -> tuple[Metrics, dict[str, Any]]:
    """Measures the `weight_distance` of the state after the last update from the initial one and the end of the warmup.

    The distance from the end of a warmup that is not reached yet is NaN. The carry is both references. Cost: no pass.
    """
    references, found = _references(probe), Metrics()
    for name, reference in references.items():
        found |= weight_distance(probe.params, reference, name, layers=layers)
    return found, references


def probe_representation(probe: ProbeInput) -> tuple[Metrics, dict[str, Any]]:
    """Measures `diag/cka_init/LAYER` and `diag/cka_warmup/LAYER`: linear CKA of each layer's output with earlier ones.

    The outputs after the last update are compared with those of the initial parameters and of the parameters at the
    end of the warmup. An example is a row of `probe.batch`; its outputs at all positions, padding set to 0, are one
    vector. Values for the end of a warmup that is not reached yet are NaN. The carry is the parameters of both.
    Cost: 3 forward passes.
    """

    def rows(params: Any) -> dict[str, jax.Array]:
        observed = probe.observe(params, probe.batch)
        return {
            layer: _masked(output, observed.masks.get(layer)).reshape(output.shape[0], -1)
            for layer, output in observed.outputs.items()
        }

    now, references, found = rows(probe.params), _references(probe), Metrics()
    for name, params in references.items():
        then = rows(params)
        found |= {f"diag/cka_{name}/{layer}": linear_cka(now[layer], then[layer]) for layer in now}
    return found, references


def _references(probe: ProbeInput) -> dict[str, Any]:
    """Returns the parameters at initialisation and, once it is reached, at the end of the warmup."""
    warmup = jax.tree.map(
        lambda now, then: jnp.where(probe.warmup_ends, now, then), probe.params, probe.carry["warmup"]
    )
    return {"init": probe.carry["init"], "warmup": warmup}


def _masked(x_BxTxD: jax.Array, mask_BxT: jax.Array | None) -> jax.Array:
    return x_BxTxD if mask_BxT is None else jnp.where(mask_BxT[..., None], x_BxTxD, 0)


def _centred(x_NxD: jax.Array) -> jax.Array:
    """Returns x with columns of mean 0, scaled so that fourth powers neither overflow nor vanish."""
    x_NxD = wide(x_NxD)
    x_NxD = x_NxD - x_NxD.mean(0)
    size = jnp.max(jnp.abs(x_NxD))
    return x_NxD / jnp.where(size > 0, size, 1)
