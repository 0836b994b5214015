"""Decoding against plain Python and against all sequences there are, with a model that remembers all it saw."""

import functools
import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from warmup_jax.data.text.languages import BLEU_TOKENIZERS
from warmup_jax.training import bleu, decoding
from warmup_jax.training.decoding import PAD

BOS, EOS, LENGTH, WIDTH = 1, 2, 4, 6
VOCABULARY = 7
TEXT = range(3, VOCABULARY)  # what may be emitted beside EOS
PREFIXES = sum(len(TEXT) ** length for length in range(LENGTH))
ROWS = 8  # each of them another model


class Toy:
    """Models whose logits depend on their row's memory and on every token that its cache holds."""

    def __init__(self, seed=0, rows=ROWS, scale=2.0):
        random = np.random.default_rng(seed)
        self.memory = {
            "embedding": random.normal(size=(rows, 8, VOCABULARY, WIDTH)).astype(np.float32),
            "head": random.normal(size=(rows, WIDTH, VOCABULARY)).astype(np.float32) * np.float32(scale),
        }
        self.cache = {"tokens": np.full((rows, 8), -1, np.int32)}

    def log_probs(self, row, history):
        """Log-probabilities after some tokens, in plain numpy."""
        read = self.memory["embedding"][row, range(len(history)), list(history)]
        logits = np.tanh(read.sum(0)).astype(np.float64) @ self.memory["head"][row]
        return logits - np.log(np.exp(logits).sum())

    def greedy(self, row, history):
        log_probs = self.log_probs(row, history)
        return max([EOS, *TEXT], key=lambda token: log_probs[token])

    def row(self, row):
        """Memory and cache of one row."""
        return jax.tree.map(lambda leaf: leaf[row : row + 1], (self.memory, self.cache))


def remember(memory, cache, token_B, position):
    """The step of the toy models."""
    tokens_BxL = cache["tokens"].at[:, position].set(token_B)
    read_BxLxW = jnp.take_along_axis(memory["embedding"], tokens_BxL[:, :, None, None], 2)[:, :, 0]
    past_L = jnp.arange(tokens_BxL.shape[1]) <= position
    hidden_BxW = jnp.tanh(jnp.where(past_L[:, None], read_BxLxW, 0).sum(1))
    return jnp.einsum("bw,bwv->bv", hidden_BxW, memory["head"]), {"tokens": tokens_BxL}


def only(logits_V):
    """A step that always says the same."""
    return lambda memory, cache, token_B, position: (jnp.tile(jnp.asarray(logits_V, float), (token_B.size, 1)), cache)


def always(logits_BxV, cache, token_B, position):
    """The same with the logits as the memory, so that one compilation is for all of them."""
    return logits_BxV, cache


@functools.cache
def compiled(decode, step, **args):
    return jax.jit(partial(decode, step, bos=BOS, eos=EOS, **args))


def search(step, memory, cache, *, batch_size=ROWS, length=LENGTH, beams=2, length_penalty=0.6):
    args = dict(batch_size=batch_size, length=length, beams=beams, length_penalty=length_penalty)
    tokens, score = compiled(decoding.beam_search, step, **args)(memory, cache)
    return np.asarray(tokens), np.asarray(score)


def greedy(step, memory, cache, *, batch_size=ROWS, length=LENGTH):
    return np.asarray(compiled(decoding.greedy, step, batch_size=batch_size, length=length)(memory, cache))


def padded(sequence, length=LENGTH):
    return [*sequence, EOS] + [PAD] * (length - len(sequence) - 1)


def best_of_all(toy, row, length_penalty):
    """The best of all sequences that end within LENGTH tokens, with its score and the runner-up's."""
    scored = []
    for size in range(LENGTH):
        for sequence in itertools.product(TEXT, repeat=size):
            tokens = [*sequence, EOS]
            log_prob = sum(toy.log_probs(row, [BOS, *tokens[:i]])[token] for i, token in enumerate(tokens))
            scored.append((log_prob / ((5 + len(tokens)) / 6) ** length_penalty, sequence))
    scored.sort(reverse=True)
    return scored[0][1], scored[0][0], scored[1][0]


