"""Every port under every transformation, and against plain-Python references at other parameters than the vectors."""

import doctest
import importlib
import inspect
import math
import pkgutil
from bisect import bisect_right
from typing import NamedTuple

import jax
import jax.experimental
import jax.numpy as jnp
import numpy as np
import pytest

from warmup_jax.schedules import ports
from warmup_jax.schedules.ports import (PORTS, big_vision, deepspeed, detectron2, epfml, fairseq, init2winit, levanter,
                                        maxtext, megatron, nanodo, nanogpt, optax, pytorch_optimizer, pytorch_warmup,
                                        t5x, timm, torch, torchtitan, transformers, why_warmup)

W, T = 6, 30
TIMES = np.arange(2 * T + 1)
double_precision = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64


class Toy(NamedTuple):
    """Arguments of a port, and which of them are its peak and its warmup."""
    args: dict
    peak: str | None = None
    warmup: str | None = None
    first: int = 0  # the shortest warmup that the library takes


def hf(**args):
    return Toy({"lr": 0.1, "num_warmup_steps": W, **args}, "lr", "num_warmup_steps")


def timm_toy(**args):
    return Toy({"lr": 0.1, "warmup_t": W, "warmup_lr_init": 0.01, **args}, "lr", "warmup_t")


def fairseq_toy(**args):
    return Toy({"lr": 0.1, "warmup_updates": W, **args}, "lr", "warmup_updates")


def cycle(peak):
    return {"init_value": 0.0, "peak_value": peak, "warmup_steps": 3, "decay_steps": 15}


