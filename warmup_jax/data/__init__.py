"""Data sets as splits addressed by example index; a batch is a function of (seed, step)."""

from warmup_jax import registry
from warmup_jax.data.batches import eval_batches, examples, label_counts, take, train_batch, train_batches
from warmup_jax.data.catalog import DATASETS
from warmup_jax.data.dataset import Dataset, Split, Texts
from warmup_jax.data.images import classification
from warmup_jax.data.sampling import batch_index
from warmup_jax.data.text import language_model, translation
from warmup_jax.data.text.tokenizers import BOS, EOS, PAD, UNK
from warmup_jax.data.tfds import paths

__all__ = [
    "BOS",
    "DATASETS",
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

TASKS = {"images": classification.load, "text": language_model.load, "translation": translation.load}


def load(*, task="images", name, **args):
    """Loads a data set. Never touches the network.

    Args:
      task: key of TASKS.
      name: of the set.
      **args: the other arguments of the task's own load, in images.py, text.py, translation.py.

    Returns:
      A Dataset.

    Raises:
      ValueError: an unknown task or argument, or one that cannot be used.
      FileNotFoundError: the set is not on disk; the message says how to prepare it.
    """
    known = DATASETS.get(paths.parse(name)[0])
    if task in TASKS and known and known.task != task:
        raise ValueError(f"data set {name!r} is for the task {known.task!r}, got {task!r}")
    return registry.construct("task", TASKS, task, {"name": name, **args})
