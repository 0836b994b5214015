"""The form of a loaded data set: two splits, and the function that turns a batch into model inputs."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from warmup_jax import registry

RESIDENCIES = ("auto", "device", "stream")

# residency="auto" keeps training examples of up to this many bytes on the device: little beside an accelerator's
# memory, and a laptop still has room for them and the model.
RESIDENT_BYTES = 2**30

# Processes that read a stream; each is an interpreter of its own, of 200 MB.
MOST_WORKERS = 1024

Arrays = dict[str, np.ndarray]
Batch = dict[str, Any]


class DataError(ValueError):
    """An example that cannot be read or used; the message names its set, split and number."""


class Split(NamedTuple):
    """One split, addressed by example index.

    Attributes:
      size: number of examples N.
      arrays: the whole split as numpy arrays [N, ...] when resident, None when streamed.
      read: indices [B] -> examples {key: [B, ...]}; deterministic, and available with either residency.
      sample: (indices [B], numpy Generator) -> examples. Training reads a stream through it when the augmentation must
        happen on the host; None: training uses `read`.
    """

    size: int
    arrays: Arrays | None
    read: Callable[[np.ndarray], Batch]
    sample: Callable[[np.ndarray, np.random.Generator], Batch] | None = None


class Texts(NamedTuple):
    """Test texts of a text set, and the means to decode and score a model's output.

    Attributes:
      sources: int32 [N, S], one test source a row, ended by EOS and padded with 0; for a set without translation the
        prompts [N, P], cut from the test text.
      source_texts: the sources as strings.
      references: the reference translations; None for a set without translation.
      decode: ids [L] -> str; stops at EOS and skips padding and BOS.
      bleu_tokenize: name of the sacrebleu tokenizer that fits the set.
      fingerprint: hash of the vocabulary.
      max_target: length of a target row in tokens, EOS included.
    """

    sources: np.ndarray
    source_texts: list[str]
    references: list[str] | None
    decode: Callable[[Any], str]
    bleu_tokenize: str
    fingerprint: str
    max_target: int


class Dataset(NamedTuple):
    """A loaded data set.

    Attributes:
      name: name it was loaded by.
      train: training split.
      test: test split.
      num_classes: number of image classes, or the size of the vocabulary.
      input_shape: shape of one prepared example; (T,) for a text, (S, T) for a translation.
      residency: "device" (both splits have arrays) or "stream".
      workers: number of processes that read a streamed split; 0 reads in this process.
      prepare: (batch, key, train) -> {"inputs": [B, ...], "labels": [B]}, and "weights" [B] if the batch has them.
        Pure JAX, traced inside the compiled step. For text sets "labels" and "weights" are [B, T], and the "inputs" are
        described in text/translation.py and text/language_model.py.
      texts: test texts for decoding; None for images.
      facts: counts and shares to log; {} for images.
    """

    name: str
    train: Split
    test: Split
    num_classes: int
    input_shape: tuple[int, ...]
    residency: str
    workers: int
    prepare: Callable[[Batch, jax.Array | None, bool], Batch]
    texts: Texts | None = None
    facts: dict[str, int | float | str] = {}


def check_loading(residency: str, workers: int) -> None:
    """Raises ValueError for an unknown residency or a negative number of workers."""
    registry.one_of("residency", residency, RESIDENCIES)
    if not 0 <= workers <= MOST_WORKERS:
        raise ValueError(f"workers={workers!r}; allowed: integers from 0 to {MOST_WORKERS}")


def resolve_residency(residency: str, train_bytes: float) -> str:
    """Returns "device" or "stream": the user's choice, or for "auto" the one that suits a split of `train_bytes`."""
    if residency != "auto":
        return residency
    return "device" if train_bytes <= RESIDENT_BYTES else "stream"


def stored_split(arrays: Arrays, part: str, residency: str) -> Split:
    """Returns the Split of the arrays named "train_..." or "test_...", without that prefix.

    A streamed split of memory-mapped arrays opens them by path, so that pickling it for a worker process copies no
    content.
    """
    selected = {key.removeprefix(f"{part}_"): array for key, array in arrays.items() if key.startswith(f"{part}_")}
    size = len(next(iter(selected.values())))
    if residency == "device":
        return Split(size, selected, functools.partial(rows, selected))
    if all(isinstance(array, np.memmap) for array in selected.values()):
        files = {key: str(array.filename) for key, array in selected.items() if isinstance(array, np.memmap)}
        return Split(size, None, functools.partial(mapped_rows, files))
    return Split(size, None, functools.partial(rows, selected))


def rows(arrays: Mapping[str, np.ndarray], indices: np.ndarray) -> Batch:
    """Returns the rows of every array at `indices`: {key: [N, ...]}, [B] -> {key: [B, ...]}."""
    return {key: array[indices] for key, array in arrays.items()}


def mapped_rows(files: Mapping[str, str], indices: np.ndarray) -> Batch:
    """Returns rows of memory-mapped .npy files: {key: path}, [B] -> {key: [B, ...]}."""
    return rows({key: _mapped(file) for key, file in files.items()}, indices)


@functools.lru_cache(maxsize=16)
def _mapped(file: str) -> np.ndarray:
    return np.load(file, mmap_mode="r", allow_pickle=False)
