"""Quotes of the results file."""

import pytest

from warmup_jax.report import quotes


def statistics(mean, sd=0.01, median=None, values=(0.5, 0.5, 0.5)):
    return {"mean": mean, "sd": sd, "median": median, "values": list(values)}


def group(knobs, diverged=(), **metrics):
    return {
        "knobs": knobs,
        "diverged": list(diverged),
        "metrics": {f"eval/{key}": value for key, value in metrics.items()},
    }


ENTRY = {
    "groups": [
        group({"peak_lr": 0.1, "warmup_steps": 0}, accuracy=statistics(0.98213, 0.00417), loss=statistics(1.234)),
        group({"peak_lr": 0.1, "warmup_steps": 50}, accuracy=statistics(0.5, None, values=(0.5,))),
        group({"peak_lr": 2.0, "warmup_steps": 0}, [1], accuracy=statistics(None, None, 0.25, (0.25, 0.5, 0.1))),
        group({"peak_lr": 2.0, "warmup_steps": 50}, [0, 1], accuracy=statistics(None, None, "-inf")),
        group({"peak_lr": 4.0, "warmup_steps": 0}, [0, 1, 2], accuracy=statistics(None, None, "-inf")),
        group({"peak_lr": 4.0, "warmup_steps": 50}, [], accuracy=statistics(None, None, 0.2, ("nan", 0.2, 0.3))),
    ],
    "phase": {
        "rates": [0.03125, 0.25, 0.3, 2.0],
        "largest": [
            {"knobs": {"norm": norm}, "warmup_steps": length, "median": rate, "by_seed": [rate]}
            for norm, length, rate in (("post", 0, None), ("post", 8, 0.03125), ("post", 64, 0.3), ("pre", 0, 2.0))
        ],
        "initial_sharpness": [263.51, 398.9],
        "edge": [0.4321, 2.05],
    },
    "cpu": "AMD EPYC",
    "cores": 2,
    "devices": ["cpu:0 cpu", "cpu:1 cpu"],
    "versions": {"jax": "0.10.2"},
    "date": "2030-01-31",
    "runs": 30,
    "seeds": [0, 1, 2],
    "seconds": 301.0,
    "alone": True,
    "uninformed_loss": 2.3026,
}


@pytest.mark.parametrize(
    "words, text",
    [
        ("value eval/accuracy peak_lr=0.1 warmup_steps=0", "98.2 ± 0.4 %"),
        ("value eval/accuracy warmup_steps=50 peak_lr=1e-1", "50.0 %"),
        ("value eval/accuracy peak_lr=2 warmup_steps=0", "median 25.0 %, 1 of 3 seeds diverged"),
        ("value eval/accuracy peak_lr=2.0 warmup_steps=50", "median diverged, 2 of 3 seeds diverged"),
        ("value eval/accuracy peak_lr=4.0 warmup_steps=0", "diverged"),
        ("value eval/accuracy peak_lr=4.0 warmup_steps=50", "median 20.0 %, 1 of 3 seeds diverged"),
        ("value eval/loss peak_lr=0.1 warmup_steps=0", "1.23 ± 0.01"),
        ("largest norm=post warmup_steps=0", "< 1/32"),
        ("largest norm=post warmup_steps=8", "1/32"),
        ("largest norm=pre", "≥ 2"),
        ("rates norm=post", "< 1/32, 1/32 and 0.3"),
        ("lengths norm=post", "0, 8 and 64"),
        ("lengths norm=pre", "0"),
        ("sharpness", "264 to 399"),
        ("edge", "0.4 and 2.0"),
        ("runs", "30"),
        ("seeds", "3"),
        ("uninformed", "2.30"),
        ("source", "2 cores of an AMD EPYC, jax 0.10.2, 2030-01-31"),
        ("time", "5 minutes on 2 cores of an AMD EPYC (jax 0.10.2)"),
    ],
)
def test_a_quote(words, text):
    assert quotes.quote(f"toy {words}", ENTRY) == text


@pytest.mark.parametrize(
    "changes, text",
    [
        ({"seconds": 61.4}, "61 s on 2 cores of an AMD EPYC (jax 0.10.2)"),
        ({"cores": 1, "cpu": "Intel Xeon"}, "5 minutes on 1 core of an Intel Xeon (jax 0.10.2)"),
        ({"cpu": "Cortex"}, "5 minutes on 2 cores of a Cortex (jax 0.10.2)"),
        ({"devices": ["gpu:0 NVIDIA H200"]}, "5 minutes on 1 NVIDIA H200 (jax 0.10.2)"),
        ({"alone": False}, None),
    ],
)
def test_a_time_names_the_hardware_or_is_left_as_it_is(changes, text):
    assert quotes.quote("toy time", ENTRY | changes) == text


def test_a_table_has_a_column_for_each_length():
    entry = ENTRY | {
        "groups": ENTRY["groups"][:3] + [group({"peak_lr": 2.0, "warmup_steps": 50}, accuracy=statistics(1.0))]
    }
    assert quotes.quote("toy table eval/accuracy", entry).splitlines() == [
        "| test accuracy | without warmup | 50 updates of warmup |",
        "|---|---|---|",
        "| peak rate 0.1 | 98.2 ± 0.4 % | 50.0 % |",
        "| peak rate 2.0 | median 25.0 %, 1 of 3 seeds diverged | 100.0 ± 1.0 % |",
    ]


def test_the_boundary_is_a_table():
    assert quotes.quote("toy boundary norm=post", ENTRY).splitlines() == [
        "| warmup | 0 | 8 | 64 |",
        "|---|---|---|---|",
        "| largest peak rate that trains | < 1/32 | 1/32 | 0.3 |",
    ]


@pytest.mark.parametrize(
    "words, message",
    [
        ("", "unknown view ''"),
        ("valeu eval/accuracy", "unknown view 'valeu'; did you mean 'value'"),
        ("value peak_lr=0.1 warmup_steps=0", "0 of a metric named; allowed: 1"),
        ("value eval/accuracy peak_lr=0.1", "2 of a group of runs named; allowed: 1"),
        ("value eval/accuracy peak_lr=0.7 warmup_steps=0", "0 of a group of runs named; allowed: 1"),
        ("value eval/accuracy length=7", "0 of a group of runs named; allowed: 1"),
        ("value eval/bleu peak_lr=0.1 warmup_steps=0", "unknown metric 'eval/bleu'"),
        ("value eval/loss peak_lr=2.0 warmup_steps=0", "unknown metric 'eval/loss'"),
        ("largest norm=post", "3 of a warmup length named; allowed: 1"),
        ("rates", "2 maps fit; allowed: one"),
    ],
)
def test_a_quote_of_nothing_is_an_error(words, message):
    with pytest.raises(ValueError, match=message):
        quotes.quote(f"toy {words}", ENTRY)


def test_a_table_needs_lengths():
    with pytest.raises(ValueError, match="the runs do not differ in warmup_steps"):
        quotes.quote("toy table eval/accuracy", ENTRY | {"groups": [group({}, accuracy=statistics(1.0))]})


@pytest.mark.parametrize("words", ["rates", "sharpness", "edge"])
def test_without_a_phase_diagram_there_is_nothing_to_quote_of_it(words):
    with pytest.raises(ValueError, match="there is no phase diagram in the results"):
        quotes.quote(f"toy {words}", ENTRY | {"phase": None})
