"""Attention against numpy, its masks, rotations and implementations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from warmup_jax.models import attention
from warmup_jax.models.attention import attend
from warmup_jax.models.positions import positions_in_segments, rotate, rotation, sinusoids

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


@pytest.mark.parametrize("length", [4, 5, 11])
def test_causal_attention_by_blocks_is_that_over_a_triangle(monkeypatch, length):
    monkeypatch.setattr(attention, "LONG", 4)
    query, key, value, dy = np.random.default_rng(0).normal(size=(4, 2, length, 2, 4)).astype(np.float32)
    triangle = np.tri(length, dtype=bool)[None]
    got, pullback = jax.vjp(lambda *heads: attend(*heads, None, "own"), query, key, value)
    want, plain_pullback = jax.vjp(lambda *heads: attend(*heads, triangle, "own"), query, key, value)
    np.testing.assert_allclose(got, by_hand(query, key, value, triangle), rtol=1e-5, atol=1e-6)
    for one, other in zip(pullback(dy), plain_pullback(dy)):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("length, products", [(255, 2), (256, 8), (300, 8)])
def test_blocks_are_for_long_texts(length, products):
    heads = [jnp.zeros((1, length, 1, 4))] * 3
    assert str(jax.make_jaxpr(lambda *heads: attend(*heads, None, "own"))(*heads)).count("dot_general") == products


def test_positions_restart_in_each_segment():
    segments = jnp.array([[1, 1, 1, 2, 2, 0, 0], [1, 2, 3, 3, 3, 3, 3], [0] * 7])
    expected = [[0, 1, 2, 0, 1, 0, 1], [0, 0, 0, 1, 2, 3, 4], list(range(7))]
    positions = positions_in_segments(segments)
    np.testing.assert_array_equal(positions, expected)
    assert positions.dtype == jnp.int32


def test_sinusoids():
    table = sinusoids(50, 6)
    for position, i in [(0, 0), (7, 1), (49, 2)]:
        angle = position / 10_000 ** (2 * i / 6)
        np.testing.assert_allclose(table[position, 2 * i : 2 * i + 2], [np.sin(angle), np.cos(angle)], rtol=1e-6)
    np.testing.assert_array_equal(sinusoids(50, 5), sinusoids(50, 5)[:, :5])
    assert sinusoids(4, 5).shape == (4, 5) and table.dtype == np.float32


def test_rotation_keeps_lengths_and_depends_on_distances_only():
    rng = np.random.default_rng(0)
    query, key = rng.normal(size=(2, 1, 1, 1, 6)).astype(np.float32)

    def turned(x, position):
        return np.asarray(rotate(jnp.asarray(x), rotation(jnp.array([position]), 6))).ravel()

    np.testing.assert_allclose(turned(query, 0), query.ravel())
    np.testing.assert_allclose(np.linalg.norm(turned(query, 9)), np.linalg.norm(query), rtol=1e-6)
    products = [turned(query, p + 3) @ turned(key, p) for p in (0, 1, 20)]
    np.testing.assert_allclose(products, products[0], rtol=1e-5)
    assert abs(products[0] - turned(query, 4) @ turned(key, 0)) > 0.01
    # By hand: the pair (0, 3) turns by p, (1, 4) by p / 10000^(1/3).
    q, angle = query.ravel(), 5 / 10_000 ** (1 / 3)
    expected = [q[1] * np.cos(angle) - q[4] * np.sin(angle), q[4] * np.cos(angle) + q[1] * np.sin(angle)]
    np.testing.assert_allclose(turned(query, 5)[[1, 4]], expected, rtol=1e-5)
