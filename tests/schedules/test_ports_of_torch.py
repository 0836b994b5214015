"""Ports of libraries around torch against plain-Python references, at other parameters than the vectors."""

import math
from bisect import bisect_right

import pytest
from test_ports import agree, half_cosine

from warmup_jax.schedules.ports import pytorch_warmup, timm, torch, transformers

LENGTHS = [(0, 20), (1, 20), (7, 20), (20, 20)]
lengths = pytest.mark.parametrize("warmup, total", LENGTHS)


@lengths
def test_transformers_linear_and_polynomial(warmup, total):
    def linear(t):
        return 0.3 * (t / warmup if t < warmup else max(0.0, (total - t) / max(1, total - warmup)))

    def polynomial(t):
        if t < warmup:
            return 0.3 * t / warmup
        return 0.01 if t >= total else 0.01 + 0.29 * (1 - (t - warmup) / (total - warmup)) ** 1.7

    agree(lambda: transformers.get_linear_schedule_with_warmup(0.3, warmup, total), linear, range(30))
    agree(
        lambda: transformers.get_polynomial_decay_schedule_with_warmup(0.3, warmup, total, 0.01, 1.7),
        polynomial,
        range(30) if warmup < total else range(total),
    )


@lengths
@pytest.mark.parametrize("num_cycles", [0.5, 1.0, 2.5, 3])
def test_transformers_cosines(warmup, total, num_cycles):
    def rate(t, least=0.0, ahead=0):
        q = min((t - warmup + ahead) / max(1, total - warmup), 1)
        return 0.3 * (least + (1 - least) * half_cosine(2 * num_cycles * q))

    def up(factor, t):
        return 0.3 * factor if t < warmup else rate(t)

    def restarts(t):
        q = (t - warmup) / max(1, total - warmup)
        return 0.3 * t / warmup if t < warmup else 0.0 if q >= 1 else 0.3 * half_cosine((num_cycles * q) % 1)

    def least(t):
        return 0.3 * t / warmup if t < warmup else rate(t, 0.2)

    def ahead(t):
        return 0.3 * (t + 1) / warmup if t < warmup else rate(t, 0.2, 1)

    def from_rate(t):
        return 0.3 * (0.4 + 0.6 * t / max(1, warmup - 1)) if t < warmup else rate(t, 0.2, 1)

    settings = (0.3, warmup, total, num_cycles)
    agree(
        lambda: transformers.get_cosine_schedule_with_warmup(*settings),
        lambda t: up(t / max(warmup, 1), t),
        range(total),
    )
    agree(lambda: transformers.get_cosine_with_hard_restarts_schedule_with_warmup(*settings), restarts, range(30))
    agree(lambda: transformers.get_cosine_with_min_lr_schedule_with_warmup(*settings, min_lr=0.06), least, range(30))
    named = transformers.get_cosine_with_min_lr_schedule_with_warmup_lr_rate
    agree(lambda: named(*settings, min_lr_rate=0.2), ahead, range(30))
    agree(lambda: named(*settings, min_lr_rate=0.2, warmup_lr_rate=0.4), from_rate, range(30))


@pytest.mark.parametrize("stable, decay, warmup", [(5, 9, 6), (0, 9, 6), (5, 0, 6), (-3, 9, 6), (5, 9, 0)])
def test_transformers_wsd(stable, decay, warmup):
    shapes = {
        "linear": (lambda x: x, lambda q: 1 - q),
        "1-sqrt": (lambda x: 1 - (1 - x) ** 0.5, lambda q: 1 - q**0.5),
        "cosine": (lambda x: 1 - half_cosine(x), lambda q: half_cosine(3 * q)),
    }
    for up, (rise, _) in shapes.items():
        for down, (_, fall) in shapes.items():

            def rate(t):
                if t < warmup:
                    factor = rise(t / warmup)
                elif t < warmup + stable:
                    factor = 1
                else:
                    factor = fall((t - warmup - stable) / decay) if t < warmup + stable + decay else 0
                return 0.3 * (0.1 + 0.9 * factor)

            agree(
                lambda: transformers.get_wsd_schedule(
                    0.3, warmup, decay, warmup + stable + decay, None, up, down, 0.1, num_cycles=1.5
                ),
                rate,
                range(30),
            )


def test_transformers_inverse_sqrt():
    for warmup, timescale in ((0, None), (7, None), (7, 50), (0, 3)):
        scale = timescale or warmup or 10_000
        agree(
            lambda: transformers.get_inverse_sqrt_schedule(0.3, warmup, timescale),
            lambda t: 0.3 * (t / warmup if t < warmup else ((t + scale - warmup) / scale) ** -0.5),
            range(60),
        )


