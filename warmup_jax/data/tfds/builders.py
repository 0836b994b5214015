"""TFDS builders that write a set from archives read by this package, without TensorFlow."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from warmup_jax.data.tfds.archives import ArchiveContents


def builder_class(name: str) -> Any:
    """Returns the builder class of a set: TFDS's own, or for Multi30k, which TFDS lacks, one defined here."""
    import tensorflow_datasets as tfds

    return _multi30k() if name.startswith("multi30k_translate/") else tfds.builder_cls(name)


def with_contents(base: Any, contents: ArchiveContents) -> Any:
    """Returns a subclass of a builder that takes its examples from `contents`: the original reader needs TensorFlow."""

    class Builder(base, skip_registration=True):  # type: ignore[call-arg]  # TFDS has no types
        name = base.name

        def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
            del dl_manager
            for feature, names in contents.class_names.items():
                self.info.features[feature].names = names
            return {split: self._generate_examples(split) for split in contents.splits}

        def _generate_examples(self, split: str) -> Iterator[tuple[int, dict]]:
            columns = contents.splits[split]
            # The key is the position, as in TFDS's builders: it decides the order on disk.
            for number, values in enumerate(zip(*columns.values(), strict=True)):
                example = dict(zip(columns, values))
                if "image" in example:
                    example["image"] = _png(example["image"])
                yield number, example

    return Builder


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _multi30k() -> Any:
    import tensorflow_datasets as tfds

    class Multi30k(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]  # TFDS has no types
        """Multi30k, task 1: image captions in English and their German translations, raw text."""

        name = "multi30k_translate"
        VERSION = tfds.core.Version("1.0.0")
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="de-en", description="German and English, not tokenised.")]

        def _info(self) -> Any:
            return tfds.core.DatasetInfo(
                builder=self,
                description=self.__doc__,
                features=tfds.features.Translation(languages=("de", "en")),
                supervised_keys=("de", "en"),
                homepage="https://github.com/multi30k/dataset",
                citation=(
                    "Elliott, Frank, Sima'an, Specia (2016): Multi30K: Multilingual English-German Image Descriptions"
                ),
            )

        def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
            raise NotImplementedError

        def _generate_examples(self) -> Iterator[tuple[int, dict]]:
            raise NotImplementedError

    return Multi30k
