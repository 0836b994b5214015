"""The products for CPU against the plain ones, and where the transposed operand is copied."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toymodels import assert_close

from warmup_jax.models import ops
from warmup_jax.models.ops.cpu.matmul import matmul_tn

ROWS, IN_CHANNELS, OUT_CHANNELS = 6, 5, 7
TOLERANCE = 1e-5


def arrays(*shapes):
    random = np.random.default_rng(0)
    return [jnp.asarray(random.standard_normal(shape), jnp.float32) for shape in shapes]


def barriers(function, *args):
    return str(jax.make_jaxpr(function)(*args)).count("optimization_barrier")


def test_value_gradients_and_second_derivatives_are_those_of_the_plain_product():
    x, kernel, direction = arrays((2, 3, IN_CHANNELS), (IN_CHANNELS, OUT_CHANNELS), (IN_CHANNELS, OUT_CHANNELS))

    def everything(linear):
        loss = lambda x, kernel: jnp.tanh(linear(x, kernel)).sum()
        gradient = jax.grad(loss, 1)
        forwards = jax.jvp(lambda kernel: gradient(x, kernel), (kernel,), (direction,))[1]
        backwards = jax.grad(lambda kernel: jnp.vdot(gradient(x, kernel), direction))(kernel)
        mapped = jax.vmap(gradient, (None, 0))(x, jnp.stack([kernel, direction]))
        return linear(x, kernel), jax.grad(loss, (0, 1))(x, kernel), forwards, backwards, mapped

    with ops.use_everywhere():
        assert barriers(lambda x, kernel: jax.grad(lambda k: ops.linear(x, k).sum())(kernel), x, kernel) == 1
        assert_close(everything(ops.linear), everything(jnp.matmul), TOLERANCE)


@pytest.mark.parametrize("in_channels, out_channels, barrier", [
    (512, 256, 1), (8, 512, 1), (511, 256, 0), (512, 255, 0)])  # fmt: skip
def test_x_is_transposed_in_memory_where_the_result_is_wide(in_channels, out_channels, barrier):
    x, y = arrays((3, in_channels), (3, out_channels))
    assert barriers(matmul_tn, x, y) == barrier
    assert_close(matmul_tn(x, y), np.asarray(x).T @ np.asarray(y), TOLERANCE)


@pytest.mark.parametrize("dtype, backend", [(jnp.bfloat16, "cpu"), (jnp.float32, "tpu")])
def test_other_dtypes_and_backends_take_the_definition(monkeypatch, dtype, backend):
    x, kernel = [a.astype(dtype) for a in arrays((ROWS, IN_CHANNELS), (IN_CHANNELS, OUT_CHANNELS))]
    assert "custom_vjp" in str(jax.make_jaxpr(ops.linear)(x.astype(jnp.float32), kernel.astype(jnp.float32)))
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert "custom_vjp" not in str(jax.make_jaxpr(lambda *a: ops.linear(*a))(x, kernel))