@pytest.mark.parametrize("warmup", [0, 1, 6])
@pytest.mark.parametrize("prefix", [False, True])
@pytest.mark.parametrize("mult, limit", [(1.0, 1), (1.0, 3), (2.0, 3)])
def test_timm_cycles(warmup, prefix, mult, limit):
    def cycle_of(t):
        index, length = 0, 9.0
        while t >= length:
            t, length, index = t - length, length * mult, index + 1
        return index, t, length

    def curve(t, fall):
        index, since, length = cycle_of(t - warmup if prefix else t)
        return 0.02 + (0.3 * 0.7**index - 0.02) * fall(since, length) if index < limit else 0.02

    def rate(t, fall, target):
        if t < warmup:
            return 0.05 + t * (target - 0.05) / warmup
        return 0.3 if t == 0 else curve(t, fall)

    falls = {
        timm.CosineLRScheduler: (lambda s, n: half_cosine(s**1.3 / n**1.3), {"k_decay": 1.3}),
        timm.PolyLRScheduler: (lambda s, n: (1 - s**1.3 / n**1.3) ** 0.5, {"k_decay": 1.3}),
        timm.TanhLRScheduler: (lambda s, n: (1 - math.tanh(-5 * (1 - s / n) + 2 * s / n)) / 2, {"lb": -5.0, "ub": 2.0}),
    }
    for port, (fall, extra) in falls.items():
        target = curve(warmup, fall) if port is timm.TanhLRScheduler and not prefix else 0.3
        agree(
            lambda: port(
                0.3,
                9,
                lr_min=0.02,
                cycle_mul=mult,
                cycle_decay=0.7,
                cycle_limit=limit,
                warmup_t=warmup,
                warmup_lr_init=0.05,
                warmup_prefix=prefix,
                **extra,
            ),
            lambda t: rate(t, fall, target),
            range(90),
        )


