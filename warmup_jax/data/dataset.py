"""What a loader hands over: two splits and how to turn a batch into model inputs."""

import functools
from typing import Callable, NamedTuple

import numpy as np

RESIDENCIES = ("auto", "device", "stream")

# Training examples up to this many bytes stay on the device by default: small beside
# the memory of an accelerator, and a laptop's memory still holds model and copy.
RESIDENT_BYTES = 2**30


class Split(NamedTuple):
    """One split, addressed by example index.

    size: number of examples N.
    arrays: the whole split as numpy arrays [N, ...] when resident, None when streamed.
    read: indices [B] -> examples {key: [B, ...]}, deterministic, for both residencies.
    sample: (indices [B], numpy Generator) -> examples, what training reads from a
      stream whose augmentation must happen on the host; None: training uses `read`.
    """

    size: int
    arrays: dict[str, np.ndarray] | None
    read: Callable[[np.ndarray], dict[str, np.ndarray]]
    sample: Callable | None = None


class Texts(NamedTuple):
    """What decoding needs of a text set.

    sources: int32 [N, S], the test sources, one a row, EOS at the end and 0 after it; of
      a text without translation prompts [N, P], cut from the test text.
    source_texts: the same as strings.
    references: the right translations; None for a text.
    decode: ids [L] -> str; stops at EOS and skips padding and BOS.
    bleu_tokenize: the sacrebleu tokenizer that fits the set.
    fingerprint: hash of the vocabulary.
    max_target: tokens that a target row holds, EOS among them.
    """

    sources: np.ndarray
    source_texts: list[str]
    references: list[str] | None
    decode: Callable
    bleu_tokenize: str
    fingerprint: str
    max_target: int


class Dataset(NamedTuple):
    """A loaded data set.

    num_classes: of images, or the size of the vocabulary.
    input_shape: shape of one prepared example; (T,) of a text, (S, T) of a translation.
    residency: "device" (both splits have arrays) or "stream".
    workers: processes that read a streamed split; 0 reads in this process.
    prepare: (batch, key, train: bool) -> {"inputs": [B, ...], "labels": [B]} and, for a
      batch that has them, "weights" [B]. Pure JAX, to be traced inside the compiled step.
      Of texts, "inputs" as in translation.py and text.py, "labels" and "weights" [B, T].
    texts: what decoding needs; None for images.
    facts: counts and shares that a log should show; {} for images.
    """

    name: str
    train: Split
    test: Split
    num_classes: int
    input_shape: tuple[int, ...]
    residency: str
    workers: int
    prepare: Callable
    texts: Texts | None = None
    facts: dict[str, int | float | str] = {}


def check(residency, workers):
    """Raises ValueError for a residency or number of workers that does not exist."""
    if residency not in RESIDENCIES:
        raise ValueError(f"residency must be one of {', '.join(RESIDENCIES)}, got {residency!r}")
    if workers < 0:
        raise ValueError(f"workers must be >= 0, got {workers}")


def choose(residency, train_bytes):
    """ "device" or "stream" for a training split of so many bytes, unless the user chose."""
    if residency != "auto":
        return residency
    return "device" if train_bytes <= RESIDENT_BYTES else "stream"


def stored_split(arrays, part, residency):
    """The Split of the arrays named "train_..." or "test_...", without that prefix.

    A streamed split of memory-mapped arrays reads them by path, so that it travels to a
    worker process without its content.
    """
    mine = {key.removeprefix(f"{part}_"): array for key, array in arrays.items() if key.startswith(f"{part}_")}
    size = len(next(iter(mine.values())))
    if residency == "device":
        return Split(size, mine, functools.partial(rows, mine))
    if all(isinstance(array, np.memmap) for array in mine.values()):
        paths = {key: array.filename for key, array in mine.items()}
        return Split(size, None, functools.partial(mapped_rows, paths))
    return Split(size, None, functools.partial(rows, mine))


def rows(arrays, indices):
    """The given rows of every array: {key: [N, ...]}, [B] -> {key: [B, ...]}."""
    return {key: array[indices] for key, array in arrays.items()}


def mapped_rows(paths, indices):
    """Like rows, of arrays in .npy files: {key: path}, [B] -> {key: [B, ...]}."""
    return rows({key: _mapped(path) for key, path in paths.items()}, indices)


@functools.lru_cache(maxsize=16)
def _mapped(path):
    return np.load(path, mmap_mode="r", allow_pickle=False)
