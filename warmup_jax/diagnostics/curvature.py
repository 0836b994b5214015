"""Curvature of the loss: largest eigenvalues of the Hessian, plain and preconditioned by Adam."""

import contextlib
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from warmup_jax.diagnostics.adam_rate import second_moment
from warmup_jax.diagnostics.inputs import Metrics, ProbeInput
from warmup_jax.numerics import Number

Product = Callable[[Any], Any]  # a linear map on trees

FIRST_ITERATIONS = 10  # for a first value, which has no earlier vector to start from
STRAY = 0.1  # length of the random part of a start vector, next to 1 for the given part


class CurvatureCarry(NamedTuple):
    """Carry of a curvature probe: the last measured value, 0 before the first, and its Ritz vector."""

    value: jax.Array
    vector: Any


def init_carry(params: Any) -> CurvatureCarry:
    """Returns the carry before the first probe; `top_eigenvalues` replaces its zeros by a random start."""
    return CurvatureCarry(jnp.zeros([]), jax.tree.map(jnp.zeros_like, params))


def first_repeats(*, iterations: int, **others: Any) -> int:
    """Returns how many probes of `iterations`, each from the vector of the last, make up `FIRST_ITERATIONS`."""
    return math.ceil(FIRST_ITERATIONS / max(iterations, 1))


class Spectrum(NamedTuple):
    """Upper end of a spectrum, estimated in a Krylov space."""

    values: jax.Array  # [count], the largest first; NaN where the space has fewer dimensions
    vector: Any  # tree: the unit Ritz vector of the largest
    error: jax.Array  # some eigenvalue lies within this distance of the largest


def hessian_vector_product(loss: Callable[[Any], jax.Array], params: Any) -> Product:
    """Returns the map from a tree to the Hessian of `loss` at `params` times the tree, by forward over reverse mode.

    The gradient is linearised once (1 forward and 1 backward pass), so that it is not computed again in a loop;
    a product then costs about 2 forward and 2 backward passes.
    """
    _, product = jax.linearize(jax.grad(loss), params)
    return product


