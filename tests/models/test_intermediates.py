"""What models show of their layers: names, shapes, masks, and the values against `apply` and by hand."""

from functools import partial

import jax
import numpy as np
import pytest
from toymodels import inputs_of, stacked

from warmup_jax import models
from warmup_jax.diagnostics import each_layer

FCN = dict(depth=3, width=5, activation="relu", parametrisation="standard", bias=True, dtype="float32")
TARGET_SEGMENTS = [[1, 1, 2, 2, 3, 0], [1, 1, 0, 0, 0, 0]]
SOURCE_SEGMENTS = [[1, 1, 1, 2, 2, 0, 0], [1, 1, 1, 1, 1, 1, 1]]


def small_fcn(**changes):
    return models.build("fcn", num_classes=3, input_shape=(4, 2), **{**FCN, **changes})


def random(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


TOKENS = np.random.default_rng(0).integers(0, 11, (2, 6), dtype=np.int32)
PAIRS = inputs_of(TOKENS[:, [0, 1, 2, 3, 4, 5, 0]], SOURCE_SEGMENTS, TOKENS, TARGET_SEGMENTS)


@pytest.fixture(params=["fcn", "resnet", "decoder", "transformer"])
def toy(request, small_resnet, small_decoder, small_transformer):
    """(model, inputs) of each kind; the stacks are scanned and rematerialised."""
    loops = dict(scan_layers=True, remat=True)
    return {"fcn": lambda: (small_fcn(), random(3, 4, 2)),
            "resnet": lambda: (small_resnet(shortcut="B"), random(3, 8, 8, 3)),
            "decoder": lambda: (small_decoder(**loops), TOKENS),
            "transformer": lambda: (small_transformer(**loops), PAIRS)}[request.param]()  # fmt: skip


@pytest.fixture(scope="session")
def random_stats():
    """model -> statistics as training could leave them."""

    def draw(leaf):
        return 0.5 + np.random.default_rng(leaf.size).uniform(size=leaf.shape).astype(np.float32)

    return lambda model: jax.tree.map(draw, jax.eval_shape(model.init, jax.random.key(0))[1])


def shapes(model, inputs):
    """({layer: shape} of the outputs, of the ReLUs), traced alone; the names of outputs are those of parameters."""
    params, stats = jax.eval_shape(model.init, jax.random.key(0))
    seen = jax.eval_shape(lambda *a: model.observe(*a, train=False), params, stats, inputs)
    assert (
        set(seen.outputs) <= set(jax.eval_shape(lambda tree: each_layer(list, tree), params))
        and not seen.masks.keys() - seen.outputs.keys()
    )
    return [{layer: leaf.shape for layer, leaf in tree.items()} for tree in (seen.outputs, seen.relus)]


def assert_trees_close(actual, expected, **tolerance):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), actual, expected)


@pytest.mark.parametrize("depth", [2, 4])
def test_layers_of_the_fully_connected_network(depth):
    hidden = {f"layer{i}": (3, 5) for i in range(1, depth)}
    assert shapes(small_fcn(depth=depth), random(3, 4, 2)) == [hidden | {"head": (3, 3)}, hidden]


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_layers_of_a_resnet_of_basic_blocks(small_resnet, shortcut):
    blocks = {"stage1_block0": (2, 8, 8, 8), "stage2_block0": (2, 4, 4, 16), "stage3_block0": (2, 2, 2, 32)}
    outputs, relus = shapes(small_resnet(shortcut=shortcut), random(2, 8, 8, 3))
    assert outputs == {"stem": (2, 8, 8, 8), **blocks, "head": (2, 4)}
    assert relus == {"stem": (2, 8, 8, 8), **blocks, **{f"{name}.norm1": shape for name, shape in blocks.items()}}


def test_layers_of_a_resnet_of_bottlenecks(small_resnet):
    model = small_resnet(form="imagenet", depth=50, width=0.125, shortcut="B", stem="7x7", input_shape=(32, 32, 3))
    outputs, relus = shapes(model, random(2, 32, 32, 3))
    assert outputs["stem"] == (2, 16, 16, 8) and outputs["stage1_block2"] == (2, 8, 8, 32)  # pooled after the stem
    assert outputs["stage2_block0"] == relus["stage2_block0"] == (2, 4, 4, 64)
    # The stride stands in the 3x3 convolution.
    assert (relus["stage2_block0.norm1"], relus["stage2_block0.norm2"]) == ((2, 8, 8, 16), (2, 4, 4, 16))
    assert len(outputs) == 2 + 16 and len(relus) == 1 + 3 * 16


@pytest.mark.parametrize("scan_layers", [False, True])
def test_layers_of_the_transformers(small_decoder, small_transformer, scan_layers):
    names = ["decoder_0", "decoder_1"]
    assert shapes(small_decoder(scan_layers=scan_layers), TOKENS) == [
        dict.fromkeys(names, (2, 6, 8)), dict.fromkeys(names, (2, 6, 12))]  # fmt: skip
    names = {"encoder_0": 7, "encoder_1": 7, "encoder_2": 7, "decoder_0": 6}
    model = small_transformer(encoder_depth=3, scan_layers=scan_layers)
    assert shapes(model, PAIRS) == [{name: (2, length, width) for name, length in names.items()} for width in (8, 12)]