@pytest.mark.parametrize("beams, length_penalty", [(PREFIXES, 0), (PREFIXES, 0.6), (PREFIXES + 5, 1.0)])
def test_a_wide_search_finds_the_best_of_all_sequences(beams, length_penalty):
    toy, sizes = Toy(), set()
    tokens, score = search(remember, toy.memory, toy.cache, beams=beams, length_penalty=length_penalty)
    for row in range(ROWS):
        sequence, best, second = best_of_all(toy, row, length_penalty)
        assert score[row] == pytest.approx(best, abs=1e-5)
        assert best - second > 1e-4 and tokens[row].tolist() == padded(sequence)
        sizes.add(len(sequence))
    assert len(sizes) > 1


def test_scores_of_a_narrow_search_are_those_of_its_hypotheses():
    toy = Toy()
    tokens, score = search(remember, toy.memory, toy.cache, beams=3)
    for row in range(ROWS):
        size = tokens[row].tolist().index(EOS) + 1
        log_prob = sum(toy.log_probs(row, [BOS, *tokens[row, :i]])[tokens[row, i]] for i in range(size))
        assert score[row] == pytest.approx(log_prob / ((5 + size) / 6) ** 0.6, abs=1e-5)
        assert score[row] <= best_of_all(toy, row, 0.6)[1] + 1e-5
        assert (tokens[row, size:] == PAD).all()


def test_greedy_is_a_python_loop():
    toy = Toy()
    tokens = greedy(remember, toy.memory, toy.cache)
    for row in range(ROWS):
        history = [BOS]
        while len(history) < LENGTH and history[-1] != EOS:
            history.append(toy.greedy(row, history))
        assert tokens[row].tolist() == padded([token for token in history[1:] if token != EOS])
    assert len({row.tolist().index(EOS) for row in tokens}) > 1, "the rows should differ in length"


@pytest.mark.parametrize("length_penalty", [0, 8.0])
def test_one_beam_is_greedy(length_penalty):
    toy = Toy(rows=64, scale=0.7)  # a rather even choice: at a penalty of 8, living on often pays
    np.testing.assert_array_equal(
        search(remember, toy.memory, toy.cache, beams=1, length_penalty=length_penalty, batch_size=64)[0],
        greedy(remember, toy.memory, toy.cache, batch_size=64),
    )


def test_one_beam_is_greedy_where_sums_are_rounded_to_the_same():
    # 1e6 nats into a hypothesis, float32 no longer tells apart what greedy does.
    unlikely_first = lambda memory, cache, token_B, position: (
        jnp.where(
            position == 0, jnp.array([2e6, 0, -9, -9, 0.0, -1e6, -9]), jnp.array([0, 0, -9, -9, 0.0, 1e-3, -9.0])
        )[None],
        cache,
    )
    for length in (1, 2, 3):
        np.testing.assert_array_equal(
            search(unlikely_first, {}, {}, batch_size=1, beams=1, length=length)[0],
            greedy(unlikely_first, {}, {}, batch_size=1, length=length),
        )
    assert greedy(unlikely_first, {}, {}, batch_size=1, length=3).tolist() == [[4, 5, EOS]]


def test_no_row_depends_on_the_others():
    toy = Toy(scale=0.7)
    run = lambda memory, cache, rows: search(remember, memory, cache, batch_size=rows, beams=2, length_penalty=8.0)
    together = run(toy.memory, toy.cache, ROWS)
    broken = toy.memory | {"head": toy.memory["head"].copy()}
    broken["head"][1] = np.nan
    beside = run(broken, toy.cache, ROWS)
    others = np.arange(ROWS) != 1
    np.testing.assert_array_equal(beside[0][others], together[0][others])
    assert beside[0][1].tolist() == padded([])
    alone_jit = jax.jit(
        partial(
            decoding.beam_search, remember, batch_size=1, length=LENGTH, beams=2, length_penalty=8.0, bos=BOS, eos=EOS
        )
    )
    for row in range(ROWS):
        tokens, score = alone_jit(*toy.row(row))
        np.testing.assert_array_equal(tokens[0], together[0][row])
        assert score[0] == pytest.approx(together[1][row], abs=1e-6)


