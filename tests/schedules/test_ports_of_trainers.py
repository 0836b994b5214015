"""Ports of training programs against plain-Python references, at other parameters than the vectors."""

import importlib
import math
from bisect import bisect_right

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_ports import agree, double_precision, half_cosine

from warmup_jax.schedules.ports import (
    big_vision,
    deepspeed,
    detectron2,
    epfml,
    fairseq,
    init2winit,
    levanter,
    maxtext,
    megatron,
    nanodo,
    nanogpt,
    optax,
    pytorch_optimizer,
    t5x,
    torchtitan,
    why_warmup,
)


@pytest.mark.parametrize("warmup", [0, 1, 6])
def test_fairseq(warmup):
    def rise(t, first):
        return first + t * (0.3 - first) / warmup

    def cosine(t, mult, shrink):
        if t < warmup:
            return rise(t, 0.02)
        t, length, index = t - warmup, 11, 0
        while t >= length:
            t, length, index = t - length, length * mult, index + 1
        return shrink**index * (0.02 + 0.28 * half_cosine(t / length))

    for mult, shrink in ((1.0, 0.1), (2.0, 0.5)):
        agree(
            lambda: fairseq.cosine(0.3, warmup, -1, 0.02, mult, 11, shrink),
            lambda t: cosine(t, mult, shrink),
            range(70),
        )
    agree(
        lambda: fairseq.polynomial_decay(0.3, warmup, 0.02, 1.7, 25),
        lambda t: (
            0.3 * t / warmup
            if warmup and t <= warmup
            else 0.02
            if t >= 25
            else 0.02 + 0.28 * (1 - (t - warmup) / (25 - warmup)) ** 1.7
        ),
        range(40),
    )
    agree(
        lambda: fairseq.step(0.3, warmup, 0.05, 0.02, 4, 0.4),
        lambda t: rise(t, 0.05) if t < warmup else max(0.3 * 0.4 ** ((t - warmup) // 4), 0.02),
        range(40),
    )
    agree(
        lambda: fairseq.tri_stage(0.3, warmup, 5, 9, None, 0.1, 0.05),
        lambda t: rise(t, 0.03) if t < warmup else 0.3 * 0.05 ** (min(max(t - warmup - 5, 0), 9) / 9),
        range(40),
    )
    if warmup:
        agree(
            lambda: fairseq.inverse_sqrt(0.3, warmup),
            lambda t: rise(t, 0.0) if t < warmup else 0.3 * (warmup / t) ** 0.5,
            range(90),
        )


def test_fairseq_of_epochs_and_triangles():
    def fixed(t):
        epoch = t // 5 + 1
        rate = [0.3, 0.2, 0.1][min(epoch - 1, 2)] if epoch < 4 else 0.1 * 0.5 ** (epoch + 1 - 4)
        return rate * min(1, (t + 1) / 7)

    agree(lambda: fairseq.fixed([0.3, 0.2, 0.1], 4, 0.5, 7, 5), fixed, range(40))
    for shrink_min in (False, True):

        def triangular(t):
            number = t // 10
            low = 0.02 * 0.6**number if shrink_min else 0.02
            return low + (0.3 * 0.6**number - low) * max(0, 1 - abs(t / 5 - 2 * (number + 1) + 1))

        agree(lambda: fairseq.triangular(0.02, 0.3, 11, 0.6, shrink_min), triangular, range(60))


@pytest.mark.parametrize("warmup", [0, 1, 6, 29])
def test_megatron(warmup):
    after = {
        "constant": lambda t: 0.3,
        "linear": lambda t: 0.3 - 0.28 * (t - warmup) / (30 - warmup),
        "cosine": lambda t: 0.02 + 0.28 * half_cosine((t - warmup) / (30 - warmup)),
        "inverse-square-root": lambda t: max(0.02, 0.3 * max(warmup, 1) ** 0.5 / max(t, 1) ** 0.5),
    }

    def rate(t, style):
        if warmup and t <= warmup:
            return 0.01 + 0.29 * t / warmup
        return 0.02 if t > 30 and style != "constant" else after[style](t)

    for style in after:
        agree(lambda: megatron.get_lr(0.01, 0.3, 0.02, warmup, 30, style), lambda t: rate(t, style), range(50))
    for style, fall in {
        "linear": lambda q: 1 - q,
        "cosine": half_cosine,
        "exponential": lambda q: 2 * 0.5**q - 1,
        "minus_sqrt": lambda q: 1 - q**0.5,
    }.items():
        after["WSD"] = lambda t: 0.02 + 0.28 * fall(max(t - 18, 0) / 12)
        agree(
            lambda: megatron.get_lr(0.01, 0.3, 0.02, warmup, 30, "WSD", 12, style), lambda t: rate(t, "WSD"), range(50)
        )
    agree(lambda: megatron.get_wd(0.01, 0.2, 17, "linear"), lambda t: 0.01 + 0.19 * min(t, 17) / 17, range(30))


@pytest.mark.parametrize("warmup", [0, 1, 2, 7, 20])
@pytest.mark.parametrize("kind", ["log", "linear"])
def test_deepspeed(warmup, kind):
    steps = max(2, warmup)

    def rise(i):
        return math.log(i + 1) / math.log(steps) if kind == "log" else i / steps

    def late(curve, at_first):
        return lambda t: curve(t - 1) if t else at_first

    agree(
        lambda: deepspeed.WarmupLR(0.02, 0.3, warmup, kind),
        late(lambda i: 0.02 + 0.28 * (rise(i) if i < steps else 1), 0.02),
        range(40),
    )
    agree(
        lambda: deepspeed.WarmupDecayLR(20, 0.02, 0.3, warmup, kind),
        late(lambda i: 0.02 + 0.28 * (rise(i) if i < steps else max(0, (20 - i) / max(1, 20 - steps))), 0.02),
        range(40),
    )
    if steps < 20:
        agree(
            lambda: deepspeed.WarmupCosineLR(0.3, 20, 0.1, warmup, 0.05, kind),
            late(
                lambda i: (
                    0.3
                    * (0.1 + 0.9 * rise(i) if i < steps else 0.05 + 0.95 * half_cosine((i - steps + 1) / (20 - steps)))
                ),
                0.0,
            ),
            range(21),
        )


def test_detectron2():
    for rescale in (False, True):
        for method in ("linear", "constant"):

            def rate(t):
                inner = lambda where: 1.0 - 0.8 * where
                if t >= 15:
                    return 0.3 * inner((t - 15) / 45 if rescale else t / 60)
                target = inner(0 if rescale else 0.25)
                return 0.3 * (0.1 + (target - 0.1) * t / 15 if method == "linear" else 0.1)

            agree(
                lambda: detectron2.LRMultiplier(
                    0.3,
                    detectron2.WarmupParamScheduler(
                        detectron2.LinearParamScheduler(1.0, 0.2), 0.1, 0.25, method, rescale
                    ),
                    60,
                ),
                rate,
                range(60),
            )
    agree(
        lambda: detectron2.LRMultiplier(0.3, detectron2.MultiStepParamScheduler([1, 0.1, 0.02], 90, [30, 60]), 90),
        lambda t: 0.3 * [1, 0.1, 0.02][bisect_right([30, 60], t)],
        range(90),
    )


def test_big_vision_units_and_decays():
    def rate(t, curve, warmup, cooldown):
        return 0.3 * curve(t) * min(1, t / warmup) * max(0, min(1, (40 - t) / cooldown))

    units = {"steps": (6, 5), "epochs": (0.55, 0.5), "examples": (52, 41), "percent": (0.15, 0.12)}
    for unit, (up, down) in units.items():
        agree(
            lambda: big_vision.create_learning_rate_schedule(
                40, 8, 80, 0.3, "cosine", **{f"warmup_{unit}": up, f"cooldown_{unit}": down}
            ),
            lambda t: rate(t, lambda t: half_cosine(max(t - 6, 0) / 34 if t < 40 else 1), 6, 5),
            range(50),
        )
    agree(
        lambda: big_vision.create_learning_rate_schedule(
            40, 8, 80, 0.3, "rsqrt", warmup_steps=6, cooldown_steps=5, timescale_examples=80, shift=3
        ),
        lambda t: rate(t, lambda t: (1 + (max(t - 6, 0) + 3) / 10) ** -0.5, 6, 5),
        range(50),
    )
    agree(
        lambda: big_vision.create_learning_rate_schedule(
            40, 512, None, 0.3, "stair", True, steps=[3, 9], mults=[0.5, 0.0]
        ),
        lambda t: 0.6 * [1, 0.5, 0.0][bisect_right([3, 9], t)],
        range(50),
    )
    with pytest.raises(ValueError, match="give one of warmup_steps"):
        big_vision.create_learning_rate_schedule(40, warmup_steps=1, warmup_percent=0.1)


def test_t5x_factors():
    factors = {
        "constant": lambda t: 0.3,
        "linear_warmup": lambda t: min(1, t / 6),
        "rsqrt_decay": lambda t: max(t, 6) ** -0.5,
        "rsqrt_normalized_decay": lambda t: (6 / max(t, 6)) ** 0.5,
        "decay_every": lambda t: 0.5 ** (t // 4),
        "cosine_decay": lambda t: half_cosine(max(0, t - 6) / 9 % 1),
    }
    for name, factor in factors.items():
        agree(
            lambda: t5x.create_learning_rate_scheduler(f"constant * linear_warmup*{name}", 0.3, 6, 0.5, 4, 9, 2),
            lambda t: max(0.3 * min(1, max(t - 2, 0) / 6) * factor(max(t - 2, 0)), 1e-8),
            range(60),
        )
    agree(
        lambda: t5x.create_learning_rate_scheduler("linear_decay", 0.3, 6, 0.02),
        lambda t: max(0.3 * min(t / 6, 1 + 0.02 * (6 - t)), 1e-8),
        range(80),
    )
    with pytest.raises(ValueError, match="unknown factor 'linear_warmpu'"):
        t5x.create_learning_rate_scheduler("linear_warmpu")


def test_levanter_cycles():
    def rate(t, decay=8, rewarmup=4):
        start = 0 if t < 30 else 30
        warm = 3 if t < 30 else rewarmup
        since = t - start
        if since < warm:
            first = 0.0 if start == 0 else 0.03
            return first + (0.3 - first) * since / warm
        return 0.3 - 0.27 * min(max(since - 30 + decay, 0), decay) / decay

    settings = dict(learning_rate=0.3, min_lr_ratio=0.1, warmup=0.1, decay=8, rewarmup=4, lr_schedule="linear")
    for cycles in (
        {"cycles": 2},
        {"cycles": [30]},
        {"cycle_length": 30},
        {"cycle_length": 0.5},
        {"cycle_length": [30]},
    ):
        agree(lambda: levanter.lr_scheduler(60, **settings, **cycles), rate, range(70))

    def cooled(t):
        if t < 6:
            return 0.3 * t / 6
        held = 0.3 * (10_000 / max(t, 10_000)) ** 0.5
        return held if t < 50 else 0.3 - 0.27 * min(t - 50, 10) / 10

    agree(lambda: levanter.lr_scheduler(60, 0.3, 0.1, 6, cooldown=10, lr_schedule="inv_sqrt"), cooled, range(70))
    agree(
        lambda: levanter.lr_scheduler(60, 0.3, 0.1, 6, lr_schedule="inv"),
        lambda t: 0.3 * t / 6 if t < 6 else max(0.3 / (9 * max(t - 6, 1) / 54 + 1), 0.03),
        range(70),
    )


@pytest.mark.parametrize("fraction", [0.0, 0.17, 1.0])
@pytest.mark.parametrize("steps", [30, 40])
def test_maxtext(fraction, steps):
    warmup = int(30 * fraction)

    def rate(t, start, length, shape):
        if t >= 30 and steps > 30:
            return 0.0
        q = (t - start) / (length - 1) if length > 1 else 1
        return 0.3 * t / warmup if t < warmup else 0.3 if t < start or not length else 0.06 + 0.24 * shape(q)

    agree(
        lambda: maxtext.create_learning_rate_schedule(
            0.3, steps, "cosine", 0.2, warmup_steps_fraction=fraction, learning_rate_schedule_steps=30
        ),
        lambda t: rate(t, warmup, 30 - warmup, half_cosine),
        range(30),
    )
    if fraction < 1:
        for style, shape in (("linear", lambda q: 1 - min(q, 1)), ("cosine", half_cosine)):  # the cosine rises again
            agree(
                lambda: maxtext.create_learning_rate_schedule(0.3, steps, "wsd", 0.2, 0.25, style, fraction, 30),
                lambda t: rate(t, 23, 7, shape),
                range(40),
            )


def test_schedules_of_language_models():
    for warmup, ratio in ((0, None), (6, None), (6, 0.3), (6, 0.9), (20, 0.3), (25, None)):
        capped = min(warmup, 20)
        decay = min(20 - capped if ratio is None else round(20 * ratio), 20 - capped)

        def titan(t):
            if t < capped:
                return 0.3 * (t + 1) / capped
            q = (t + 1 - (21 - decay)) / decay if t >= 21 - decay else 0
            return 0.3 * (0.1 + 0.9 * (1 - q**0.5))

        agree(lambda: torchtitan.build_lr_schedulers(0.3, 20, warmup, ratio, "sqrt", 0.1), titan, range(20))
    for warmup in (0, 1, 6):
        agree(
            lambda: nanogpt.get_lr(warmup, 20, 0.3, 0.02),
            lambda t: (
                0.3 * (t + 1) / (warmup + 1)
                if t < warmup
                else 0.02 + 0.28 * half_cosine(min((t - warmup) / (20 - warmup), 1))
            ),
            range(30),
        )
    for text, decay in (("constant_linear_decay_30p", 6), ("constant_linear_decay_7", 7)):
        agree(
            lambda: nanodo.get_learning_rate_schedule(0.01, 0.3, 5, 20, 0.02, text),
            lambda t: 0.01 + 0.29 * t / 5 if t < 5 else 0.3 - 0.28 * min(max(t - 20 + decay, 0) / decay, 1),
            range(30),
        )
    shapes = {
        "linear": lambda q: 1 - q,
        "cosine": half_cosine,
        "miror_cosine": lambda q: 2 * (1 - q) - half_cosine(q),
        "square": lambda q: 1 - q**2,
        "sqrt": lambda q: 1 - q**0.5,
    }
    for name, shape in shapes.items():
        agree(
            lambda: epfml.wsd_schedule(0.3, 33, 0.1, 5, 20, 0.4, name),
            lambda t: 0.3 * (t / 5 + (1 - t / 5) / 20 if t < 5 else 0.1 + 0.9 * shape(min(max(t - 20, 0) / 13, 1))),
            range(50),
        )
    for final in (0.1, 0.0):
        agree(
            lambda: epfml.wsd_schedule(0.3, 33, final, 5, 20, 0.4, "exp"),
            lambda t: 0.3 * (t / 5 + (1 - t / 5) / 20 if t < 5 else final ** (min(max(t - 20, 0) / 13, 1))),
            range(50),
        )


def test_the_gradient_of_a_fall_to_zero_is_finite():
    slope = jax.grad(lambda final: epfml.wsd_schedule(0.3, 33, final, 5, 20, 0.4, "exp")(25))
    assert np.isfinite(slope(0.0)) and slope(0.1) > 0


def test_research_schedules():
    def mlperf(t):
        t = min(t, 25)
        return 0.1 + 2.9 * (t / 6) ** 2 if t <= 6 else 0.01 + 2.99 * (1 - (t - 6) / 25) ** 1.5

    agree(lambda: init2winit.mlperf_polynomial(3.0, 6, 30, 1.5, 0.1, 0.01, 25, 2.0), mlperf, range(40))
    agree(
        lambda: init2winit.piecewise_constant_schedule(0.3, [5, 9], [0.5, 0.1]),
        lambda t: 0.3 * [1, 0.5, 0.1][(5 < t) + (9 < t)],
        range(20),
    )
    agree(
        lambda: init2winit.compound("constant * linear_warmup * cosine", 0.3, 6, 30),
        lambda t: 0.3 * min(1, t / 6) * half_cosine(max(0, t - 6) / 23),
        range(30),
    )
    agree(
        lambda: why_warmup.train_schedule(0.01, 0.3, 0.02, 6, 30, 1.5, 0.7),
        lambda t: 0.01 + 0.29 * ((t + 1) / 6) ** 1.5 if t < 6 else 0.02 + 0.28 * half_cosine((t - 4) / 25) ** 0.7,
        range(30),
    )
    for kind, shape in {
        "1-sqrt": lambda q: 1 - q**0.5,
        "linear": lambda q: 1 - q,
        "1-square": lambda q: 1 - q**2,
        "cosine": lambda q: 0.1 + 0.9 * half_cosine(q),
    }.items():
        agree(
            lambda: pytorch_optimizer.get_wsd_schedule(0.3, 5, 6, 7, 0.1, cooldown_type=kind),
            lambda t: 0.3 * (t / 5 if t < 5 else 1 if t < 11 else shape((t - 11) / 7) if t < 18 else 0.1),
            range(30),
        )


def test_optax_itself():
    """The real optax, over its own arguments."""
    real = importlib.import_module("optax")
    cases = [
        ("polynomial_schedule", (0.3, 0.01, 1.7, 9, 3)),
        ("linear_schedule", (0.0, 0.3, 9, 2)),
        ("cosine_decay_schedule", (0.3, 20, 0.1, 1.5)),
        ("warmup_constant_schedule", (0.01, 0.3, 7)),
        ("warmup_cosine_decay_schedule", (0.01, 0.3, 7, 25, 0.02, 2.0)),
        ("exponential_decay", (0.3, 5, 0.7, 3, True, 0.05)),
        ("exponential_decay", (0.1, 5, 1.2, 0, False, 0.3)),
        ("warmup_exponential_decay_schedule", (0.0, 0.3, 7, 5, 0.7, 2, False, 0.05)),
        ("cosine_onecycle_schedule", (31, 0.3, 0.37, 20.0, 500.0)),
        ("linear_onecycle_schedule", (31, 0.3, 0.37, 0.8, 20.0, 500.0)),
    ]
    for name, args in cases:
        with double_precision(True):
            expected = np.asarray(jax.vmap(getattr(real, name)(*args))(jnp.arange(256)))
        agree(lambda: getattr(optax, name)(*args), lambda t: expected[t], range(40))
