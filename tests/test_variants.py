"""Every variant of the configs runs, on real data where it is there."""

import numpy as np
import pytest

from configs import resnet_warmup
from warmup_jax import experiment, logs


def smoke(arg, data_dir, **dataset):
    config = resnet_warmup.get_config(arg).to_dict()
    config["dataset"] |= {"data_dir": str(data_dir), **dataset}
    config["model"]["width"] = 0.25
    return config


def test_cifar10_runs_alike_from_device_and_from_stream(real_cifar10, tmp_path):
    for residency in ("device", "stream"):
        config = smoke("cifar10,smoke", real_cifar10, residency=residency)
        summary = experiment.run(config | {"eval_batch_size": 1000}, tmp_path / residency)
        assert np.isfinite(summary["runs"][0]["final"]["train/loss"])
    resident, streamed = ((tmp_path / kind / "metrics.jsonl").read_bytes() for kind in ("device", "stream"))
    assert resident == streamed and resident.count(b"\n") == 6


@pytest.fixture
def toy_imagenet(write_set, encode):
    """Pictures of several sizes under ImageNet's name."""
    import tensorflow_datasets as tfds
    generator = np.random.default_rng(0)

    def examples(count):
        for number in range(count):
            pixels = generator.integers(0, 256, (*generator.integers(60, 90, 2), 3), dtype=np.uint8)
            yield {"image": encode(pixels), "label": number % 10, "file_name": f"{number}.png"}

    features = tfds.features.FeaturesDict({
        "image": tfds.features.Image(encoding_format="png"), "file_name": tfds.features.Text(),
        "label": tfds.features.ClassLabel(num_classes=10)})
    splits = {"train": list(examples(40)), "validation": list(examples(10))}
    return write_set(features, splits, name="imagenet2012", version="5.1.0")


def test_imagenet_runs_on_pictures_of_any_size(toy_imagenet, array_cache, tmp_path):
    config = smoke("imagenet,smoke", toy_imagenet, image_size=32, workers=0)
    summary = experiment.run(config, tmp_path / "run")
    assert summary["runs"][0]["steps"] == 4
    rates = [line["opt/learning_rate"] for line in logs.read_lines(tmp_path / "run" / "metrics.jsonl")
             if "opt/learning_rate" in line]
    # Five epochs of 40 pictures in batches of 8 are 25 updates from 0.1 to the rate for 1024 pictures, 0.4.
    expected = [0.1 + 0.3 * (t + 1) / 25 for t in range(4)]
    np.testing.assert_allclose(rates, expected, rtol=1e-5)
