"""The experiments whose numbers and pictures stand in README.md, docs/ and the docstrings of configs/."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from warmup_jax import config_files
from warmup_jax.workdir import lock


class Experiment(NamedTuple):
    """One command whose results are quoted.

    Attributes:
      config: FILE[:ARG], as `--config` takes it.
      overrides: keys of the config and their values as text, as `--config.KEY=VALUE` takes them.
      metrics: those that are quoted: the last value, or with "@STEP" the one logged at that step.
      pictures: name of a picture in docs/ -> name of that picture in the workdir.
      sentence: what the docstring of the config says of the results, with a quote (see `quotes.py`, without the name
        of the experiment) in each pair of braces; None if it says nothing.
    """

    config: str
    overrides: Mapping[str, str] = {}
    metrics: tuple[str, ...] = ()
    pictures: Mapping[str, str] = {}
    sentence: str | None = None


EXPERIMENTS = {
    "resnet_warmup": Experiment("configs/resnet_warmup.py", pictures={"resnet_warmup.png": "curves.png"}),
    "resnet_rates": Experiment(
        "configs/resnet_warmup.py",
        {"sweep.peak_lr": "(0.1,0.5,2.0)", "sweep.seeds": "5"},
        metrics=("eval/accuracy",),
        sentence="test accuracy over {seeds} seeds {value eval/accuracy peak_lr=2.0 warmup_steps=0} without and "
        "{value eval/accuracy peak_lr=2.0 warmup_steps=50} with warmup.",
    ),
    "transformer_warmup": Experiment(
        "configs/transformer_warmup.py", pictures={"transformer_warmup.png": "curves.png"}
    ),
    "transformer_seeds": Experiment(
        "configs/transformer_warmup.py",
        {"sweep.seeds": "5"},
        metrics=("eval/exact_match",),
        sentence="exact translations of unseen numbers over {seeds} seeds: Post-LN "
        "{value eval/exact_match norm=post warmup_steps=0} without and "
        "{value eval/exact_match norm=post warmup_steps=200} with warmup, Pre-LN "
        "{value eval/exact_match norm=pre warmup_steps=0} and {value eval/exact_match norm=pre warmup_steps=200}.",
    ),
    "phase_diagram": Experiment(
        "configs/phase_diagram.py",
        pictures={"phase_diagram.png": "phase_diagram.png"},
        sentence="warmups of {lengths} updates train up to rates of {rates}.",
    ),
    "phase_diagram_resnet": Experiment(
        "configs/phase_diagram.py:resnet",
        sentence="warmups of {lengths} updates train up to rates of {rates}.",
    ),
    "phase_diagram_transformer": Experiment(
        "configs/phase_diagram.py:transformer",
        pictures={"phase_diagram_transformer.png": "phase_diagram.png"},
        sentence="warmups of {lengths norm=post} updates train Post-LN up to rates of {rates norm=post}, Pre-LN up to "
        "{rates norm=pre}.",
    ),
    "lm_warmup": Experiment(
        "configs/lm_warmup.py",
        metrics=("eval/loss",),
        sentence="test loss of one seed {value eval/loss warmup_steps=0} without and "
        "{value eval/loss warmup_steps=200} with warmup; {uninformed} is that of a model that ignores its input.",
    ),
    "lm_warmup_pre": Experiment(
        "configs/lm_warmup.py:norm=pre",
        metrics=("eval/loss",),
        sentence="test loss of one seed {value eval/loss warmup_steps=0} without and "
        "{value eval/loss warmup_steps=200} with warmup.",
    ),
    "diagnostics": Experiment(
        "configs/lm_warmup.py:diagnose=relative_update+gradient_noise+dead_units",
        {"diagnostics.gradient_noise.every": "10", "diagnostics.dead_units.every": "10"},
        metrics=(
            "diag/relative_update@1",
            "diag/dead_units@10",
            "diag/noise_squared_norm@0",
            "diag/noise_squared_norm@10",
        ),
        pictures={"diagnostics.png": "diagnostics.png"},
    ),
}


def command(experiment: Experiment) -> str:
    """Returns the command of an experiment, as it stands in the documents."""
    parts = [f"python train.py --config={experiment.config}"]
    for key, value in experiment.overrides.items():
        quoted = value if shlex.quote(value) == value else f'"{value}"'
        parts.append(f"--config.{key}={quoted}")
    return " ".join(parts)


def config(experiment: Experiment, root: Path) -> dict:
    """Returns the config of an experiment as `config.json` holds it, from the config files below `root`.

    Raises:
      ValueError: if its file or one of its overrides is not right.
    """
    found: ConfigDict = config_files.load(str(root / experiment.config))
    config_files.override(found, [(f"config.{key}", value) for key, value in experiment.overrides.items()])
    return lock.as_json(found.to_dict())
