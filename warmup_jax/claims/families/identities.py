"""Identities of schedules and initialisations, I-1 to I-3 and I-9 to I-14: computed in seconds."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from warmup_jax import models, schedules
from warmup_jax.claims.claim import Claim, Criterion, Numbers
from warmup_jax.claims.families.certain import close, quick_jit, updates_of
from warmup_jax.diagnostics.critical_rate import critical_rate
from warmup_jax.models.initialisation import deepnorm, t_fixup

# A small decoder, its keys as in configs/common.py.
SIZES = dict(width=8, heads=2, ffn_width=16, max_positions=32)
KINDS = dict(
    norm_kind="layer", activation="relu", positions="sinusoidal", init="xavier", attention="own", dtype="float32"
)
FLAGS = dict(bias=True, tied=False, scale_embedding=True, qk_norm=False, scan_layers=True, remat=False, dropout=0.0)


def linear(records: Mapping[str, Any]) -> Numbers:
    """Measures linear warmup from 0.02 to 1 in 10 updates at its corners, and of length 1."""
    start, target, length = 0.02, 1.0, 10
    rate = schedules.combine(
        schedules.linear_warmup(length), schedules.constant_decay(), peak_lr=target, num_steps=100, init_lr=start
    )
    rates = np.asarray(jax.vmap(rate)(jnp.arange(20)), float)
    return {
        "corners": rates[[0, 4, 9, 10]].tolist(),
        "smallest_rise": float(np.diff(rates).min()),
        "length_1": np.asarray(schedules.linear_warmup(1)(jnp.arange(4)), float).tolist(),
        "first_rate_from_0": float(schedules.linear_warmup(length)(0)),
    }


def noam(records: Mapping[str, Any]) -> Numbers:
    """Measures height and place of the peak of Noam's schedule."""
    rates = np.asarray(schedules.noam(512, 4000)(jnp.arange(12_000)), float)
    return {"peak": float(rates.max()), "peak_update": int(rates.argmax()) + 1}


def shorter_noam(records: Mapping[str, Any]) -> Numbers:
    """Measures what a quarter of the warmup does to the peak of Noam's schedule and of `inverse_sqrt`."""

    def peak(rate: Callable[[jax.Array], jax.Array]) -> float:
        return float(rate(jnp.arange(12_000)).max())

    return {
        "ratio": peak(schedules.noam(512, 1000)) / peak(schedules.noam(512, 4000)),
        "ratio_of_inverse_sqrt": peak(schedules.inverse_sqrt(1e-3, 1000)) / peak(schedules.inverse_sqrt(1e-3, 4000)),
    }


def start_at_critical_rate(records: Mapping[str, Any]) -> Numbers:
    """Measures the updates that a ramp saves by its start at the critical rate, and the cost of finding that rate."""
    length, target, critical, steps = 1000, 1.0, 0.25, 3000
    whole = schedules.linear_warmup(length)(jnp.arange(steps))
    short = schedules.combine(
        schedules.linear_warmup(round(length * (1 - critical / target))),
        schedules.constant_decay(),
        peak_lr=target,
        num_steps=steps,
        init_lr=critical,
    )(jnp.arange(steps))

    def reaches(rates: jax.Array) -> int:
        return int(np.argmax(np.asarray(rates) >= target - 1e-6)) + 1

    sharpness = 37.0
    found, passes = critical_rate(lambda rate: (1 - rate * sharpness) ** 2, 1.0, guess=0.001, max_passes=15)
    return {
        "updates": reaches(short),
        "saved": reaches(whole) - reaches(short),
        "slope_ratio": float((short[1] - short[0]) / (whole[1] - whole[0])),
        "passes": int(passes),
        "critical_rate_over_2": float(found) * sharpness / 2,
    }


def folded_momentum(records: Mapping[str, Any]) -> Numbers:
    """Compares momentum SGD with the rate outside and inside of the velocity, over a ramp of 5 updates."""
    momentum, gradients = 0.9, np.random.default_rng(0).normal(1.0, 1.0, 12)
    rates = np.asarray(schedules.linear_warmup(5)(jnp.arange(12)), float)
    outside = np.cumsum(-rates * updates_of(optax.trace(decay=momentum), gradients))

    def folded(correct: bool) -> np.ndarray:
        weight, velocity, weights = 0.0, 0.0, []
        for t, gradient in enumerate(gradients):
            correction = rates[t] / rates[t - 1] if correct and t else 1.0
            velocity = momentum * correction * velocity + rates[t] * gradient
            weight -= velocity
            weights.append(weight)
        return np.array(weights)

    def error(weights: np.ndarray) -> float:
        return float(np.max(np.abs(weights - outside)) / np.max(np.abs(outside)))

    return {"with_correction": error(folded(True)), "without": error(folded(False))}