def test_timm_steps_and_wsd():
    for warmup, prefix in ((0, False), (4, False), (4, True)):

        def rate(t, decay):
            clock = t - warmup if prefix else t
            return 0.05 + t * 0.25 / warmup if t < warmup else 0.3 if t == 0 else 0.3 * decay(clock)

        agree(
            lambda: timm.StepLRScheduler(0.3, 7, 0.5, warmup, 0.05, prefix),
            lambda t: rate(t, lambda s: 0.5 ** (s // 7)),
            range(40),
        )
        agree(
            lambda: timm.MultiStepLRScheduler(0.3, [1, 7, 9], 0.5, warmup, 0.05, prefix),
            lambda t: rate(t, lambda s: 0.5 ** bisect_right([1, 7, 9], s + 1)),
            range(40),
        )
    decays = {
        "linear": lambda q: 1 - q,
        "1-sqrt": lambda q: 1 - q**0.5,
        "cosine": half_cosine,
        "power": lambda q: 1 - q**1.5,
        "exp": lambda q: (0.2**q - 0.2) / 0.8,
    }
    for name, fall in decays.items():
        for stable, exponent in (("constant", 0), ("rsqrt", 0.5), ("power", 0.8)):

            def held_then_fallen(t):
                if t < 5:
                    return 0.05 + t * 0.05
                held = max(0.3 * (1 + (t - 5) / 5) ** -exponent, 0.12)
                return 0.12 + (held - 0.12) * fall(min(max(t - 5 - 13, 0) / 7, 1))

            agree(
                lambda: timm.WSDLRScheduler(0.3, 20, 7, 0.12, stable, None, 0.8, name, 1.5, 0.2, 5, 0.05),
                held_then_fallen,
                range(35),
            )


def chainable(lr, steps, *rules):
    """torch's chainable schedulers: each step multiplies the current rate by the rule of each."""
    rates = []
    for t in range(steps):
        for rule in rules:
            lr *= rule(t)
        rates.append(lr)
    return lambda t: rates[t]


def test_torch_by_recursion():
    def line(start, end, over):
        rise = end - start
        return lambda t: start if t == 0 else 1 if t > over else 1 + rise / (over * start + (t - 1) * rise)

    def constant(factor, over):
        return lambda t: factor if t == 0 else 1 / factor if t == over else 1

    multistep = lambda t: 0.5 ** [3, 8, 8, 20].count(t)
    exponential = lambda t: 0.9 if t else 1
    agree(lambda: torch.LinearLR(0.3, 0.1, 0.7, 6), chainable(0.3, 40, line(0.1, 0.7, 6)), range(40))
    agree(lambda: torch.ConstantLR(0.3, 0.2, 6), chainable(0.3, 40, constant(0.2, 6)), range(40))
    agree(lambda: torch.StepLR(0.3, 7, 0.4), chainable(0.3, 40, lambda t: 0.4 if t and t % 7 == 0 else 1), range(40))
    agree(lambda: torch.MultiStepLR(0.3, [3, 8, 8, 20], 0.5), chainable(0.3, 40, multistep), range(40))
    agree(lambda: torch.ExponentialLR(0.3, 0.9), chainable(0.3, 40, exponential), range(40))
    agree(
        lambda: torch.ChainedScheduler(
            0.3,
            [
                torch.LinearLR(0.3, 0.1, 0.7, 6),
                torch.ExponentialLR(0.3, 0.9),
                torch.MultiStepLR(0.3, [3, 8, 8, 20], 0.5),
            ],
        ),
        chainable(0.3, 40, line(0.1, 0.7, 6), exponential, multistep),
        range(40),
    )


def test_torch_sequential_and_cosines():
    pieces = [
        lambda t: 0.3 * (0.1 + 0.9 * min(t, 9) / 9),
        lambda t: 0.02 + 0.28 * half_cosine(min(t, 8) / 8),
        lambda t: 0.3 * 0.5 ** (t // 4),
    ]
    milestones = [5, 16]

    def sequential(t):
        index = bisect_right(milestones, t)
        return pieces[index](t - (milestones[index - 1] if index else 0))

    agree(
        lambda: torch.SequentialLR(
            [torch.LinearLR(0.3, 0.1, total_iters=9), torch.CosineAnnealingLR(0.3, 8, 0.02), torch.StepLR(0.3, 4, 0.5)],
            milestones,
        ),
        sequential,
        range(40),
    )

    def restarts(t, mult):
        length = 5
        while t >= length:
            t, length = t - length, length * mult
        return 0.02 + 0.28 * half_cosine(t / length)

    for mult in (1, 2, 3):
        agree(lambda: torch.CosineAnnealingWarmRestarts(0.3, 5, mult, 0.02), lambda t: restarts(t, mult), range(210))


@pytest.mark.parametrize("total, pct", [(50, 0.3), (50, 0.25), (31, 0.37), (10, 0.1), (9, 0.3)])
@pytest.mark.parametrize("three_phase", [False, True])
def test_torch_one_cycle(total, pct, three_phase):
    if three_phase and pct == 0.1:
        pytest.skip("torch divides by zero where the first phase is one update")
    for strategy, shape in (("cos", half_cosine), ("linear", lambda q: 1 - q)):

        def rate(t, low, high, turned, end):
            phases = [(pct * total - 1, low, high), (2 * pct * total - 2, high, turned), (total - 1, turned, end)]
            start = 0.0
            for stop, first, last in phases if three_phase else [phases[0], (total - 1, high, end)]:
                if t <= stop or stop == total - 1:
                    return last + (first - last) * shape((t - start) / (stop - start) if stop > start else 1)
                start = stop

        agree(
            lambda: torch.OneCycleLR(0.3, total, pct, strategy, 20.0, 500.0, three_phase),
            lambda t: rate(t, 0.015, 0.3, 0.015, 0.00003),
            range(total),
        )
        agree(
            lambda: torch.OneCycleLR_momentum(total, pct, strategy, 0.8, 0.9, three_phase),
            lambda t: rate(t, 0.9, 0.8, 0.9, 0.9),
            range(total),
        )


@pytest.mark.parametrize("mode", ["triangular", "triangular2", "exp_range"])
def test_torch_cyclic(mode):
    def rate(t):
        number, x = divmod(t, 9)
        height = x / 4 if x <= 4 else (9 - x) / 5
        return 0.02 + 0.28 * height * {"triangular": 1, "triangular2": 0.5**number, "exp_range": 0.97**t}[mode]

    agree(lambda: torch.CyclicLR(0.02, 0.3, 4, 5, mode, 0.97), rate, range(60))


def test_pytorch_warmup_truncates_its_periods():
    for beta2, period in ((0.95, 39), (0.99, 199), (0.9, 20)):
        agree(lambda: pytorch_warmup.UntunedLinearWarmup(beta2), lambda t: min(1, (t + 1) / period), range(250))
        agree(
            lambda: pytorch_warmup.UntunedExponentialWarmup(beta2),
            lambda t: 1 - math.exp(-(t + 1) / int(1 / (1 - beta2))),
            range(250),
        )
