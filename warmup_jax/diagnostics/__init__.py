"""Diagnostics of training: why warmup works, measured during a run by pure functions.

Each file has plain functions of trees and arrays, and their forms `step_...(step)` and `probe_...(probe)` that a
config chooses by name from `DIAGNOSTICS`. All of them can be jitted and mapped over runs. To add one, write it in a
file of its own and enter it here. Use:

    chosen, timings = from_config(config)         # checks names and timings
    check(name, args, available)                  # before compilation, for each of them
    measure_step(chosen, StepInfo(...))           # in the train step; {} if no step diagnostic is chosen
    carries = init_carries(chosen, params)        # with the first state
    metrics, carries = measure_probe(chosen, ProbeInput(...), carries)

where `chosen` is a dict of name -> its arguments.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from warmup_jax import registry
from warmup_jax.diagnostics import curvature, similarity
from warmup_jax.diagnostics.activations import dead_units, probe_dead_units, probe_token_variance, token_variance
from warmup_jax.diagnostics.adam_rate import (
    adaptive_rate,
    effective_rate,
    probe_adaptive_rate,
    rectifier,
    rho,
    second_moment,
)
from warmup_jax.diagnostics.by_layer import each_layer
from warmup_jax.diagnostics.critical_rate import critical_rate, probe_critical_rate
from warmup_jax.diagnostics.curvature import (
    CurvatureCarry,
    Spectrum,
    adam_edge,
    adam_preconditioner,
    edge,
    hessian_vector_product,
    preconditioned,
    probe_preconditioned_sharpness,
    probe_sharpness,
    sharpness,
    stability_ratio,
    top_eigenvalues,
)
from warmup_jax.diagnostics.early_overfitting import early_overfitting, probe_early_overfitting
from warmup_jax.diagnostics.gradient_noise import Noise, gradient_noise, probe_gradient_noise
from warmup_jax.diagnostics.inputs import Diagnostic, Metrics, ProbeInput, StepInfo
from warmup_jax.diagnostics.norms import (
    angle,
    norms,
    relative_norm,
    relative_update,
    step_norms,
    step_relative_update,
)
from warmup_jax.diagnostics.similarity import linear_cka, probe_representation, probe_weight_distance, weight_distance
from warmup_jax.diagnostics.timing import Timing, due, first_due, split_timing

__all__ = [
    "DIAGNOSTICS",
    "REQUIREMENTS",
    "CurvatureCarry",
    "Diagnostic",
    "Metrics",
    "Noise",
    "ProbeInput",
    "Spectrum",
    "StepInfo",
    "Timing",
    "adam_edge",
    "adam_preconditioner",
    "adaptive_rate",
    "angle",
    "check",
    "critical_rate",
    "dead_units",
    "due",
    "each_layer",
    "early_overfitting",
    "edge",
    "effective_rate",
    "first_due",
    "from_config",
    "gradient_noise",
    "hessian_vector_product",
    "init_carries",
    "linear_cka",
    "measure_probe",
    "measure_step",
    "norms",
    "preconditioned",
    "rectifier",
    "relative_norm",
    "relative_update",
    "rho",
    "second_moment",
    "sharpness",
    "stability_ratio",
    "token_variance",
    "top_eigenvalues",
    "weight_distance",
]

Chosen = Mapping[str, Mapping[str, Any]]  # name of a diagnostic -> its arguments

DIAGNOSTICS = {
    "norms": Diagnostic("step", step_norms),
    "relative_update": Diagnostic("step", step_relative_update),
    "sharpness": Diagnostic(
        "probe", probe_sharpness, init_carry=curvature.init_carry, first_repeats=curvature.first_repeats
    ),
    "preconditioned_sharpness": Diagnostic(
        "probe",
        probe_preconditioned_sharpness,
        requires=("second_moment", "beta1", "beta2", "eps"),
        init_carry=curvature.init_carry,
        first_step=1,
        first_repeats=curvature.first_repeats,
    ),
    "gradient_noise": Diagnostic("probe", probe_gradient_noise),
    "adaptive_rate": Diagnostic("probe", probe_adaptive_rate, requires=("second_moment", "beta2", "eps"), first_step=1),
    "early_overfitting": Diagnostic("probe", probe_early_overfitting, first_step=1, compares_update=True),
    "weight_distance": Diagnostic("probe", probe_weight_distance, init_carry=similarity.init_carry),
    "representation": Diagnostic("probe", probe_representation, init_carry=similarity.init_carry),
    "dead_units": Diagnostic("probe", probe_dead_units, requires=("relus",)),
    "token_variance": Diagnostic("probe", probe_token_variance, requires=("tokens",)),
    # The carry is the last rate; 0 before the first search, which begins at the `guess`.
    "critical_rate": Diagnostic("probe", probe_critical_rate, init_carry=lambda params: jnp.zeros([])),
}

# Requirement -> the part of a run that meets it, for error messages.
REQUIREMENTS = {
    "beta1": "an optimizer with beta1",
    "beta2": "an optimizer with beta2",
    "eps": "an optimizer with eps",
    "second_moment": "an optimizer with one second moment of all parameters",
    "relus": "a model with ReLU units",
    "tokens": "a model of token sequences",
}

# Argument of a diagnostic -> its range in words, and the test of a value.
RANGES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "guess": ("numbers above 0, the first rate to try", lambda value: value > 0),
    "tolerance": ("numbers above 0 and below 1", lambda value: 0 < value < 1),
    "max_passes": ("1 and more, at most 1000", lambda value: 1 <= value <= 1000),
    "iterations": ("1 and more, at most 1000", lambda value: 1 <= value <= 1000),
    "count": ("integers from 1 to the number of iterations", lambda value: 1 <= value),
    "micro_batches": ("2 and more, a divisor of the examples", lambda value: 2 <= value),
}


def from_config(config: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], dict[str, Timing]]:
    """Reads the diagnostics that a config chooses.

    Args:
      config: `config.diagnostics`, name -> arguments; None instead of them drops a diagnostic.

    Returns:
      (name -> arguments of its function, name of a probe -> its timing).

    Raises:
      ValueError: for an unknown name, or a timing that is missing or not allowed.
    """
    chosen: dict[str, dict[str, Any]] = {}
    timings: dict[str, Timing] = {}
    for name, args in config.items():
        diagnostic = registry.lookup("diagnostic", DIAGNOSTICS, name)
        if args is None:  # dropped
            continue
        if not isinstance(args, Mapping):
            raise ValueError(f"diagnostics.{name}={args!r}; allowed: dicts of its arguments, and None")
        if diagnostic.kind == "probe":
            timings[name], chosen[name] = split_timing(name, args)
        else:
            chosen[name] = dict(args)
    return chosen, timings


def check(name: str, args: Mapping[str, Any], available: Collection[str]) -> None:
    """Raises a ValueError for an unknown diagnostic, arguments not its own, or a requirement the run does not meet.

    Args:
      name: a name in `DIAGNOSTICS`.
      args: the arguments of its function.
      available: the names in `REQUIREMENTS` that the run meets.
    """
    diagnostic = registry.lookup("diagnostic", DIAGNOSTICS, name)
    registry.check_arguments(f"diagnostic {name!r}", diagnostic.function, args, (diagnostic.kind,))
    missing = [REQUIREMENTS[need] for need in diagnostic.requires if need not in available]
    if missing:
        raise ValueError(f"diagnostic {name!r} needs {' and '.join(missing)}")


def check_values(name: str, args: Mapping[str, Any]) -> None:
    """Raises a ValueError for an argument of a diagnostic that is out of its range.

    Args:
      name: a name in `DIAGNOSTICS`.
      args: the arguments of its function; their types are right.
    """
    for argument, value in args.items():
        what, fits = RANGES.get(argument, ("", lambda value: True))
        if not fits(value):
            raise ValueError(f"diagnostics.{name}.{argument}={value!r}; allowed: {what}")


def measure_step(chosen: Chosen, step: StepInfo) -> Metrics:
    """Returns the metrics of the chosen step diagnostics; {} if there are none."""
    metrics: Metrics = {}
    for name, args in _of_kind(chosen, "step").items():
        metrics |= DIAGNOSTICS[name].function(step, **args)
    return metrics


def init_carries(chosen: Chosen, params: Any) -> dict[str, Any]:
    """Returns {name: first carry} of the chosen probes that carry a state from one probe to the next."""
    functions = {name: DIAGNOSTICS[name].init_carry for name in _of_kind(chosen, "probe")}
    return {name: init_carry(params) for name, init_carry in functions.items() if init_carry is not None}


def measure_probe(chosen: Chosen, probe: ProbeInput, carries: Mapping[str, Any]) -> tuple[Metrics, dict[str, Any]]:
    """Takes the chosen probes, each with its own carry.

    Args:
      chosen: name -> arguments; step diagnostics among them are ignored.
      probe: the state to measure; its `carry` is ignored.
      carries: from the last probe or `init_carries`.

    Returns:
      (metrics, carries).
    """
    metrics: Metrics = {}
    carries = dict(carries)
    for name, args in _of_kind(chosen, "probe").items():
        found, carry = DIAGNOSTICS[name].function(probe._replace(carry=carries.get(name)), **args)
        metrics |= found
        if name in carries:
            carries[name] = carry
    return metrics, carries


def _of_kind(chosen: Chosen, kind: str) -> dict[str, Mapping[str, Any]]:
    return {name: args for name, args in chosen.items() if DIAGNOSTICS[name].kind == kind}