HALF = torch.ConstantLR(0.1, 0.5, 3)
LINE = detectron2.LinearParamScheduler(1.0, 0.1)
TOYS = {
    "big_vision.create_learning_rate_schedule":
        Toy(dict(total_steps=T, base=0.1, decay_type="rsqrt", timescale=10, warmup_steps=W, cooldown_steps=5),
            "base", "warmup_steps"),
    "deepspeed.WarmupLR": Toy(dict(warmup_max_lr=0.1, warmup_num_steps=W), "warmup_max_lr", "warmup_num_steps"),
    "deepspeed.WarmupDecayLR":
        Toy(dict(total_num_steps=T, warmup_max_lr=0.1, warmup_num_steps=W), "warmup_max_lr", "warmup_num_steps"),
    "deepspeed.WarmupCosineLR": Toy(dict(lr=0.1, total_num_steps=T, warmup_num_steps=W), "lr", "warmup_num_steps"),
    "deepspeed.OneCycle":
        Toy(dict(cycle_min_lr=0.01, cycle_max_lr=0.1, decay_lr_rate=1.0, cycle_first_step_size=W, decay_step_size=3),
            "cycle_max_lr", "cycle_first_step_size", 1),
    "detectron2.ConstantParamScheduler": Toy(dict(value=0.5), "value"),
    "detectron2.LinearParamScheduler": Toy(dict(start_value=1.0, end_value=0.1), "start_value"),
    "detectron2.CosineParamScheduler": Toy(dict(start_value=1.0, end_value=0.1), "start_value"),
    "detectron2.MultiStepParamScheduler": Toy(dict(values=(1.0, 0.1), num_updates=T, milestones=(20,))),
    "detectron2.WarmupParamScheduler":
        Toy(dict(scheduler=LINE, warmup_factor=0.01, warmup_length=0.2), "warmup_factor"),
    "detectron2.LRMultiplier": Toy(dict(lr=0.1, multiplier=LINE, max_iter=T), "lr"),
    "epfml.cos_inf_schedule":
        Toy(dict(lr=0.1, n_iterations=T, n_warmup=W, div_factor=10, final_div_factor=2, n_inf=4), "lr", "n_warmup"),
    "epfml.wsd_schedule": Toy(dict(lr=0.1, n_iterations=T, n_warmup=W, fract_decay=0.3), "lr", "n_warmup"),
    "fairseq.cosine": fairseq_toy(max_update=T, t_mult=2.0),
    "fairseq.inverse_sqrt": fairseq_toy(),
    "fairseq.polynomial_decay": fairseq_toy(total_num_update=T, power=2.0),
    "fairseq.fixed": fairseq_toy(),
    "fairseq.step": fairseq_toy(lr_deacy_period=7),
    "fairseq.tri_stage": Toy(dict(lr=0.1, warmup_steps=W, hold_steps=8, decay_steps=10), "lr", "warmup_steps"),
    "fairseq.triangular": Toy(dict(lr=0.01, max_lr=0.1, lr_period_updates=10), "max_lr"),
    "flax_examples.create_learning_rate_fn":
        Toy(dict(warmup_epochs=1.5, num_epochs=7.5, base_learning_rate=0.1, steps_per_epoch=4), "base_learning_rate",
            "warmup_epochs"),
    "flax_examples.create_learning_rate_schedule":
        Toy(dict(learning_rate=0.1, warmup_steps=W), "learning_rate", "warmup_steps"),
    "ildoonet.GradualWarmupScheduler": Toy(dict(lr=0.1, total_epoch=W), "lr", "total_epoch"),
    "init2winit.cosine": Toy(dict(base_lr=0.1, max_training_updates=T), "base_lr"),
    "init2winit.prepend_polynomial_warmup":
        Toy(dict(schedule=HALF, base_lr=0.1, warmup_steps=W, warmup_power=2.0), "base_lr", "warmup_steps"),
    "init2winit.cosine_warmup":
        Toy(dict(base_lr=0.1, max_training_updates=T, warmup_steps=W), "base_lr", "warmup_steps"),
    "init2winit.polynomial": Toy(dict(base_lr=0.1, decay_steps=T, end_factor=0.1, power=0.5), "base_lr"),
    "init2winit.piecewise_constant_schedule":
        Toy(dict(base_lr=0.1, decay_events=(10, 20), decay_factors=(0.5, 0.1)), "base_lr"),
    "init2winit.rsqrt_normalized_decay": Toy(dict(base_lr=0.1, squash_steps=8), "base_lr"),
    "init2winit.transformer_schedule":
        Toy(dict(base_lr=2.0, encoder_dim=64, warmup_steps=W), "base_lr", "warmup_steps"),
    "init2winit.mlperf_polynomial":
        Toy(dict(base_lr=0.1, warmup_steps=W, max_training_updates=T, power=2.0, start_lr=0.01, end_lr=1e-4),
            "base_lr", "warmup_steps"),
    "init2winit.compound":
        Toy(dict(factors="constant * linear_warmup * cosine", base_lr=0.1, warmup_steps=W, max_training_updates=T),
            "base_lr", "warmup_steps"),
    "init2winit.schedule_stretcher": Toy(dict(schedule=HALF, stretch_factor=3)),
    "init2winit.exponential_warmup": Toy(dict(warmup_steps=W, base_lr=0.1, exp_growth_rate=3.0), "base_lr",
                                         "warmup_steps"),
    "init2winit.polynomial_warmup": Toy(dict(warmup_steps=W, base_lr=0.1, poly_power=0.5), "base_lr", "warmup_steps"),
    "levanter.lr_scheduler":
        Toy(dict(num_train_steps=T, learning_rate=0.1, warmup=W, decay=0.4, rewarmup=2, cycles=2), "learning_rate",
            "warmup"),
    "maxtext.create_learning_rate_schedule":
        Toy(dict(learning_rate=0.1, steps=T + 5, lr_schedule_type="wsd", wsd_decay_style="cosine",
                 learning_rate_schedule_steps=T, warmup_steps_fraction=0.2), "learning_rate"),
    "mean_teacher.sigmoid_rampup": Toy(dict(rampup_length=W), None, "rampup_length"),
    "mean_teacher.linear_rampup": Toy(dict(rampup_length=W), None, "rampup_length"),
    "mean_teacher.cosine_rampdown": Toy(dict(rampdown_length=W), None, "rampdown_length"),
    "megatron.get_lr":
        Toy(dict(init_lr=0.01, max_lr=0.1, min_lr=0.01, lr_warmup_steps=W, lr_decay_steps=T, lr_decay_style="WSD",
                 wsd_decay_steps=10), "max_lr", "lr_warmup_steps"),
    "megatron.get_wd": Toy(dict(start_wd=0.01, end_wd=0.1, wd_incr_steps=W, wd_incr_style="cosine"), "end_wd",
                           "wd_incr_steps"),
    "mmcv.get_warmup_lr": Toy(dict(regular_lr=0.1, warmup="exp", warmup_iters=W, warmup_ratio=0.01), "warmup_ratio",
                              "warmup_iters"),
    "nanodo.get_learning_rate_schedule":
        Toy(dict(init_learning_rate=0.0, peak_learning_rate=0.1, warmup_steps=W, num_train_steps=T,
                 decay_type="constant_linear_decay_20p"), "peak_learning_rate", "warmup_steps"),
    "nanogpt.get_lr": Toy(dict(warmup_iters=W, lr_decay_iters=T, learning_rate=0.1, min_lr=0.01), "learning_rate",
                          "warmup_iters"),
    "opennmt.noam_decay": Toy(dict(lr=2.0, warmup_steps=W, model_size=64), "lr", "warmup_steps"),
    "optax.polynomial_schedule":
        Toy(dict(init_value=0.0, end_value=0.1, power=2.0, transition_steps=W, transition_begin=2), "end_value",
            "transition_steps"),
    "optax.linear_schedule": Toy(dict(init_value=0.0, end_value=0.1, transition_steps=W), "end_value",
                                 "transition_steps"),
    "optax.cosine_decay_schedule": Toy(dict(init_value=0.1, decay_steps=W, alpha=0.1, exponent=1.5), "init_value",
                                       "decay_steps"),
    "optax.warmup_constant_schedule": Toy(dict(init_value=0.0, peak_value=0.1, warmup_steps=W), "peak_value",
                                          "warmup_steps"),
    "optax.warmup_cosine_decay_schedule":
        Toy(dict(init_value=0.0, peak_value=0.1, warmup_steps=W, decay_steps=T, exponent=2.0), "peak_value",
            "warmup_steps"),
    "optax.exponential_decay": Toy(dict(init_value=0.1, transition_steps=W, decay_rate=0.5, end_value=0.01),
                                   "init_value", "transition_steps", 1),
    "optax.warmup_exponential_decay_schedule":
        Toy(dict(init_value=0.0, peak_value=0.1, warmup_steps=W, transition_steps=4, decay_rate=0.5, staircase=True),
            "peak_value", "warmup_steps"),
    "optax.cosine_onecycle_schedule": Toy(dict(transition_steps=T, peak_value=0.1), "peak_value", "transition_steps"),
    "optax.linear_onecycle_schedule": Toy(dict(transition_steps=T, peak_value=0.1), "peak_value", "transition_steps"),
    "optax.join_schedules": Toy(dict(schedules=[HALF, HALF, HALF], boundaries=[5, 9])),
    "optax.sgdr_schedule": Toy(dict(cosine_kwargs=[cycle(0.1), cycle(0.05)])),
    "pytorch_optimizer.CosineScheduler": Toy(dict(t_max=T, max_lr=0.1, warmup_steps=W), "max_lr", "warmup_steps"),
    "pytorch_optimizer.LinearScheduler": Toy(dict(t_max=T, max_lr=0.1, warmup_steps=W), "max_lr", "warmup_steps"),
    "pytorch_optimizer.get_wsd_schedule": hf(num_stable_steps=10, num_decay_steps=8, min_lr_ratio=0.1),
    "pytorch_optimizer.get_relative_step_size": Toy(dict(warmup_init=True)),
    "pytorch_warmup.LinearWarmup": Toy(dict(warmup_period=W), None, "warmup_period", 1),
    "pytorch_warmup.ExponentialWarmup": Toy(dict(warmup_period=W), None, "warmup_period", 1),
    "pytorch_warmup.UntunedLinearWarmup": Toy(dict(beta2=0.87), "beta2"),
    "pytorch_warmup.UntunedExponentialWarmup": Toy(dict(beta2=0.87), "beta2"),
    "pytorch_warmup.RAdamWarmup": Toy(dict(beta2=0.87), "beta2"),
    "pytorch_warmup.dampening": Toy(dict(schedule=HALF, warmup=LINE)),
    "schedulefree.scheduled_lr": Toy(dict(lr=0.1, warmup_steps=W), "lr", "warmup_steps"),
    "t5x.create_learning_rate_scheduler":
        Toy(dict(factors="constant * linear_warmup * cosine_decay", base_learning_rate=0.1, warmup_steps=W,
                 steps_per_cycle=20), "base_learning_rate", "warmup_steps"),
    "timm.CosineLRScheduler": timm_toy(t_initial=7, cycle_mul=2.0, cycle_decay=0.5, cycle_limit=3, k_decay=1.5),
    "timm.PolyLRScheduler": timm_toy(t_initial=T, warmup_prefix=True),
    "timm.TanhLRScheduler": timm_toy(t_initial=10, cycle_limit=2),
    "timm.StepLRScheduler": timm_toy(decay_t=9, decay_rate=0.5),
    "timm.MultiStepLRScheduler": timm_toy(decay_t=(9, 14), decay_rate=0.5),
    "timm.WSDLRScheduler": timm_toy(t_initial=T, decay_t=8, stable_fn="power", stable_timescale=5),
    "torch.LinearLR": Toy(dict(lr=0.1, total_iters=W), "lr", "total_iters"),
    "torch.ConstantLR": Toy(dict(lr=0.1, total_iters=W), "lr", "total_iters"),
    "torch.StepLR": Toy(dict(lr=0.1, step_size=W), "lr", "step_size", 1),
    "torch.MultiStepLR": Toy(dict(lr=0.1, milestones=(5, 12)), "lr"),
    "torch.ExponentialLR": Toy(dict(lr=0.1, gamma=0.9), "lr"),
    "torch.PolynomialLR": Toy(dict(lr=0.1, total_iters=W, power=0.5), "lr", "total_iters", 1),
    "torch.CosineAnnealingLR": Toy(dict(lr=0.1, T_max=W, eta_min=0.01), "lr", "T_max", 1),
    "torch.CosineAnnealingWarmRestarts": Toy(dict(lr=0.1, T_0=W, T_mult=2), "lr", "T_0", 1),
    "torch.SequentialLR": Toy(dict(schedulers=[HALF, HALF, HALF], milestones=[5, 9])),
    "torch.ChainedScheduler": Toy(dict(lr=0.1, schedulers=[HALF, HALF]), "lr"),
    "torch.OneCycleLR": Toy(dict(max_lr=0.1, total_steps=T, three_phase=True), "max_lr", "total_steps", 1),
    "torch.OneCycleLR_momentum": Toy(dict(total_steps=T), None, "total_steps", 1),
    "torch.CyclicLR": Toy(dict(base_lr=0.01, max_lr=0.1, step_size_up=W, mode="exp_range", gamma=0.9), "max_lr",
                          "step_size_up", 1),
    "torch.CyclicLR_momentum": Toy(dict(step_size_up=W), None, "step_size_up", 1),
    "torchtitan.linear_warmup_stable_decay":
        Toy(dict(lr=0.1, warmup_steps=W, stable_steps=10, decay_steps=8, lr_decay_type="sqrt"), "lr", "warmup_steps"),
    "torchtitan.build_lr_schedulers": Toy(dict(lr=0.1, training_steps=T, warmup_steps=W), "lr", "warmup_steps"),
    "transformers.get_constant_schedule": Toy(dict(lr=0.1), "lr"),
    "transformers.get_constant_schedule_with_warmup": hf(),
    "transformers.get_linear_schedule_with_warmup": hf(num_training_steps=T),
    "transformers.get_cosine_schedule_with_warmup": hf(num_training_steps=T, num_cycles=1.5),
    "transformers.get_cosine_with_hard_restarts_schedule_with_warmup": hf(num_training_steps=T, num_cycles=3),
    "transformers.get_polynomial_decay_schedule_with_warmup": hf(num_training_steps=T, power=0.5),
    "transformers.get_inverse_sqrt_schedule": hf(),
    "transformers.get_cosine_with_min_lr_schedule_with_warmup": hf(num_training_steps=T, min_lr=0.01),
    "transformers.get_cosine_with_min_lr_schedule_with_warmup_lr_rate":
        hf(num_training_steps=T, min_lr_rate=0.1, warmup_lr_rate=0.2),
    "transformers.get_wsd_schedule": hf(num_training_steps=T, num_decay_steps=10, warmup_type="1-sqrt",
                                        decay_type="1-sqrt"),
    "why_warmup.train_schedule":
        Toy(dict(lr_init=0.0, lr_trgt=0.1, lr_min=0.01, warmup_steps=W, num_steps=T, warmup_exponent=0.5,
                 decay_exponent=0.5), "lr_trgt", "warmup_steps"),
}
every_port = pytest.mark.parametrize("name", PORTS)


