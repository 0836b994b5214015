"""Pictures of runs and of their diagnostics: layout, legends, files."""

import json

import numpy as np
import pytest

from warmup_jax import report
from warmup_jax.report import labels, plots, run_record

RUNS = [({"warmup_steps": 0}, "diverged"), ({"warmup_steps": 50}, "trained")]
ODD = "$\\frac{a}\n\ud800_%&" * 9


def record(write, runs, name="run", **kwargs):
    return run_record.read(write(runs, name, **kwargs))


def draw(found, metrics=plots.PANELS):
    return plots.draw(plots.run_lines(found), metrics, "a headline", plots.references(found))


def texts(figure):
    return [text.get_text() for text in figure.texts]


def named(axis):
    """The title and the sentence above a panel."""
    return [text.get_text() for text in axis.texts if text.get_text() and text.xyann[1] > 3]


def curves(axis):
    return [line for line in axis.lines if line.zorder == 3]


def test_curves_of_every_run(write):
    workdir = write(RUNS)
    path = report.curves(workdir)
    assert path == workdir / "curves.png" and path.read_bytes().startswith(b"\x89PNG")
    figure = draw(run_record.read(workdir))
    assert [named(axis)[0] for axis in figure.axes] == ["Learning rate", "Train loss", "Test accuracy"]
    assert [axis.get_ylabel() for axis in figure.axes] == ["learning rate", "loss", "accuracy [%]"]
    assert {axis.get_xlabel() for axis in figure.axes} == {"updates"}
    assert texts(figure)[:2] == ["No warmup against 50 updates", "a headline"]
    rate, loss, accuracy = figure.axes
    np.testing.assert_allclose(curves(rate)[0].get_ydata(), [0.025, 0.25, 0.5])
    np.testing.assert_equal(curves(loss)[0].get_ydata(), [2.5, 1e30, np.nan])
    np.testing.assert_equal(curves(accuracy)[1].get_ydata(), [90])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["no warmup (diverged at 11)", "warmup 50"]
    assert any("✕" in text and "▲" in text for text in texts(figure))


@pytest.mark.parametrize(
    "runs, common, title",
    [
        (RUNS, "peak rate 2", "No warmup against 50 updates, peak rate 2"),
        ([({"peak_lr": rate}, "trained") for rate in (0.03125, 0.25)], "", "Peak rate 1/32 against 1/4"),
        ([({"warmup_steps": k}, "trained") for k in (0, 5, 9)], "", "Warmup: 0, 5, 9 updates"),
        (RUNS[:1], "peak rate 2", "a headline"),
    ],
)
def test_the_title_says_what_is_compared(write, runs, common, title):
    figure = plots.draw(plots.run_lines(record(write, runs)), plots.PANELS, "a headline", common=common)
    assert texts(figure)[0] == title


def test_panels_are_aligned_and_share_their_updates(write):
    figure = draw(record(write, RUNS))
    assert len({axis.get_xlim() for axis in figure.axes}) == 1
    assert len({tuple(axis.get_xticks()) for axis in figure.axes}) == 1
    assert len({(place.y0, place.y1) for place in (axis.get_position() for axis in figure.axes)}) == 1


def test_the_legend_lies_on_no_panel(write):
    long = [({"optimizer": f"{'name' * 8}{index}"}, "trained") for index in range(plots.groups.MOST_LABELS)]
    figure = draw(record(write, long))
    figure.canvas.draw()
    legend = figure.legends[0].get_window_extent()
    assert len(figure.legends[0].get_texts()) == 10 and legend.x1 <= figure.bbox.x1 and legend.y1 <= figure.bbox.y1
    assert all(axis.get_window_extent().y1 < legend.y0 for axis in figure.axes)


def test_curves_that_coincide_are_all_seen(write):
    figure = draw(record(write, [({"norm": norm}, "trained") for norm in ("post", "pre", "peri")]))
    drawn = curves(figure.axes[0])
    widths = [line.get_linewidth() for line in drawn]
    assert widths == sorted(widths, reverse=True) and len(set(widths)) == 3
    assert len({line.get_color() for line in drawn}) == len({line.get_marker() for line in drawn}) == 3
    assert len({line.get_linestyle() for line in drawn}) > 1


def test_the_order_of_a_knob_is_that_of_the_colors(write):
    rates = (0.3, 0.1, 1.0)
    figure = draw(record(write, [({"peak_lr": rate}, "trained") for rate in rates]))
    brightness = [sum(line.get_color()[:3]) for line in curves(figure.axes[0])]
    assert np.argsort(brightness).tolist() == [1, 0, 2]


def test_many_runs_have_a_color_bar_and_a_column_for_each_other_knob(write):
    grid = [({"norm": norm, "peak_lr": 0.1 * k}, "trained") for norm in ("post", "pre") for k in range(1, 8)]
    figure = draw(record(write, grid))
    *axes, bar = figure.axes
    assert not figure.legends and len(axes) == 6 and bar.get_title("left") == "peak rate"
    assert [axis.get_title("left") for axis in axes[:2]] == ["norm post", "norm pre"]
    assert [len(curves(axis)) for axis in axes] == [7] * 6
    assert axes[0].get_ylim() == axes[1].get_ylim() and axes[0].get_xlim() == axes[5].get_xlim()
    assert [axis.get_ylabel() for axis in axes] == ["Learning rate", "", "Train loss", "", "Test accuracy [%]", ""]
    assert [text.get_text() for text in bar.get_yticklabels()] == [f"{0.1 * k:.1f}" for k in range(1, 8)]


