"""Attention against numpy, its masks and implementations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from warmup_jax.models.attention import attend

MASK_BxTxS = np.array([
    [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0]],
    [[1, 1, 1, 1], [0, 0, 0, 0], [0, 1, 0, 1]],
], bool)  # fmt: skip


def random_heads(seed=0):
    """Queries [2, 3, 2, 4], keys and values [2, 4, 2, 4]."""
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(2, length, 2, 4)).astype(np.float32) for length in (3, 4, 4)]


def by_hand(query, key, value, mask):
    """One query at a time, in double precision."""
    out = np.zeros(query.shape)
    for b, t, h in np.ndindex(query.shape[:3]):
        seen = mask[min(b, len(mask) - 1), t]
        if seen.any():
            logits = key[b, seen, h].astype(np.float64) @ query[b, t, h] / np.sqrt(query.shape[-1])
            weights = np.exp(logits - logits.max())
            out[b, t, h] = weights / weights.sum() @ value[b, seen, h]
    return out


@pytest.mark.parametrize("kind", ["own", "xla"])
def test_attention_is_the_softmax_over_what_the_mask_allows(quick_jit, kind):
    heads, compiled = random_heads(), quick_jit(attend, static_argnames="kind")
    for mask in (MASK_BxTxS, MASK_BxTxS[:1]):
        actual = compiled(*heads, jnp.array(mask), kind=kind)
        np.testing.assert_allclose(actual, by_hand(*heads, mask), rtol=1e-5, atol=1e-6)
    query, key, value = random_heads()[1:] + random_heads(1)[1:2]
    causal = np.tri(4, dtype=bool)[None]
    np.testing.assert_allclose(compiled(query, key, value, None, kind=kind), by_hand(query, key, value, causal),
                               rtol=1e-5, atol=1e-6)  # fmt: skip


@pytest.mark.parametrize("kind", ["own", "xla"])
def test_a_query_without_keys_gives_zero_and_no_gradient(quick_jit, kind):
    query, key, value = random_heads()
    mask = jnp.array(MASK_BxTxS)
    function = lambda *heads: (attend(*heads, mask, kind),) * 2
    jacobian, out = quick_jit(jax.jacrev(function, (0, 1, 2), has_aux=True))(query, key, value)
    assert all(np.isfinite(of).all() for of in jacobian)
    assert (out[1, 1] == 0).all()
    assert all((of[1, 1] == 0).all() for of in jacobian)
    # [B, T, B', S]: exactly 0 where the mask is False or the rows differ.
    for of in jacobian[1:]:
        meets = np.abs(of).max((2, 3, 6, 7))
        # Where a query has one key, its weight is 1 whatever the key is.
        matters = MASK_BxTxS if of is jacobian[2] else MASK_BxTxS & (MASK_BxTxS.sum(-1, keepdims=True) > 1)
        np.testing.assert_array_equal(meets[[0, 1], :, [0, 1]] > 0, matters)
        assert (meets[[0, 1], :, [1, 0]] == 0).all()


@pytest.mark.slow
def test_second_derivatives_are_finite_where_a_query_has_no_keys():
    """Products of the Hessian, as sharpness takes them."""

    def loss(heads):
        return jnp.square(attend(*heads, MASK_BxTxS, "own")).sum()

    heads = random_heads()
    _, product = jax.jvp(jax.grad(loss), (heads,), (heads,))
    step = 1e-2
    near = [jax.grad(loss)([(1 + sign * step) * x for x in heads]) for sign in (1, -1)]
    for exact, above, below in zip(product, *near):
        np.testing.assert_allclose(exact, (above - below) / (2 * step), rtol=1e-2, atol=1e-3)


def test_large_logits_do_not_overflow():
    query, key, value = random_heads()
    out = attend(query * 1e4, key * 1e4, value, jnp.array(MASK_BxTxS), "own")
    assert np.isfinite(out).all() and np.abs(out).max() <= np.abs(value).max() * (1 + 1e-6)


def test_the_softmax_is_in_float32():
    # The logits are 256 and 257, which is 256 in bfloat16.
    query = jnp.array([32.0, 2, 0, 0], jnp.bfloat16).reshape(1, 1, 1, 4)
    key = jnp.array([[16.0, 0, 0, 0], [16, 1, 0, 0]], jnp.bfloat16).reshape(1, 2, 1, 4)
    value = jnp.array([[0.0] * 4, [1] * 4], jnp.bfloat16).reshape(1, 2, 1, 4)
    out = attend(query, key, value, jnp.ones((1, 1, 2), bool), "own")
    assert out.dtype == jnp.bfloat16
    np.testing.assert_allclose(out.astype(jnp.float32).ravel(), 1 / (1 + np.exp(-1)), rtol=0.01)
