"""Evaluation on the test split: loss, accuracy, and for texts the decoded output with its BLEU."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from warmup_jax import data, models, registry
from warmup_jax.runtime import concurrency
from warmup_jax.training import bleu, decoding
from warmup_jax.training.train_step import TrainState, each_run


class DecodedTexts(NamedTuple):
    """The texts that the runs of a group decoded.

    Attributes:
      values: {metric: [R]}.
      signature: of the BLEU scores, None without references.
      samples: for each run a few dicts of texts: source, written, reference.
    """

    values: dict[str, list[float]]
    signature: str | None
    samples: list[list[dict[str, str]]]


class DecodeFunctions(NamedTuple):
    """`begin` and `step` of a `models.Model` with the parameters of one run."""

    begin: Callable
    step: Callable


def scores(
    evaluate: Callable, states: TrainState, arrays: dict, dataset: data.Dataset, batch_size: int, at_once: int = 1
) -> dict[str, np.ndarray]:
    """Returns loss, accuracy and for texts perplexity on the whole test split, [R] by name.

    Args:
      evaluate: `(states, arrays, batch) -> sums [R] by name`, see `train_step.eval_step`.
      states: leaves [R, ...].
      arrays: the resident test split, {} if it streams.
      dataset: the data set.
      batch_size: examples of a batch.
      at_once: batches that are computed at the same time.
    """
    batches = data.eval_batches(dataset, batch_size=batch_size)
    totals: defaultdict[str, Any] = defaultdict(float)
    for sums in concurrency.map_concurrently(partial(evaluate, states, arrays), batches, at_once):
        for name, values in sums.items():
            totals[name] += values
    total = {name: np.asarray(values) for name, values in totals.items()}
    found = {"eval/loss": total["loss"] / total["weight"], "eval/accuracy": total["correct"] / total["weight"]}
    if dataset.texts is not None:
        with np.errstate(over="ignore"):
            found["eval/perplexity"] = np.exp(found["eval/loss"])
    return found


def translate(
    model: DecodeFunctions, key: jax.Array, inputs: dict, *, target_length: int, beams: int, length_penalty: float
) -> jax.Array:
    """Returns the most probable target of each source, by beam search or greedily with one beam: tokens [B, T]."""
    del key
    size = inputs["source"].shape[0]
    memory, cache = model.begin(inputs, batch_size=size, length=target_length)
    common = dict(batch_size=size, length=target_length, bos=data.BOS, eos=data.EOS)
    if beams == 1:
        return decoding.greedy(model.step, memory, cache, **common)
    return decoding.beam_search(model.step, memory, cache, beams=beams, length_penalty=length_penalty, **common)[0]


def continue_text(
    model: DecodeFunctions, key: jax.Array, inputs: dict, *, target_length: int, length: int, temperature: float
) -> jax.Array:
    """Returns a continuation of each prompt, drawn from the model, greedy at temperature 0: tokens [B, length]."""
    prompt = inputs["source"]
    total = prompt.shape[1] + length
    if total > target_length:
        raise ValueError(
            f"decoding.length={length} after a prompt of {prompt.shape[1]} tokens is longer than "
            f"the {target_length} tokens of a row"
        )
    memory, cache = model.begin(None, batch_size=prompt.shape[0], length=total)
    return decoding.sample(model.step, memory, cache, prompt, length=length, temperature=temperature, key=key)


DECODINGS: dict[str, Callable] = {"beam": translate, "sample": continue_text}
SUPPLIED = ("model", "key", "inputs", "target_length")
OWN_ARGUMENTS = ("name", "samples", "examples")  # keys of `decoding` that `decode_texts` reads


def decoder(model: models.Model, texts: data.Texts | None, config: Mapping[str, Any]) -> Callable | None:
    """Returns the function (states [R], key, sources [B, S]) -> tokens [R, B, T] of a config's `decoding`.

    Returns None if the config names no decoding. Nothing is traced here.

    Raises:
      ValueError: for an unknown name or argument, or a data set without texts.
    """
    if not config:
        return None
    if texts is None:
        raise ValueError("the config asks for decoding, but its data set has no texts")
    function = registry.lookup("decoding", DECODINGS, str(config.get("name")))
    args = {name: value for name, value in config.items() if name not in OWN_ARGUMENTS}
    registry.check_arguments(f"decoding {config['name']!r}", function, args, SUPPLIED)
    for name in OWN_ARGUMENTS:
        if name not in config:
            raise ValueError(f"decoding needs the argument {name!r} (it has {', '.join(config)})")
    for name, least, allowed in (("samples", 0, "integers from 0"), ("examples", 1, "integers from 1 and None")):
        value = config[name]
        if (value is not None or name == "samples") and (type(value) is not int or value < least):
            raise ValueError(f"decoding.{name}={value!r}; allowed: {allowed}")
    if (texts.references is None) != (config["name"] == "sample"):
        raise ValueError(
            f"decoding.name={config['name']!r} does not fit the data set: "
            f"{'sample' if texts.references is None else 'beam'} does"
        )

    begin, step = model.begin, model.step
    if begin is None or step is None:
        raise ValueError(
            f"decoding.name={config['name']!r}; allowed for a model that decodes, as transformer and decoder"
        )
    max_target = texts.max_target

    def decode(states: TrainState, key: jax.Array, source: jax.Array) -> jax.Array:
        inputs = {"source": source, "source_segments": (source != data.PAD).astype(jnp.int32)}

        def decode_run(params: Any) -> jax.Array:
            functions = DecodeFunctions(partial(begin, params), partial(step, params))
            return function(functions, key, inputs, target_length=max_target, **args)

        return each_run(decode_run, (0,))(states.params)

    return decode


def check_lengths(texts: data.Texts | None, config: Mapping[str, Any]) -> None:
    """Raises a ValueError for texts to decode that are longer than a row, which the model's positions end at."""
    if texts is None or config.get("name") != "sample":
        return
    prompt, longest = texts.sources.shape[1], texts.max_target
    if prompt >= longest:
        raise ValueError(f"dataset.prompt_length={prompt}; allowed: below the dataset.length={longest} of a row")
    if config["length"] > longest - prompt:
        raise ValueError(
            f"decoding.length={config['length']}; allowed: integers from 1 to {longest - prompt}, which with "
            f"dataset.prompt_length={prompt} fill the dataset.length={longest} of a row"
        )


