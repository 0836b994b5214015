"""Phase diagrams of sweeps whose outcome is known."""

import csv
import json
import math

import numpy as np
import pytest

from warmup_jax import report
from warmup_jax.report import phase_analysis, phase_plot, run_record

RATES = (0.1, 0.2, 0.4)
ROWS = {(0, 0): "tsd", (0, 1): "tdd", (4, 0): "ttd", (4, 1): "tdt", (16, 0): "ttt", (16, 1): "stt"}
TABLE = """\
largest peak rate up to which every rate trains (median of 2 seeds)
warmup steps  largest rate  lowest seed  highest seed
0             0.1           0.1          0.1
4             0.1           0.1          0.2           seed 1 trains again above a failure: tdt
16            >=0.4         >=0.4        >=0.4         seed 1 stuck at first: stt
18 runs: 11 trained, 2 stuck, 5 diverged
trained: final train loss below 1.1, a third of the way from the best (0.4) to the initial one (2.5)"""
HEAD = (
    "run,peak_lr,warmup_steps,seed,steps,train_loss,test_loss,test_accuracy,test_error,best_accuracy,best_step,"
    "diverged_at,trained,stuck"
)
ENDS = {
    "t": "20,0.4,0.5,0.9,0.1,0.9,20,,True,False",
    "s": "20,2.4,2.5,0.25,0.75,0.25,20,,False,True",
    "d": "20,inf,,0,1,0,20,11,False,False",
}


def sweep(workdir, **kwargs):
    return phase_analysis.find_sweep(run_record.read(workdir), **kwargs)


def states(workdir, **kwargs):
    return "".join(outcome.state[0] for outcome in sweep(workdir, **kwargs).outcomes)


def panels(figure):
    return [axis for axis in figure.axes if axis.lines]  # each map has its boundary


def titles(figure):
    return [axis.get_title("left") for axis in figure.axes if axis.get_title("left")]


def boundary(axis):
    """Corners of the line above the largest rates that train, which lies on everything else."""
    return max(axis.lines, key=lambda line: line.zorder).get_xydata()


def marks(axis, state):
    """Places of the marks of a state in a map, in order: the lines of its marker and size."""
    marker = phase_plot.LOOKS[state][1]
    places = [line.get_xydata().tolist() for line in axis.lines if line.get_marker() == marker]
    return sorted({tuple(point) for line in places for point in line})


def test_table_csv_and_picture_of_a_known_sweep(write_sweep):
    workdir = write_sweep(RATES, ROWS)
    assert report.phase_diagram(workdir) == TABLE
    lines = [
        f"{3 * index + column},{rate},{length},{seed},{ENDS[letter]}"
        for index, ((length, seed), row) in enumerate(ROWS.items())
        for column, (rate, letter) in enumerate(zip(RATES, row))
    ]
    assert (workdir / "sweep.csv").read_text() == "\n".join([HEAD, *lines, ""])
    assert (workdir / "phase_diagram.png").read_bytes().startswith(b"\x89PNG")


