"""Batches in two halves: when they are split, and that functions of their parts give the whole back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from warmup_jax.models import ops


def images(batch, dtype=jnp.float32, size=8):
    return jnp.asarray(np.random.default_rng(0).normal(size=(batch, size, size, 3)), dtype)


@pytest.mark.parametrize("batch, first", [(2, 1), (7, 3)])
def test_a_split_batch_is_merged_to_what_it_was(batch, first):
    with ops.use_everywhere():
        split = ops.split_batch(images(batch))
    assert split.first.shape[0] == first
    np.testing.assert_array_equal(ops.merge_batch(split), images(batch))
    doubled = ops.each_part(lambda x: 2 * x, split)
    np.testing.assert_array_equal(ops.merge_batch(doubled), 2 * images(batch))


@pytest.mark.parametrize("batch, size, split", [(32, 32, True), (31, 32, False), (1, 256, False)])
def test_a_batch_of_two_images_and_enough_pixels_is_split(batch, size, split):
    shape = jax.eval_shape(ops.split_batch, jax.ShapeDtypeStruct((batch, size, size, 3), jnp.float32))
    assert isinstance(shape, ops.SplitBatch) == split


@pytest.mark.parametrize("dtype, backend", [(jnp.bfloat16, "cpu"), (jnp.float32, "gpu")])
def test_other_dtypes_and_backends_are_not_split(monkeypatch, dtype, backend):
    x = images(4, dtype)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    with ops.use_everywhere():
        assert ops.split_batch(x) is x


def test_an_evaluation_is_not_split(small_resnet):
    model = small_resnet()
    states = jax.eval_shape(model.init, jax.random.key(0))

    def program(train):
        with ops.use_everywhere():
            return str(jax.make_jaxpr(lambda states: model.apply(*states, images(6), train=train, key=None))(states))

    assert "f32[3,8,8,3]" not in program(train=False)
    assert "f32[3,8,8,3]" in program(train=True)
