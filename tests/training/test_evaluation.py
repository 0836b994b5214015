"""What is measured on the test split, with a model whose answers are known: it copies its source."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from warmup_jax import data
from warmup_jax.models import Model
from warmup_jax.training import evaluation
from warmup_jax.training.train_step import TrainState

LETTERS, ROW = "abcdef", 6
SOURCES = ("ab", "fed", "c", "bad", "face")


def tokens(text):
    ids = [4 + LETTERS.index(letter) for letter in text] + [data.EOS]
    return ids + [data.PAD] * (ROW - len(ids))


def decode(ids):
    ids = list(ids)
    end = ids.index(data.EOS) if data.EOS in ids else len(ids)
    return "".join(LETTERS[i - 4] for i in ids[:end])


@pytest.fixture
def texts():
    references = ["ab", "fed", "c", "bed", "face"]
    return data.Texts(
        np.array([tokens(s) for s in SOURCES], np.int32), list(SOURCES), references, decode, "char", "fingerprint", ROW
    )


def begin(params, inputs, *, batch_size, length):
    return inputs["source"], {"shift": jnp.broadcast_to(params["shift"], (batch_size,))}


def step(params, memory, cache, token, position):
    wanted = jnp.asarray(memory)[jnp.arange(len(token)), position]
    moved = jnp.where(wanted >= 4, 4 + (wanted - 4 + cache["shift"]) % len(LETTERS), wanted)
    return 9.0 * jax.nn.one_hot(moved, 4 + len(LETTERS)), cache


COPIER = Model(init=None, apply=None, begin=begin, step=step, observe=None, relu=False)
BEAM = dict(name="beam", beams=1, length_penalty=0.6, samples=2, examples=None)


def states(*shifts):
    return TrainState(None, {"shift": jnp.array(shifts)}, None, None, None)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("runs", [(0,), (0, 1)])
def test_texts_are_written_and_scored_run_by_run(texts, beams, runs):
    config = BEAM | dict(beams=beams)
    function = jax.jit(evaluation.decoder(COPIER, texts, config))
    written = evaluation.decode_texts(function, states(*runs), texts, config, 2, jax.random.key(0))
    assert written.values["eval/exact_match"][0] == pytest.approx(4 / 5)
    assert 50 < written.values["eval/bleu"][0] < 100 and "tok:char" in written.signature
    assert written.samples[0] == [
        {"source": "ab", "written": "ab", "reference": "ab"},
        {"source": "fed", "written": "fed", "reference": "fed"},
    ]
    if len(runs) == 2:
        assert written.values["eval/exact_match"][1] == 0 and written.samples[1][0]["written"] == "bc"


def test_a_batch_that_is_not_full_changes_nothing(texts):
    function = jax.jit(evaluation.decoder(COPIER, texts, BEAM))
    scores = [
        evaluation.decode_texts(function, states(0), texts, BEAM, size, jax.random.key(0)).values
        for size in (1, 4, 5, 64)
    ]
    assert all(score == scores[0] for score in scores)


def test_batches_side_by_side_give_the_same(texts):
    function = jax.jit(evaluation.decoder(COPIER, texts, BEAM | dict(beams=3)))
    one, three = (
        evaluation.decode_texts(function, states(0, 1), texts, BEAM, 1, jax.random.key(0), at_once)
        for at_once in (1, 3)
    )
    assert one == three and len(one.samples[0]) == 2


def test_examples_limits_what_is_decoded(texts):
    config = BEAM | dict(examples=3)
    function = evaluation.decoder(COPIER, texts, config)
    assert evaluation.decode_texts(function, states(0), texts, config, 2, jax.random.key(0)).values[
        "eval/exact_match"
    ] == [1.0]


def test_a_prompt_is_continued(texts):
    count = lambda params, memory, cache, token, position: (9.0 * jax.nn.one_hot(token + 1, 20), cache)
    start = lambda params, inputs, *, batch_size, length: ({}, {})
    prompts = texts._replace(
        sources=np.full((2, 2), 5, np.int32), references=None, max_target=10, decode=lambda ids: " ".join(map(str, ids))
    )
    config = dict(name="sample", length=4, temperature=0.0, samples=1, examples=None)
    function = evaluation.decoder(Model(None, None, start, count, None, False), prompts, config)
    written = evaluation.decode_texts(function, states(0), prompts, config, 2, jax.random.key(0))
    assert written == evaluation.DecodedTexts({}, None, [[{"source": "ab", "written": "6 7 8 9"}]])
    too_long = evaluation.decoder(Model(None, None, start, count, None, False), prompts, config | dict(length=9))
    with pytest.raises(ValueError, match="decoding.length=9 after a prompt of 2 tokens is longer than the 10"):
        too_long(states(0), jax.random.key(0), prompts.sources)


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"name": "bean"}, "unknown decoding 'bean'; did you mean 'beam'"),
        ({"beam": 2}, "unknown argument 'beam'"),
        ({"name": "sample", "beams": None}, "unknown argument"),
    ],
)
def test_bad_input_names_the_culprit(texts, changes, named):
    with pytest.raises(ValueError, match=named):
        evaluation.decoder(COPIER, texts, BEAM | changes)


@pytest.mark.parametrize("name", BEAM)
def test_what_is_missing_is_named(texts, name):
    with pytest.raises(
        ValueError, match="unknown decoding 'None'" if name == "name" else f"needs the argument '{name}'"
    ):
        evaluation.decoder(COPIER, texts, {key: value for key, value in BEAM.items() if key != name})


def test_a_decoding_that_does_not_fit_the_data_is_refused(texts):
    with pytest.raises(ValueError, match="no texts"):
        evaluation.decoder(COPIER, None, BEAM)
    with pytest.raises(ValueError, match="'beam' does not fit the data set: sample does"):
        evaluation.decoder(COPIER, texts._replace(references=None), BEAM)
    assert evaluation.decoder(COPIER, None, {}) is None


def test_perplexity_is_the_exponential_of_the_loss_and_images_have_none():
    split = data.Split(4, None, lambda index: {"index_": index})
    dataset = data.Dataset("toy", split, split, 3, (2,), "stream", 0, None)
    evaluate = lambda states, arrays, batch: {
        "loss": 2 * batch["weights"].sum()[None],
        "correct": batch["weights"].sum()[None],
        "weight": 2 * batch["weights"].sum()[None],
    }
    score = partial(evaluation.scores, evaluate, None, {})
    assert score(dataset, 3) == {"eval/loss": [1.0], "eval/accuracy": [0.5]}
    assert score(dataset, 1, at_once=3) == score(dataset, 3)
    assert score(dataset._replace(texts=()), 3)["eval/perplexity"] == pytest.approx(np.e)
