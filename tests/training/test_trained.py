"""Trained weights: loaded, and as the start of other runs."""

import re
import shutil
import textwrap

import jax
import numpy as np
import pytest
from commands import ROOT
from test_rearrange import files, stop_after

from configs import lm_warmup, resnet_warmup
from warmup_jax import data
from warmup_jax.losses import LOSSES
from warmup_jax.training import experiment, load, program, trained
from warmup_jax.workdir import json_files

pytestmark = pytest.mark.usefixtures("no_pictures")


def resnet(**changes):
    """Two runs of a tiny ResNet."""
    config = resnet_warmup.get_config("smoke").to_dict()
    config["model"] |= {"width": 0.25}
    config["sweep"] = {"warmup_steps": (0, 2)}
    return config | dict(peak_lr=0.1, batch_size=32, num_steps=6, eval_every=2, checkpoint_every=2) | changes


def language_model(**changes):
    config = lm_warmup.get_config("smoke").to_dict()
    config["sweep"] = {"norm": ("pre",)}
    return config | {"warmup_steps": 2} | changes


def finish(config, folder):
    with pytest.MonkeyPatch.context() as patch:
        from warmup_jax import report

        for name in ("curves", "diagnostics"):
            patch.setattr(report, name, lambda workdir: None)
        experiment.run(config, folder)
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return finish(resnet(), tmp_path_factory.mktemp("images") / "run")


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    return finish(language_model(), tmp_path_factory.mktemp("texts") / "run")


def scores(found):
    """Loss and accuracy on the test split, as a user would compute them."""
    apply, total = jax.jit(found.apply), np.zeros(3)
    for batch in data.eval_batches(found.dataset, batch_size=128):
        batch = found.dataset.prepare(data.take(found.dataset.test.arrays, batch), None, False)
        logits = apply(found.params, batch["inputs"])
        weights = batch["weights"] if batch["weights"].shape == batch["labels"].shape else batch["weights"][:, None]
        weights = np.broadcast_to(weights, batch["labels"].shape)
        losses = LOSSES["cross_entropy"].each(logits, batch["labels"], 0.0)
        total += [(losses * weights).sum(), ((logits.argmax(-1) == batch["labels"]) * weights).sum(), weights.sum()]
    return total[0] / total[2], total[1] / total[2]


def logged(workdir, run, step):
    (line,) = [
        line
        for line in json_files.read_lines(workdir / "metrics.jsonl")
        if (line["run"], line["step"]) == (run, step) and "eval/loss" in line
    ]
    return line["eval/loss"], line["eval/accuracy"]


@pytest.mark.parametrize("run, step", [(0, None), pytest.param(1, 4, marks=pytest.mark.slow)])
def test_a_resnet_scores_what_its_log_says(images, tmp_path, monkeypatch, run, step):
    before = files(images)
    monkeypatch.chdir(tmp_path)  # works from any folder
    found = load(images, run, step)
    assert found.step == (step or 6) and found.stats and found.config["warmup_steps"] == (0, 2)[run]
    assert found.config["sweep"] == {}
    np.testing.assert_allclose(scores(found), logged(images, run, found.step), rtol=1e-4)
    assert files(images) == before


@pytest.mark.slow
def test_a_transformer_scores_what_its_log_says_and_decodes(texts):
    found = load(texts)
    assert found.config["model"]["norm"] == "pre" and found.stats == {}
    np.testing.assert_allclose(scores(found), logged(texts, 0, found.step), rtol=1e-4)
    sources = found.dataset.texts.sources[:1]
    assert found.dataset.texts.decode(sources[0]) == found.dataset.texts.source_texts[0]


def test_the_example_of_the_document_runs(images, capsys):
    text = (ROOT / "docs" / "experiments.md").read_text()
    code = next(code for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "import load" in code)
    exec(textwrap.dedent(code).replace('"runs/my-run"', repr(str(images))), {})
    assert f"{logged(images, 0, 6)[1]:.3f}" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_on_more_devices_is_loaded_on_one(tmp_path, forked):
    done = forked(
        "train.py",
        "--config=configs/phase_diagram.py:smoke",
        f"--workdir={tmp_path / 'run'}",
        XLA_FLAGS="--xla_force_host_platform_device_count=4",
        JAX_PLATFORMS="cpu",
    )
    assert done.returncode == 0, done.stderr
    runs = len(json_files.read_json(tmp_path / "run" / "summary.json")["runs"])
    seeds = [load(tmp_path / "run", run).params["head"]["kernel"] for run in (0, 1, runs - 1)]
    assert not np.array_equal(seeds[0], seeds[1]) and seeds[2].shape == seeds[0].shape


