"""A batch in halves gives what the whole gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toymodels import assert_close

from warmup_jax.models.ops.cpu import split_batch


def images(batch, dtype=jnp.float32, size=8):
    return jnp.asarray(np.random.default_rng(0).normal(size=(batch, size, size, 3)), dtype)


@pytest.mark.parametrize("batch, sizes", [(1, [1]), (3, [3]), (4, [2, 2]), (7, [3, 4])])
def test_a_batch_of_enough_pixels_is_split(monkeypatch, batch, sizes):
    monkeypatch.setattr(split_batch, "PIXELS", 4 * 8 * 8)
    split = split_batch.split(images(batch))
    assert [len(half) for half in split] == sizes
    np.testing.assert_array_equal(split_batch.join(split), images(batch))


def test_one_image_is_not_split(monkeypatch):
    monkeypatch.setattr(split_batch, "PIXELS", 1)
    assert len(split_batch.split(images(1))) == 1


def test_what_xla_computes_by_itself_is_not_split(monkeypatch):
    monkeypatch.setattr(split_batch, "PIXELS", 1)
    assert len(split_batch.split(images(4, jnp.bfloat16))) == 1
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert len(split_batch.split(images(4))) == 1


@pytest.mark.parametrize(
    "size, changes", [(8, {}), (32, dict(form="imagenet", depth=18, width=0.1, shortcut="B", stem="7x7"))]
)
def test_the_halves_of_a_batch_give_what_the_whole_gives(
    small_resnet, random_params, quick_jit, monkeypatch, size, changes
):
    model, image = small_resnet(**changes), images(7, size=size)
    params, (_, stats) = random_params(model), quick_jit(model.init)(jax.random.key(0))

    def results(params):
        def loss(params):
            logits, new_stats = model.apply(params, stats, image, train=True, key=None)
            return jnp.mean(jnp.square(logits - 1)), (logits, new_stats)

        return jax.value_and_grad(loss, has_aux=True)(params), model.observe(params, stats, image, train=True)

    whole = quick_jit(results)(params)
    monkeypatch.setattr(split_batch, "PIXELS", 1)
    split = quick_jit(lambda params: results(params))(params)  # another function: not from the cache
    assert_close(split, whole, 1e-4)
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (split, whole))))  # they were computed otherwise


def test_an_evaluation_is_not_in_halves(small_resnet, monkeypatch):
    model = small_resnet()
    states = jax.eval_shape(model.init, jax.random.key(0))

    def program(train):
        return str(jax.make_jaxpr(lambda states: model.apply(*states, images(6), train=train, key=None))(states))

    whole = {train: program(train) for train in (False, True)}
    monkeypatch.setattr(split_batch, "PIXELS", 1)
    assert program(False) == whole[False] and program(True) != whole[True]
