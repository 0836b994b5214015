"""Arguments of small models that several tests build, their inputs and parameters, and measurements of them."""

import jax
import jax.numpy as jnp
import numpy as np

BLOCKS = dict(
    width=8, heads=2, ffn_width=12, norm="post", norm_kind="layer", activation="relu", positions="sinusoidal",
    max_positions=8, bias=True, tied=False, scale_embedding=True, init="xavier", dropout=0.0, qk_norm=False,
    attention="own", scan_layers=False, remat=False, dtype="float32",
)  # fmt: skip


def inputs_of(source, source_segments, target, target_segments):
    rows = dict(source=source, source_segments=source_segments, target=target, target_segments=target_segments)
    return {name: jnp.atleast_2d(jnp.asarray(row, jnp.int32)) for name, row in rows.items()}


def stacked(params):
    """The blocks name_0, name_1 of each stack as one `name` with a leading axis."""
    rest = {name: value for name, value in params.items() if not name[-1].isdigit()}
    for stack in {name[:-2] for name in params} - {name[:-2] for name in rest}:
        rest[stack] = jax.tree.map(lambda *leaves: jnp.stack(leaves), params[f"{stack}_0"], params[f"{stack}_1"])
    return rest


def assert_close(actual, expected, tolerance):
    """Relative to the largest entry of each array."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected)):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())


def memory_of_gradient(function, x, w):
    """Returns the temporary memory of the gradient of function(x, w), in arrays of x's size."""
    compiled = jax.jit(jax.grad(function, (0, 1))).lower(x, w).compile()
    return compiled.memory_analysis().temp_size_in_bytes / x.nbytes