@pytest.mark.parametrize(
    "arguments, said",
    [
        ({"run": 2}, "run=2; allowed: integers from 0 to 1"),
        ({"run": -1}, "run=-1; allowed"),
        ({"step": 3}, r"step=3 of run 0 has no checkpoint in .*; there are those of 4, 6"),
        ({"workdir": "absent"}, "workdir='absent' is no folder of a run"),
        ({"workdir": "gs://bucket/run"}, "a path of this machine"),
    ],
)
def test_what_is_not_there_is_one_line(images, arguments, said):
    with pytest.raises(ValueError, match=said) as caught:
        load(**{"workdir": images} | arguments)
    assert "\n" not in str(caught.value)


def damage(folder):
    for path in folder.rglob("*"):
        if path.is_file() and "state" in path.parts:
            path.write_bytes(b"")


def test_a_damaged_checkpoint_is_passed_over_or_named(images, tmp_path, capsys):
    workdir = shutil.copytree(images, tmp_path / "run")
    damage(workdir / "checkpoints" / "runs_0-0" / "6")
    assert load(workdir).step == 4 and "runs_0-0/6 is damaged" in capsys.readouterr().out
    with pytest.raises(ValueError, match="runs_0-0/6 is damaged"):
        load(workdir, step=6)
    damage(workdir / "checkpoints" / "runs_0-0")
    with pytest.raises(ValueError, match="every checkpoint of run 0 in .* is damaged"):
        load(workdir)


def from_weights(source, **changes):
    return resnet(init_from=source, seed=5, **changes)


@pytest.mark.slow
def test_runs_start_from_weights_and_do_not_need_them_again(images, tmp_path, monkeypatch):
    source = shutil.copytree(images, tmp_path / "source")
    config = from_weights(f"{source}:1@4", peak_lr=0.05)
    stop_after(monkeypatch, 1, config, tmp_path / "run")
    shutil.rmtree(source)
    experiment.run(config, tmp_path / "run")  # the second run begins only now
    config["init_from"] = f"{images}:1@4"
    finish(config, tmp_path / "other")
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == (tmp_path / "other" / "metrics.jsonl").read_bytes()


@pytest.mark.slow
def test_a_start_from_weights_has_them_and_a_fresh_optimizer(images, tmp_path):
    config = from_weights(str(images))
    job = program.set_up(config)
    job = job._replace(weights=trained.start_weights(job, tmp_path))
    group = job.groups[0]
    state = jax.tree.map(lambda leaf: np.asarray(leaf[0]), group.plan.init(group.knobs(), job.weights))
    found = load(images)
    for mine, theirs in ((state.params, found.params), (state.stats, found.stats)):
        jax.tree.map(np.testing.assert_array_equal, mine, theirs)
    fresh = program.set_up(resnet(seed=5)).groups[0]
    jax.tree.map(
        lambda mine, theirs: np.testing.assert_array_equal(mine, theirs[0]),
        state.opt_state,
        jax.device_get(fresh.plan.init(fresh.knobs(), None).opt_state),
    )
    assert state.step == 0


@pytest.mark.parametrize(
    "source, model, said",
    [
        ("{images}", {"width": 0.5}, r"does not fit the model: \S+ is float32\[.*\] in it and float32\[.*\] here"),
        ("{images}", {"depth": 14}, r"does not fit the model: \S+ is absent in it and float32"),
        ("{texts}", {}, "was trained with another vocabulary"),
        ("{images}:2", {}, "run=2 has no checkpoint"),
        ("{images}:0@3", {}, "step=3 of run 0 has no checkpoint in .* there are those of 4, 6"),
        ("absent", {}, "init_from='absent' is no folder of a run"),
        ("", {}, "init_from=''"),
    ],
)
def test_weights_that_do_not_fit_are_one_line_and_leave_no_folder(images, texts, tmp_path, source, model, said):
    config = from_weights(source.format(images=images, texts=texts))
    config["model"] = config["model"] | model
    with pytest.raises(experiment.UserError, match=said) as caught:
        experiment.run(config, tmp_path / "run")
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()
