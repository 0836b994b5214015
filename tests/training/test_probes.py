"""Diagnostics inside a run: what is logged and when, against values worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from configs import common, lm_warmup, phase_diagram, resnet_warmup, transformer_warmup
from warmup_jax import data, diagnostics, losses
from warmup_jax.diagnostics import DIAGNOSTICS
from warmup_jax.report import labels
from warmup_jax.training import experiment, program, train_step
from warmup_jax.workdir import json_files

pytestmark = pytest.mark.usefixtures("no_pictures")
FIXED = dict(every=4, until=None, batch="fixed", examples=32)
FCN = dict(name="fcn", depth=2, width=4, activation="relu", parametrisation="standard", bias=True, dtype="float32")
CHOSEN = {
    "norms": dict(layers=True),
    "relative_update": dict(layers=False),
    "sharpness": FIXED | dict(iterations=3, count=2),
    "gradient_noise": FIXED | dict(micro_batches=4),
    "preconditioned_sharpness": FIXED | dict(batch="training", examples=None, iterations=3),
    "adaptive_rate": FIXED | dict(layers=False),
    "weight_distance": FIXED | dict(layers=False),
    "early_overfitting": FIXED | dict(every=1, until=3),
    "representation": FIXED,
    "dead_units": FIXED,
    "critical_rate": FIXED | dict(every=100, guess=0.1, max_passes=15, tolerance=0.1),
}


def small(optimizer="adam", diagnostics=CHOSEN, model=FCN, **changes):
    """A run of 8 updates of a small network on digits, its warmup 3 updates long."""
    config = common.base(optimizer).to_dict()
    config |= dict(
        model=dict(model),
        dataset=common.digits(),
        batch_size=16,
        num_steps=8,
        eval_every=4,
        checkpoint_every=4,
        peak_lr=0.05,
        warmup_steps=3,
        diagnostics=diagnostics,
    )
    config["dataset"] |= dict(data_dir=None, image_size=None, test_split=None)
    return config | changes


def measured(workdir, run=0):
    """{step: {name: value}} of the diagnostics of a run."""
    found = {}
    for line in json_files.read_lines(workdir / "metrics.jsonl"):
        values = {key: value for key, value in line.items() if key.startswith("diag/")}
        if line["run"] == run and values:
            found[line["step"]] = found.get(line["step"], {}) | values
    return found


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("everything") / "run"
    return small(), workdir, experiment.run(small(), workdir)


@pytest.mark.slow
def test_each_diagnostic_is_logged_when_it_is_due(everything):
    _, workdir, summary = everything
    found = measured(workdir)
    at = lambda key: [step for step, values in found.items() if key in values]
    assert at("diag/grad_norm/head") == at("diag/angle") == list(range(1, 9))
    assert at("diag/sharpness") == at("diag/noise_scale") == at("diag/cka_init/head") == [0, 3, 4, 8]
    assert at("diag/dead_units/layer1") == at("diag/distance_warmup") == [0, 3, 4, 8]
    assert at("diag/preconditioned_sharpness") == at("diag/rho") == [3, 4, 8]
    assert at("diag/decrease_ratio") == [1, 2, 3]
    assert at("diag/critical_rate") == [0, 3]
    nan = {(step, key) for step, values in found.items() for key, value in values.items() if np.isnan(value)}
    assert {step for step, _ in nan} == {0} and all("_warmup" in key for _, key in nan)
    assert found[3]["diag/distance_warmup"] == 0 < found[4]["diag/distance_warmup"]
    assert found[3]["diag/cka_warmup/layer1"] == pytest.approx(1, abs=1e-4)
    assert summary["runs"][0]["final"]["diag/sharpness"] == found[8]["diag/sharpness"]
    assert summary["seconds"]["diagnose"] > 0
    assert {"diagnostics.png", "diagnostics_grad_norm.png"} <= {path.name for path in workdir.iterdir()}


@pytest.mark.slow
def test_every_name_in_the_log_is_explained_in_a_picture(everything):
    _, workdir, _ = everything
    names = {key for line in json_files.read_lines(workdir / "metrics.jsonl") for key in line if "/" in key}
    assert len(names) > 50 and [name for name in sorted(names) if not labels.is_known(name)] == []


@pytest.mark.slow
def test_the_order_of_the_log_is_that_of_the_updates(everything):
    _, workdir, _ = everything
    steps = [line["step"] for line in json_files.read_lines(workdir / "metrics.jsonl")]
    assert steps == sorted(steps) and steps[0] == 0


@pytest.mark.slow
def test_a_resumed_run_measures_the_same(everything, tmp_path):
    config, workdir, _ = everything
    experiment.run(config, tmp_path / "run")
    for path in (tmp_path / "run" / "checkpoints").glob("runs_0-0/8/state/**/*"):
        if path.is_file():
            path.write_bytes(b"")  # so that it goes on from update 4, with what the probes carry
    experiment.run(config, tmp_path / "run")
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == (workdir / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize("iterations, tolerance", [pytest.param(30, 1e-3, marks=pytest.mark.slow), (3, 1e-2)])
def test_two_updates_by_hand(tmp_path, iterations, tolerance):
    """Sharpness from the dense Hessian, and what an update gains on its own batch and on one of the test split."""
    chosen = {
        "sharpness": dict(every=1, until=1, batch="fixed", examples=64, iterations=iterations, count=1),
        "early_overfitting": dict(every=1, until=None, batch="training", examples=None),
    }
    config = small("sgd", chosen, loss="mse", num_steps=2, eval_every=2, checkpoint_every=2, warmup_steps=0)
    config["optimizer_args"]["momentum"] = 0.0
    experiment.run(config, tmp_path / "run")
    found = measured(tmp_path / "run")

    plan = program.set_up(config).groups[0].plan
    dataset = data.load(**config["dataset"])
    model, knobs = plan.probers["sharpness"].program, plan.knobs[0]
    params, _ = jax.jit(model.init)(jax.random.fold_in(jax.random.key(knobs.seed), 0))

    @jax.jit
    def loss(params, batch):
        logits, _ = model.apply(params, {}, batch["inputs"], train=True, key=None)
        return 0.5 * jnp.square(logits - jax.nn.one_hot(batch["labels"], 10)).sum(-1).mean()

    def examples(split, index):
        return dataset.prepare({key: jnp.asarray(array[index]) for key, array in split.arrays.items()}, None, False)

    def dense_sharpness(params):
        flat, unravel = ravel_pytree(params)
        batch = examples(dataset.train, data.batch_index(0, 0, dataset.train.size, 64))
        return np.linalg.eigvalsh(jax.jit(jax.hessian(lambda w: loss(unravel(w), batch)))(flat))[-1]

    # three iterations are repeated where there is no earlier vector to start from
    assert found[0]["diag/sharpness"] == pytest.approx(dense_sharpness(params), rel=tolerance)
    for step in (0, 1):
        used = examples(dataset.train, data.batch_index(0, step, dataset.train.size, 16))
        fresh = examples(dataset.test, data.batch_index(0, step + 1, dataset.test.size, 16))
        after = jax.tree.map(lambda w, g: w - 0.05 * g, params, jax.grad(loss)(params, used))
        for name, batch in (("used", used), ("fresh", fresh)):
            assert found[step + 1][f"diag/decrease_{name}"] == pytest.approx(
                float(loss(params, batch) - loss(after, batch)), rel=1e-3, abs=1e-5
            )
        params = after
        if step == 0:
            assert found[1]["diag/sharpness"] == pytest.approx(dense_sharpness(params), rel=tolerance)
    assert found[1]["diag/stability_ratio"] == pytest.approx(0.05 * found[1]["diag/sharpness"] / 2)
    assert 2 not in [step for step, values in found.items() if "diag/sharpness" in values]


@pytest.mark.slow
def test_the_sharpness_of_a_residual_network_is_that_of_its_dense_hessian(tmp_path):
    """ResNet-8 with 2, 4 and 8 channels, BatchNorm by the statistics of the batch: to 1 %."""
    model = common.RESNET | dict(depth=8, width=0.125)
    chosen = {"sharpness": FIXED | dict(examples=16, iterations=8, count=1)}
    config = small("sgd", chosen, model=model, num_steps=1, eval_every=1, checkpoint_every=1, label_smoothing=0.1)
    experiment.run(config, tmp_path / "run")
    one = program.set_up(config)
    (group,), dataset = one.groups, one.dataset
    prober, start = (
        group.plan.probers["sharpness"],
        jax.tree.map(lambda leaf: leaf[0], group.plan.init(group.knobs(), None)),
    )
    flat, unravel = ravel_pytree(start.params)
    index = data.batch_index(0, 0, dataset.train.size, 16)
    batch = dataset.prepare(
        {key: jnp.asarray(array[index]) for key, array in dataset.train.arrays.items()}, None, False
    )

    def gradient(w):
        def loss(w):
            logits, _ = prober.program.apply(unravel(w), start.stats, batch["inputs"], train=True, key=None)
            total, _, weight = losses.sums(prober.program.loss, logits, batch, 0.1)
            return total / weight

        return jax.grad(loss)(w)

    column = jax.jit(lambda v: jax.jvp(gradient, (flat,), (v,))[1])
    hessian = np.stack([column(unit) for unit in np.eye(flat.size, dtype=np.float32)])
    np.testing.assert_allclose(hessian, hessian.T, atol=1e-3 * np.abs(hessian).max())
    top = np.linalg.eigvalsh((hessian + hessian.T) / 2)[-1]
    assert measured(tmp_path / "run")[0]["diag/sharpness"] == pytest.approx(top, rel=0.01)


@pytest.mark.slow
def test_what_texts_can_be_asked(tmp_path):
    config = transformer_warmup.get_config("smoke").to_dict() | dict(
        sweep={},
        chunk_steps=1,
        warmup_steps=2,
        decoding={},
        diagnostics={
            "norms": dict(layers=True),
            "dead_units": FIXED | dict(every=2, examples=8),
            "token_variance": FIXED | dict(every=2, examples=8),
            "representation": FIXED | dict(every=2, examples=8),
            "early_overfitting": dict(every=1, until=2, batch="training", examples=None),
        },
    )
    experiment.run(config, tmp_path / "run")
    found = measured(tmp_path / "run")
    assert sorted(found) == [0, 1, 2, 3, 4]
    for layer in ("encoder_0", "decoder_0"):
        assert 0 < found[2][f"diag/token_variance/{layer}"] < 1 and 0 <= found[2][f"diag/dead_units/{layer}"] < 1
        assert found[2][f"diag/cka_warmup/{layer}"] == pytest.approx(1, abs=1e-3)
        assert found[1][f"diag/grad_norm/{layer}"] > 0
    assert np.isfinite(found[1]["diag/decrease_fresh"])


def test_a_transformation_with_the_state_of_adam_is_measured_as_adam(tmp_path):
    """The bias correction that GI-Adam keeps divides its second moment, which begins at g^2, by 1 - b2 at first."""
    adam = dict(b1=0.9, b2=0.999, eps=1e-8)
    diagnostics = {"preconditioned_sharpness": FIXED | dict(every=1, until=1, iterations=10)}
    changes = dict(transforms=("scale_by_gi_adam",), transforms_args={"scale_by_gi_adam": adam}, num_steps=4)
    experiment.run(small("none", diagnostics, peak_lr=0.0, **changes), tmp_path / "gi_adam")
    experiment.run(small("adam", diagnostics, peak_lr=0.0, num_steps=4), tmp_path / "adam")
    found = [measured(tmp_path / name)[1]["diag/preconditioned_sharpness"] for name in ("gi_adam", "adam")]
    assert found[0] / found[1] == pytest.approx((1 - 0.999) ** 0.5, rel=0.01)


def test_without_diagnostics_the_program_is_that_without_the_code_for_them(monkeypatch):
    def lowered(diagnostics):
        one = program.set_up(small(diagnostics=diagnostics))
        plan, knobs = one.groups[0].plan, one.groups[0].knobs()
        chunk = {"index": np.zeros((1, 16), np.int32)}
        inputs = program.chunk_inputs(one, one.groups[0], knobs, {}, chunk, step=0)
        return plan.train.lower(jax.eval_shape(plan.init, knobs, None), inputs).as_text()

    off, probes, steps = (
        lowered(chosen) for chosen in ({}, {"sharpness": CHOSEN["sharpness"]}, {"norms": CHOSEN["norms"]})
    )
    monkeypatch.setattr(train_step.diagnostics, "measure_step", lambda chosen, step: {})
    assert off == lowered({}) == probes != steps


def same_lines(workdir, run, other, other_run):
    strip = lambda folder, number: [
        {key: value for key, value in line.items() if key != "run"}
        for line in json_files.read_lines(folder / "metrics.jsonl")
        if line["run"] == number
    ]
    return list(zip(strip(workdir, run), strip(other, other_run), strict=True))


SWEPT = {name: CHOSEN[name] for name in ("norms", "sharpness", "early_overfitting")}


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Two rates and two warmups, one run after another."""
    workdir = tmp_path_factory.mktemp("swept") / "run"
    config = small("sgd", SWEPT, sweep={"peak_lr": (0.05, 0.1), "warmup_steps": (0, 3)}, warmup_steps=None)
    experiment.run(config, workdir)
    return config, workdir