@pytest.mark.parametrize("decode", [greedy, search, partial(search, beams=12)])
@pytest.mark.parametrize(
    "logits, expected",
    [
        ([np.nan] * VOCABULARY, []),  # a diverged model says nothing
        ([-np.inf] * VOCABULARY, []),
        ([0.0, np.nan, 0, 0, 0, 0, 0], []),
        ([np.inf, 0, 0, 0, 0, 0, 0], []),
        ([9, 9] + [-np.inf] * (VOCABULARY - 2), []),  # nothing but PAD and BOS, which are never emitted
        ([11, 11, -50, 0, 9, 0, 0], [4, 4, 4]),  # PAD and BOS are the likeliest
        ([0, 0, -np.inf, 0, 0, 9, 0], [5, 5, 5]),  # without an EOS: ended at the limit
        ([0, 0, -500, 0, 0, 9, 0], [5, 5, 5]),
    ],
)
def test_odd_logits_have_a_defined_result(decode, logits, expected):
    found = decode(always, np.tile(np.float32(logits), (2, 1)), {}, batch_size=2)
    tokens = found[0] if isinstance(found, tuple) else found
    assert tokens.tolist() == [padded(expected)] * 2


def test_a_model_that_breaks_off_leaves_what_it_had_said():
    breaks = lambda memory, cache, token_B, position: (
        jnp.where(position < 2, jnp.array([0, 0, -5, 0, 9, 0, 0.0]), jnp.nan)[None].repeat(token_B.size, 0),
        cache,
    )
    assert greedy(breaks, {}, {}, batch_size=1).tolist() == [padded([4, 4])]
    tokens, score = search(breaks, {}, {}, batch_size=1, beams=1)
    assert tokens.tolist() == [padded([4, 4])] and score[0] < -1e8
    # With room for it, the search finds a hypothesis that ended by itself.
    tokens, score = search(breaks, {}, {}, batch_size=1, beams=12)
    assert tokens.tolist() == [padded([4])] and score[0] > -20


@pytest.mark.parametrize("length", [1, 2])
def test_the_shortest_lengths(length):
    toy = Toy()
    for tokens in (
        greedy(remember, toy.memory, toy.cache, length=length),
        search(remember, toy.memory, toy.cache, length=length)[0],
    ):
        assert tokens.shape == (ROWS, length)
        assert ((tokens == EOS).sum(1) == 1).all()
        if length == 1:
            assert (tokens == EOS).all()


def calls(decode, step, **args):
    """How often decoding calls the step."""
    count = []

    def counted(memory, cache, token_B, position):
        jax.debug.callback(lambda: count.append(0))
        return step(memory, cache, token_B, position)

    decode(counted, {}, {}, batch_size=2, length=50, **args)
    jax.effects_barrier()
    return len(count)


def test_decoding_stops_early():
    sure = only([0, 0, 9, 0, 0, 0, 0])  # EOS at once
    never = only([0, 0, -99, 0, 9, 0, 0])
    assert calls(greedy, sure) == 1
    assert calls(greedy, never) == 50
    # What lives has at most -9: nothing can beat the first, of about 0, whatever the divisor of 9.2 ** alpha.
    for length_penalty in (0, 1.0):
        assert calls(search, sure, beams=3, length_penalty=length_penalty) == 1
        assert calls(search, never, beams=3, length_penalty=length_penalty) == 50
    # EOS has -1.0 and token 4 has -0.8: without a penalty the bound decides, once a hypothesis with -1.0 has
    # ended and 4, 4 has -1.6; with one, 4, 4 may still get the better score.
    mixed = only([-99, -99, *np.log([0.37, 0.01, 0.45, 0.085, 0.085])])
    assert calls(search, mixed, beams=6, length_penalty=0) == 2
    assert calls(search, mixed, beams=6, length_penalty=1.0) > 2


def test_sampling_at_temperature_0_is_greedy_and_reads_the_prompt_through_the_cache():
    toy = Toy(rows=3)
    prompt = np.array([[BOS, 4, 3], [BOS, 5, 5], [4, 4, 6]], np.int32)
    run = jax.jit(partial(decoding.sample, remember, length=3))  # the temperature is traced
    tokens = run(toy.memory, toy.cache, prompt, temperature=0.0, key=jax.random.key(0))
    assert tokens.shape == (3, 3)
    for row in range(3):
        history = prompt[row].tolist()
        for _ in range(3):
            history.append(toy.greedy(row, history))
        assert tokens[row].tolist() == history[3:]


