"""Positions within segments, sinusoids and rotations."""

import jax.numpy as jnp
import numpy as np

from warmup_jax.models.positions import positions_in_segments, rotate, rotation, sinusoids


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

    def rotated(x, position):
        return np.asarray(rotate(jnp.asarray(x), rotation(jnp.array([position]), 6))).ravel()

    np.testing.assert_allclose(rotated(query, 0), query.ravel())
    np.testing.assert_allclose(np.linalg.norm(rotated(query, 9)), np.linalg.norm(query), rtol=1e-6)
    products = [rotated(query, p + 3) @ rotated(key, p) for p in (0, 1, 20)]
    np.testing.assert_allclose(products, products[0], rtol=1e-5)
    assert abs(products[0] - rotated(query, 4) @ rotated(key, 0)) > 0.01
    # By hand: the pair (0, 3) rotates by p, (1, 4) by p / 10000^(1/3).
    q, angle = query.ravel(), 5 / 10_000 ** (1 / 3)
    expected = [q[1] * np.cos(angle) - q[4] * np.sin(angle), q[4] * np.cos(angle) + q[1] * np.sin(angle)]
    np.testing.assert_allclose(rotated(query, 5)[[1, 4]], expected, rtol=1e-5)
