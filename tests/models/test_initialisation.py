"""Parameter counts, initial values, the gradient at initialisation, and what the constructors refuse."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from warmup_jax import models
from warmup_jax.models.initialisation import deepnorm, t_fixup
from warmup_jax.models.positions import sinusoids

BASE = dict(
    num_classes=37_000, input_shape=(128, 128), width=512, heads=8, ffn_width=2048, encoder_depth=6, decoder_depth=6,
    norm="post", norm_kind="layer", activation="relu", positions="sinusoidal", max_positions=1024, bias=True, tied=True,
    scale_embedding=True, init="xavier", dropout=0.1, qk_norm=False, attention="own", scan_layers=False, remat=False,
    dtype="float32",
)  # fmt: skip
GPT2 = dict(
    num_classes=50_257, input_shape=(1024,), width=768, heads=12, ffn_width=3072, depth=12, norm="pre",
    norm_kind="layer", activation="gelu", positions="learned", max_positions=1024, bias=True, tied=True,
    scale_embedding=False, init="gpt2", dropout=0.0, qk_norm=False, attention="own", scan_layers=True, remat=False,
    dtype="float32",
)  # fmt: skip


def shapes(model):
    return jax.eval_shape(model.init, jax.random.key(0))[0]


def layer_of(stacked, i):
    return jax.tree.map(lambda leaf: leaf[i], stacked)


def count(params):
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def test_parameters_of_transformer_base():
    embedding = 37_000 * 512
    attention = 4 * (512 * 512 + 512)
    ffn = 512 * 2048 + 2048 + 2048 * 512 + 512
    norm = 2 * 512
    encoder = 6 * (attention + ffn + 2 * norm) + norm
    decoder = 6 * (2 * attention + ffn + 3 * norm) + norm
    assert embedding + encoder + decoder == 63_084_544  # 18,944,000 + 18,915,328 + 25,225,216
    assert count(shapes(models.build("transformer", **BASE))) == 63_084_544
    untied = shapes(models.build("transformer", **{**BASE, "tied": False}))
    assert count(untied) == 63_084_544 + 2 * embedding


def test_parameters_of_gpt2_small():
    block = 4 * (768 * 768 + 768) + 2 * 768 * 3072 + 3072 + 768 + 2 * 2 * 768
    assert 50_257 * 768 + 1024 * 768 + 12 * block + 2 * 768 == 124_439_808
    assert count(shapes(models.build("decoder", **GPT2))) == 124_439_808
    biases = 12 * (4 * 768 + 3072 + 768 + 2 * 768) + 768
    assert count(shapes(models.build("decoder", **{**GPT2, "bias": False}))) == 124_439_808 - biases == 124_337_664


@pytest.fixture(scope="module")
def translation_init(small_transformer, quick_jit):
    """norm -> the initial parameters of an encoder-decoder of depths 2 and 1."""

    def init(norm):
        model = small_transformer(norm=norm, encoder_depth=2, decoder_depth=1, tied=True)
        return quick_jit(model.init)(jax.random.key(0))[0]

    return cache(init)


def test_post_and_pre_share_their_parameters(translation_init):
    post, pre = translation_init("post"), translation_init("pre")
    assert jax.tree.structure(post) == jax.tree.structure(pre)
    jax.tree.map(np.testing.assert_array_equal, post, pre)


WIDE = dict(width=64, ffn_width=256, heads=4, num_classes=500, max_positions=128, depth=4, positions="learned",
            activation="swiglu", tied=False)  # fmt: skip


def spreads(model):
    """{dotted name: (mean, standard deviation)} of the initial parameters."""
    leaves = jax.tree_util.tree_leaves_with_path(model.init(jax.random.key(0))[0])
    return {".".join(key.key for key in path): (float(np.mean(leaf)), float(np.std(leaf))) for path, leaf in leaves}


def assert_spreads(found, kernels, residual, embeddings):
    """Within 5 %: several thousand numbers each; biases 0 and scales 1 exactly."""
    for name, (mean, std) in found.items():
        leaf = name.split(".")[-1]
        if leaf in ("bias", "scale"):
            assert (mean, std) == (leaf == "scale", 0), name
            continue
        ffn = any(part in name for part in ("up", "gate", "down"))
        expected = embeddings if leaf == "embedding" or name == "head.kernel" else kernels[ffn]
        expected *= residual if ".out." in name or ".down." in name else 1
        np.testing.assert_allclose(std, expected, rtol=0.05, err_msg=name)
        np.testing.assert_allclose(mean, 0, atol=0.1 * expected, err_msg=name)


@pytest.mark.slow
def test_xavier_init(small_decoder):
    found = spreads(small_decoder(**WIDE))
    assert_spreads(found, [(2 / 128) ** 0.5, (2 / 320) ** 0.5], 1.0, 64**-0.5)
    # Each matrix of each block is drawn for itself.
    drawn = [std for name, (_, std) in found.items() if "attention" in name and "kernel" in name]
    assert len(set(drawn)) == len(drawn) == 16


def test_gpt2_init(small_decoder):
    assert_spreads(spreads(small_decoder(**WIDE, init="gpt2")), [0.02, 0.02], 8**-0.5, 0.02)


def test_deepnorm_and_t_fixup_constants():
    alphas, betas = deepnorm(6, 6)
    np.testing.assert_allclose([alphas["encoder"], alphas["decoder"]], [0.81 * 6 ** (5 / 16), 18**0.25])
    np.testing.assert_allclose([betas["encoder"], betas["decoder"]], [0.87 * 6 ** (-5 / 16), 72**-0.25])
    # N = 100 and M = 3 tell the two depths apart.
    alphas, betas = deepnorm(100, 3)
    np.testing.assert_allclose([alphas["encoder"], alphas["decoder"]], [0.81 * 3e8 ** (1 / 16), 9**0.25])
    np.testing.assert_allclose(betas["encoder"] * alphas["encoder"], 0.81 * 0.87)
    alphas, betas = deepnorm(None, 8)
    np.testing.assert_allclose([alphas["decoder"], betas["decoder"]], [2.0, 64**-0.25])
    assert t_fixup(16, 9) == {"encoder": 0.67 / 2, "decoder": 1 / 3} and t_fixup(None, 16) == {"decoder": 0.67 / 2}


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["deepnorm", "none"])
def test_scaled_inits_are_the_plain_one_times_their_factors(translation_init, norm):
    plain, scaled = translation_init("post"), translation_init(norm)
    factors = deepnorm(2, 1)[1] if norm == "deepnorm" else t_fixup(2, 1)
    for path, leaf in jax.tree_util.tree_leaves_with_path(scaled):
        names, expected = [key.key for key in path], plain
        for name in names:
            expected = expected[name]
        small = names[-1] == "kernel" and names[-2] in ("value", "out", "up", "down")
        factor = factors[names[0].split("_")[0]] if small else 1.0
        if names[0] == "tokens" and norm == "none":
            factor = factors["decoder"]
        np.testing.assert_allclose(leaf, factor * expected, rtol=1e-6, err_msg=str(names))


@pytest.mark.slow
def test_init_of_scanned_layers_is_that_of_the_unrolled(small_decoder, quick_jit):
    scanned, unrolled = [quick_jit(small_decoder(norm="admin", depth=3, scan_layers=scan).init)(jax.random.key(0))[0]
                         for scan in (True, False)]  # fmt: skip
    blocks = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[unrolled.pop(f"decoder_{i}") for i in range(3)])
    jax.tree.map(np.testing.assert_array_equal, scanned, {**unrolled, "decoder": blocks})


def test_a_fresh_rezero_stack_is_the_identity(small_decoder, quick_jit):
    model = small_decoder(norm="rezero", depth=3, scan_layers=True)
    tokens = np.arange(6, dtype=np.int32)[None]

    def both(key):
        params, _ = model.init(key)
        x = np.sqrt(8) * params["tokens"]["embedding"][tokens] + sinusoids(6, 8)
        return model.apply(params, {}, tokens, train=True, key=None)[0], x @ params["head"]["kernel"]

    np.testing.assert_allclose(*quick_jit(both)(jax.random.key(0)), rtol=1e-5, atol=1e-6)


def test_admin_carries_the_variances_of_the_branches_before(small_decoder, quick_jit):
    width, depth = 32, 3
    args = dict(width=width, ffn_width=64, depth=depth, num_classes=50, input_shape=(32,), max_positions=32)
    params = quick_jit(small_decoder(norm="admin", scan_layers=True, **args).init)(jax.random.key(0))[0]
    # Tokens of our own, many: the variances are those of the distribution, within a few percent.
    tokens = np.random.default_rng(1).integers(0, 50, (32, 32))
    x = np.sqrt(width) * np.asarray(params["tokens"]["embedding"])[tokens] + sinusoids(32, width)
    before = x.var()
    for i in range(depth):
        layer = jax.tree.map(np.asarray, layer_of(params["decoder"], i))
        for name, branch in (("self_attention", self_attention), ("ffn", feed_forward)):
            omega = layer[f"{name}_shortcut"]["scale"]
            expected = 1.0 if i == 0 and name == "self_attention" else np.sqrt(before)
            np.testing.assert_allclose(omega, np.full(width, expected), rtol=0.03)
            assert omega.std() == 0
            y = branch(layer[name], x)
            before += y.var()
            x = x + y
            x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


def self_attention(params, x, heads=2):
    """Causal, without biases, which start at 0."""
    split = lambda y: y.reshape(*y.shape[:-1], heads, -1).swapaxes(1, 2)
    query, key, value = (split(x @ params[name]["kernel"]) for name in ("query", "key", "value"))
    logits = query @ key.swapaxes(2, 3) / np.sqrt(query.shape[-1])
    weights = np.where(np.tri(x.shape[1]), np.exp(logits - logits.max(-1, keepdims=True)), 0)
    y = weights / weights.sum(-1, keepdims=True) @ value
    return y.swapaxes(1, 2).reshape(x.shape) @ params["out"]["kernel"]


def feed_forward(params, x):
    return np.maximum(x @ params["up"]["kernel"], 0) @ params["down"]["kernel"]


@pytest.fixture(scope="module")
def slopes(small_decoder, quick_jit):
    """{norm: d log |gradient of the last FFN's second kernel| / d log depth} at initialisation, over 32 keys.

    The loss is that of one token, as in the theorem: over many, the parts that they have in common grow with depth.
    """
    depths, keys = [2, 4, 8, 16], jax.random.split(jax.random.key(0), 32)
    args = dict(width=32, ffn_width=128, heads=4, num_classes=50, input_shape=(16,), max_positions=16)
    tokens = np.random.default_rng(0).integers(0, 50, (1, 16), dtype=np.int32)
    deepest = quick_jit(jax.vmap(small_decoder(depth=16, scan_layers=True, **args).init))(keys)[0]

    def gradient_norm(params, norm, depth):
        """Not compiled, and by this one kernel: only the last block is differentiated."""
        blocks = [layer_of(params["decoder"], i) for i in range(depth)]
        params = params | {f"decoder_{i}": block for i, block in enumerate(blocks)}
        del params["decoder"]
        model, last = small_decoder(norm=norm, depth=depth, **args), blocks[-1]["ffn"]["down"]

        def loss(kernel):
            last["kernel"] = kernel
            return -jax.nn.log_softmax(model.apply(params, {}, tokens, train=True, key=None)[0])[0, -1, 0]

        return jnp.linalg.norm(jax.grad(loss)(last["kernel"]))

    def slope(norm):
        means = [jax.vmap(partial(gradient_norm, norm=norm, depth=depth))(deepest).mean() for depth in depths]
        return np.polyfit(np.log(depths), np.log(means), 1)[0]

    return {norm: slope(norm) for norm in ("post", "pre")}


@pytest.mark.slow
def test_the_last_gradient_of_post_norm_does_not_shrink_with_depth(slopes):
    assert abs(slopes["post"]) < 0.15


@pytest.mark.slow
def test_the_last_gradient_of_pre_norm_shrinks_as_the_root_of_the_depth(slopes):
    assert -0.65 < slopes["pre"] < -0.35


@pytest.mark.parametrize("changes, message", [
    (dict(norm="Post"), "norm='Post'; allowed: 'post', 'pre', 'peri', 'deepnorm', 'rezero', 'admin', 'none'"),
    (dict(norm_kind="batch"), "norm_kind='batch'; allowed: 'layer', 'rms'"),
    (dict(activation="silu"), "activation='silu'; allowed: 'relu', 'gelu', 'swiglu'"),
    (dict(positions="alibi"), "positions='alibi'; allowed: 'sinusoidal', 'learned', 'rotary'"),
    (dict(init="he"), "init='he'; allowed: 'xavier', 'gpt2'"),
    (dict(attention="flash"), "attention='flash'; allowed: 'own', 'xla', 'cudnn'"),
    (dict(attention="cudnn"), "dtype='float32'; allowed for attention='cudnn': 'bfloat16'"),
    (dict(dtype="float16"), "dtype='float16'; allowed: 'float32', 'bfloat16'"),
    (dict(bias="no"), "bias='no'; allowed: False, True"),
    (dict(heads=3), "heads=3; allowed for width=8: its divisors 1, 2, 4, 8"),
    (dict(heads=8, positions="rotary"), "heads=8; allowed for positions='rotary' and width=8: .* even width, not 1"),
    (dict(heads=0), "heads=0; allowed: integers from 1"),
    (dict(width=-8), "width=-8; allowed: integers from 1"),
    (dict(width=8.0), "width=8.0; allowed: integers from 1"),
    (dict(ffn_width=0), "ffn_width=0; allowed: integers from 1"),
    (dict(depth=0), "depth=0; allowed: integers from 1"),
    (dict(depth=True), "depth=True; allowed: integers from 1"),
    (dict(max_positions=0), "max_positions=0; allowed: integers from 1"),
    (dict(num_classes=0), "num_classes=0; allowed: integers from 1"),
    (dict(dropout=1.0), "dropout=1.0; allowed: a number from 0 to below 1"),
    (dict(dropout=-0.1), "dropout=-0.1; allowed"),
    (dict(dropout=float("nan")), "dropout=nan; allowed"),
    (dict(dropout=True), "dropout=True; allowed"),
    (dict(input_shape=(9,)), "length of input_shape=9; allowed: at most max_positions=8"),
    (dict(input_shape=(0,)), "length of input_shape=0; allowed: integers from 1"),
    (dict(input_shape=(6, 6)), "input_shape=\\(6, 6\\); allowed: \\(length\\)"),
])  # fmt: skip
def test_bad_values_are_named_with_the_allowed_ones(small_decoder, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        small_decoder(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("changes, message", [
    (dict(encoder_depth=0), "encoder_depth=0; allowed: integers from 1"),
    (dict(decoder_depth=-1), "decoder_depth=-1; allowed: integers from 1"),
    (dict(input_shape=(7, 9)), "target length of input_shape=9; allowed: at most max_positions=8"),
    (dict(input_shape=(9, 7)), "source length of input_shape=9; allowed: at most max_positions=8"),
    (dict(input_shape=(6,)), "input_shape=\\(6,\\); allowed: \\(source length, target length\\)"),
])  # fmt: skip
def test_bad_values_of_the_encoder_decoder(small_transformer, changes, message):
    with pytest.raises(ValueError, match=message):
        small_transformer(**changes)


@pytest.mark.skipif(jax.default_backend() == "gpu", reason="a GPU has this attention")
def test_fused_attention_needs_a_gpu(small_decoder):
    with pytest.raises(ValueError, match="attention='cudnn' needs a GPU; allowed on cpu: 'own', 'xla'"):
        small_decoder(attention="cudnn", dtype="bfloat16")


def test_rows_and_caches_beyond_the_positions_are_refused(small_decoder):
    model = small_decoder()
    params = shapes(model)
    with pytest.raises(ValueError, match="length=9; allowed: at most max_positions=8"):
        jax.eval_shape(lambda p: model.apply(p, {}, np.zeros((1, 9), np.int32), train=False, key=None), params)
    with pytest.raises(ValueError, match="length=9; allowed: at most max_positions=8"):
        jax.eval_shape(lambda p: model.begin(p, None, batch_size=1, length=9), params)
    with pytest.raises(ValueError, match="inputs given; allowed for a decoder alone: None"):
        jax.eval_shape(lambda p: model.begin(p, {}, batch_size=1, length=6), params)
