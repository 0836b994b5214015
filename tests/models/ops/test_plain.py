"""Every model with the kernels for CPU against the same model in plain JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toymodels import assert_close, inputs_of

from warmup_jax import models
from warmup_jax.models import ops, resnet_config
from warmup_jax.models.transformer_config import ALLOWED

TOKENS = np.random.default_rng(0).integers(0, 11, (2, 6), dtype=np.int32)
PAIRS = inputs_of(TOKENS, [[1, 1, 1, 2, 2, 0]] * 2, TOKENS, [[1, 1, 2, 2, 2, 0]] * 2)
IMAGENET = dict(form="imagenet", width=0.125, shortcut="B")
RESNETS = {
    "Winograd": dict(width=1.0),  # its last stage has 64 channels
    "18": dict(IMAGENET, depth=18, stem="7x7"),
    "50": dict(IMAGENET, depth=50),
}
CASES = [("fcn", "fcn"), *(("resnet", name) for name in RESNETS), *(("decoder", norm) for norm in ALLOWED["norm"]),
         ("transformer", "post"), ("transformer", "pre")]  # fmt: skip
# One of each kind of kernel in the fast tier: every other case compiles for seconds.
FAST = [("fcn", "fcn"), ("resnet", "Winograd"), ("decoder", "post"), ("decoder", "pre"), ("transformer", "post")]


@pytest.fixture
def small_model(small_resnet, small_decoder, small_transformer, monkeypatch):
    """(kind, case) -> (a model, inputs); ResNets have one block in each stage."""
    for depth in (18, 50):
        monkeypatch.setitem(resnet_config.IMAGENET_BLOCKS, depth, (1, 1, 1, 1))

    def build(kind, case):
        if kind == "fcn":
            fcn = dict(depth=3, width=5, activation="relu", parametrisation="mup", bias=True, dtype="float32")
            return models.build("fcn", num_classes=3, input_shape=(4, 2), **fcn), images(3, 4, 2)
        if kind == "resnet":
            return small_resnet(**RESNETS[case]), images(5, 12, 12, 3) if case == "Winograd" else images(9, 16, 16, 3)
        if kind == "decoder":
            activation = ALLOWED["activation"][ALLOWED["norm"].index(case) % 3]
            return small_decoder(norm=case, depth=1, activation=activation, remat=case == "peri"), TOKENS
        return small_transformer(norm=case, scan_layers=True), PAIRS

    return build


def images(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def loss_of(model, inputs):
    """params -> (loss, statistics)"""
    stats = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), jax.eval_shape(model.init, jax.random.key(0))[1])

    def loss(params):
        outputs, new_stats = model.apply(params, stats, inputs, train=True, key=None)
        return jnp.mean(jnp.square(outputs - 1)), new_stats

    return loss


@pytest.mark.parametrize(
    "kind, case", [case if case in FAST else pytest.param(*case, marks=pytest.mark.slow) for case in CASES]
)
def test_loss_and_gradient_of_every_model_are_those_of_plain_jax(small_model, random_params, quick_jit, kind, case):
    model, inputs = small_model(kind, case)
    params, results = random_params(model), []
    for mode in (ops.use_everywhere, ops.plain):
        loss = loss_of(model, inputs)  # a new function in each mode: a traced one keeps its mode
        with mode():
            has_kernels = "custom_vjp" in str(jax.make_jaxpr(loss)(params))
            assert has_kernels == (mode is ops.use_everywhere), "no operation of models/ops is used, or plain() is not"
            results.append(quick_jit(jax.value_and_grad(loss, has_aux=True))(params))
    # Of the whole: the gradient of some parameters, as a bias of the keys, is 0 but for rounding.
    kernels, plain = [jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(result)]) for result in results]
    assert_close(kernels, plain, 1e-5)


def test_the_parity_test_has_every_model():
    assert {kind for kind, _ in CASES} == set(models.MODELS)


@pytest.mark.parametrize("kind, case", [("resnet", "Winograd"), ("decoder", "post")])
def test_forward_mode_works_in_plain_jax(small_model, random_params, quick_jit, kind, case):
    model, inputs = small_model(kind, case)
    loss, params = loss_of(model, inputs), random_params(model)
    direction = jax.tree.map(lambda leaf: 0.1 * leaf, params)
    with pytest.raises(TypeError, match="can't apply forward-mode"):
        quick_jit(lambda p: jax.jvp(lambda p: loss(p)[0], (p,), (direction,)))(params)

    def slopes(params):
        _, slope = jax.jvp(lambda p: loss(p)[0], (params,), (direction,))
        gradient = jax.grad(lambda p: loss(p)[0])(params)
        return slope, sum(map(jnp.vdot, jax.tree.leaves(gradient), jax.tree.leaves(direction)))

    with ops.plain():
        np.testing.assert_allclose(*quick_jit(slopes)(params), rtol=1e-4)


def test_modes_end_with_their_block_and_may_be_nested():
    x, kernel = jnp.ones((2, 3)), jnp.ones((3, 2))
    custom = lambda: "custom_vjp" in str(jax.make_jaxpr(lambda x, kernel: ops.linear(x, kernel))(x, kernel))
    assert custom()
    with ops.plain():
        assert not custom()
        with ops.use_everywhere():
            assert custom()
        assert not custom()
    with pytest.raises(RuntimeError, match="inside"), ops.plain():
        raise RuntimeError("inside")
    assert custom()


@pytest.mark.parametrize("name, case", [("resnet", "50"), ("transformer", "post")])
@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_models_lower_for_accelerators(small_model, monkeypatch, name, case, platform):
    model, inputs = small_model(name, case)
    shapes = jax.eval_shape(model.init, jax.random.key(0))[0]
    monkeypatch.setattr(jax, "default_backend", lambda: {"cuda": "gpu"}.get(platform, platform))
    gradient = jax.jit(jax.grad(lambda params: loss_of(model, inputs)(params)[0]))
    assert "optimization_barrier" not in gradient.trace(shapes).lower(lowering_platforms=(platform,)).as_text()
