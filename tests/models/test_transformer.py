"""What the Transformer models compute: who sees whom, packing, decoding, options that change nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toymodels import inputs_of, stacked

from warmup_jax.models.transformer_config import ALLOWED

SOURCE_SEGMENTS = np.int32([1, 1, 1, 2, 2, 0, 0])
TARGET_SEGMENTS = np.int32([1, 1, 2, 2, 3, 0])  # the third sentence has no source


def assert_trees_close(actual, expected, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), actual, expected)


def same(query_segments, key_segments):
    return (query_segments[:, None] == key_segments) & (key_segments != 0)


def test_a_translation_sees_its_sentence_up_to_itself_and_no_padding(small_transformer, quick_jit, random_params):
    model = small_transformer()
    params = random_params(model)
    # Every place has a token of its own: the rows of the embeddings' gradients stand for places.
    inputs = inputs_of(np.arange(7), SOURCE_SEGMENTS, np.arange(6), TARGET_SEGMENTS)
    mix = np.random.default_rng(0).normal(size=11).astype(np.float32)

    def jacobian(params):
        tokens = params["encoder_tokens"], params["decoder_tokens"]
        return jax.jacrev(lambda source, target: model.apply(
            params | {"encoder_tokens": source, "decoder_tokens": target}, {}, inputs, train=False, key=None
        )[0][0] @ mix, (0, 1))(*tokens)  # fmt: skip

    source, target = (np.asarray(table["embedding"]) for table in quick_jit(jacobian)(params))
    sees_source = same(TARGET_SEGMENTS, SOURCE_SEGMENTS)
    sees_target = same(TARGET_SEGMENTS, TARGET_SEGMENTS) & np.tri(6, dtype=bool) | np.eye(6, dtype=bool)
    np.testing.assert_array_equal(np.abs(source[:, :7]).max(-1) > 0, sees_source)
    np.testing.assert_array_equal(np.abs(target[:, :6]).max(-1) > 0, sees_target)
    assert np.isfinite(source).all() and np.isfinite(target).all()


@pytest.mark.parametrize("attention", ["own", "xla"])
def test_a_language_model_sees_the_past_and_itself(small_decoder, quick_jit, attention, random_params):
    model = small_decoder(depth=1, norm="pre", positions="rotary", attention=attention)
    params = random_params(model)
    mix = np.random.default_rng(0).normal(size=11).astype(np.float32)

    def jacobian(params):
        return jax.jacrev(lambda table: model.apply(params | {"tokens": table}, {}, jnp.arange(6)[None], train=False,
                                                    key=None)[0][0] @ mix)(params["tokens"])  # fmt: skip

    table = np.asarray(quick_jit(jacobian)(params)["embedding"])
    np.testing.assert_array_equal(np.abs(table[:, :6]).max(-1) > 0, np.tri(6, dtype=bool))


@pytest.mark.parametrize("positions", ["sinusoidal", "rotary"])
def test_packed_rows_give_the_logits_of_their_sentences(small_transformer, quick_jit, positions, random_params):
    model = small_transformer(positions=positions, tied=True)
    params = random_params(model)
    source, target = np.int32([4, 5, 6, 7, 8, 0, 0]), np.int32([1, 9, 1, 10, 5, 0])
    packed = inputs_of(source, [1, 1, 1, 2, 2, 0, 0], target, [1, 1, 2, 2, 2, 0])
    first = inputs_of([4, 5, 6, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0, 0], [1, 9, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0])
    second = inputs_of([7, 8, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0], [1, 10, 5, 0, 0, 0], [1, 1, 1, 0, 0, 0])
    empty = inputs_of([0] * 7, [0] * 7, [0] * 6, [0] * 6)
    inputs = jax.tree.map(lambda *rows: jnp.concatenate(rows), packed, first, second, empty)
    packed, first, second, empty = quick_jit(lambda *a: model.apply(*a, train=False, key=None)[0])(params, {}, inputs)
    np.testing.assert_allclose(packed[:2], first[:2], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(packed[2:5], second[:3], rtol=1e-5, atol=1e-5)
    assert np.abs(packed[:2] - second[:2]).max() > 0.1
    assert np.isfinite(empty).all() and np.isfinite(packed).all()


@pytest.mark.parametrize("name, norm, positions, extra", [
    ("transformer", "post", "sinusoidal", dict(scan_layers=True)),
    ("transformer", "pre", "learned", dict(activation="swiglu")),
    ("transformer", "deepnorm", "rotary", dict(qk_norm=True, tied=True)),
    *(("decoder", norm, ALLOWED["positions"][i % 3], dict(depth=1, bias=norm != "peri", qk_norm=norm == "none"))
      for i, norm in enumerate(ALLOWED["norm"])),
])  # fmt: skip
def test_decoding_with_a_cache_equals_the_whole_row(small_transformer, small_decoder, quick_jit, random_params,
                                                    name, norm, positions, extra):  # fmt: skip
    model = {"transformer": small_transformer, "decoder": small_decoder}[name](norm=norm, positions=positions, **extra)
    params = random_params(model)
    target = np.random.default_rng(0).integers(0, 11, (2, 6), dtype=np.int32)
    given = None
    if name == "transformer":
        given = inputs_of([[4, 5, 6, 7, 8, 9, 10], [4, 4, 2, 0, 0, 0, 0]], [[1] * 7, [1] * 3 + [0] * 4], [[0]], [[0]])
        given = {key: given[key] for key in ("source", "source_segments")}

    def both(params):
        inputs = target if given is None else {**given, "target": target, "target_segments": jnp.ones_like(target)}
        memory, cache = model.begin(params, given, batch_size=2, length=6)

        def step(cache, token_and_position):
            logits, cache = model.step(params, memory, cache, *token_and_position)
            return cache, logits

        stepped = jax.lax.scan(step, cache, (target.T, jnp.arange(6)))[1].swapaxes(0, 1)
        assert all(leaf.shape[0] == 2 for leaf in jax.tree.leaves((memory, cache)))
        return model.apply(params, {}, inputs, train=False, key=None)[0], stepped

    whole, stepped = quick_jit(both)(params)
    np.testing.assert_allclose(stepped, whole, rtol=1e-5, atol=1e-5)
    assert np.abs(whole[:, 1:] - whole[:, :-1]).max() > 0.01


def loss_and_gradient(model, jit, tokens):
    """(params, key) -> the loss of random tokens in training, and its gradient."""

    def loss(params, key):
        logits, _ = model.apply(params, {}, tokens, train=True, key=key)
        return -jax.nn.log_softmax(logits)[:, :-1, 1].mean()

    return jit(jax.value_and_grad(loss))


@pytest.fixture(scope="module")
def unrolled(small_decoder, quick_jit, random_params):
    """(params, tokens, key, loss, gradient) of a decoder with dropout and none of the options."""
    model = small_decoder(dropout=0.3)
    params = random_params(model)
    tokens, key = np.random.default_rng(0).integers(0, 11, (4, 6), dtype=np.int32), jax.random.key(7)
    return params, tokens, key, *loss_and_gradient(model, quick_jit, tokens)(params, key)


def test_scanned_and_rematerialised_layers_have_the_same_gradient(small_decoder, quick_jit, unrolled):
    params, tokens, key, loss, gradient = unrolled
    model = small_decoder(dropout=0.3, scan_layers=True, remat=True)
    actual = loss_and_gradient(model, quick_jit, tokens)(stacked(params), key)
    assert_trees_close(actual, (loss, stacked(gradient)), rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def translation(small_transformer, quick_jit, random_params):
    """(params, inputs, key, logits) of an encoder-decoder of two layers each with dropout and none of the options."""
    model = small_transformer(encoder_depth=2, decoder_depth=2, dropout=0.3)
    params, key = random_params(model), jax.random.key(7)
    inputs = inputs_of(np.arange(7), SOURCE_SEGMENTS, np.arange(6), TARGET_SEGMENTS)
    return params, inputs, key, quick_jit(lambda p: model.apply(p, {}, inputs, train=True, key=key)[0])(params)


@pytest.mark.parametrize(
    "options", [dict(scan_layers=True), pytest.param(dict(remat=True, attention="xla"), marks=pytest.mark.slow)]
)
def test_options_of_the_encoder_decoder_change_no_logits(small_transformer, quick_jit, translation, options):
    params, inputs, key, expected = translation
    model = small_transformer(encoder_depth=2, decoder_depth=2, dropout=0.3, **options)
    params = stacked(params) if "scan_layers" in options else params
    logits = quick_jit(lambda p: model.apply(p, {}, inputs, train=True, key=key)[0])(params)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


def test_dropout_is_a_function_of_the_key_and_of_training_only(small_decoder, quick_jit, unrolled):
    params, tokens, key, *_ = unrolled
    model = small_decoder(dropout=0.3)
    # The last four rows are the same: they are dropped apart.
    tokens = np.concatenate([tokens, np.tile(tokens[:1], (4, 1))])
    train = quick_jit(lambda key: model.apply(params, {}, tokens, train=True, key=key)[0])
    evaluate = quick_jit(lambda key: model.apply(params, {}, tokens, train=False, key=key)[0])
    first = train(key)
    np.testing.assert_array_equal(first, train(key))
    assert (np.abs(first - train(jax.random.key(8))).max((1, 2)) > 0.1).all()
    np.testing.assert_array_equal(evaluate(key), evaluate(None))
    assert np.abs(first - evaluate(None)).max() > 0.1
    assert np.abs(first[5:] - first[4]).max((1, 2)).min() > 0.1


def test_training_with_dropout_needs_a_key(small_decoder, unrolled):
    params, tokens, *_ = unrolled
    with pytest.raises(ValueError, match="key=None; allowed in training with dropout=0.3: a jax.random key"):
        small_decoder(dropout=0.3).apply(params, {}, tokens, train=True, key=None)


@pytest.mark.slow
def test_bfloat16_computes_near_float32_and_gives_float32(small_transformer, quick_jit, random_params):
    inputs = inputs_of(np.arange(7), SOURCE_SEGMENTS, np.arange(6), TARGET_SEGMENTS)

    def logits_of(dtype):
        model = small_transformer(dtype=dtype, scan_layers=True, positions="rotary", qk_norm=True)

        @quick_jit
        def both(params):
            logits, _ = model.apply(params, {}, inputs, train=True, key=None)
            return logits, model.begin(params, inputs, batch_size=1, length=6)

        logits, (_, cache) = both(random_params(model))
        shapes = jax.eval_shape(model.init, jax.random.key(0))[0]
        assert {leaf.dtype for leaf in jax.tree.leaves((logits, shapes))} == {jnp.dtype("float32")}
        assert {leaf.dtype for leaf in jax.tree.leaves(cache)} == {jnp.dtype(dtype)}
        return logits

    wide, narrow = logits_of("float32"), logits_of("bfloat16")
    assert 0 < np.abs(wide - narrow).max() < 0.05 * np.abs(wide).max()
