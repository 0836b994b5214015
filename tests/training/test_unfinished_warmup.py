"""A run says at its start that its warmup does not end within it."""

import pytest

from configs import lm_warmup, resnet_warmup
from warmup_jax.training import build, experiment


class Started(Exception):
    """The run has come to its training."""


def said(config, tmp_path, capsys, monkeypatch):
    """The warnings that a run prints before it trains."""

    def train_all(*args):
        raise Started

    monkeypatch.setattr(experiment, "train_all", train_all)
    with pytest.raises(Started):
        experiment.run(config, tmp_path / "run")
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: ")]


def test_the_lengths_of_a_sweep_are_named_once(tmp_path, capsys, monkeypatch):
    config = lm_warmup.get_config("smoke")  # 4 updates
    config.sweep.warmup_steps = (0, 3, 8, 4)
    config.sweep.seeds = 2
    assert said(config, tmp_path, capsys, monkeypatch) == [
        "warning: the warmup of 4 updates takes the whole run: no update follows it",
        "warning: the warmup of 8 updates is longer than the run of 4: the full rate is never reached",
    ]


def test_a_warmup_that_ends_is_not_mentioned(tmp_path, capsys, monkeypatch):
    config = lm_warmup.get_config("smoke")
    config.sweep.warmup_steps = (0, 2)
    assert said(config, tmp_path, capsys, monkeypatch) == []


@pytest.mark.parametrize(
    "changes, lengths",
    [
        ({"warmup": "linear"}, {7}),
        ({"warmup": "logarithmic"}, {7}),
        ({"warmup": "none"}, set()),
        ({"warmup": "untuned_linear", "warmup_args": {"beta2": 0.999}}, {2000}),
        ({"warmup": "untuned_exponential", "warmup_args": {"beta2": 0.999}}, set()),
        ({"recipe": "gpt"}, {7}),
        ({"recipe": "goyal"}, set()),
    ],
)
def test_the_length_of_a_warmup(changes, lengths):
    config = resnet_warmup.get_config("smoke").to_dict() | {"sweep": {}, "warmup_steps": 7} | changes
    knobs = build.knobs(config, num_steps=100, train_size=1000)
    assert build.warmup_lengths(config, [knobs, knobs]) == lengths
