"""What a model does on the test split: loss, accuracy, and for texts what it writes."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from warmup_jax import data, registry
from warmup_jax.runtime import devices
from warmup_jax.training import decoding
from warmup_jax.training.train_step import each_run


class Written(NamedTuple):
    """What the runs of a group wrote.

    values: {metric: [R]}. signature: of the BLEU, or None. samples: for each run
      a few dicts of texts: source, written, reference.
    """

    values: dict[str, list[float]]
    signature: str | None
    samples: list[list[dict[str, str]]]


def scores(
    evaluate: Callable, states, arrays: dict, dataset: data.Dataset, batch_size: int, at_once: int = 1
) -> dict[str, np.ndarray]:
    """Loss, accuracy and for texts perplexity on the whole test split, [R] by name; `at_once` batches at a time."""
    batches = data.eval_batches(dataset, batch_size=batch_size)
    sums = defaultdict(float)
    for of_batch in devices.side_by_side(partial(evaluate, states, arrays), batches, at_once):
        for name, values in of_batch.items():
            sums[name] += values
    sums = {name: np.asarray(values) for name, values in sums.items()}
    values = {"eval/loss": sums["loss"] / sums["weight"], "eval/accuracy": sums["correct"] / sums["weight"]}
    if dataset.texts is not None:
        with np.errstate(over="ignore"):
            values["eval/perplexity"] = np.exp(values["eval/loss"])
    return values


def translate(model, key, inputs, *, target_length, beams, length_penalty):
    """The most probable target of each source by beam search, or greedily with one beam: tokens [B, T]."""
    del key
    size = inputs["source"].shape[0]
    memory, cache = model.begin(inputs, batch_size=size, length=target_length)
    common = dict(batch_size=size, length=target_length, bos=data.BOS, eos=data.EOS)
    if beams == 1:
        return decoding.greedy(model.step, memory, cache, **common)
    return decoding.beam_search(model.step, memory, cache, beams=beams, length_penalty=length_penalty, **common)[0]


def continue_text(model, key, inputs, *, target_length, length, temperature):
    """A continuation of each prompt drawn from the model, greedy at temperature 0: tokens [B, length]."""
    prompt = inputs["source"]
    total = prompt.shape[1] + length
    if total > target_length:
        raise ValueError(
            f"decoding.length={length} after a prompt of {prompt.shape[1]} tokens is longer than "
            f"the {target_length} tokens of a row"
        )
    memory, cache = model.begin(None, batch_size=prompt.shape[0], length=total)
    return decoding.sample(model.step, memory, cache, prompt, length=length, temperature=temperature, key=key)


DECODINGS = {"beam": translate, "sample": continue_text}
SUPPLIED = ("model", "key", "inputs", "target_length")
OF_LOOP = ("name", "samples", "examples")  # arguments that `write` reads


class _Bound(NamedTuple):
    begin: Callable
    step: Callable


def decoder(model, texts: data.Texts | None, config: Mapping[str, Any]) -> Callable | None:
    """The function (states [R], key, sources [B, S]) -> tokens [R, B, T] of a config's `decoding`.

    None where the config names no decoding. Nothing is traced here.

    Raises:
      ValueError: for an unknown name or argument, or a data set without texts.
    """
    if not config:
        return None
    if texts is None:
        raise ValueError("the config asks for decoding, but its data set has no texts")
    function = registry.lookup("decoding", DECODINGS, config.get("name"))
    args = {name: value for name, value in config.items() if name not in OF_LOOP}
    registry.check_arguments(f"decoding {config['name']!r}", function, args, SUPPLIED)
    for name in OF_LOOP:
        if name not in config:
            raise ValueError(f"decoding needs the argument {name!r} (it has {', '.join(config)})")
    if (texts.references is None) != (config["name"] == "sample"):
        raise ValueError(
            f"decoding.name={config['name']!r} does not fit the data set: "
            f"{'sample' if texts.references is None else 'beam'} does"
        )

    def decode(states, key, source):
        inputs = {"source": source, "source_segments": (source != data.PAD).astype(jnp.int32)}

        def one(params):
            bound = _Bound(partial(model.begin, params), partial(model.step, params))
            return function(bound, key, inputs, target_length=texts.max_target, **args)

        return each_run(one, (0,))(states.params)

    return decode


def write(
    decode: Callable, states, texts: data.Texts, config: Mapping[str, Any], batch_size: int, key, at_once: int = 1
) -> Written:
    """Decodes the first `examples` test sources (None: all), `at_once` batches at a time, and scores them where there
    are references."""
    sources = texts.sources[: config["examples"]]

    def tokens_from(start):
        batch = sources[start : start + batch_size]
        missing = min(batch_size, len(sources)) - len(batch)  # so that all batches have one shape
        batch = np.concatenate([batch, batch[:1].repeat(missing, axis=0)])
        decoded = np.asarray(decode(states, jax.random.fold_in(key, start), batch))
        return decoded[:, : decoded.shape[1] - missing]

    tokens = list(devices.side_by_side(tokens_from, range(0, len(sources), batch_size), at_once))
    written = [[texts.decode(row) for row in run] for run in np.concatenate(tokens, axis=1)]
    samples = [
        [_sample(texts, text, number) for number, text in enumerate(run[: config["samples"]])] for run in written
    ]
    if texts.references is None:
        return Written({}, None, samples)
    references = texts.references[: len(sources)]
    scored = [decoding.bleu(run, references, texts.bleu_tokenize) for run in written]
    exact = [sum(map(str.__eq__, run, references)) / len(references) for run in written]
    return Written({"eval/bleu": [score for score, _ in scored], "eval/exact_match": exact}, scored[0][1], samples)


def _sample(texts: data.Texts, written: str, number: int) -> dict[str, str]:
    sample = {"source": texts.source_texts[number], "written": written}
    return sample if texts.references is None else sample | {"reference": texts.references[number]}