@pytest.mark.parametrize("changes, relu", [
    (dict(activation="relu"), True), (dict(activation="gelu"), False), (dict(activation="tanh"), False)])  # fmt: skip
def test_only_relus_are_relus_in_the_fully_connected_network(changes, relu):
    model = small_fcn(**changes)
    assert model.relu is relu and bool(shapes(model, random(3, 4, 2))[1]) is relu


@pytest.mark.parametrize("activation, relu", [("relu", True), ("gelu", False), ("swiglu", False)])
def test_only_relus_are_relus_in_the_transformers(small_decoder, small_transformer, activation, relu):
    for model, inputs in ((small_decoder(activation=activation), TOKENS),
                          (small_transformer(activation=activation), PAIRS)):  # fmt: skip
        outputs, relus = shapes(model, inputs)
        assert model.relu is relu and set(relus) == (set(outputs) if relu else set())


def test_every_resnet_has_relus(small_resnet):
    assert small_resnet().relu is True


def test_relus_are_nowhere_negative_and_some_are_0(toy, quick_jit, random_params, random_stats):
    model, inputs = toy
    seen = quick_jit(lambda *a: model.observe(*a, train=False))(random_params(model), random_stats(model), inputs)
    for layer, relu in seen.relus.items():
        assert relu.min() == 0 < relu.max(), layer


@pytest.mark.slow  # test_build.py has the same of `apply`
def test_jitted_equals_eager_and_mapped_equals_a_loop(toy, quick_jit, random_params, random_stats):
    model, inputs = toy
    first = random_params(model), random_stats(model)
    runs = [first, jax.tree.map(lambda leaf: np.float32(0.8) * leaf, first)]

    def observe(params, stats):
        return model.observe(params, stats, inputs, train=False)

    eager, looped = observe(*runs[0]), [quick_jit(observe)(*run) for run in runs]
    assert type(eager) is models.Intermediates
    assert_trees_close(looped[0], eager, rtol=1e-4, atol=1e-4)
    mapped = quick_jit(jax.vmap(observe))(*jax.tree.map(lambda *leaves: np.stack(leaves), *runs))
    assert_trees_close(mapped, jax.tree.map(lambda *leaves: np.stack(leaves), *looped), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("train", [False, True])
def test_the_head_shows_the_logits(small_resnet, quick_jit, random_params, random_stats, train):
    def both(model, *args):
        return model.observe(*args, train=train), model.apply(*args, train=train, key=None)

    for model, inputs in ((small_fcn(), random(3, 4, 2)), (small_resnet(stem="7x7"), random(3, 8, 8, 3))):
        args = random_params(model), random_stats(model), inputs
        seen, (logits, _) = quick_jit(partial(both, model))(*args)
        np.testing.assert_allclose(seen.outputs["head"], logits, rtol=1e-5)
        assert np.ptp(logits, axis=0).max() > 0.01


@pytest.mark.parametrize("norm", ["post", "pre", "rezero"])
@pytest.mark.parametrize("name", ["decoder", "transformer"])
def test_the_last_block_makes_the_logits(small_decoder, small_transformer, quick_jit, random_params, name, norm):
    # Dropout is for training, which an observed pass without a key is not.
    small, inputs = {"decoder": (small_decoder, TOKENS), "transformer": (small_transformer, PAIRS)}[name]
    model = small(norm=norm, dropout=0.3, scan_layers=True)
    params = random_params(model)
    seen, (logits, _) = quick_jit(lambda *a: (
        model.observe(*a, train=False), model.apply(*a, train=False, key=None)))(params, {}, inputs)  # fmt: skip
    x = np.asarray(seen.outputs[sorted(seen.outputs.keys() & {"decoder_0", "decoder_1"})[-1]])
    if norm != "rezero":
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        x = x * params["decoder_norm"]["scale"] + params["decoder_norm"]["bias"]
    np.testing.assert_allclose(x @ params["head"]["kernel"], logits, rtol=1e-4, atol=1e-4)


def test_the_first_blocks_are_those_of_a_shorter_model(small_transformer, quick_jit, random_params):
    long, short = small_transformer(encoder_depth=2, decoder_depth=2), small_transformer(encoder_depth=2)
    params = random_params(long)
    fewer = {name: value for name, value in params.items() if name != "decoder_1"}
    long, short = (quick_jit(lambda p, m=model: m.observe(p, {}, PAIRS, train=False))(tree)
                   for model, tree in ((long, params), (short, fewer)))  # fmt: skip
    assert set(long.outputs) - set(short.outputs) == {"decoder_1"}
    assert_trees_close(short.outputs, {name: long.outputs[name] for name in short.outputs}, rtol=1e-5, atol=1e-5)
    assert np.abs(long.outputs["encoder_1"] - long.outputs["encoder_0"]).max() > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["post", "admin"])
