r"""Decoding with a key-value cache: greedy, by beam search, or by sampling.

All of it works on a function `step(memory, cache, token_B, position) -> (logits_BxV, cache)`, which
takes the token at `position` (an int32 scalar, the same for all rows), writes its keys and values into
the cache, and returns the logits of the next token. The leaves of `memory` and `cache` are [B, ...].
Each decoder is a pure function that may be jitted: one loop with one call of `step` for each position.

A next token has the log-probability that `log_softmax` gives it, with three exceptions:

- PAD and BOS are never emitted.
- The last of `length` positions holds EOS or PAD: a hypothesis that has not ended is ended there, and
  pays the log-probability of EOS as for any other token.
- If no allowed token has a probability above 0, as with logits that are NaN, the hypothesis ends. So a
  model that has diverged gives empty hypotheses.

A forced EOS has a log-probability of at least `FLOOR`, so that the hypotheses of a model that rules EOS
out are compared by their other tokens.

Letters: B rows, K beams, L positions, P of a prompt, V vocabulary, C candidates.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from warmup_jax.data import BOS, PAD
from warmup_jax.numerics import require
from warmup_jax.registry import positive_integer

FLOOR = -1e9  # the log-probability of a forced EOS that the model rules out


def greedy(step: Callable, memory: Any, cache: Any, *, batch_size: int, length: int, bos: int, eos: int) -> jax.Array:
    r"""Returns the likeliest token at every position: :math:`y_t = \arg\max_v p(v | y_{<t})`, the first of equals.

    The loop ends as soon as every row has ended.

    Args:
      step: `(memory, cache, token_B, position) -> (logits_BxV, cache)`.
      memory: pytree with leaves [B, ...], constant.
      cache: pytree with leaves [B, ...], for at least `length` positions.
      batch_size: B.
      length: L, EOS included.
      bos: the token at position 0 of the input.
      eos: the token that ends a row.

    Returns:
      int32 [B, L]: every row ends with EOS, then PAD.

    Raises:
      ValueError: for a length below 1.

    References:
      Vaswani et al., `Attention is all you need <https://arxiv.org/abs/1706.03762>`_, 2017
    """
    positive_integer("length", length)

    def going_on(state: tuple) -> jax.Array:
        position, _, done_B, _, _ = state
        return (position < length) & ~done_B.all()

    def extend(state: tuple) -> tuple:
        position, token_B, done_B, tokens_BxL, cache = state
        logits_BxV, cache = step(memory, cache, token_B, position)
        token_B = _log_probs(logits_BxV, position == length - 1, bos, eos).argmax(-1).astype(jnp.int32)
        token_B = jnp.where(done_B, PAD, token_B)
        return position + 1, token_B, done_B | (token_B == eos), tokens_BxL.at[:, position].set(token_B), cache

    start = (
        jnp.int32(0),
        jnp.full(batch_size, bos, jnp.int32),
        jnp.zeros(batch_size, bool),
        jnp.full((batch_size, length), PAD, jnp.int32),
        cache,
    )
    return lax.while_loop(going_on, extend, start)[3]


class Search(NamedTuple):
    """The state of beam search after `position` steps: live hypotheses, likeliest first, and the best ended one."""

    position: jax.Array  # int32
    token_BxK: jax.Array  # the last token of each live hypothesis
    log_prob_BxK: jax.Array  # -inf in place of a missing hypothesis
    live_BxKxL: jax.Array
    cache: Any  # leaves [B K, ...]
    ended_B: jax.Array  # int32: hypotheses that have ended
    led_B: jax.Array  # True if one of them was the likeliest continuation when it ended
    score_B: jax.Array  # of the best ended hypothesis, -inf if there is none
    best_BxL: jax.Array
    done_B: jax.Array  # True for rows that are decided and no longer change


def beam_search(
    step: Callable,
    memory: Any,
    cache: Any,
    *,
    batch_size: int,
    length: int,
    beams: int,
    length_penalty: float,
    bos: int,
    eos: int,
) -> tuple[jax.Array, jax.Array]:
    r"""Returns the best hypothesis of a search with `beams` live ones, by log-probability over length:

    .. math:: s(y) = \log p(y) / ((5 + |y|) / 6)^\alpha, \quad |y| \text{ with its EOS}.

    A step ranks all continuations of a row's live hypotheses by log-probability. Those among the first
    K that are EOS end their hypothesis; the first K others live on. So one beam equals `greedy` exactly,
    and with as many beams as there are prefixes shorter than L the search is exhaustive.

    A row is decided once no live hypothesis can beat the best ended one: a live hypothesis with
    log-probability a <= 0 scores at most :math:`a / ((5 + L) / 6)^\alpha` in the end, since its
    log-probability can only fall and the divisor grows with length (or is 1, for alpha = 0). A row is also
    decided once K hypotheses have ended, one of them as the likeliest of all continuations; without this
    condition K improbable hypotheses could end the search of a confident model. If EOS is improbable,
    all hypotheses end at the last position. A decided row no longer changes, so no row depends on others.

    Each position costs one call of `step` on B K rows, a top-2K of V for each, and a copy of the cache in the
    order of the surviving hypotheses. `memory` is repeated once.

    Args:
      step: `(memory, cache, token, position) -> (logits, cache)`, called with B K rows.
      memory: pytree with leaves [B, ...], constant.
      cache: pytree with leaves [B, ...], for at least `length` positions.
      batch_size: B.
      length: L, EOS included.
      beams: K.
      length_penalty: alpha, at least 0; Wu et al. take 0.2, Vaswani et al. 0.6 with 4 beams.
      bos: the token at position 0 of the input.
      eos: the token that ends a hypothesis.

    Returns:
      The hypotheses, int32 [B, L], each ending with EOS, then PAD; and their scores s, float32 [B].

    Raises:
      ValueError: for a length or number of beams below 1, or a negative or not finite penalty.

    References:
      Wu et al., `Google's neural machine translation system <https://arxiv.org/abs/1609.08144>`_, 2016;
      Ott et al., `fairseq <https://arxiv.org/abs/1904.01038>`_, 2019 (which continuations end)
    """
    positive_integer("length", length)
    positive_integer("beams", beams)
    require("length_penalty", length_penalty, 0)
    rows_Bx1 = jnp.arange(batch_size)[:, None]
    memory, cache = jax.tree.map(lambda leaf: jnp.repeat(leaf, beams, axis=0), (memory, cache))

    divisor_L = jnp.asarray(((5 + np.arange(1, length + 1)) / 6) ** length_penalty, jnp.float32)

    def extend(s: Search) -> Search:
        logits, cache = step(memory, s.cache, s.token_BxK.reshape(-1), s.position)
        log_prob = _log_probs(logits, s.position == length - 1, bos, eos)
        # The top candidates of each hypothesis come first, then those of all: so one beam keeps the order of its
        # log-probabilities even if their sums are rounded to the same number.
        log_prob, token = lax.top_k(log_prob, min(2 * beams, log_prob.shape[-1]))
        per_beam = token.shape[-1]
        total_BxC = (s.log_prob_BxK.reshape(-1, 1) + log_prob).reshape(batch_size, beams * per_beam)
        # At most K candidates are EOS, so 2 K candidates contain K that live on.
        total_BxC, index_BxC = lax.top_k(total_BxC, 2 * beams)
        token_BxC = token.reshape(batch_size, -1)[rows_Bx1, index_BxC]
        parent_BxC = index_BxC // per_beam
        eos_BxC = token_BxC == eos

        ends_BxC = eos_BxC & (jnp.arange(2 * beams) < beams) & (total_BxC > -jnp.inf)
        first_B = ends_BxC.argmax(-1)  # the best, because all that end now have the same length
        ended_Bx1 = jnp.take_along_axis(total_BxC, first_B[:, None], 1)
        score_B = jnp.where(ends_BxC.any(-1), ended_Bx1[:, 0] / divisor_L[s.position], -jnp.inf)
        better_B = (score_B > s.score_B) & ~s.done_B
        ended_BxL = s.live_BxKxL[rows_Bx1[:, 0], parent_BxC[rows_Bx1[:, 0], first_B]].at[:, s.position].set(eos)
        score_B = jnp.where(better_B, score_B, s.score_B)
        ended_B = s.ended_B + ends_BxC.sum(-1, dtype=jnp.int32)
        led_B = s.led_B | ends_BxC[:, 0]

        log_prob_BxK, on_BxK = lax.top_k(jnp.where(eos_BxC, -jnp.inf, total_BxC), beams)
        token_BxK, parent_BxK = token_BxC[rows_Bx1, on_BxK], parent_BxC[rows_Bx1, on_BxK]
        source = (rows_Bx1 * beams + parent_BxK).reshape(-1)
        return Search(
            s.position + 1,
            token_BxK,
            log_prob_BxK,
            s.live_BxKxL[rows_Bx1, parent_BxK].at[:, :, s.position].set(token_BxK),
            jax.tree.map(lambda leaf: leaf[source], cache),
            ended_B,
            led_B,
            score_B,
            jnp.where(better_B[:, None], ended_BxL, s.best_BxL),
            s.done_B | (led_B & (ended_B >= beams)) | (log_prob_BxK[:, 0] / divisor_L[-1] <= score_B),
        )

    start = Search(
        jnp.int32(0),
        jnp.full((batch_size, beams), bos, jnp.int32),
        jnp.full((batch_size, beams), -jnp.inf).at[:, 0].set(0.0),  # one hypothesis at the start, not K equal ones
        jnp.full((batch_size, beams, length), PAD, jnp.int32),
        cache,
        jnp.zeros(batch_size, jnp.int32),
        jnp.zeros(batch_size, bool),
        jnp.full(batch_size, -jnp.inf),
        jnp.full((batch_size, length), PAD, jnp.int32),
        jnp.zeros(batch_size, bool),
    )
    found = lax.while_loop(lambda s: (s.position < length) & ~s.done_B.all(), extend, start)
    return found.best_BxL, found.score_B


def sample(
    step: Callable,
    memory: Any,
    cache: Any,
    prompt_BxP: ArrayLike,
    *,
    length: int,
    temperature: ArrayLike,
    key: jax.Array,
) -> jax.Array:
    r"""Continues prompts with random tokens: :math:`p(v) \propto \exp(z_v / T)` for logits z.

    A token is drawn as :math:`\arg\max_v z_v + T g_v` with Gumbel noise g, so that a temperature of 0 is the greedy
    choice. PAD and BOS are never drawn, except that NaN logits give PAD. EOS is a token like any
    other: the reader of the continuation stops there. The prompt goes through `step` too, one token at a time.

    Args:
      step: `(memory, cache, token_B, position) -> (logits_BxV, cache)`.
      memory: pytree with leaves [B, ...], constant.
      cache: pytree with leaves [B, ...], for at least P + length - 1 positions.
      prompt_BxP: int, the input at positions 0 to P - 1, without padding; P is at least 1.
      length: tokens to draw.
      temperature: T >= 0; may be traced.
      key: each position draws noise of its own from it.

    Returns:
      int32 [B, length], the continuation without the prompt.

    Raises:
      ValueError: for a length below 1, an empty prompt, or a negative or not finite temperature.
    """
    prompt_BxP = jnp.asarray(prompt_BxP, jnp.int32)
    positive_integer("length", length)
    positive_integer("length of the prompt", prompt_BxP.shape[1])
    require("temperature", temperature, 0)
    tokens_BxL = jnp.pad(prompt_BxP, ((0, 0), (0, length)), constant_values=PAD)

    def extend(position: jax.Array, state: tuple) -> tuple:
        tokens_BxL, cache = state
        logits_BxV, cache = step(memory, cache, tokens_BxL[:, position], position)
        allowed_BxV = _allowed(logits_BxV.astype(jnp.float32), BOS)
        noise_BxV = jax.random.gumbel(jax.random.fold_in(key, position), allowed_BxV.shape)
        drawn_B = (allowed_BxV + temperature * noise_BxV).argmax(-1)
        given = position + 1 < prompt_BxP.shape[1]
        next_B = jnp.where(given, tokens_BxL[:, position + 1], drawn_B)
        return tokens_BxL.at[:, position + 1].set(next_B), cache

    tokens_BxL, _ = lax.fori_loop(0, tokens_BxL.shape[1] - 1, extend, (tokens_BxL, cache))
    return tokens_BxL[:, -length:]


def _log_probs(logits_BxV: jax.Array, last: jax.Array, bos: int, eos: int) -> jax.Array:
    """Returns log-probabilities of the next token, float32 [B, V], never NaN and never all -inf."""
    log_prob_BxV = jax.nn.log_softmax(logits_BxV.astype(jnp.float32))
    allowed_BxV = _allowed(log_prob_BxV, bos)
    must_end_Bx1 = last | (allowed_BxV == -jnp.inf).all(-1, keepdims=True)
    is_eos_V = jnp.arange(logits_BxV.shape[-1]) == eos
    return jnp.where(must_end_Bx1, jnp.where(is_eos_V, jnp.maximum(allowed_BxV, FLOOR), -jnp.inf), allowed_BxV)


def _allowed(values_BxV: jax.Array, bos: int) -> jax.Array:
    """Returns the values with -inf in place of PAD, BOS and NaN."""
    token_V = jnp.arange(values_BxV.shape[-1])
    return jnp.where((token_V == PAD) | (token_V == bos) | jnp.isnan(values_BxV), -jnp.inf, values_BxV)