def make(name, **changed):
    return PORTS[name](**{**TOYS[name].args, **changed})


def times(name):
    """Updates of two runs, or the shares of one for the schedulers of detectron2."""
    return TIMES / TIMES[-1] if "ParamScheduler" in name else TIMES


def test_every_public_function_is_a_port_with_toy_arguments():
    assert set(TOYS) == set(PORTS)
    for module in pkgutil.iter_modules(ports.__path__):
        found = importlib.import_module(f"{ports.__name__}.{module.name}")
        public = {f"{module.name}.{name}" for name, function in vars(found).items()
                  if inspect.isfunction(function) and function.__module__ == found.__name__ and name[0] != "_"}
        assert module.name == "parts" or public == {name for name in PORTS if name.split(".")[0] == module.name}


@pytest.mark.parametrize("module", [module.name for module in pkgutil.iter_modules(ports.__path__)])
def test_the_examples_run(module):
    results = doctest.testmod(importlib.import_module(f"{ports.__name__}.{module}"))
    assert results.attempted > 0 and results.failed == 0


@every_port
def test_transformations(name):
    """Jitted equals eager, an array of times the single ones; never negative, never NaN."""
    toy, at = TOYS[name], times(name)
    rate = make(name)
    eager = np.broadcast_to(rate(at), at.shape)
    assert np.isfinite(eager).all() and (eager >= 0).all()
    np.testing.assert_allclose(np.broadcast_to(jax.jit(rate)(at), at.shape), eager, rtol=2e-6, atol=2e-8)
    np.testing.assert_allclose([rate(t) for t in at[[0, 1, 7, -1]]], eager[[0, 1, 7, -1]], rtol=1e-6, atol=1e-9)
    args = [arg for arg in (toy.peak, toy.warmup) if arg]
    if not args:
        return
    lanes = {toy.peak: [toy.args.get(toy.peak, 0.0) * share for share in (1.0, 0.9, 0.95, 0.8)],
             toy.warmup: [toy.first, 1, W, T - 1]}
    columns = [jnp.array(lanes[arg], dtype=float) for arg in args]

    def rates(*values):
        return make(name, **dict(zip(args, values)))(at) + 0.0 * at

    def total(*values):
        return rates(*values).sum(), rates(*values)
    slopes, mapped = jax.jit(jax.vmap(jax.grad(total, range(len(args)), has_aux=True)))(*columns)
    for lane in (0, 3):
        looped = rates(*(lanes[arg][lane] for arg in args))
        np.testing.assert_allclose(mapped[lane], looped, rtol=1e-5, atol=1e-7, err_msg=f"lane {lane} of {lanes}")
    assert all(np.isfinite(slope).all() for slope in slopes)