def test_samples_are_a_function_of_the_key():
    run = jax.jit(
        lambda key: decoding.sample(
            only([0.0] * VOCABULARY), {}, {}, np.full((ROWS, 1), BOS), length=7, temperature=1.0, key=key
        )
    )
    first, again, other = (np.asarray(run(jax.random.key(seed))) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert (first[:, 1:] != first[:, :1]).any(), "positions should not share their noise"


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_samples_follow_the_softmax(temperature):
    logits, rows = np.array([3.0, 3.0, 0.5, -1.0, 1.0, 0.0, 2.0]), 20_000
    tokens = np.asarray(
        decoding.sample(
            only(logits), {}, {}, np.full((rows, 1), BOS), length=1, temperature=temperature, key=jax.random.key(0)
        )
    )
    weights = np.exp(logits / temperature) * (np.arange(VOCABULARY) >= 2)
    expected = rows * weights / weights.sum()
    found = np.bincount(tokens[:, 0], minlength=VOCABULARY)
    assert not found[:2].any()
    # chi-square with 4 degrees of freedom: 23.5 has a probability of 1e-4
    assert ((found - expected)[2:] ** 2 / expected[2:]).sum() < 23.5


def test_samples_of_a_diverged_model_are_padding():
    tokens = decoding.sample(
        only([np.nan] * VOCABULARY), {}, {}, np.full((2, 2), 4), length=3, temperature=1.0, key=jax.random.key(0)
    )
    assert tokens.tolist() == [[PAD] * 3] * 2


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(length=0), "length=0; allowed: integers from 1"),
        (dict(beams=0), "beams=0; allowed: integers from 1"),
        (dict(length_penalty=-0.1), "length_penalty=-0.1; allowed: finite numbers from 0"),
        (dict(length_penalty=float("nan")), "length_penalty=nan; allowed: finite numbers"),
    ],
)
def test_bad_arguments_of_a_search(change, message):
    with pytest.raises(ValueError, match=message):
        search(only([0.0] * VOCABULARY), {}, {}, **change)


@pytest.mark.parametrize(
    "prompt, change, message",
    [
        (np.full((1, 0), 4), {}, "length of the prompt=0; allowed: integers from 1"),
        (np.full((1, 1), 4), dict(length=0), "length=0; allowed"),
        (np.full((1, 1), 4), dict(temperature=-1.0), "temperature=-1.0; allowed: finite numbers from 0"),
    ],
)
def test_bad_arguments_of_a_sample(prompt, change, message):
    with pytest.raises(ValueError, match=message):
        decoding.sample(
            only([0.0] * VOCABULARY), {}, {}, prompt, **dict(length=1, temperature=1.0, key=jax.random.key(0)) | change
        )


def test_greedy_needs_a_length():
    with pytest.raises(ValueError, match="length=0; allowed: integers from 1"):
        greedy(only([0.0] * VOCABULARY), {}, {}, length=0)


def test_bleu_by_hand():
    # Precisions 5/6, 4/5, 3/4, 2/3 of words; as many tokens on both sides, so no brevity penalty.
    score, signature = bleu.bleu(["the cat sat on the mat"], ["a cat sat on the mat"], "13a")
    assert score == pytest.approx(100 * (5 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** 0.25)
    assert "tok:13a" in signature and "nrefs:1" in signature and "version:" in signature
    # Characters, spaces not counted: one sentence of four right, of eight in the references.
    score, signature = bleu.bleu(["a bcd", ""], ["ab cd", "efgh"], "char")
    assert score == pytest.approx(100 * np.exp(1 - 8 / 4)) and "tok:char" in signature


@pytest.mark.parametrize("tokenize", BLEU_TOKENIZERS)
def test_every_tokenizer_works_offline(tokenize):
    assert bleu.bleu(["zwei und drei vier"], ["zwei und drei vier"], tokenize)[0] == pytest.approx(100)
    assert bleu.bleu(["", ""], ["zwei", "drei"], tokenize)[0] == 0


def test_bad_arguments_of_bleu():
    with pytest.raises(ValueError, match="tokenize='flores200'; allowed: '13a', 'char', 'intl', 'none', 'zh'"):
        bleu.bleu(["a"], ["a"], "flores200")
    with pytest.raises(ValueError, match="1 hypotheses for 2 references"):
        bleu.bleu(["a"], ["a", "b"], "13a")
    with pytest.raises(ValueError, match="0 hypotheses for 0 references"):
        bleu.bleu([], [], "13a")