def decode_texts(
    decode: Callable,
    states: TrainState,
    texts: data.Texts,
    config: Mapping[str, Any],
    batch_size: int,
    key: jax.Array,
    at_once: int = 1,
) -> DecodedTexts:
    """Decodes the first `examples` test sources (None: all) and scores the result where there are references.

    `at_once` batches are decoded at the same time.
    """
    sources = texts.sources[: config["examples"]]

    def tokens_from(start: int) -> np.ndarray:
        batch = sources[start : start + batch_size]
        missing = min(batch_size, len(sources)) - len(batch)  # repeated rows, so that all batches have one shape
        batch = np.concatenate([batch, batch[:1].repeat(missing, axis=0)])
        decoded = np.asarray(decode(states, jax.random.fold_in(key, start), batch))
        return decoded[:, : decoded.shape[1] - missing]

    starts = range(0, len(sources), batch_size)
    tokens = np.concatenate(list(concurrency.map_concurrently(tokens_from, starts, at_once)), axis=1)
    written = [[texts.decode(row) for row in run] for run in tokens]
    samples = [
        [_sample(texts, text, number) for number, text in enumerate(run[: config["samples"]])] for run in written
    ]
    if texts.references is None:
        return DecodedTexts({}, None, samples)
    references = texts.references[: len(sources)]
    scored = [bleu.bleu(run, references, texts.bleu_tokenize) for run in written]
    exact = [sum(map(str.__eq__, run, references)) / len(references) for run in written]
    values = {"eval/bleu": [score for score, _ in scored], "eval/exact_match": exact}
    return DecodedTexts(values, scored[0][1], samples)


def _sample(texts: data.Texts, written: str, number: int) -> dict[str, str]:
    sample = {"source": texts.source_texts[number], "written": written}
    return sample if texts.references is None else sample | {"reference": texts.references[number]}