def test_maps_marks_and_boundary(write_sweep):
    figure = phase_plot.draw(sweep(write_sweep(RATES, ROWS)), "a headline")
    assert titles(figure) == ["Outcome of each seed", "Final train loss", "Final test error [%]"]
    base = math.log2(0.1)
    for axis in panels(figure):
        np.testing.assert_allclose(boundary(axis)[:, 0] - base, [0.5, 0.5, 0.5, 0.5, 2.5, 2.5])
        np.testing.assert_allclose(boundary(axis)[:, 1], [-0.5, 0.5, 0.5, 1.5, 1.5, 2.5])
        assert [text.get_text() for text in axis.get_xticklabels()] == ["0.1", "0.2", "0.4"]
        assert [text.get_text() for text in axis.get_yticklabels()] == ["0", "4", "16"]
    outcome, *maps = panels(figure)
    # of two seeds one is not most: a trained and a failed one are marked as the failed one
    np.testing.assert_equal(outcome.collections[0].get_array(), [[0, 2, 2], [0, 2, 2], [1, 0, 0]])
    assert [len(marks(outcome, state)) for state in phase_analysis.STATES] == [11, 2, 5]
    for axis in maps:
        np.testing.assert_allclose(marks(axis, "stuck"), [(base, 2)])
        np.testing.assert_allclose(
            marks(axis, "diverged"), [(base + 1, 0), (base + 1, 1), (base + 2, 0), (base + 2, 1)]
        )
        assert marks(axis, "trained") == []
    loss, error = (axis.collections[0].get_array().filled(-1) for axis in maps)
    np.testing.assert_allclose(loss, [[0.4, -1, -1], [0.4, -1, -1], [1.4, 0.4, 0.4]])
    np.testing.assert_allclose(error, [[10, -1, -1], [10, -1, -1], [42.5, 10, 10]])
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert len(legend) == 4 and all(any(state in text for text in legend) for state in phase_analysis.STATES)
    texts = [text.get_text() for text in figure.texts]
    assert "a headline" in texts and any(text.startswith("median of 2 seeds") for text in texts)


@pytest.mark.parametrize("seeds, marked", [(1, True), (9, True), (10, False)])
def test_each_seed_has_a_mark_in_its_cell_or_a_cell_its_share(write_sweep, seeds, marked):
    rows = {(0, seed): "td" if seed % 2 else "dt" for seed in range(seeds)}
    axis = panels(phase_plot.draw(sweep(write_sweep((0.1, 0.2), rows))))[0]
    shares = [text.get_text() for text in axis.texts]
    assert shares == ([] if marked else ["50%", "50%"])
    for state in ("trained", "diverged"):
        places = marks(axis, state)
        assert len(places) == (seeds if marked else 0)
        assert all(abs(y) < 0.5 and -3.83 < x < -1.82 for x, y in places)


@pytest.mark.parametrize("varied", [True, False])
def test_a_map_of_one_color_is_left_out(write_sweep, varied):
    value = lambda run, _: {1: {"diag/sharpness": 300.0 + (100 * run if varied else run)}}
    found = titles(phase_plot.draw(sweep(write_sweep(RATES, {(0, 0): "ttt"}, more=value))))
    assert ("Initial sharpness" in found) == varied and "Outcome of each run" in found


def test_rates_are_written_as_they_are_thought_of(write_sweep):
    names = lambda rates: [
        text.get_text()
        for text in phase_plot.draw(sweep(write_sweep(rates, {(0, 0): "t" * len(rates)}, str(len(rates)))))
        .axes[0]
        .get_xticklabels()
    ]
    assert names((1 / 64, 0.5, 2.0)) == ["1/64", "1/2", "2"]
    assert names((1e-5, 3e-5, 1e-4, 3e-4)) == ["10⁻⁵", "3·10⁻⁵", "0.0001", "0.0003"]
    crowded = names(tuple(1e-4 * 1.1**k for k in range(40)))
    assert 4 <= len(crowded) <= 14 and all(len(name) <= 8 for name in crowded)


def test_facets_are_rows_of_maps_judged_alike(write_sweep):
    rows = {
        (norm, length, 0): row
        for norm, length, row in [("post", 0, "sd"), ("post", 8, "ts"), ("pre", 0, "tt"), ("pre", 8, "tt")]
    }
    workdir = write_sweep((0.1, 0.2), rows, axis="norm")
    assert report.phase_diagram(workdir).splitlines()[1:6] == [
        "           warmup steps  largest rate  lowest seed  highest seed",
        "norm=post  0             none          none         none",
        "norm=post  8             0.1           0.1          0.1",
        "norm=pre   0             >=0.2         >=0.2        >=0.2",
        "norm=pre   8             >=0.2         >=0.2        >=0.2",
    ]
    with open(workdir / "sweep.csv") as file:
        assert next(csv.DictReader(file))["norm"] == "post"
    figure = phase_plot.draw(sweep(workdir))
    assert len(panels(figure)) == 6 and titles(figure) == [
        "Outcome of each run",
        "Final train loss",
        "Final test error [%]",
    ]
    assert [text.get_text() for axis in figure.axes for text in axis.texts] == ["Post-LN", "Pre-LN"]
    assert [axis.get_xlabel() for axis in panels(figure)].count("peak learning rate") == 3
    np.testing.assert_allclose(boundary(figure.axes[0])[:, 0] - math.log2(0.1), [-0.5, -0.5, 0.5, 0.5])