def linear_scaling(records: Mapping[str, Any]) -> Numbers:
    """Measures the highest rate of Goyal's recipe for batches of 256 to 8,192."""
    sizes = (256, 1024, 8192)
    return {"peaks": [float(schedules.goyal(size, 1_281_167)(jnp.arange(30_000)).max()) for size in sizes]}


def cooldowns(records: Mapping[str, Any]) -> Numbers:
    """Compares the 1 - sqrt cooldown with the linear one, inside of it and at its ends."""
    square_root, straight = (schedules.cooldown(100, 200, shape) for shape in ("sqrt", "linear"))
    inside, ends = jnp.arange(101, 200), jnp.array([100, 200])
    return {
        "largest_difference_inside": float((square_root(inside) - straight(inside)).max()),
        "differences_at_the_ends": np.asarray(square_root(ends) - straight(ends), float).tolist(),
    }


def deepnorm_constants(records: Mapping[str, Any]) -> Numbers:
    """Measures the constants of DeepNorm for 6, 12 and 100 layers."""
    found = [deepnorm(None, depth) for depth in (6, 12, 100)]
    return {"alphas": [alphas["decoder"] for alphas, _ in found], "betas": [betas["decoder"] for _, betas in found]}


def begin_as_identity(records: Mapping[str, Any]) -> Numbers:
    """Measures how far fresh ReZero and zero-gamma networks are from those without their blocks."""
    tokens = np.arange(6, dtype=np.int32)[None]
    deep, shallow = (_decoder("rezero", depth=depth) for depth in (4, 1))

    @quick_jit
    def logits(key: jax.Array) -> list[jax.Array]:
        params, _ = deep.init(key)
        first = params | {"decoder": jax.tree.map(lambda leaf: leaf[:1], params["decoder"])}
        both = (deep, params), (shallow, first)
        return [model.apply(weights, {}, tokens, train=True, key=None)[0] for model, weights in both]

    form = dict(form="cifar", depth=8, width=0.25, shortcut="A", stem="3x3", zero_gamma=True, dtype="float32")
    resnet = models.build("resnet", num_classes=4, input_shape=(8, 8, 3), **form)
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype(np.float32)

    @quick_jit
    def outputs(key: jax.Array) -> list[jax.Array]:
        params, statistics = resnet.init(key)
        # The convolutions of a block mean nothing while the scale of its last norm is 0.
        shaken = {
            name: jax.tree.map(lambda leaf: leaf + 1, block) | {"norm2": block["norm2"]} if "block" in name else block
            for name, block in params.items()
        }
        return [resnet.apply(weights, statistics, images, train=True, key=None)[0] for weights in (params, shaken)]

    of_rezero, of_resnet = logits(jax.random.key(0)), outputs(jax.random.key(0))
    return {
        "rezero": float(np.max(np.abs(of_rezero[0] - of_rezero[1]))),
        "zero_gamma": float(np.max(np.abs(of_resnet[0] - of_resnet[1]))),
        "t_fixup_factor_of_16_layers": t_fixup(None, 16)["decoder"],
    }


def _decoder(norm: str, depth: int) -> models.Model:
    return models.build("decoder", num_classes=11, input_shape=(6,), norm=norm, depth=depth, **SIZES, **KINDS, **FLAGS)