def test_a_run_of_a_sweep_is_that_run_alone(swept, tmp_path):
    config, workdir = swept
    experiment.run(config | dict(sweep={}, peak_lr=0.1, warmup_steps=3), tmp_path / "alone")
    for one, other in same_lines(workdir, 3, tmp_path / "alone", 0):
        assert str(one) == str(other)


@pytest.mark.slow
def test_lanes_together_are_the_runs_alone(swept, tmp_path):
    config, workdir = swept
    experiment.run(config | dict(runs_at_once=2), tmp_path / "together")
    for run in range(4):
        for one, other in same_lines(workdir, run, tmp_path / "together", run):
            assert one.keys() == other.keys()
            for name, value in one.items():  # an error of the eigenvalue is a difference of nearly equal numbers
                assert other[name] == pytest.approx(value, rel=1e-4 if "diag" in name else 1e-5, abs=1e-5) or (
                    "_error" in name
                ), (run, one["step"], name)


def test_a_diverging_lane_changes_no_bit_of_another(tmp_path):
    for name, rate in (("diverging", 1e30), ("sound", 0.1)):
        config = small("sgd", SWEPT, sweep={"peak_lr": (rate, 0.05)}, runs_at_once=2, stop_when_diverged=False)
        summary = experiment.run(config, tmp_path / name)
        assert (summary["runs"][0]["diverged_at"] is not None) == (name == "diverging")
    for one, other in same_lines(tmp_path / "diverging", 1, tmp_path / "sound", 1):
        assert str(one) == str(other)


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(diagnostics={"sharpnes": {}}), "unknown diagnostic 'sharpnes'; did you mean 'sharpness'"),
        (
            dict(diagnostics={"dead_units": FIXED}, model=FCN | dict(activation="tanh")),
            "diagnostic 'dead_units' needs a model with ReLU units",
        ),
        (dict(diagnostics={"token_variance": FIXED}), "diagnostic 'token_variance' needs a model of token sequences"),
        (
            dict(diagnostics={"adaptive_rate": FIXED | dict(layers=False)}, optimizer="sgd"),
            "diagnostic 'adaptive_rate' needs an optimizer with one second moment",
        ),
        (
            dict(diagnostics={"preconditioned_sharpness": FIXED | dict(iterations=3)}, optimizer="lion"),
            "needs an optimizer with one second moment of all parameters and an optimizer with eps",
        ),
        (
            dict(diagnostics={"gradient_noise": FIXED | dict(micro_batches=5)}),
            "micro_batches=5; allowed: 2 and more, a div",
        ),
        (
            dict(diagnostics={"sharpness": FIXED | dict(examples=2000, iterations=3, count=1)}),
            "diagnostics.sharpness.examples=2000; allowed: at most the 1437 training examples",
        ),
        (dict(diagnostics={"sharpness": FIXED | dict(iterations=0, count=1)}), "iterations=0; allowed: 1 and more"),
        (dict(sweep={"warmup_step": (0, 1)}), "unknown knob to sweep 'warmup_step'; did you mean 'warmup_steps'"),
        (dict(sweep={"peak_lr": ()}), r"sweep.peak_lr=\(\); allowed: tuples of at least one value"),
        (dict(loss="mae"), "unknown loss 'mae'; did you mean 'mse'?"),
    ],
)
def test_what_cannot_be_measured_is_said_before_anything_is_trained(changes, message, tmp_path):
    optimizer = changes.get("optimizer", "adam")
    with pytest.raises(experiment.UserError, match=message):
        experiment.run(small(optimizer) | changes, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_usual_arguments_are_those_of_every_diagnostic():
    usual = common.base("adam", common.DIAGNOSTICS).to_dict()["diagnostics"]
    assert usual.keys() == DIAGNOSTICS.keys()
    for name, args in diagnostics.from_config(usual)[0].items():
        diagnostics.check(name, args, diagnostics.REQUIREMENTS)


@pytest.mark.parametrize("family", [phase_diagram, resnet_warmup, lm_warmup, transformer_warmup])
def test_a_config_file_names_standard_arguments(family):
    names = "+".join(["norms", "sharpness", "gradient_noise"])
    config = family.get_config(f"smoke,diagnose={names}").to_dict()
    assert config["diagnostics"].keys() >= {"norms", "sharpness", "gradient_noise"}
    with pytest.raises(ValueError, match="sharpnes"):
        family.get_config("diagnose=sharpnes")


@pytest.mark.parametrize("optimizer, diagnostic", [("sgd", "sharpness"), ("adam", "preconditioned_sharpness")])
def test_a_rate_capped_by_the_sharpness_that_was_last_measured(optimizer, diagnostic, tmp_path):
    """rate = min(schedule, c / sharpness), from the probe before; none before the first."""
    chosen = {
        diagnostic: dict(every=2, until=None, batch="fixed", examples=32, iterations=5)
        | (dict(count=1) if diagnostic == "sharpness" else {})
    }
    config = small(
        optimizer,
        chosen,
        transforms=("cap_by_sharpness",),
        peak_lr=1e3,
        warmup_steps=0,
        transforms_args={"cap_by_sharpness": {"c": 1.0}},
    )
    experiment.run(config, tmp_path / "run")
    found = {step: values[f"diag/{diagnostic}"] for step, values in measured(tmp_path / "run").items()}
    rates = {
        line["step"]: line["opt/learning_rate"]
        for line in json_files.read_lines(tmp_path / "run" / "metrics.jsonl")
        if "opt/learning_rate" in line
    }
    assert sorted(found) == [0, 2, 4, 6, 8] if optimizer == "sgd" else [2, 4, 6, 8]
    for step, rate in rates.items():
        sharpness = found.get((step - 1) // 2 * 2, 0.0)
        assert rate == pytest.approx(min(1e3, 1 / sharpness) if sharpness > 0 else 1e3, rel=1e-5), step
