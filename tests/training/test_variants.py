"""Every variant of the configs runs, on real data where it is there."""

import jax
import numpy as np
import pytest
from commands import ROOT
from toysets import prepared_folder

from configs import lm_warmup, resnet_warmup, transformer_warmup
from warmup_jax.runtime import defaults
from warmup_jax.training import experiment, program
from warmup_jax.workdir import json_files

pytestmark = pytest.mark.usefixtures("no_pictures")


def smoke(arg, data_dir, **dataset):
    config = resnet_warmup.get_config(arg).to_dict()
    config["dataset"] |= {"data_dir": str(data_dir), **dataset}
    config["model"]["width"] = 0.25
    return config


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*_*.py")), ids=lambda path: path.stem)
def test_every_config_has_a_smoke_that_trains(train, tmp_path, path):
    done = train(f"--config={path}:smoke", f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr
    runs = json_files.read_json(tmp_path / "run" / "summary.json")["runs"]
    assert len(runs) > 1 and {run["steps"] for run in runs} == {4}


@pytest.fixture(scope="module")
def translated(tmp_path_factory):
    """A config of two runs of the Post-LN translation model in small, their workdir and summary."""
    workdir = tmp_path_factory.mktemp("translated") / "run"
    config = transformer_warmup.get_config("smoke").to_dict()
    config["sweep"] |= {"norm": ("post",)}
    return config, workdir, experiment.run(config, workdir)


@pytest.mark.slow
def test_a_translation_is_trained_and_scored(translated):
    _, workdir, summary = translated
    assert [run["label"] for run in summary["runs"]] == [f"norm=post, warmup_steps={steps}" for steps in (0, 200)]
    lines = json_files.read_lines(workdir / "metrics.jsonl")
    trained = [line for line in lines if "train/tokens" in line]
    assert len(trained) == 2 * 4 and all(60 < line["train/tokens"] <= 4 * 32 for line in trained)
    for line in (line for line in lines if "eval/loss" in line):
        assert line["eval/perplexity"] == pytest.approx(np.exp(line["eval/loss"]), rel=1e-5)
        assert 0 <= line["eval/bleu"] <= 100 and line["eval/exact_match"] == 0
    texts = json_files.read_lines(workdir / "texts.jsonl")
    assert len(texts) == 2 * 2 * 2 and {"source", "written", "reference"} < texts[0].keys()
    assert texts[0]["signature"] == summary["bleu_signature"] and "tok:char" in summary["bleu_signature"]
    assert summary["tokens_per_second"] > summary["examples_per_second"] > 0
    assert 0 < summary["data"]["padding_share"] < 0.15 and summary["data"]["train_pairs"] == 20_000


def test_a_static_axis_is_a_program_for_each_of_its_values():
    groups = program.set_up(transformer_warmup.get_config("smoke").to_dict()).groups
    plans = [group.plan for group in groups]
    assert [plan.config["model"]["norm"] for plan in plans] == ["post", "post", "pre", "pre"]
    assert plans[0] is plans[1] and plans[2] is plans[3] and plans[0] is not plans[2]
    assert [group.name for group in groups] == [f"runs_{run}-{run}" for run in range(4)]


@pytest.mark.slow
def test_a_checkpoint_of_another_vocabulary_is_refused(translated, monkeypatch):
    config, workdir, _ = translated
    original = experiment.set_up

    def other_vocabulary(config):
        job = original(config)
        return job._replace(dataset=job.dataset._replace(texts=job.dataset.texts._replace(fingerprint="another")))

    monkeypatch.setattr(experiment, "set_up", other_vocabulary)
    with pytest.raises(experiment.UserError, match="trained with the vocabulary .* and the data now give another"):
        experiment.run(config, workdir)


def test_a_language_model_is_trained_and_writes_and_resumes_to_the_same_bytes(tmp_path):
    config = lm_warmup.get_config("smoke").to_dict()
    summary = experiment.run(config, tmp_path / "unbroken")
    assert [run["label"] for run in summary["runs"]] == ["warmup_steps=0", "warmup_steps=200"]
    assert summary["bleu_signature"] is None and summary["runs"][0]["final"]["eval/perplexity"] < 200
    texts = json_files.read_lines(tmp_path / "unbroken" / "texts.jsonl")
    assert len(texts) == 2 * 2 * 2 and texts[0].keys() == {"step", "run", "source", "written"}
    experiment.run(config, tmp_path / "broken")
    for path in (tmp_path / "broken" / "checkpoints").glob("runs_1-1/4/state/**/*"):
        if path.is_file():
            path.write_bytes(b"")  # so that it goes on from update 2
    experiment.run(config, tmp_path / "broken")
    for name in ("metrics.jsonl", "texts.jsonl"):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes()


@pytest.mark.slow
def test_a_language_model_learns_alike_however_far_its_programs_are_optimised(tmp_path):
    config = lm_warmup.get_config("smoke").to_dict() | {"decoding": {}, "sweep": {}, "warmup_steps": 2}
    flag, losses = "jax_disable_most_optimizations", []
    before = jax.config.read(flag)
    try:
        for little, options in ((True, {}), (False, {"xla_backend_optimization_level": 2})):
            jax.config.update(flag, little)
            assert defaults.compiler_options(config["model"]) == options
            assert defaults.compiler_options(config["model"] | {"width": 256}) == {}
            experiment.run(config, tmp_path / str(little))
            lines = json_files.read_lines(tmp_path / str(little) / "metrics.jsonl")
            losses.append([line["train/loss"] for line in lines if "train/loss" in line])
    finally:
        jax.config.update(flag, before)
    assert len(losses[0]) == 4
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_options_of_compilation_reach_the_programs(tmp_path, monkeypatch):
    config = lm_warmup.get_config("smoke").to_dict()
    monkeypatch.setattr(defaults, "compiler_options", lambda model: {"no_such_option": 1})
    with pytest.raises(Exception, match="no_such_option"):
        experiment.run(config, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize(
    "family, arg, name",
    [
        (transformer_warmup, "multi30k,smoke", "multi30k_translate/de-en"),
        (lm_warmup, "shakespeare,smoke", "tiny_shakespeare"),
    ],
)
def test_prepared_texts_are_trained_on(family, arg, name, array_cache, tmp_path):
    config = family.get_config(arg).to_dict()
    config["dataset"]["data_dir"] = str(prepared_folder(name))
    summary = experiment.run(config, tmp_path / "run")
    assert summary["runs"][0]["steps"] == 4 and np.isfinite(summary["runs"][0]["final"]["eval/loss"])
    assert summary["data"]["padding_share"] < 0.15


@pytest.mark.slow
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

    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(encoding_format="png"),
            "file_name": tfds.features.Text(),
            "label": tfds.features.ClassLabel(num_classes=10),
        }
    )
    splits = {"train": list(examples(40)), "validation": list(examples(10))}
    return write_set(features, splits, name="imagenet2012", version="5.1.0")


@pytest.mark.slow
def test_imagenet_runs_on_pictures_of_any_size(toy_imagenet, array_cache, tmp_path):
    config = smoke("imagenet,smoke", toy_imagenet, image_size=32, workers=0)
    summary = experiment.run(config, tmp_path / "run")
    assert summary["runs"][0]["steps"] == 4
    rates = [
        line["opt/learning_rate"]
        for line in json_files.read_lines(tmp_path / "run" / "metrics.jsonl")
        if "opt/learning_rate" in line
    ]
    # Five epochs of 40 pictures in batches of 8 are 25 updates from 0.1 to the rate for 1024 pictures, 0.4.
    expected = [0.1 + 0.3 * (t + 1) / 25 for t in range(4)]
    np.testing.assert_allclose(rates, expected, rtol=1e-5)
