"""Data sets as splits addressed by example index; a batch is a function of (seed, step)."""

from collections.abc import Callable
from typing import Any

from warmup_jax import registry
from warmup_jax.data.batches import eval_batches, examples, label_counts, take, train_batch, train_batches
from warmup_jax.data.catalog import DATASETS
from warmup_jax.data.dataset import DataError, Dataset, Split, Texts
from warmup_jax.data.images.classification import load_images
from warmup_jax.data.sampling import batch_index
from warmup_jax.data.text.language_model import load_text
from warmup_jax.data.text.tokenizers import BOS, EOS, PAD, UNK
from warmup_jax.data.text.translation import load_translation
from warmup_jax.data.tfds import paths

__all__ = [
    "BOS",
    "DATASETS",
    "DataError",
    "Dataset",
    "EOS",
    "PAD",
    "Split",
    "TASKS",
    "Texts",
    "UNK",
    "batch_index",
    "eval_batches",
    "examples",
    "label_counts",
    "load",
    "take",
    "train_batch",
    "train_batches",
]

TASKS: dict[str, Callable[..., Dataset]] = {"images": load_images, "text": load_text, "translation": load_translation}


def load(*, task: str = "images", name: str, **args: Any) -> Dataset:
    """Loads a data set, without ever using the network.

    Args:
      task: key of TASKS.
      name: name of the set, as in "digits", "cifar10", "cifar10:3.0.2" or "multi30k_translate/de-en".
      **args: further arguments of the task's own function: `load_images` in images/classification.py, `load_text` in
        text/language_model.py, `load_translation` in text/translation.py.

    Returns:
      A Dataset.

    Raises:
      ValueError: the task or an argument is unknown or cannot be used.
      FileNotFoundError: the set is not on disk; the message gives the command that prepares it.
    """
    info = DATASETS.get(paths.parse_name(name)[0])
    if task in TASKS and info:
        registry.one_of("task", task, (info.task,), f" for data set {name!r}")
    return registry.construct("task", TASKS, task, {"name": name, **args})