def test_too_many_facets_leave_out_the_picture_alone(write_sweep):
    workdir = write_sweep((0.1, 0.2), {(width, 0, 0): "tt" for width in range(13)}, axis="width")
    assert report.phase_diagram(workdir).endswith("not drawn, 13 rows of maps are more than 12")
    assert (workdir / "sweep.csv").exists() and not (workdir / "phase_diagram.png").exists()


@pytest.mark.parametrize("changes", [{}, {"peak_lr": 0.1}, {"warmup_steps": 3}])
def test_another_sweep_has_no_phase_diagram(write, changes):
    workdir = write([(changes, "trained")])
    assert report.phase_diagram(workdir) is None
    assert not (workdir / "sweep.csv").exists() and not (workdir / "phase_diagram.png").exists()


def test_one_value_on_each_axis_and_no_seeds(write):
    workdir = write([({"peak_lr": 0.5, "warmup_steps": 3}, "trained")])
    assert "\n3             >=1/2" in report.phase_diagram(workdir)
    assert "(median of 1 seed)\n" in report.phase_diagram(workdir) and sweep(workdir).seeds == [7]
    np.testing.assert_allclose(boundary(phase_plot.draw(sweep(workdir)).axes[0])[:, 0], [-0.5, -0.5])


def test_a_rate_of_zero_and_uneven_rates_have_their_place(write_sweep):
    found = sweep(write_sweep((0.0, 0.25, 2.0), {(0, 0): "stt"}))
    np.testing.assert_allclose(phase_plot.draw(found).axes[0].get_xticks(), [-3, -1.5, 1])


@pytest.mark.parametrize(
    "row, index, again, slow",
    [
        ("ttt", 2, False, False),
        ("tts", 1, False, False),
        ("tst", 0, True, False),
        ("sst", 2, False, True),
        ("sss", -1, False, False),
        ("ddd", -1, False, False),
        ("dtt", -1, True, False),
        ("sdt", -1, True, False),
        ("stdt", 1, True, True),
    ],
)
def test_reading_of_a_row(write_sweep, row, index, again, slow):
    found = phase_analysis.boundary(sweep(write_sweep([2.0**i for i in range(len(row))], {(0, 0): row}), threshold=1.0))
    assert found == {("", 0): {0: phase_analysis.Reading(index, again, slow, row)}}


def test_the_median_of_an_even_number_of_seeds_is_on_the_grid(write_sweep):
    rows = {(0, seed): row for seed, row in enumerate(["tts", "sss", "ttt", "tds"])}
    assert phase_analysis.median_index(phase_analysis.boundary(sweep(write_sweep(RATES, rows)))["", 0]) == 0


def test_a_seed_without_a_run_at_some_rate(write):
    changes = [(0.1, 0), (0.2, 0), (0.2, 1), (0.4, 1)]
    workdir = write([({"peak_lr": rate, "warmup_steps": 0, "seed": seed}, "trained") for rate, seed in changes])
    readings = phase_analysis.boundary(sweep(workdir))["", 0]
    assert [(reading.rate_index, reading.row) for reading in readings.values()] == [(1, "tt"), (2, "tt")]


def test_what_trained_means(write_sweep):
    workdir = write_sweep(RATES, {(0, 0): "tsd"})
    assert sweep(workdir).threshold == pytest.approx(0.4 + 2.1 / 3) and states(workdir) == "tsd"
    assert states(workdir, threshold=2.45) == "ttd" and states(workdir, threshold=0.4) == "ssd"
    assert "as given" in report.phase_diagram(workdir, threshold=2.45)
    informed = write_sweep(RATES, {(0, 0): "tsd"}, "informed", uninformed_loss=2.3)
    assert sweep(informed).threshold == pytest.approx(2.07) and "ignores its input" in sweep(informed).reason


