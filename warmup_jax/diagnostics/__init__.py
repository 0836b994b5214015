"""Diagnostics: what a run's literature argues about, measured while it trains, as pure functions.

Each file has plain functions of trees and arrays, and their forms `step_...(step)` and `probe_...(probe)` that a
config chooses by name from `DIAGNOSTICS`. All of them can be jitted and mapped over runs. To add one, write it in a
file of its own and enter it here. In use:

    chosen, timings = of_config(config)         # checks names and timings
    check(name, args, offered)                  # before anything is compiled, for each of them
    measure_step(chosen, Step(...))             # in the train step; {} for none of this kind
    carries = start_carries(chosen, params)     # with the first state; a part of what a loop carries
    metrics, carries = measure_probe(chosen, Probe(...), carries)

with `chosen` a dict of name -> its arguments.
"""

from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from warmup_jax import registry
from warmup_jax.diagnostics.activations import dead_units, probe_dead_units, probe_token_variance, token_variance
from warmup_jax.diagnostics.adam_rate import (
    adaptive_rate,
    effective_rate,
    probe_adaptive_rate,
    rectifier,
    rho,
    second_moment,
)
from warmup_jax.diagnostics.by_layer import by_layer, each_layer
from warmup_jax.diagnostics.critical_rate import critical_rate, probe_critical_rate
from warmup_jax.diagnostics.curvature import (
    Spectrum,
    adam_edge,
    adam_preconditioner,
    edge,
    hessian_vector_product,
    nothing_known,
    preconditioned,
    preconditioned_sharpness,
    probe_preconditioned_sharpness,
    probe_sharpness,
    restarts,
    sharpness,
    stability_ratio,
    top_eigenvalues,
)
from warmup_jax.diagnostics.early_overfitting import early_overfitting, probe_early_overfitting
from warmup_jax.diagnostics.gradient_noise import Noise, gradient_noise, noise_of_gradients, probe_gradient_noise
from warmup_jax.diagnostics.inputs import Diagnostic, Probe, Step
from warmup_jax.diagnostics.norms import (
    angle,
    norm_by_layer,
    norms,
    relative_norm,
    relative_update,
    step_norms,
    step_relative_update,
)
from warmup_jax.diagnostics.similarity import linear_cka, probe_representation, probe_weight_distance, weight_distance
from warmup_jax.diagnostics.timing import Timing, due, first_due, separated

__all__ = [
    "DIAGNOSTICS",
    "Diagnostic",
    "Noise",
    "Probe",
    "Spectrum",
    "Step",
    "Timing",
    "adam_edge",
    "adam_preconditioner",
    "adaptive_rate",
    "angle",
    "by_layer",
    "check",
    "critical_rate",
    "dead_units",
    "due",
    "each_layer",
    "early_overfitting",
    "edge",
    "effective_rate",
    "first_due",
    "gradient_noise",
    "hessian_vector_product",
    "linear_cka",
    "measure_probe",
    "measure_step",
    "noise_of_gradients",
    "norm_by_layer",
    "norms",
    "of_config",
    "preconditioned",
    "preconditioned_sharpness",
    "rectifier",
    "relative_norm",
    "relative_update",
    "rho",
    "second_moment",
    "sharpness",
    "stability_ratio",
    "start_carries",
    "token_variance",
    "top_eigenvalues",
    "weight_distance",
]


def _moments(params):
    """The parameters at initialisation, and at the end of a warmup that is yet to come."""
    return {"init": jax.tree.map(jnp.copy, params), "warmup": jax.tree.map(lambda w: jnp.full_like(w, jnp.nan), params)}


def _no_rate(params):
    """A start that `probe_critical_rate` replaces by its guess."""
    return jnp.zeros([])