def lanczos(
    matvec: Callable[[jax.Array], jax.Array], start_N: jax.Array, iterations: int, unroll: bool
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Runs Lanczos with full reorthogonalisation; the only function that uses matfree.

    Returns:
      The basis [K, N] of the Krylov space, the Hessenberg matrix [K, K] and the residual [N]. Once the space is
      exhausted, the rest of them is NaN or noise.
    """
    from matfree import decomp

    def product(vector_N: jax.Array) -> jax.Array:
        with jax.disable_jit(False) if unroll else contextlib.nullcontext():
            return matvec(vector_N)

    # With jit disabled a loop of known length is a Python loop: here the loop around the products alone.
    with jax.disable_jit() if unroll else contextlib.nullcontext():
        # By default accelerators round the operands of matrix products to 8 or 10 bits: too few for a basis.
        with jax.default_matmul_precision("highest"):
            found = decomp.hessenberg(iterations, reortho="full", custom_vjp=False)(product, start_N)
    return found.Q_tall, found.J_small, found.residual


def top_eigenvalues(matvec: Product, start: Any, iterations: int, count: int = 1, unroll: bool = False) -> Spectrum:
    """Computes the `count` largest (algebraic) eigenvalues of a symmetric linear map on trees, by Lanczos.

    The start is mixed with a fixed pseudo-random direction, so that it never lies in an invariant subspace: a warm
    start that is an eigenvector does not hide a larger eigenvalue. A start of zeros, or one that is not finite, is
    replaced by that direction. A repeated eigenvalue may be found only once.

    Cost: `iterations` products, and memory for as many vectors.

    Args:
      matvec: tree -> tree, symmetric.
      start: tree of the same shapes; the last Ritz vector of a slowly changing map saves iterations.
      iterations: K, number of products; at most as many as there are dimensions are used.
      count: 1 to iterations.
      unroll: True for no loop around the products, which costs compilation time and saves run time where a loop
        makes products slow.

    Returns:
      A `Spectrum`; all of it NaN if the map returns values that are not finite.

    Raises:
      ValueError: for a `count` or `iterations` out of range.

    References:
      Lanczos, `An iteration method for the solution of the eigenvalue problem of linear differential and integral
      operators
      <https://doi.org/10.6028/jres.045.026>`_, 1950;
      Ghorbani et al., `An Investigation into Neural Net Optimization via Hessian Eigenvalue Density
      <https://arxiv.org/abs/1901.10159>`_, 2019 (its use for Hessians of networks)
    """
    if iterations < 1:
        raise ValueError(f"iterations={iterations}; allowed: 1 and more")
    if not 1 <= count <= iterations:
        raise ValueError(f"count={count}; allowed: 1 to iterations={iterations}")
    start_N, unravel = ravel_pytree(start)
    steps = min(iterations, start_N.size)
    start_N = _mixed(start_N)
    basis_KxN, hessenberg_KxK, residual_N = lanczos(
        lambda vector_N: ravel_pytree(matvec(unravel(vector_N)))[0], start_N, steps, unroll
    )

    # The space ends where a residual is 0 up to rounding. The rows after it are set to -4, below all eigenvalues.
    size = jnp.max(jnp.where(jnp.isfinite(hessenberg_KxK), jnp.abs(hessenberg_KxK), 0))
    size = jnp.where(size > 0, size, 1)
    grows = jnp.diagonal(hessenberg_KxK, -1) > 4 * jnp.finfo(start_N.dtype).eps * size
    alive_K = jnp.cumprod(jnp.isfinite(jnp.diagonal(hessenberg_KxK)) & jnp.append(True, grows)).astype(bool)
    projected_KxK = jnp.where(alive_K[:, None] & alive_K, (hessenberg_KxK + hessenberg_KxK.T) / (2 * size), 0)
    values_K, vectors_KxK = jnp.linalg.eigh(projected_KxK - 4 * jnp.diag(~alive_K))

    valid = jnp.arange(count) < alive_K.sum()
    values = jnp.where(valid, jnp.append(size * values_K[::-1], jnp.full(count, jnp.nan))[:count], jnp.nan)
    weights_K = vectors_KxK[:, -1]
    vector_N = jnp.matmul(weights_K, jnp.where(alive_K[:, None], basis_KxN, 0), precision="highest")
    error = jnp.where(alive_K.all(), jnp.linalg.norm(residual_N) * jnp.abs(weights_K[-1]), 0)
    return Spectrum(values, unravel(jnp.where(valid[0], vector_N, jnp.nan)), jnp.where(valid[0], error, jnp.nan))


def sharpness(
    loss: Callable[[Any], jax.Array], params: Any, start: Any, iterations: int, unroll: bool = False
) -> tuple[jax.Array, Any]:
    """Computes the largest eigenvalue of the Hessian of `loss` at `params`, and its Ritz vector.

    Cost: 1 forward and 1 backward pass, and about 2 of each an iteration.

    Args:
      loss: params -> scalar.
      params: the point.
      start: tree like `params`, see `top_eigenvalues`.
      iterations: Hessian-vector products.
      unroll: True for no loop around the products.

    Returns:
      (sharpness, unit Ritz vector).

    References:
      Gilmer et al., `A Loss Curvature Perspective on Training Instability in Deep Learning
      <https://arxiv.org/abs/2110.04369>`_, 2021
    """
    found = top_eigenvalues(hessian_vector_product(loss, params), start, iterations, unroll=unroll)
    return found.values[0], found.vector


def preconditioned(product: Product, preconditioner: Any) -> Product:
    """Returns the map P^-1/2 A P^-1/2 for a symmetric map A on trees and a diagonal P, a tree of positive numbers.

    It is symmetric, and has the eigenvalues of P^-1 A.

    References:
      Cohen et al., `Adaptive Gradient Methods at the Edge of Stability
      <https://arxiv.org/abs/2207.14484>`_, 2022
    """
    root = jax.tree.map(lambda p: jax.lax.rsqrt(p), preconditioner)

    def scale(tree: Any) -> Any:
        return jax.tree.map(jnp.multiply, root, tree)

    return lambda tree: scale(product(scale(tree)))


def adam_preconditioner(nu: Any, count: Number, beta1: Number, beta2: Number, eps: Number) -> Any:
    """Returns P = (1 - beta1^t) (sqrt(v / (1 - beta2^t)) + eps), by which Adam's update is -lr m / P; a tree like `nu`.

    At t = 0 there is no preconditioner, and it is NaN. For RAdam it is P before the rectification. Kalra and
    Barkeshli 2024 print v without its root (equation 6); the update has the root, and so do Cohen et al. 2022.

    Args:
      nu: the second moment v.
      count: t, the updates in it.
      beta1: decay rate of the first moment.
      beta2: decay rate of the second moment.
      eps: added to the root.
    """
    return jax.tree.map(lambda v: (1 - beta1**count) * (jnp.sqrt(v / (1 - beta2**count)) + eps), nu)


def stability_ratio(learning_rate: Number, sharpness: jax.Array) -> jax.Array:
    """Returns lr sharpness / 2: above 1 gradient descent without momentum diverges on a quadratic."""
    return learning_rate * sharpness / 2


def edge(learning_rate: Number, momentum: Number = 0.0, nesterov: bool = False) -> Number:
    """Returns the sharpness above which gradient descent with momentum diverges on a quadratic.

    (2 + 2 m) / lr for v <- m v + g, w <- w - lr v; with Nesterov's momentum the same over 1 + 2 m.

    References:
      Cohen et al., `Gradient Descent on Neural Networks Typically Occurs at the Edge of Stability
      <https://arxiv.org/abs/2103.00065>`_, 2021
    """
    return (2 + 2 * momentum) / ((1 + 2 * momentum if nesterov else 1) * learning_rate)


def adam_edge(learning_rate: Number, beta1: Number) -> Number:
    """Returns the preconditioned sharpness above which Adam is unstable, (2 + 2 beta1) / ((1 - beta1) lr).

    It is 38 / lr for beta1 = 0.9.

    References:
      Cohen et al., `Adaptive Gradient Methods at the Edge of Stability
      <https://arxiv.org/abs/2207.14484>`_, 2022
    """
    return (2 + 2 * beta1) / ((1 - beta1) * learning_rate)


def probe_sharpness(probe: ProbeInput, *, iterations: int, count: int) -> tuple[Metrics, CurvatureCarry]:
    """Measures `diag/sharpness`, `diag/eigenvalue_2` to `_count`, `diag/sharpness_error`, `diag/stability_ratio`.

    With a `momentum` also `diag/edge_ratio`, the sharpness over its threshold `edge`; 1 is the edge of stability.

    The loss is that of `probe.batch` after the last update, the ratios take the rate of that update. The carry is the
    value and its Ritz vector, so that 3 iterations follow a slow change; the first value of a run, which has no
    vector to start from, gets at least 10. Cost: 1 forward and 1 backward pass, and about 2 of each an iteration.
    """
    product = hessian_vector_product(lambda params: probe.loss(params, probe.batch), probe.params)
    found = top_eigenvalues(product, probe.carry.vector, iterations, count, probe.unroll)
    metrics: Metrics = {
        "diag/sharpness": found.values[0],
        "diag/sharpness_error": found.error,
        "diag/stability_ratio": stability_ratio(probe.learning_rate, found.values[0]),
    }
    metrics |= {f"diag/eigenvalue_{i + 1}": found.values[i] for i in range(1, count)}
    if "momentum" in probe.hyperparams:
        threshold = edge(1.0, probe.hyperparams["momentum"], probe.hyperparams.get("nesterov", False))
        metrics["diag/edge_ratio"] = probe.learning_rate * found.values[0] / threshold
    return metrics, CurvatureCarry(found.values[0], found.vector)


def probe_preconditioned_sharpness(probe: ProbeInput, *, iterations: int) -> tuple[Metrics, CurvatureCarry]:
    """Measures `diag/preconditioned_sharpness`, its `_error`, and `diag/preconditioned_edge_ratio` to `adam_edge`.

    The loss is that of `probe.batch` after the last update, with the preconditioner of that update; NaN before the
    first. The carry is the value and its Ritz vector, in the coordinates of the preconditioner.
    Cost: 1 forward and 1 backward pass, and about 2 of each an iteration.

    Raises:
      ValueError: unless the optimizer state has exactly one second moment, of all parameters.
    """
    nu, count = second_moment(probe.opt_state)
    if jax.tree.structure(nu) != jax.tree.structure(probe.params):  # type: ignore[operator]  # untyped in jaxlib
        raise ValueError("preconditioned_sharpness: the optimizer has a second moment of a part of the parameters only")
    beta1, beta2, eps = (probe.hyperparams[name] for name in ("beta1", "beta2", "eps"))
    product = hessian_vector_product(lambda params: probe.loss(params, probe.batch), probe.params)
    product = preconditioned(product, adam_preconditioner(nu, count, beta1, beta2, eps))
    found = top_eigenvalues(product, probe.carry.vector, iterations, unroll=probe.unroll)
    return {
        "diag/preconditioned_sharpness": found.values[0],
        "diag/preconditioned_sharpness_error": found.error,
        "diag/preconditioned_edge_ratio": probe.learning_rate * found.values[0] / adam_edge(1.0, beta1),
    }, CurvatureCarry(found.values[0], found.vector)


def _mixed(start_N: jax.Array) -> jax.Array:
    """Returns a unit vector near the given one that lies in no invariant subspace."""
    stray_N = jax.random.normal(jax.random.key(0), start_N.shape, start_N.dtype)
    stray_N = stray_N / jnp.linalg.norm(stray_N)
    length = jnp.linalg.norm(start_N)
    usable = jnp.isfinite(length) & (length > 0)
    mixed_N = jnp.where(usable, start_N / jnp.where(usable, length, 1), 0) + STRAY * stray_N
    return mixed_N / jnp.linalg.norm(mixed_N)