def agree(schedule, reference, steps):
    """The same numbers in double precision."""
    padded = np.pad(np.asarray(steps), (0, 256 - len(steps)), "edge")  # at one length each operation compiles once
    with double_precision(True):
        got = np.broadcast_to(schedule()(padded), 256)[:len(steps)]
    np.testing.assert_allclose(got, [reference(int(t)) for t in steps], rtol=1e-12, atol=1e-12)


def half_cosine(q):
    return (1 + math.cos(math.pi * q)) / 2


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
    agree(lambda: transformers.get_polynomial_decay_schedule_with_warmup(0.3, warmup, total, 0.01, 1.7), polynomial,
          range(30) if warmup < total else range(total))


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
    agree(lambda: transformers.get_cosine_schedule_with_warmup(*settings),
          lambda t: up(t / max(warmup, 1), t), range(total))
    agree(lambda: transformers.get_cosine_with_hard_restarts_schedule_with_warmup(*settings), restarts, range(30))
    agree(lambda: transformers.get_cosine_with_min_lr_schedule_with_warmup(*settings, min_lr=0.06), least, range(30))
    named = transformers.get_cosine_with_min_lr_schedule_with_warmup_lr_rate
    agree(lambda: named(*settings, min_lr_rate=0.2), ahead, range(30))
    agree(lambda: named(*settings, min_lr_rate=0.2, warmup_lr_rate=0.4), from_rate, range(30))