def test_where_nothing_was_learned_no_run_trained(write_sweep):
    stuck = write_sweep(RATES, {(0, 0): "ssd"})
    assert states(stuck) == "ssd" and sweep(stuck).threshold == pytest.approx(0.9 * 2.5)
    diverged = write_sweep(RATES, {(0, 0): "ddd"}, "diverged")
    text = report.phase_diagram(diverged)
    assert "3 diverged" in text and "\n0             none " in text
    figure = phase_plot.draw(sweep(diverged))
    assert titles(figure) == ["Outcome of each run"]
    assert [line.get_marker() for line in figure.axes[0].lines] == ["x"], "no boundary, as there is nothing beside it"


def test_a_finite_end_after_a_divergence_is_none(write):
    workdir = write([({"peak_lr": 0.1, "warmup_steps": 0}, "diverged")], more=lambda *_: {20: {"train/loss": 0.1}})
    assert sweep(workdir).outcomes[0].train_loss == 0.1 and states(workdir) == "d"


def test_the_final_loss_is_a_median_of_the_end(write):
    noise = {step: {"train/loss": 0.4} for step in range(11, 60)} | {60: {"train/loss": 9.0}, 59: {"train/loss": 0.3}}
    workdir = write(
        [({"peak_lr": 0.1, "warmup_steps": 0}, "trained")],
        more=lambda *_: {step: values for step, values in noise.items() if step != 20},
    )
    found = sweep(workdir).outcomes[0]  # 51 losses: the last two
    assert found.train_loss == pytest.approx((0.3 + 9.0) / 2)


def test_missing_values_are_empty(write_sweep):
    workdir = write_sweep(RATES, {(0, 0): "tts"})
    summary = json.loads((workdir / "summary.json").read_text())
    summary["runs"][2]["final"]["eval/loss"] = "nan"
    summary["runs"][1]["final"]["eval/accuracy"] = 0.8
    del summary["runs"][2]["final"]["eval/accuracy"]
    (workdir / "summary.json").write_text(json.dumps(summary))
    report.phase_diagram(workdir)
    with open(workdir / "sweep.csv") as file:
        last = list(csv.DictReader(file))[2]
    assert (last["test_loss"], last["test_accuracy"], last["test_error"]) == ("", "", "") and last["stuck"] == "True"
    *_, error = panels(phase_plot.draw(sweep(workdir)))
    assert error.collections[0].get_array().mask.tolist() == [[False, False, True]]


def test_sharpness_at_the_beginning_and_at_the_end_of_the_warmup(write_sweep):
    def sharpness(run, changes):
        return {step: {"diag/sharpness": value} for step, value in ((1, 30.0 + run), (10, 20.0), (20, 10.0))}

    workdir = write_sweep((0.1, 0.2), {(0, 0): "ts", (14, 0): "td", (16, 0): "tt"}, more=sharpness)
    found = sweep(workdir)
    assert [o.sharpness for o in found.outcomes] == [(30, 30), (31, 31), (32, 20), (33, 20), (34, 10), (35, 10)]
    figure = phase_plot.draw(found)
    assert titles(figure)[3:] == ["Initial sharpness", "Sharpness at the end of the warmup"]
    places = [axis.get_position() for axis in panels(figure)]
    assert len({round(place.x0, 6) for place in places}) == 2 and len({round(place.y0, 6) for place in places}) == 3
    colors = panels(figure)[4].collections[0].norm
    assert (colors.vmin, colors.vmax) == (10, 30), "of the cells that trained"
    report.phase_diagram(workdir)
    with open(workdir / "sweep.csv") as file:
        row = list(csv.DictReader(file))[2]
    assert (row["sharpness_initial"], row["sharpness_after_warmup"]) == ("32", "20")
