"""Runs sorted into experiments, groups of seeds, and their order."""

import math

import pytest

from warmup_jax.report import experiments, run_record


def sorted_runs(*workdirs, **kwargs):
    return experiments.sort_into_experiments([run_record.read(workdir) for workdir in workdirs], **kwargs)


def test_seeds_of_one_setting_are_a_group(write):
    runs = [({"warmup_steps": w, "seed": s}, "trained") for s in (7, 8) for w in (0, 4)]
    (experiment,) = sorted_runs(write(runs))
    assert [(group.label, group.runs) for group in experiment.groups] == [("no warmup", [0, 2]), ("warmup 4", [1, 3])]
    assert [run.seed for run in experiment.runs] == [7, 7, 8, 8]


def test_seeds_in_workdirs_of_their_own_are_a_group_too(write):
    one, two = (write([({}, "trained")], str(seed), config={"seed": seed}) for seed in (1, 2))
    (experiment,) = sorted_runs(one, two)
    assert [group.runs for group in experiment.groups] == [[0, 1]]


@pytest.mark.parametrize(
    "one, two, together",
    [
        ({"optimizer": "sgd"}, {"optimizer": "adam"}, True),
        ({"dataset": {"name": "a", "workers": 0}}, {"dataset": {"name": "a", "workers": 2}}, True),
        ({"dataset": {"name": "a"}}, {"dataset": {"name": "b"}}, False),
        ({"model": {"depth": 2}}, {"model": {"depth": 3}}, False),
        ({"loss": "mse"}, {"loss": "cross_entropy"}, False),
        ({"label_smoothing": 0.0}, {"label_smoothing": 0.1}, False),
    ],
)
def test_what_may_share_a_picture(write, one, two, together):
    found = sorted_runs(*(write([({}, "trained")], name, config=config) for name, config in (("1", one), ("2", two))))
    assert len(found) == (1 if together else 2)


def test_scores_are_of_the_seeds_that_did_not_diverge(write):
    losses = [0.5, 0.7, 3.0]
    runs = [({"lr": 1.0, "seed": s}, "diverged" if s == 2 else "trained") for s in range(3)]
    (experiment,) = sorted_runs(write(runs, more=lambda run, _: {20: {"eval/bleu": 100 * losses[run]}}))
    (group,) = experiment.groups
    assert experiment.score == ("eval/bleu", True) and experiments.share(experiment, group) == pytest.approx(2 / 3)
    found = experiments.score(experiment, group, "eval/bleu")
    assert found == pytest.approx((60.0, math.sqrt(200), 2))
    assert math.isnan(experiments.score(experiment, group, "eval/none").mean)


def test_a_lower_loss_and_a_higher_accuracy_are_better(write):
    runs = [({"lr": lr}, "trained") for lr in (0.1, 0.2, 0.3)]
    values = [0.3, 0.1, 0.2]
    (first,) = sorted_runs(write(runs, "a", more=lambda run, _: {20: {"eval/perplexity": values[run]}}))
    assert [group.label for group in experiments.best_first(first)] == ["lr 0.2", "lr 0.3", "lr 0.1"]
    (second,) = sorted_runs(write(runs, "b", more=lambda run, _: {20: {"eval/bleu": values[run]}}))
    assert [group.label for group in experiments.best_first(second)] == ["lr 0.1", "lr 0.3", "lr 0.2"]


def test_the_share_that_trained_comes_before_the_score(write):
    runs = [({"lr": lr, "seed": s}, "trained" if lr == 0.1 or s else "stuck") for lr in (0.1, 0.2) for s in (0, 1)]
    (experiment,) = sorted_runs(write(runs, more=lambda run, of: {20: {"eval/bleu": 100 * of["lr"]}}))
    assert [group.label for group in experiments.best_first(experiment)] == ["lr 0.1", "lr 0.2"]
    assert experiments.states(experiment.runs) == {"trained": 3, "stuck": 1}
    (lenient,) = experiments.sort_into_experiments(experiment.records, threshold=9.0)
    assert experiments.states(lenient.runs) == {"trained": 4}


def test_runs_of_an_unfinished_workdir_are_unfinished_or_diverged(write):
    more = lambda run, _: {20: {"train/diverged_at": 11}} if run == 0 else {}
    (experiment,) = sorted_runs(write([({}, "diverged"), ({}, "stuck")], summary=None, more=more))
    assert [run.state for run in experiment.runs] == ["diverged", "unfinished"]
    assert [group.label for group in experiment.groups] == ["run 0", "run 1"]