def test_scanned_layers_show_what_unrolled_ones_show(small_transformer, quick_jit, random_params, norm):
    args = dict(encoder_depth=2, decoder_depth=2, norm=norm)
    unrolled, scanned = small_transformer(**args), small_transformer(**args, scan_layers=True, remat=True)
    params = random_params(unrolled)
    expected, actual = (quick_jit(lambda p, m=model: m.observe(p, {}, PAIRS, train=False))(tree)
                        for model, tree in ((unrolled, params), (scanned, stacked(params))))  # fmt: skip
    assert_trees_close(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scan_layers", [False, True])
def test_masks_tell_tokens_from_padding(small_decoder, small_transformer, quick_jit, random_params, scan_layers):
    model = small_transformer(encoder_depth=2, scan_layers=scan_layers)
    masks = quick_jit(lambda p: model.observe(p, {}, PAIRS, train=False).masks)(random_params(model))
    source, target = np.array(SOURCE_SEGMENTS) > 0, np.array(TARGET_SEGMENTS) > 0
    assert_trees_close(masks, {"encoder_0": source, "encoder_1": source, "decoder_0": target}, rtol=0)
    assert all(mask.dtype == bool for mask in masks.values())
    model = small_decoder(scan_layers=scan_layers)
    assert model.observe(random_params(model), {}, TOKENS, train=False).masks == {}


def test_a_fully_connected_network_by_hand(quick_jit, random_params):
    model, x = small_fcn(), random(3, 4, 2)
    params = random_params(model)
    first = np.maximum(x.reshape(3, 8) @ params["layer1"]["kernel"] + params["layer1"]["bias"], 0)
    second = np.maximum(first @ params["layer2"]["kernel"] + params["layer2"]["bias"], 0)
    head = second @ params["head"]["kernel"] + params["head"]["bias"]
    expected = models.Intermediates(
        {"layer1": first, "layer2": second, "head": head}, {"layer1": first, "layer2": second}, {}
    )
    assert_trees_close(quick_jit(lambda p: model.observe(p, {}, x, train=False))(params), expected,
                       rtol=1e-4, atol=1e-5)  # fmt: skip


def test_a_block_of_a_resnet_by_hand(small_resnet, quick_jit, random_params, random_stats):
    model = small_resnet()
    params, stats = random_params(model), random_stats(model)
    seen = quick_jit(lambda *a: model.observe(*a, train=False))(params, stats, random(2, 8, 8, 3))

    def convolved(x, kernel, norm, running):
        y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return (y - running["mean"]) / np.sqrt(running["var"] + 1e-5) * norm["scale"] + norm["bias"]

    block, moments = params["stage1_block0"], stats["stage1_block0"]
    stem = convolved(random(2, 8, 8, 3), params["stem"]["kernel"], params["stem_norm"], stats["stem_norm"])
    stem = np.maximum(stem, 0)
    inner = np.maximum(convolved(stem, block["conv1"]["kernel"], block["norm1"], moments["norm1"]), 0)
    last = np.maximum(convolved(inner, block["conv2"]["kernel"], block["norm2"], moments["norm2"]) + stem, 0)
    for tree, layer, expected in ((seen.outputs, "stem", stem), (seen.relus, "stem", stem),
                                  (seen.relus, "stage1_block0.norm1", inner), (seen.relus, "stage1_block0", last),
                                  (seen.outputs, "stage1_block0", last)):  # fmt: skip
        np.testing.assert_allclose(tree[layer], expected, rtol=1e-4, atol=1e-4, err_msg=layer)


def test_the_hidden_units_of_a_block_by_hand(small_decoder, quick_jit, random_params):
    # Without norms and with attention that adds nothing, a block adds its hidden units times a matrix.
    model = small_decoder(norm="none", scan_layers=True)
    params = random_params(model)
    params["decoder"]["self_attention"]["out"] = jax.tree.map(np.zeros_like, params["decoder"]["self_attention"]["out"])
    seen = quick_jit(lambda p: model.observe(p, {}, TOKENS, train=False))(params)
    x, ffn = seen.outputs["decoder_0"], jax.tree.map(lambda leaf: leaf[1], params["decoder"]["ffn"])
    hidden = np.maximum(x @ ffn["up"]["kernel"] + ffn["up"]["bias"], 0)
    np.testing.assert_allclose(seen.relus["decoder_1"], hidden, rtol=1e-4, atol=1e-5)
    y = x + hidden @ ffn["down"]["kernel"] + ffn["down"]["bias"]
    np.testing.assert_allclose(seen.outputs["decoder_1"], y, rtol=1e-4, atol=1e-5)


def test_a_model_with_dropout_cannot_be_observed_in_training(small_decoder, random_params):
    model = small_decoder(dropout=0.3)
    with pytest.raises(ValueError, match="key=None; allowed in training with dropout=0.3"):
        model.observe(random_params(model), {}, TOKENS, train=True)