CLAIMS = (
    Claim(
        "I-1",
        "identities",
        "Kalra and Barkeshli 2024, section 2",
        "Linear warmup is eta_init + (eta_target - eta_init) t / T with t from 1: T = 1 is the constant schedule, "
        "and no update has a rate of 0.",
        "holds",
        seen=True,
        measure=linear,
        criteria=(
            close("rates of updates 1, 5, 10 and 11", "corners", [0.118, 0.51, 1.0, 1.0], absolute=1e-6),
            Criterion("never falls", "R", "smallest_rise", parameters={"low": 0.0}),
            close("T = 1 is constant", "length_1", [1.0] * 4, absolute=1e-6),
            close("from 0 the first rate is 1/T", "first_rate_from_0", 0.1, absolute=1e-6),
        ),
    ),
    Claim(
        "I-2",
        "identities",
        "Vaswani et al. 2017, section 5.3",
        "Noam's schedule for d = 512 and W = 4000 peaks at update W, with a rate of 6.99e-4.",
        "holds",
        seen=True,
        measure=noam,
        criteria=(
            close("height of the peak", "peak", 6.99e-4, absolute=5e-7),
            close("update of the peak", "peak_update", 4000),
        ),
    ),
    Claim(
        "I-3",
        "identities",
        "Popel and Bojar 2018, section 4.6, footnote 26",
        "A quarter of the warmup doubles the peak of Noam's schedule, so that less warmup there means two things at "
        "once; inverse_sqrt keeps its peak.",
        "holds",
        seen=True,
        measure=shorter_noam,
        criteria=(
            close("ratio of the peaks of Noam's schedule", "ratio", 2.0, relative=1e-6),
            close("ratio of the peaks of inverse_sqrt", "ratio_of_inverse_sqrt", 1.0, relative=1e-6),
        ),
    ),
    Claim(
        "I-9",
        "identities",
        "Kalra and Barkeshli 2024, section 6.1",
        "A ramp of T updates that starts at the critical rate instead of 0 ends after T (1 - critical / target) "
        "updates, and the critical rate is found within 15 forward passes, at most a tenth too large.",
        "holds",
        seen=True,
        measure=start_at_critical_rate,
        criteria=(
            close("updates of a ramp of 1000 from a quarter of the target", "updates", 750),
            close("updates that are saved", "saved", 250),
            close("slope over that of the whole ramp", "slope_ratio", 1.0, relative=1e-4),
            Criterion("forward passes of the search", "R", "passes", parameters={"low": 1, "high": 15}),
            Criterion(
                "critical rate of a quadratic, over 2 / sharpness",
                "R",
                "critical_rate_over_2",
                parameters={"low": 1.0, "high": 1.11},
            ),
        ),
    ),
    Claim(
        "I-10",
        "identities",
        "Goyal et al. 2017, section 3, remark 2",
        "Momentum SGD with the rate folded into the velocity needs the correction eta_{t+1} / eta_t: with it the "
        "weights are those of the usual form, without it they differ by more than 1 % over a ramp of 5 updates.",
        "holds",
        seen=True,
        measure=folded_momentum,
        criteria=(
            Criterion("relative difference with the correction", "R", "with_correction", parameters={"high": 1e-6}),
            Criterion("relative difference without", "R", "without", parameters={"low": 0.01}),
        ),
    ),
    Claim(
        "I-11",
        "identities",
        "Goyal et al. 2017, section 5.1",
        "The linear scaling rule is 0.1 kn / 256: 3.2 for a batch of 8,192.",
        "holds",
        seen=True,
        measure=linear_scaling,
        criteria=(close("peaks for batches of 256, 1,024 and 8,192", "peaks", [0.1, 0.4, 3.2], relative=1e-6),),
    ),
    Claim(
        "I-12",
        "identities",
        "Haegele et al. 2024",
        "The 1 - sqrt cooldown lies below the linear one everywhere inside the cooldown, and meets it at both ends.",
        "holds",
        seen=True,
        measure=cooldowns,
        criteria=(
            Criterion("largest difference inside", "R", "largest_difference_inside", parameters={"high": -1e-6}),
            close("differences at both ends", "differences_at_the_ends", [0.0, 0.0], absolute=1e-6),
        ),
    ),
    Claim(
        "I-13",
        "identities",
        "Wang et al. 2022 (DeepNet)",
        "DeepNorm for one stack of N layers has alpha = (2N)^(1/4) and beta = (8N)^(-1/4).",
        "holds",
        seen=True,
        measure=deepnorm_constants,
        criteria=(
            close("alpha for 6, 12, 100 layers", "alphas", [12**0.25, 24**0.25, 200**0.25], relative=1e-6),
            close("beta for 6, 12, 100 layers", "betas", [48**-0.25, 96**-0.25, 800**-0.25], relative=1e-6),
        ),
    ),
    Claim(
        "I-14",
        "identities",
        "Goyal et al. 2017, section 5.1; Bachlechner et al. 2020; Huang et al. 2020",
        "A fresh ReZero or zero-gamma network computes what it would without its residual branches; T-Fixup, which "
        "only scales them down, by 0.335 for 16 layers, is no identity. (Fixup has no model here yet and is not "
        "tried.)",
        "holds",
        seen=True,
        measure=begin_as_identity,
        criteria=(
            Criterion("largest change of ReZero's logits by 3 more layers", "R", "rezero", parameters={"high": 1e-5}),
            Criterion(
                "largest change of zero-gamma's logits by other weights", "R", "zero_gamma", parameters={"high": 1e-5}
            ),
            close("T-Fixup's factor for 16 layers", "t_fixup_factor_of_16_layers", 0.335, relative=1e-6),
        ),
        needs="a Fixup ResNet",
    ),
)
