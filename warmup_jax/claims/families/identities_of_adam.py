"""Identities of Adam and its relatives, I-4 to I-8: computed in seconds."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import special, stats

from warmup_jax import schedules, transforms
from warmup_jax.claims.claim import Claim, Criterion, Numbers
from warmup_jax.claims.families.certain import close, updates_of
from warmup_jax.diagnostics import adam_rate
from warmup_jax.numerics import rectification

BETA2 = (0.9, 0.98, 0.99, 0.999)


def effective_lengths(records: Mapping[str, Any]) -> Numbers:
    """Measures sum(1 - w) (1 - beta2) of untuned warmups and of RAdam, for each of `BETA2`."""
    found: Numbers = {"linear": [], "exponential": [], "radam": []}
    t = jnp.arange(40_000)
    for beta2 in BETA2:

        def length(w: jax.Array) -> float:
            # Over 40 time constants; beyond them there is rounding alone.
            return float(np.sum(1 - np.asarray(w, float)[: round(40 / (1 - beta2))]) * (1 - beta2))

        # These count updates from 1, so that their first factor is not 0, which shortens them by half an update.
        half = (1 - beta2) / 2
        found["linear"].append(length(schedules.untuned_linear_warmup(beta2)(t)) + half)
        found["exponential"].append(length(schedules.untuned_exponential_warmup(beta2)(t)) + half)
        found["radam"].append(length(adam_rate.rectifier(t + 1, beta2)))
    rectified = np.asarray(adam_rate.rectifier(t + 1, 0.999), float)
    exponential = np.asarray(schedules.untuned_exponential_warmup(0.999)(t), float)
    return found | {"largest_difference": float(np.abs(rectified - exponential).max())}


def rectification_begins(records: Mapping[str, Any]) -> Numbers:
    """Measures at which update RAdam begins to adapt: by its formula, in our optimizer and in that of optax."""

    def first(holds: np.ndarray) -> int:
        return int(np.argmax(holds)) + 1 if holds.any() else 0

    def first_adaptive(tx: optax.GradientTransformation, updates: int = 40) -> int:
        """Returns the first update of a constant gradient of 100 that is not as large as the gradient."""
        sizes = updates_of(tx, np.full(updates, 100.0))
        return first(np.abs(sizes) < 50)

    t = jnp.arange(1, 200)
    betas = (0.9, 0.99, 0.999, 0.9999)
    skip = transforms.scale_by_rectified_adam(degenerate="skip")
    return {
        "above_4": [first(np.asarray(adam_rate.rho(t, beta2)) > 4) for beta2 in betas],
        "from_5": [first(np.asarray(adam_rate.rho(t, beta2)) >= 5) for beta2 in betas],
        "ours_above_4": [first_adaptive(transforms.scale_by_rectified_adam(b2=b, threshold=4.0001)) for b in betas],
        "optax": [first_adaptive(optax.scale_by_radam(b2=beta2)) for beta2 in betas[:3]],
        "optax_at_0.9999": first_adaptive(optax.scale_by_radam(b2=betas[3])),
        "beta2_of_0.6": first_adaptive(transforms.scale_by_rectified_adam(b2=0.6, threshold=4.0001), 200),
        "updates_skipped": int(np.sum(updates_of(skip, np.ones(20)) == 0)),
    }


def variance_of_the_rate(records: Mapping[str, Any]) -> Numbers:
    """Measures the variance of the adaptive rate: exactly, to first order, and by simulation at rho = 20."""

    def exact(rho: float) -> float:
        ratio = np.exp(special.gammaln((rho - 1) / 2) - special.gammaln(rho / 2))
        return rho / (rho - 2) - rho / 2 * ratio**2

    def first_order(rho: float) -> float:
        return rho / (2 * (rho - 2) * (rho - 4))

    rhos = (5.0, 8.0, 20.0, 50.0)
    rates = np.sqrt(20 / stats.chi2(20).rvs(200_000, random_state=0))
    squared = float(rectification(jnp.float32(20.0), jnp.float32(500.0), jnp.bool_(True))) ** 2
    return {
        "ratio_5_to_500": exact(5.0) / exact(500.0),
        "errors_of_first_order": [first_order(rho) / exact(rho) - 1 for rho in rhos],
        "simulated_over_exact": float(rates.var() / exact(20.0)),
        "ours_over_first_order": squared / (first_order(500.0) / first_order(20.0)),
    }


def first_adam_update(records: Mapping[str, Any]) -> Numbers:
    """Measures the size of Adam's updates, over the rate, for gradients of several kinds."""
    adam = optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-12)
    noise = np.random.default_rng(0).normal(size=(400, 20_000))

    def rms(gradients: np.ndarray) -> np.ndarray:
        return np.sqrt(np.mean(np.square(updates_of(adam, gradients)), axis=1))

    of_noise = rms(noise)
    return {
        "first": np.abs(updates_of(adam, 10.0 ** np.arange(-3, 4)[None])[0]).tolist(),
        "noise": of_noise[[0, 1, 4, 9, 29, 99]].tolist(),
        "first_over_steady": float(of_noise[0] / of_noise[100:].mean()),
        "mean_is_1_sd": float(rms(1 + noise[:, :2000])[200:].mean()),
        "mean_is_3_sd": float(rms(3 + noise[:, :2000])[200:].mean()),
    }