def test_200_values_have_few_labels_on_their_color_bar(write):
    found = record(write, [({"weight_decay": 1.23456789**-k}, "trained") for k in range(200)])
    names = [text.get_text() for text in draw(found).axes[-1].get_yticklabels()]
    assert 8 <= len(names) <= 16 and all(len(name) <= 11 for name in names)


def test_seeds_are_one_line_and_the_picture_says_so(write):
    figure = draw(record(write, [({"warmup_steps": 0, "seed": seed}, "trained") for seed in range(60)]))
    assert [len(curves(axis)) for axis in figure.axes] == [1] * 3
    assert any(text.startswith("curve: median of 60 seeds, band: lowest to highest") for text in texts(figure))


@pytest.mark.parametrize(
    "runs, end",
    [
        ([], None),
        ([({}, "trained")], None),
        ([({}, "diverged"), ({"a": ODD}, "diverged")], None),
        ([({"a": ODD, "seed": seed}, "stuck") for seed in range(2)], 10**9),
        ([({"a": f"{ODD}{k}"}, "trained") for k in range(12)], 1),
        ([({"a": f"{ODD}{k}", "b": k}, "trained") for k in range(40)], None),
    ],
)
def test_odd_runs_have_a_picture(write, runs, end):
    found = record(write, runs, more=lambda run, _: {20: {"diag/odd_$%": [np.nan, -3.0, 0.0][run % 3]}})
    if end is not None:
        stretched = {
            run: {key: (np.minimum(steps * end, end), values) for key, (steps, values) in metrics.items()}
            for run, metrics in found.series.items()
        }
        found = found._replace(series=stretched)
    figure = draw(found, (*plots.PANELS, "diag/odd_$%"))
    path = plots.pictures.save(figure, found.workdir / "odd.png")
    assert path.read_bytes().startswith(b"\x89PNG") and b"</svg>" in path.with_suffix(".svg").read_bytes()
    assert len(figure.axes) >= (4 if runs else 0)


def test_diagnostics_are_grouped_by_name(write):
    more = lambda run, _: {
        1: {"diag/norm": 9.0, "diag/norm/head": 1.0, "diag/norm/layer1": 3.0, "diag/sharpness": 5.0},
        20: {"diag/norm/head": 1000.0, "diag/sharpness_error": 1.0},
    }
    found = record(write, RUNS, more=more)
    assert plots.diagnostic_panels(found) == {
        "diagnostics": ["diag/sharpness", "diag/norm"],
        "norm": ["diag/norm/head", "diag/norm/layer1"],
    }
    figure = draw(found, plots.diagnostic_panels(found)["norm"])
    assert [named(axis) for axis in figure.axes] == [["head"], ["layer1"]] and texts(figure)[0] == "Norm by layer"
    assert [axis.get_yscale() for axis in figure.axes] == ["log", "log"]
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
    assert curves(figure.axes[0])[1].get_ydata().tolist() == [1, 1000]
    paths = report.diagnostics(found)
    assert [path.name for path in paths] == ["diagnostics.png", "diagnostics_norm.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_a_sentence_explains_each_diagnostic(write):
    metrics = ["diag/sharpness", "diag/noise_scale"]
    found = record(write, RUNS, more=lambda run, _: {1: dict.fromkeys(metrics, 2.0)})
    for metric, axis in zip(metrics, draw(found, metrics).axes, strict=True):
        assert named(axis)[0] == labels.label(metric).title
        assert " ".join(named(axis)[1].split()) == labels.label(metric).sentence


def test_panels_take_as_many_rows_as_they_need(write):
    keys = [f"diag/a/{part}" for part in range(9)]
    found = record(write, RUNS, more=lambda run, _: {1: dict.fromkeys(keys, 1.0)})
    places = [axis.get_position() for axis in draw(found, keys).axes]
    assert len({round(place.x0, 6) for place in places}) == 4 and len({round(place.y0, 6) for place in places}) == 3


def test_runs_of_several_workdirs_are_named_by_what_differs(write):
    many = [record(write, RUNS, name, config={"optimizer": name}) for name in ("adam", "sgd")]
    lines = plots.joint_lines(many)
    assert [line.label for line in lines][:2] == ["optimizer adam, no warmup", "optimizer adam, warmup 50"]
    assert len(lines) == 4
    seeds = [record(write, [({"warmup_steps": 0}, "trained")], str(seed), config={"seed": seed}) for seed in (1, 2)]
    assert [len(line.members) for line in plots.joint_lines(seeds)] == [2], "the same with another seed"


def test_pictures_are_reproducible(write):
    workdir = write(RUNS)
    first = {suffix: report.curves(workdir).with_suffix(suffix).read_bytes() for suffix in (".png", ".svg")}
    again = {suffix: report.curves(workdir).with_suffix(suffix).read_bytes() for suffix in (".png", ".svg")}
    assert first == again and b"<dc:date>" not in first[".svg"]


def test_a_picture_says_what_was_trained(write):
    config = {"model": {"name": "resnet", "depth": 20}, "dataset": {"name": "digits"}, "optimizer": "sgd"}
    workdir = write(RUNS, config=config)
    assert json.loads((workdir / "config.json").read_text())["seed"] == 7
    assert labels.headline(run_record.read(workdir).config) == "ResNet-20 on digits, SGD, seed 7"