DIAGNOSTICS = {
    "norms": Diagnostic("step", step_norms),
    "relative_update": Diagnostic("step", step_relative_update),
    "sharpness": Diagnostic("probe", probe_sharpness, start=nothing_known, restarts=restarts),
    "preconditioned_sharpness": Diagnostic(
        "probe",
        probe_preconditioned_sharpness,
        ("second_moment", "beta1", "beta2", "eps"),
        start=nothing_known,
        first=1,
        restarts=restarts,
    ),
    "gradient_noise": Diagnostic("probe", probe_gradient_noise),
    "adaptive_rate": Diagnostic("probe", probe_adaptive_rate, ("second_moment", "beta2", "eps"), first=1),
    "early_overfitting": Diagnostic("probe", probe_early_overfitting, first=1, before=True),
    "weight_distance": Diagnostic("probe", probe_weight_distance, start=_moments),
    "representation": Diagnostic("probe", probe_representation, start=_moments),
    "dead_units": Diagnostic("probe", probe_dead_units, ("relus",)),
    "token_variance": Diagnostic("probe", probe_token_variance, ("tokens",)),
    "critical_rate": Diagnostic("probe", probe_critical_rate, start=_no_rate),
}

# What a run lacks, where a diagnostic needs it.
LACKS = {
    "beta1": "an optimizer with beta1",
    "beta2": "an optimizer with beta2",
    "eps": "an optimizer with eps",
    "second_moment": "an optimizer with one second moment of all parameters",
    "relus": "a model with ReLU units",
    "tokens": "a model of token sequences",
}


def of_config(config: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, dict[str, Any]], dict[str, Timing]]:
    """What `config.diagnostics` chooses: (name -> its own arguments, name of a probe -> its timing).

    Raises:
      ValueError: for an unknown name, or a timing that is missing or not allowed.
    """
    chosen, timings = {}, {}
    for name, args in config.items():
        diagnostic = registry.lookup("diagnostic", DIAGNOSTICS, name)
        if not isinstance(args, Mapping):
            raise ValueError(f"diagnostics.{name} must be a dict of its arguments, got {args!r}")
        if diagnostic.kind == "probe":
            timings[name], chosen[name] = separated(name, args)
        else:
            chosen[name] = dict(args)
    return chosen, timings


def check(name: str, args: Mapping[str, Any], offered: Collection[str]) -> None:
    """Raises a ValueError if a diagnostic is not known, its arguments are not its own, or the run lacks what it needs.

    Args:
      name: of `DIAGNOSTICS`.
      args: exactly its own arguments.
      offered: what of `LACKS` the run has.
    """
    diagnostic = registry.lookup("diagnostic", DIAGNOSTICS, name)
    registry.check_arguments(f"diagnostic {name!r}", diagnostic.function, args, (diagnostic.kind,))
    missing = [LACKS[need] for need in diagnostic.needs if need not in offered]
    if missing:
        raise ValueError(f"diagnostic {name!r} needs {' and '.join(missing)}")


def of_kind(chosen: Mapping[str, Mapping[str, Any]], kind: str) -> dict[str, Mapping[str, Any]]:
    """Those of the chosen diagnostics that are of a kind, "step" or "probe"."""
    return {name: args for name, args in chosen.items() if DIAGNOSTICS[name].kind == kind}


def measure_step(chosen: Mapping[str, Mapping[str, Any]], step: Step) -> dict[str, jax.Array]:
    """The metrics of the chosen diagnostics that look at an update; {} if there are none."""
    metrics = {}
    for name, args in of_kind(chosen, "step").items():
        metrics |= DIAGNOSTICS[name].function(step, **args)
    return metrics


def start_carries(chosen: Mapping[str, Mapping[str, Any]], params: Any) -> dict[str, Any]:
    """What the chosen diagnostics carry from one probe to the next, before the first; name -> tree."""
    return {name: DIAGNOSTICS[name].start(params) for name in of_kind(chosen, "probe") if DIAGNOSTICS[name].start}


def measure_probe(chosen: Mapping[str, Mapping[str, Any]], probe: Probe, carries: Mapping[str, Any]):
    """(metrics, carries) of the chosen diagnostics that probe a state, each with its own carry."""
    metrics, carries = {}, dict(carries)
    for name, args in of_kind(chosen, "probe").items():
        found, carry = DIAGNOSTICS[name].function(probe._replace(carry=carries.get(name)), **args)
        metrics |= found
        if name in carries:
            carries[name] = carry
    return metrics, carries
