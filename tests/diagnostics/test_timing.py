"""When a probe is due."""

import numpy as np
import pytest

from warmup_jax.diagnostics import Timing, due, first_due, from_config
from warmup_jax.diagnostics.timing import split_timing

FIXED = dict(every=10, until=None, batch="fixed", examples=32)
SHARPNESS = FIXED | dict(iterations=3, count=1)


def steps(timing, first, warmup, last=30):
    return [step for step in range(last + 1) if due(timing, first, step, np.array([warmup])).item()]


@pytest.mark.parametrize(
    "change, first, warmup, expected",
    [
        ({}, 0, 0, [0, 10, 20, 30]),
        ({}, 1, 0, [10, 20, 30]),
        ({}, 0, 7, [0, 7, 10, 20, 30]),
        ({}, 0, 99, [0, 10, 20, 30]),
        (dict(until=10), 0, 7, [0, 7, 10]),
        (dict(until=10), 0, 11, [0, 10]),
        (dict(until=0), 0, 5, [0]),
        (dict(every=1, until=3), 1, 2, [1, 2, 3]),
        (dict(every=1000), 0, 5, [0, 5]),
    ],
)
def test_due_at_intervals_and_at_the_end_of_the_warmup(change, first, warmup, expected):
    assert steps(Timing(**(FIXED | change)), first, warmup) == expected


def test_each_run_has_its_own_end_of_the_warmup():
    found = due(Timing(**FIXED), 0, np.arange(12)[:, None], np.array([0, 3, 10]))
    assert found.shape == (12, 3)
    np.testing.assert_array_equal(
        np.argwhere(found).tolist(), [[0, 0], [0, 1], [0, 2], [3, 1], [10, 0], [10, 1], [10, 2]]
    )


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("every", [1, 4, 10])
def test_the_first_probe_is_the_first_that_is_due(first, every):
    timing, warmups = Timing(**(FIXED | dict(every=every))), np.array([0, 1, 3, 4, 12])
    found = due(timing, first, np.arange(12)[:, None], warmups)
    np.testing.assert_array_equal(first_due(timing, first, warmups), found.argmax(0))


def test_a_config_is_taken_apart():
    config = {"norms": dict(layers=True), "sharpness": SHARPNESS}
    chosen, timings = from_config(config)
    assert chosen == {"norms": dict(layers=True), "sharpness": dict(iterations=3, count=1)}
    assert timings == {"sharpness": Timing(10, None, "fixed", 32)}
    assert from_config({}) == ({}, {})
    assert split_timing("sharpness", SHARPNESS | dict(batch="training", examples=None))[0].examples is None


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(every=0), r"diagnostics.sharpness.every=0; allowed: integers from 1$"),
        (dict(every=None), "every=None; allowed: integers from 1$"),
        (dict(every=2.5), "every=2.5; allowed"),
        (dict(until=-1), "until=-1; allowed: integers from 0 and None"),
        (dict(examples=None), "examples=None; allowed: integers from 1$"),
        (dict(batch="test"), "batch='test'; allowed: 'fixed', 'training'"),
        (dict(batch="training"), "examples=32; allowed with batch='training': None"),
    ],
)
def test_a_bad_timing_is_one_line(change, message):
    with pytest.raises(ValueError, match=message):
        from_config({"sharpness": SHARPNESS | change})


def test_a_bad_choice_is_one_line():
    for config, message in (
        ({"sharpnes": {}}, "unknown diagnostic 'sharpnes'; did you mean 'sharpness'"),
        ({"norms": True}, "diagnostics.norms=True; allowed: dicts of its arguments, and None"),
        ({"sharpness": dict(iterations=3)}, "'sharpness' needs the argument 'every'"),
    ):
        with pytest.raises(ValueError, match=message):
            from_config(config)
