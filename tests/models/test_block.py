"""One block by each placement of the norms, against its formula; what a fresh model of each kind does."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from toymodels import BLOCKS

from warmup_jax.models.block import Block, Context
from warmup_jax.models.initialisation import StackScales
from warmup_jax.models.transformer_config import ALLOWED, TransformerConfig

PLAIN = StackScales(shortcut=1.0, branch=1.0, last=1.0)


def rngs():
    return nnx.Rngs(params=jax.random.key(0))


def random_stream():
    return jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 8)), jnp.float32)


# The residual sum of x and a branch f by placement, with its norm n and the norm m of the output of the branch.
FORMULAS = {
    "post": lambda x, f, n, m: n(x + f(x)),
    "pre": lambda x, f, n, m: x + f(n(x)),
    "peri": lambda x, f, n, m: x + m(f(n(x))),
    "deepnorm": lambda x, f, n, m: n(1.7 * x + f(x)),
    "rezero": lambda x, f, n, m: x + 0.4 * f(x),
    "admin": lambda x, f, n, m: n(jnp.arange(1.0, 9.0) * x + f(x)),
    "none": lambda x, f, n, m: x + f(x),
}


@pytest.mark.parametrize("norm", ALLOWED["norm"])
def test_a_block_is_the_formula_of_its_placement(norm):
    scales = StackScales(shortcut=1.7, branch=1.0, last=1.0) if norm == "deepnorm" else PLAIN
    block = Block(TransformerConfig(**dict(BLOCKS, norm=norm)), scales, True, rngs())
    x, memory = random_stream(), random_stream()[:, :3] + 1
    mask = jnp.ones((1, 5, 3), bool)
    for name in ("self_attention", "cross_attention", "ffn"):
        for part, value in (("gate", jnp.array(0.4)), ("shortcut", jnp.arange(1.0, 9.0))):
            if hasattr(block, f"{name}_{part}"):
                getattr(block, f"{name}_{part}").scale[...] = value
    actual = block(x, None, Context(None, None, memory, mask))
    branches = {
        "self_attention": lambda y: block.self_attention(y, None, None),
        "cross_attention": lambda y: block.cross_attention.cross(y, memory, mask),
        "ffn": block.ffn,
    }
    for name, f in branches.items():
        norms = getattr(block, f"{name}_norm", None), getattr(block, f"{name}_output_norm", None)
        x = FORMULAS[norm](x, f, *norms)
    np.testing.assert_allclose(actual, x, rtol=1e-5, atol=1e-6)


# Every placement, and between them every kind of positions, activation and norm.
KINDS = [
    dict(norm=norm, positions=ALLOWED["positions"][i % 3], activation=ALLOWED["activation"][i // 2 % 3],
         norm_kind=ALLOWED["norm_kind"][i % 2], qk_norm=i % 3 == 1, bias=i != 5, tied=i % 2 == 0)
    for i, norm in enumerate(ALLOWED["norm"])
]  # fmt: skip


@pytest.mark.parametrize(
    "kind",
    [kind if kind["norm"] in ("post", "rezero") else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS],
    ids=lambda kind: kind["norm"],
)
def test_a_fresh_model_has_a_finite_gradient_for_every_parameter(small_decoder, quick_jit, kind):
    model = small_decoder(depth=1, **kind)
    tokens = np.random.default_rng(0).integers(0, 11, (4, 6), dtype=np.int32)

    def loss(params):
        return -jax.nn.log_softmax(model.apply(params, {}, tokens, train=True, key=None)[0])[:, :-1, 1].mean()

    def gradient(key):
        params, _ = model.init(key)
        for name in ("self_attention_gate", "ffn_gate"):  # a closed gate lets no gradient into its branch
            if kind["norm"] == "rezero":
                params["decoder_0"][name]["scale"] += 0.5
        return jax.grad(loss)(params)

    for path, leaf in jax.tree_util.tree_leaves_with_path(quick_jit(gradient)(jax.random.key(0))):
        assert np.isfinite(leaf).all(), path
        # A bias of the keys moves all logits of a query alike, which the softmax does not see.
        assert np.abs(leaf).max() > (-1 if "['key']['bias']" in jax.tree_util.keystr(path) else 1e-9), path


@pytest.mark.parametrize("positions", ALLOWED["positions"])
def test_every_activation_traces_with_every_kind_of_positions(small_decoder, small_transformer, positions):
    tokens = jax.ShapeDtypeStruct((2, 6), jnp.int32)
    pairs = dict.fromkeys(("source", "source_segments", "target", "target_segments"), tokens)
    cases = zip(ALLOWED["activation"], ("post", "peri", "admin"), strict=True)
    for (activation, norm), (small, inputs) in itertools.product(
        cases, ((small_decoder, tokens), (small_transformer, pairs))
    ):
        model = small(norm=norm, positions=positions, activation=activation, scan_layers=True)
        params, stats = jax.eval_shape(model.init, jax.random.key(0))
        logits, _ = jax.eval_shape(partial(model.apply, train=True, key=None), params, stats, inputs)
        assert logits.shape == (2, 6, 11) and logits.dtype == jnp.float32 and stats == {}
