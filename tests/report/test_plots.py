"""Curves of runs and of their diagnostics."""

import math

import numpy as np

from warmup_jax import report
from warmup_jax.report import plots, run_record

RUNS = [({"warmup_steps": 0}, "diverged"), ({"warmup_steps": 50}, "trained")]


def test_curves_of_every_run(write):
    workdir = write(RUNS, more=lambda *_: {15: {"train/loss": math.inf}})
    path = report.curves(workdir)
    assert path == workdir / "curves.png" and path.read_bytes().startswith(b"\x89PNG")
    figure = plots.draw(plots.run_lines(run_record.read(workdir)), plots.PANELS)
    assert [axis.get_title() for axis in figure.axes if axis.axison] == ["learning rate", "train loss", "test accuracy"]
    rate, loss, accuracy = figure.axes
    np.testing.assert_allclose(rate.lines[0].get_ydata(), [0.025, 0.25, 0.5])
    np.testing.assert_equal(loss.lines[0].get_ydata(), [2.5, 1e30, np.nan, np.nan])
    assert 2 < len(loss.get_yticks()) <= plots.TICKS + 3, "a loss of 1e30 has no tick for each power of ten"
    assert loss.get_yscale() == "symlog" and accuracy.lines[1].get_xdata().tolist() == [20]
    assert [text.get_text() for text in rate.get_legend().get_texts()] == ["warmup_steps=0", "warmup_steps=50"]


def test_there_are_no_half_updates():
    line = plots.Line("short", "k", {"train/loss": (np.arange(1, 5), np.ones(4))})
    (axis,) = plots.draw([line], plots.PANELS).axes
    ticks = axis.get_xticks()
    assert len(ticks) > 3 and all(ticks == ticks.round())


def test_many_runs_have_no_legend(write):
    workdir = write([({"seed": seed}, "trained") for seed in range(plots.LEGEND_LINES + 1)])
    figure = plots.draw(plots.run_lines(run_record.read(workdir)), plots.PANELS)
    assert len(figure.axes[0].lines) == 13 and figure.axes[0].get_legend() is None


def test_a_label_is_text_and_no_formula(write):
    workdir = write([({"name": "$\\frac\n\ud800"}, "trained")])
    report.curves(workdir)
    assert plots.printable("a$b$\n") == r"a\$b\$?"
    assert plots.printable("x" * 20 + "y" * 71) == "x" * 19 + "…" + "y" * 20


def test_diagnostics_are_grouped_by_name(write):
    more = lambda run, _: {
        1: {"diag/norm": 9.0, "diag/norm/head": 1.0, "diag/norm/layer1": 3.0, "diag/sharpness": 5.0},
        20: {"diag/norm/head": 1000.0},
    }
    record = run_record.read(write(RUNS, more=more))
    assert plots.diagnostic_panels(record) == {
        "norm": [("diag/norm/head", "norm: head"), ("diag/norm/layer1", "norm: layer1")],
        "diagnostics": [("diag/norm", "norm"), ("diag/sharpness", "sharpness")],
    }
    figure = plots.draw(plots.run_lines(record), plots.diagnostic_panels(record)["norm"])
    assert [axis.get_yscale() for axis in figure.axes] == ["log", "linear"]
    assert figure.axes[0].lines[1].get_ydata().tolist() == [1, 1000]
    paths = report.diagnostics(record.workdir)
    assert [path.name for path in paths] == ["diagnostics.png", "diagnostics_norm.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_panels_take_as_many_rows_as_they_need(write):
    keys = [f"diag/a/{part}" for part in range(6)]
    record = run_record.read(write(RUNS, more=lambda run, _: {1: dict.fromkeys(keys, 1.0)}))
    figure = plots.draw(plots.run_lines(record), plots.diagnostic_panels(record)["a"])
    assert [axis.axison for axis in figure.axes] == [True] * 6 + [False] * 2


def test_joint_curves_have_a_color_and_a_label_for_each_workdir(write):
    many = [run_record.read(write(RUNS, name)) for name in ("one", "two")]
    lines = plots.joint_lines(many)
    assert [line.color for line in lines] == ["C0", "C0", "C1", "C1"]
    assert [line.label for line in lines] == [str(many[0].workdir), None, str(many[1].workdir), None]