@pytest.mark.parametrize("stable, decay, warmup", [(5, 9, 6), (0, 9, 6), (5, 0, 6), (-3, 9, 6), (5, 9, 0)])
def test_transformers_wsd(stable, decay, warmup):
    shapes = {"linear": (lambda x: x, lambda q: 1 - q), "1-sqrt": (lambda x: 1 - (1 - x) ** 0.5, lambda q: 1 - q**0.5),
              "cosine": (lambda x: 1 - half_cosine(x), lambda q: half_cosine(3 * q))}
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
            agree(lambda: transformers.get_wsd_schedule(0.3, warmup, decay, warmup + stable + decay, None, up, down,
                                                        0.1, num_cycles=1.5), rate, range(30))


def test_transformers_inverse_sqrt():
    for warmup, timescale in ((0, None), (7, None), (7, 50), (0, 3)):
        scale = timescale or warmup or 10_000
        agree(lambda: transformers.get_inverse_sqrt_schedule(0.3, warmup, timescale),
              lambda t: 0.3 * (t / warmup if t < warmup else ((t + scale - warmup) / scale) ** -0.5), range(60))


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
    falls = {timm.CosineLRScheduler: (lambda s, n: half_cosine(s**1.3 / n**1.3), {"k_decay": 1.3}),
             timm.PolyLRScheduler: (lambda s, n: (1 - s**1.3 / n**1.3) ** 0.5, {"k_decay": 1.3}),
             timm.TanhLRScheduler: (lambda s, n: (1 - math.tanh(-5 * (1 - s / n) + 2 * s / n)) / 2,
                                    {"lb": -5.0, "ub": 2.0})}
    for port, (fall, extra) in falls.items():
        target = curve(warmup, fall) if port is timm.TanhLRScheduler and not prefix else 0.3
        agree(lambda: port(0.3, 9, lr_min=0.02, cycle_mul=mult, cycle_decay=0.7, cycle_limit=limit, warmup_t=warmup,
                           warmup_lr_init=0.05, warmup_prefix=prefix, **extra),
              lambda t: rate(t, fall, target), range(90))