def gi_adam(records: Mapping[str, Any]) -> Numbers:
    """Compares GI-Adam with Adam for a constant gradient."""
    beta2, gradients = 0.999, np.full(12_000, 7.0)
    ours = updates_of(transforms.scale_by_gi_adam(b2=beta2, eps=0.0), gradients)
    factor = np.sqrt(1 - beta2 ** np.arange(1.0, len(gradients) + 1))
    adam = updates_of(optax.scale_by_adam(b2=beta2, eps=0.0), gradients)
    return {
        "over_adam": float(np.max(np.abs(ours / (factor * adam) - 1))),
        "first": float(ours[0]),
        "length": float(np.sum(1 - ours) * (1 - beta2)),
    }


CLAIMS = (
    Claim(
        "I-4",
        "identities",
        "Ma and Yarats 2021; pytorch_warmup; Liu et al. 2020 (RAdam)",
        "By RAdam's own clock, which counts the updates before rectification, untuned linear and exponential warmup "
        "have the same effective length sum(1 - w) = 1 / (1 - beta2), and RAdam's is 1.39, 1.11, 1.07 and 1.03 times "
        "that for beta2 = 0.9, 0.98, 0.99 and 0.999.",
        "holds",
        seen=True,
        measure=effective_lengths,
        criteria=(
            close("untuned linear, over 1 / (1 - beta2)", "linear", [1.0] * 4, absolute=1e-3),
            close("untuned exponential, over 1 / (1 - beta2)", "exponential", [1.0] * 4, absolute=1e-3),
            close("RAdam, over 1 / (1 - beta2)", "radam", [1.389, 1.106, 1.069, 1.033], absolute=1e-3),
            close(
                "largest difference of RAdam's factor from the exponential", "largest_difference", 0.126, absolute=1e-3
            ),
        ),
    ),
    Claim(
        "I-5",
        "identities",
        "Liu et al. 2020 (RAdam), algorithm 2, section 4.2 and the official code",
        "RAdam's rectifier is first defined, rho > 4, at update 5 for every beta2 from 0.9 to 0.9999; its code and "
        "optax wait for rho >= 5, update 6, and the code's default makes no update before; for beta2 = 0.6 it never "
        "begins. (At beta2 = 0.9999 rounding in float32 makes optax begin at update 2.)",
        "holds",
        seen=True,
        measure=rectification_begins,
        criteria=(
            close("first update with rho > 4", "above_4", [5] * 4),
            close("first update with rho >= 5", "from_5", [6] * 4),
            close("first rectified update of ours at rho > 4", "ours_above_4", [5] * 4),
            close("first rectified update of optax for beta2 up to 0.999", "optax", [6] * 3),
            close("first rectified update of optax for beta2 = 0.9999 in float32", "optax_at_0.9999", 2),
            close("first rectified update for beta2 = 0.6, 0 for none in 200", "beta2_of_0.6", 0),
            close("updates of 0 with the code's default", "updates_skipped", 5),
        ),
    ),
    Claim(
        "I-6",
        "identities",
        "Liu et al. 2020 (RAdam), sections 4.2 and 5.3, equations 2 and 5",
        "The variance of the adaptive rate at rho = 5 is 250 times that at rho = 500, and the first-order form that "
        "defines RAdam's rectifier is worst where it is meant to help: 231 % too large at rho = 5, 57 % at 8, 14 % "
        "at 20, 5 % at 50.",
        "holds",
        seen=True,
        measure=variance_of_the_rate,
        criteria=(
            close("variance at rho = 5 over that at 500", "ratio_5_to_500", 250.0, relative=0.01),
            close(
                "errors of the first order at rho = 5, 8, 20, 50",
                "errors_of_first_order",
                [2.307, 0.570, 0.141, 0.049],
                absolute=1e-3,
            ),
            close("simulated over exact variance at rho = 20", "simulated_over_exact", 1.0, absolute=0.02),
            close("our rectifier over the first-order form", "ours_over_first_order", 1.0, relative=1e-5),
        ),
    ),
    Claim(
        "I-7",
        "identities",
        "Ma and Yarats 2021; Kosson et al. 2024",
        "Adam's first update has the size of the rate in every coordinate, whatever the gradient; for gradients of "
        "pure noise it is 4.4 times the steady one of sqrt((1 - beta1) / (1 + beta1)) = 0.229, and falls within 30 "
        "updates.",
        "holds",
        seen=True,
        measure=first_adam_update,
        criteria=(
            close("first update for gradients of 1e-3 to 1e3, in float32", "first", [1.0] * 7, absolute=1e-5),
            close(
                "RMS for noise at updates 1, 2, 5, 10, 30, 100",
                "noise",
                [1, 0.71, 0.45, 0.33, 0.24, 0.23],
                absolute=0.01,
            ),
            close("first over steady RMS for noise", "first_over_steady", 4.36, absolute=0.05),
            close("steady RMS for a mean of 1 standard deviation", "mean_is_1_sd", 0.72, absolute=0.01),
            close("steady RMS for a mean of 3 standard deviations", "mean_is_3_sd", 0.95, absolute=0.01),
        ),
    ),
    Claim(
        "I-8",
        "identities",
        "Kalra and Barkeshli 2024, section 6.2 and appendix I.2",
        "For a constant gradient GI-Adam is Adam times sqrt(1 - beta2^t): 0.0316 of its first update for beta2 = "
        "0.999, an effective length of 0.614 / (1 - beta2).",
        "holds",
        seen=True,
        measure=gi_adam,
        criteria=(
            Criterion(
                "largest relative difference from Adam with that factor", "R", "over_adam", parameters={"high": 1e-4}
            ),
            close("first update", "first", 0.0316, absolute=1e-4),
            close("effective length, over 1 / (1 - beta2)", "length", 0.614, absolute=2e-3),
        ),
    ),
)
