"""Change since an earlier moment: of weights, and of the representations that they make."""

from typing import Any

import jax
import jax.numpy as jnp

from warmup_jax.diagnostics.by_layer import metrics, norm, ratio, wide
from warmup_jax.diagnostics.inputs import Probe


def linear_cka(x_NxD: jax.Array, y_NxE: jax.Array) -> jax.Array:
    """Linear centred kernel alignment of two representations of N examples, in [0, 1].

    |Y'X|^2 / (|X'X| |Y'Y|) for columns of mean 0, in Frobenius norms. It does not change under rotation or scaling of
    either. With fewer examples than features the same number comes from the Gram matrices [N, N], <XX', YY'> /
    (|XX'| |YY'|). NaN where a representation is the same for all examples.

    Source: Kornblith et al., "Similarity of Neural Network Representations Revisited", 2019; for warmup: Gotmare et
    al., "A Closer Look at Deep Learning Heuristics", 2019 (with CCA).
    """
    x_NxD, y_NxE = _centred(x_NxD), _centred(y_NxE)
    size = x_NxD.shape[0]
    if y_NxE.shape[0] != size:
        raise ValueError(f"representations of {size} and {y_NxE.shape[0]} examples; allowed: the same")

    def product(a, b):
        return jnp.matmul(a, b, precision="highest")

    if size < max(x_NxD.shape[1], y_NxE.shape[1]):
        x_NxN, y_NxN = product(x_NxD, x_NxD.T), product(y_NxE, y_NxE.T)
        common, own = jnp.sum(x_NxN * y_NxN), (x_NxN, y_NxN)
    else:
        common, own = jnp.sum(product(y_NxE.T, x_NxD) ** 2), (product(x_NxD.T, x_NxD), product(y_NxE.T, y_NxE))
    return common / (jnp.linalg.norm(own[0]) * jnp.linalg.norm(own[1]))


def distance(params: list, reference: list) -> jax.Array:
    """|w - w_0| over lists of leaves."""
    return norm([wide(w) - wide(w_0) for w, w_0 in zip(params, reference, strict=True)])


def weight_distance(params: Any, reference: Any, name: str, *, layers: bool) -> dict[str, jax.Array]:
    """`diag/distance_NAME`, |w - w_0|, and `diag/relative_distance_NAME`, over |w_0|; of all and of each layer.

    The relative one of weights that were 0 is inf once they move. Measures: the two states given. Cost: no pass.
    """
    return metrics(f"distance_{name}", distance, params, reference, layers=layers) | metrics(
        f"relative_distance_{name}", lambda w, w_0: ratio(distance(w, w_0), norm(w_0)), params, reference, layers=layers
    )


def probe_weight_distance(probe: Probe, *, layers: bool):
    """`weight_distance` of the state after the last update from the initial one and from the end of the warmup.

    NaN from the end of a warmup that is not reached. Carries both. No pass.
    """
    moments, found = _moments(probe), {}
    for name, then in moments.items():
        found |= weight_distance(probe.params, then, name, layers=layers)
    return found, moments


def probe_representation(probe: Probe):
    """`diag/cka_init/LAYER`, `diag/cka_warmup/LAYER`: linear CKA of each layer's output now with that of earlier
    parameters, the initial ones and those at the end of the warmup.

    An example is a row of `probe.batch`; what it makes of all its positions, padding set to 0, is one vector.
    NaN with the end of a warmup that is not reached. Carries the parameters of both moments.

    Measures: the state after the last update. Cost: 3 forward passes.
    """

    def rows(params):
        seen = probe.observe(params, probe.batch)
        return {
            layer: _masked(output, seen.masks.get(layer)).reshape(output.shape[0], -1)
            for layer, output in seen.outputs.items()
        }

    now, moments, found = rows(probe.params), _moments(probe), {}
    for name, params in moments.items():
        then = rows(params)
        found |= {f"diag/cka_{name}/{layer}": linear_cka(now[layer], then[layer]) for layer in now}
    return found, moments


def _moments(probe: Probe) -> dict[str, Any]:
    """The parameters at initialisation and at the end of the warmup, as far as they are known by now."""
    warmup = jax.tree.map(
        lambda now, then: jnp.where(probe.warmup_ends, now, then), probe.params, probe.carry["warmup"]
    )
    return {"init": probe.carry["init"], "warmup": warmup}


def _masked(x_BxTxD, mask_BxT):
    return x_BxTxD if mask_BxT is None else jnp.where(mask_BxT[..., None], x_BxTxD, 0)


def _centred(x_NxD):
    """Columns of mean 0, scaled so that fourth powers neither overflow nor vanish."""
    x_NxD = wide(x_NxD)
    x_NxD = x_NxD - x_NxD.mean(0)
    size = jnp.max(jnp.abs(x_NxD))
    return x_NxD / jnp.where(size > 0, size, 1)