def test_timm_steps_and_wsd():
    for warmup, prefix in ((0, False), (4, False), (4, True)):
        def rate(t, decay):
            clock = t - warmup if prefix else t
            return 0.05 + t * 0.25 / warmup if t < warmup else 0.3 if t == 0 else 0.3 * decay(clock)
        agree(lambda: timm.StepLRScheduler(0.3, 7, 0.5, warmup, 0.05, prefix),
              lambda t: rate(t, lambda s: 0.5 ** (s // 7)), range(40))
        agree(lambda: timm.MultiStepLRScheduler(0.3, [1, 7, 9], 0.5, warmup, 0.05, prefix),
              lambda t: rate(t, lambda s: 0.5 ** bisect_right([1, 7, 9], s + 1)), range(40))
    decays = {"linear": lambda q: 1 - q, "1-sqrt": lambda q: 1 - q**0.5, "cosine": half_cosine,
              "power": lambda q: 1 - q**1.5, "exp": lambda q: (0.2**q - 0.2) / 0.8}
    for name, fall in decays.items():
        for stable, exponent in (("constant", 0), ("rsqrt", 0.5), ("power", 0.8)):
            def rate(t):
                if t < 5:
                    return 0.05 + t * 0.05
                held = max(0.3 * (1 + (t - 5) / 5) ** -exponent, 0.12)
                return 0.12 + (held - 0.12) * fall(min(max(t - 5 - 13, 0) / 7, 1))
            agree(lambda: timm.WSDLRScheduler(0.3, 20, 7, 0.12, stable, None, 0.8, name, 1.5, 0.2, 5, 0.05), rate,
                  range(35))


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
        return lambda t: start if t == 0 else 1 if t > over else 1 + (end - start) / (over * start + (t - 1) * (end - start))

    def constant(factor, over):
        return lambda t: factor if t == 0 else 1 / factor if t == over else 1
    multistep = lambda t: 0.5 ** [3, 8, 8, 20].count(t)
    exponential = lambda t: 0.9 if t else 1
    agree(lambda: torch.LinearLR(0.3, 0.1, 0.7, 6), chainable(0.3, 40, line(0.1, 0.7, 6)), range(40))
    agree(lambda: torch.ConstantLR(0.3, 0.2, 6), chainable(0.3, 40, constant(0.2, 6)), range(40))
    agree(lambda: torch.StepLR(0.3, 7, 0.4), chainable(0.3, 40, lambda t: 0.4 if t and t % 7 == 0 else 1), range(40))
    agree(lambda: torch.MultiStepLR(0.3, [3, 8, 8, 20], 0.5), chainable(0.3, 40, multistep), range(40))
    agree(lambda: torch.ExponentialLR(0.3, 0.9), chainable(0.3, 40, exponential), range(40))
    agree(lambda: torch.ChainedScheduler(0.3, [torch.LinearLR(0.3, 0.1, 0.7, 6), torch.ExponentialLR(0.3, 0.9),
                                               torch.MultiStepLR(0.3, [3, 8, 8, 20], 0.5)]),
          chainable(0.3, 40, line(0.1, 0.7, 6), exponential, multistep), range(40))


def test_torch_sequential_and_cosines():
    pieces = [lambda t: 0.3 * (0.1 + 0.9 * min(t, 9) / 9), lambda t: 0.02 + 0.28 * half_cosine(min(t, 8) / 8),
              lambda t: 0.3 * 0.5 ** (t // 4)]
    milestones = [5, 16]

    def sequential(t):
        index = bisect_right(milestones, t)
        return pieces[index](t - (milestones[index - 1] if index else 0))
    agree(lambda: torch.SequentialLR([torch.LinearLR(0.3, 0.1, total_iters=9), torch.CosineAnnealingLR(0.3, 8, 0.02),
                                      torch.StepLR(0.3, 4, 0.5)], milestones), sequential, range(40))

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
        agree(lambda: torch.OneCycleLR(0.3, total, pct, strategy, 20.0, 500.0, three_phase),
              lambda t: rate(t, 0.015, 0.3, 0.015, 0.00003), range(total))
        agree(lambda: torch.OneCycleLR_momentum(total, pct, strategy, 0.8, 0.9, three_phase),
              lambda t: rate(t, 0.9, 0.8, 0.9, 0.9), range(total))


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
        agree(lambda: pytorch_warmup.UntunedExponentialWarmup(beta2),
              lambda t: 1 - math.exp(-(t + 1) / int(1 / (1 - beta2))), range(250))


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
        agree(lambda: fairseq.cosine(0.3, warmup, -1, 0.02, mult, 11, shrink), lambda t: cosine(t, mult, shrink), range(70))
    agree(lambda: fairseq.polynomial_decay(0.3, warmup, 0.02, 1.7, 25),
          lambda t: 0.3 * t / warmup if warmup and t <= warmup else 0.02 if t >= 25
          else 0.02 + 0.28 * (1 - (t - warmup) / (25 - warmup)) ** 1.7, range(40))
    agree(lambda: fairseq.step(0.3, warmup, 0.05, 0.02, 4, 0.4),
          lambda t: rise(t, 0.05) if t < warmup else max(0.3 * 0.4 ** ((t - warmup) // 4), 0.02), range(40))
    agree(lambda: fairseq.tri_stage(0.3, warmup, 5, 9, None, 0.1, 0.05),
          lambda t: rise(t, 0.03) if t < warmup else 0.3 * 0.05 ** (min(max(t - warmup - 5, 0), 9) / 9), range(40))
    if warmup:
        agree(lambda: fairseq.inverse_sqrt(0.3, warmup),
              lambda t: rise(t, 0.0) if t < warmup else 0.3 * (warmup / t) ** 0.5, range(90))


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
    after = {"constant": lambda t: 0.3, "linear": lambda t: 0.3 - 0.28 * (t - warmup) / (30 - warmup),
             "cosine": lambda t: 0.02 + 0.28 * half_cosine((t - warmup) / (30 - warmup)),
             "inverse-square-root": lambda t: max(0.02, 0.3 * max(warmup, 1) ** 0.5 / max(t, 1) ** 0.5)}

    def rate(t, style):
        if warmup and t <= warmup:
            return 0.01 + 0.29 * t / warmup
        return 0.02 if t > 30 and style != "constant" else after[style](t)
    for style in after:
        agree(lambda: megatron.get_lr(0.01, 0.3, 0.02, warmup, 30, style), lambda t: rate(t, style), range(50))
    for style, fall in {"linear": lambda q: 1 - q, "cosine": half_cosine, "exponential": lambda q: 2 * 0.5**q - 1,
                        "minus_sqrt": lambda q: 1 - q**0.5}.items():
        after["WSD"] = lambda t: 0.02 + 0.28 * fall(max(t - 18, 0) / 12)
        agree(lambda: megatron.get_lr(0.01, 0.3, 0.02, warmup, 30, "WSD", 12, style), lambda t: rate(t, "WSD"), range(50))
    agree(lambda: megatron.get_wd(0.01, 0.2, 17, "linear"), lambda t: 0.01 + 0.19 * min(t, 17) / 17, range(30))


@pytest.mark.parametrize("warmup", [0, 1, 2, 7, 20])
@pytest.mark.parametrize("kind", ["log", "linear"])
def test_deepspeed(warmup, kind):
    steps = max(2, warmup)

    def rise(i):
        return math.log(i + 1) / math.log(steps) if kind == "log" else i / steps

    def late(curve, at_first):
        return lambda t: curve(t - 1) if t else at_first
    agree(lambda: deepspeed.WarmupLR(0.02, 0.3, warmup, kind),
          late(lambda i: 0.02 + 0.28 * (rise(i) if i < steps else 1), 0.02), range(40))
    agree(lambda: deepspeed.WarmupDecayLR(20, 0.02, 0.3, warmup, kind),
          late(lambda i: 0.02 + 0.28 * (rise(i) if i < steps else max(0, (20 - i) / max(1, 20 - steps))), 0.02), range(40))
    if steps < 20:
        agree(lambda: deepspeed.WarmupCosineLR(0.3, 20, 0.1, warmup, 0.05, kind),
              late(lambda i: 0.3 * (0.1 + 0.9 * rise(i) if i < steps
                                    else 0.05 + 0.95 * half_cosine((i - steps + 1) / (20 - steps))), 0.0), range(21))


def test_detectron2():
    for rescale in (False, True):
        for method in ("linear", "constant"):
            def rate(t):
                inner = lambda where: 1.0 - 0.8 * where
                if t >= 15:
                    return 0.3 * inner((t - 15) / 45 if rescale else t / 60)
                target = inner(0 if rescale else 0.25)
                return 0.3 * (0.1 + (target - 0.1) * t / 15 if method == "linear" else 0.1)
            agree(lambda: detectron2.LRMultiplier(0.3, detectron2.WarmupParamScheduler(
                detectron2.LinearParamScheduler(1.0, 0.2), 0.1, 0.25, method, rescale), 60), rate, range(60))
    agree(lambda: detectron2.LRMultiplier(0.3, detectron2.MultiStepParamScheduler([1, 0.1, 0.02], 90, [30, 60]), 90),
          lambda t: 0.3 * [1, 0.1, 0.02][bisect_right([30, 60], t)], range(90))


def test_big_vision_units_and_decays():
    def rate(t, curve, warmup, cooldown):
        return 0.3 * curve(t) * min(1, t / warmup) * max(0, min(1, (40 - t) / cooldown))
    units = {"steps": (6, 5), "epochs": (0.55, 0.5), "examples": (52, 41), "percent": (0.15, 0.12)}
    for unit, (up, down) in units.items():
        agree(lambda: big_vision.create_learning_rate_schedule(
            40, 8, 80, 0.3, "cosine", **{f"warmup_{unit}": up, f"cooldown_{unit}": down}),
            lambda t: rate(t, lambda t: half_cosine(max(t - 6, 0) / 34 if t < 40 else 1), 6, 5), range(50))
    agree(lambda: big_vision.create_learning_rate_schedule(40, 8, 80, 0.3, "rsqrt", warmup_steps=6, cooldown_steps=5,
                                                           timescale_examples=80, shift=3),
          lambda t: rate(t, lambda t: (1 + (max(t - 6, 0) + 3) / 10) ** -0.5, 6, 5), range(50))
    agree(lambda: big_vision.create_learning_rate_schedule(40, 512, None, 0.3, "stair", True, steps=[3, 9],
                                                           mults=[0.5, 0.0]),
          lambda t: 0.6 * [1, 0.5, 0.0][bisect_right([3, 9], t)], range(50))
    with pytest.raises(ValueError, match="give one of warmup_steps"):
        big_vision.create_learning_rate_schedule(40, warmup_steps=1, warmup_percent=0.1)


def test_t5x_factors():
    factors = {"constant": lambda t: 0.3, "linear_warmup": lambda t: min(1, t / 6),
               "rsqrt_decay": lambda t: max(t, 6) ** -0.5, "rsqrt_normalized_decay": lambda t: (6 / max(t, 6)) ** 0.5,
               "decay_every": lambda t: 0.5 ** (t // 4), "cosine_decay": lambda t: half_cosine(max(0, t - 6) / 9 % 1)}
    for name, factor in factors.items():
        agree(lambda: t5x.create_learning_rate_scheduler(f"constant * linear_warmup*{name}", 0.3, 6, 0.5, 4, 9, 2),
              lambda t: max(0.3 * min(1, max(t - 2, 0) / 6) * factor(max(t - 2, 0)), 1e-8), range(60))
    agree(lambda: t5x.create_learning_rate_scheduler("linear_decay", 0.3, 6, 0.02),
          lambda t: max(0.3 * min(t / 6, 1 + 0.02 * (6 - t)), 1e-8), range(80))
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
    for cycles in ({"cycles": 2}, {"cycle_length": 30}, {"cycle_length": 0.5}, {"cycles": [30]}, {"cycle_length": [30]}):
        agree(lambda: levanter.lr_scheduler(60, **settings, **cycles), rate, range(70))

    def cooled(t):
        if t < 6:
            return 0.3 * t / 6
        held = 0.3 * (10_000 / max(t, 10_000)) ** 0.5
        return held if t < 50 else 0.3 - 0.27 * min(t - 50, 10) / 10
    agree(lambda: levanter.lr_scheduler(60, 0.3, 0.1, 6, cooldown=10, lr_schedule="inv_sqrt"), cooled, range(70))
    agree(lambda: levanter.lr_scheduler(60, 0.3, 0.1, 6, lr_schedule="inv"),
          lambda t: 0.3 * t / 6 if t < 6 else max(0.3 / (9 * max(t - 6, 1) / 54 + 1), 0.03), range(70))


@pytest.mark.parametrize("fraction", [0.0, 0.17, 1.0])
@pytest.mark.parametrize("steps", [30, 40])
def test_maxtext(fraction, steps):
    warmup = int(30 * fraction)

    def rate(t, start, length, shape):
        if t >= 30 and steps > 30:
            return 0.0
        q = min((t - start) / (length - 1), 1) if length > 1 else 1
        return 0.3 * t / warmup if t < warmup else 0.3 if t < start or not length else 0.06 + 0.24 * shape(q)
    agree(lambda: maxtext.create_learning_rate_schedule(0.3, steps, "cosine", 0.2, warmup_steps_fraction=fraction,
                                                        learning_rate_schedule_steps=30),
          lambda t: rate(t, warmup, 30 - warmup, half_cosine), range(30))
    if fraction < 1:
        for style, shape in (("linear", lambda q: 1 - q), ("cosine", half_cosine)):
            agree(lambda: maxtext.create_learning_rate_schedule(0.3, steps, "wsd", 0.2, 0.25, style, fraction, 30),
                  lambda t: rate(t, 23, 7, shape), range(40))


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
        agree(lambda: nanogpt.get_lr(warmup, 20, 0.3, 0.02),
              lambda t: 0.3 * (t + 1) / (warmup + 1) if t < warmup
              else 0.02 + 0.28 * half_cosine(min((t - warmup) / (20 - warmup), 1)), range(30))
    for text, decay in (("constant_linear_decay_30p", 6), ("constant_linear_decay_7", 7)):
        agree(lambda: nanodo.get_learning_rate_schedule(0.01, 0.3, 5, 20, 0.02, text),
              lambda t: 0.01 + 0.29 * t / 5 if t < 5 else 0.3 - 0.28 * min(max(t - 20 + decay, 0) / decay, 1), range(30))
    shapes = {"linear": lambda q: 1 - q, "cosine": half_cosine, "miror_cosine": lambda q: 2 * (1 - q) - half_cosine(q),
              "square": lambda q: 1 - q**2, "sqrt": lambda q: 1 - q**0.5}
    for name, shape in shapes.items():
        agree(lambda: epfml.wsd_schedule(0.3, 33, 0.1, 5, 20, 0.4, name),
              lambda t: 0.3 * (t / 5 + (1 - t / 5) / 20 if t < 5 else 0.1 + 0.9 * shape(min(max(t - 20, 0) / 13, 1))),
              range(50))
    for final in (0.1, 0.0):
        agree(lambda: epfml.wsd_schedule(0.3, 33, final, 5, 20, 0.4, "exp"),
              lambda t: 0.3 * (t / 5 + (1 - t / 5) / 20 if t < 5 else final ** (min(max(t - 20, 0) / 13, 1))), range(50))


def test_research_schedules():
    agree(lambda: init2winit.mlperf_polynomial(3.0, 6, 30, 1.5, 0.1, 0.01, 25, 2.0),
          lambda t: (lambda s: 0.1 + 2.9 * (s / 6) ** 2 if s <= 6 else 0.01 + 2.99 * (1 - (s - 6) / 25) ** 1.5)(min(t, 25)),
          range(40))
    agree(lambda: init2winit.piecewise_constant_schedule(0.3, [5, 9], [0.5, 0.1]),
          lambda t: 0.3 * [1, 0.5, 0.1][(5 < t) + (9 < t)], range(20))
    agree(lambda: init2winit.compound("constant * linear_warmup * cosine", 0.3, 6, 30),
          lambda t: 0.3 * min(1, t / 6) * half_cosine(max(0, t - 6) / 23), range(30))
    agree(lambda: why_warmup.train_schedule(0.01, 0.3, 0.02, 6, 30, 1.5, 0.7),
          lambda t: 0.01 + 0.29 * ((t + 1) / 6) ** 1.5 if t < 6 else 0.02 + 0.28 * half_cosine((t - 4) / 25) ** 0.7,
          range(30))
    for kind, shape in {"1-sqrt": lambda q: 1 - q**0.5, "linear": lambda q: 1 - q, "1-square": lambda q: 1 - q**2,
                        "cosine": lambda q: 0.1 + 0.9 * half_cosine(q)}.items():
        agree(lambda: pytorch_optimizer.get_wsd_schedule(0.3, 5, 6, 7, 0.1, cooldown_type=kind),
              lambda t: 0.3 * (t / 5 if t < 5 else 1 if t < 11 else shape((t - 11) / 7) if t < 18 else 0.1), range(30))


def test_optax_itself():
    """The real optax, over its own arguments."""
    real = importlib.import_module("optax")
    cases = [("polynomial_schedule", (0.3, 0.01, 1.7, 9, 3)), ("linear_schedule", (0.0, 0.3, 9, 2)),
             ("cosine_decay_schedule", (0.3, 20, 0.1, 1.5)), ("warmup_constant_schedule", (0.01, 0.3, 7)),
             ("warmup_cosine_decay_schedule", (0.01, 0.3, 7, 25, 0.02, 2.0)),
             ("exponential_decay", (0.3, 5, 0.7, 3, True, 0.05)), ("exponential_decay", (0.1, 5, 1.2, 0, False, 0.3)),
             ("warmup_exponential_decay_schedule", (0.0, 0.3, 7, 5, 0.7, 2, False, 0.05)),
             ("cosine_onecycle_schedule", (31, 0.3, 0.37, 20.0, 500.0)),
             ("linear_onecycle_schedule", (31, 0.3, 0.37, 0.8, 20.0, 500.0))]
    for name, args in cases:
        with double_precision(True):
            expected = np.asarray(jax.vmap(getattr(real, name)(*args))(jnp.arange(256)))
        agree(lambda: getattr(optax, name)(*args), lambda t: expected[t], range(40))


def test_unknown_names_are_reported():
    for call, name in [(lambda: transformers.get_wsd_schedule(0.1, 2, 3, 9, decay_type="sqrt"), "decay_type"),
                       (lambda: timm.WSDLRScheduler(0.1, 9, 3, decay_fn="sqrt"), "decay_fn"),
                       (lambda: torch.CyclicLR(0.0, 0.1, mode="triangle"), "mode"),
                       (lambda: megatron.get_lr(0, 1, 0, 2, 9, "cos"), "lr_decay_style"),
                       (lambda: deepspeed.WarmupLR(warmup_type="exp"), "warmup_type"),
                       (lambda: levanter.lr_scheduler(9, lr_schedule="exp"), "lr_schedule"),
                       (lambda: nanodo.get_learning_rate_schedule(0, 1, 2, 9, decay_type="exp"), "decay_type")]:
        with pytest.raises(ValueError, match=f"unknown {name}"):
            call()
