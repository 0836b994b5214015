"""Every port under every transformation: jitted, mapped over its peak and its warmup, differentiated."""

import functools
import importlib
import inspect
import math
import pkgutil
from typing import NamedTuple

import jax
import jax.experimental
import jax.numpy as jnp
import numpy as np
import pytest

from warmup_jax.schedules import ports
from warmup_jax.schedules.ports import (
    PORTS,
    deepspeed,
    detectron2,
    levanter,
    megatron,
    nanodo,
    timm,
    torch,
    transformers,
)

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
    "big_vision.create_learning_rate_schedule": Toy(
        dict(total_steps=T, base=0.1, decay_type="rsqrt", timescale=10, warmup_steps=W, cooldown_steps=5),
        "base",
        "warmup_steps",
    ),
    "deepspeed.WarmupLR": Toy(dict(warmup_max_lr=0.1, warmup_num_steps=W), "warmup_max_lr", "warmup_num_steps"),
    "deepspeed.WarmupDecayLR": Toy(
        dict(total_num_steps=T, warmup_max_lr=0.1, warmup_num_steps=W), "warmup_max_lr", "warmup_num_steps"
    ),
    "deepspeed.WarmupCosineLR": Toy(dict(lr=0.1, total_num_steps=T, warmup_num_steps=W), "lr", "warmup_num_steps"),
    "deepspeed.OneCycle": Toy(
        dict(cycle_min_lr=0.01, cycle_max_lr=0.1, decay_lr_rate=1.0, cycle_first_step_size=W, decay_step_size=3),
        "cycle_max_lr",
        "cycle_first_step_size",
        1,
    ),
    "detectron2.ConstantParamScheduler": Toy(dict(value=0.5), "value"),
    "detectron2.LinearParamScheduler": Toy(dict(start_value=1.0, end_value=0.1), "start_value"),
    "detectron2.CosineParamScheduler": Toy(dict(start_value=1.0, end_value=0.1), "start_value"),
    "detectron2.MultiStepParamScheduler": Toy(dict(values=(1.0, 0.1), num_updates=T, milestones=(20,))),
    "detectron2.WarmupParamScheduler": Toy(
        dict(scheduler=LINE, warmup_factor=0.01, warmup_length=0.2), "warmup_factor"
    ),
    "detectron2.LRMultiplier": Toy(dict(lr=0.1, multiplier=LINE, max_iter=T), "lr"),
    "epfml.cos_inf_schedule": Toy(
        dict(lr=0.1, n_iterations=T, n_warmup=W, div_factor=10, final_div_factor=2, n_inf=4), "lr", "n_warmup"
    ),
    "epfml.wsd_schedule": Toy(dict(lr=0.1, n_iterations=T, n_warmup=W, fract_decay=0.3), "lr", "n_warmup"),
    "fairseq.cosine": fairseq_toy(max_update=T, t_mult=2.0),
    "fairseq.inverse_sqrt": fairseq_toy(),
    "fairseq.polynomial_decay": fairseq_toy(total_num_update=T, power=2.0),
    "fairseq.fixed": fairseq_toy(),
    "fairseq.step": fairseq_toy(lr_deacy_period=7),
    "fairseq.tri_stage": Toy(dict(lr=0.1, warmup_steps=W, hold_steps=8, decay_steps=10), "lr", "warmup_steps"),
    "fairseq.triangular": Toy(dict(lr=0.01, max_lr=0.1, lr_period_updates=10), "max_lr"),
    "flax_examples.create_learning_rate_fn": Toy(
        dict(warmup_epochs=1.5, num_epochs=7.5, base_learning_rate=0.1, steps_per_epoch=4),
        "base_learning_rate",
        "warmup_epochs",
    ),
    "flax_examples.create_learning_rate_schedule": Toy(
        dict(learning_rate=0.1, warmup_steps=W), "learning_rate", "warmup_steps"
    ),
    "ildoonet.GradualWarmupScheduler": Toy(dict(lr=0.1, total_epoch=W), "lr", "total_epoch"),
    "init2winit.cosine": Toy(dict(base_lr=0.1, max_training_updates=T), "base_lr"),
    "init2winit.prepend_polynomial_warmup": Toy(
        dict(schedule=HALF, base_lr=0.1, warmup_steps=W, warmup_power=2.0), "base_lr", "warmup_steps"
    ),
    "init2winit.cosine_warmup": Toy(
        dict(base_lr=0.1, max_training_updates=T, warmup_steps=W), "base_lr", "warmup_steps"
    ),
    "init2winit.polynomial": Toy(dict(base_lr=0.1, decay_steps=T, end_factor=0.1, power=0.5), "base_lr"),
    "init2winit.piecewise_constant_schedule": Toy(
        dict(base_lr=0.1, decay_events=(10, 20), decay_factors=(0.5, 0.1)), "base_lr"
    ),
    "init2winit.rsqrt_normalized_decay": Toy(dict(base_lr=0.1, squash_steps=8), "base_lr"),
    "init2winit.transformer_schedule": Toy(
        dict(base_lr=2.0, encoder_dim=64, warmup_steps=W), "base_lr", "warmup_steps"
    ),
    "init2winit.mlperf_polynomial": Toy(
        dict(base_lr=0.1, warmup_steps=W, max_training_updates=T, power=2.0, start_lr=0.01, end_lr=1e-4),
        "base_lr",
        "warmup_steps",
    ),
    "init2winit.compound": Toy(
        dict(factors="constant * linear_warmup * cosine", base_lr=0.1, warmup_steps=W, max_training_updates=T),
        "base_lr",
        "warmup_steps",
    ),
    "init2winit.schedule_stretcher": Toy(dict(schedule=HALF, stretch_factor=3)),
    "init2winit.exponential_warmup": Toy(
        dict(warmup_steps=W, base_lr=0.1, exp_growth_rate=3.0), "base_lr", "warmup_steps"
    ),
    "init2winit.polynomial_warmup": Toy(dict(warmup_steps=W, base_lr=0.1, poly_power=0.5), "base_lr", "warmup_steps"),
    "levanter.lr_scheduler": Toy(
        dict(num_train_steps=T, learning_rate=0.1, warmup=W, decay=0.4, rewarmup=2, cycles=2), "learning_rate", "warmup"
    ),
    "maxtext.create_learning_rate_schedule": Toy(
        dict(
            learning_rate=0.1,
            steps=T + 5,
            lr_schedule_type="wsd",
            wsd_decay_style="cosine",
            learning_rate_schedule_steps=T,
            warmup_steps_fraction=0.2,
        ),
        "learning_rate",
    ),
    "mean_teacher.sigmoid_rampup": Toy(dict(rampup_length=W), None, "rampup_length"),
    "mean_teacher.linear_rampup": Toy(dict(rampup_length=W), None, "rampup_length"),
    "mean_teacher.cosine_rampdown": Toy(dict(rampdown_length=W), None, "rampdown_length"),
    "megatron.get_lr": Toy(
        dict(
            init_lr=0.01,
            max_lr=0.1,
            min_lr=0.01,
            lr_warmup_steps=W,
            lr_decay_steps=T,
            lr_decay_style="WSD",
            wsd_decay_steps=10,
        ),
        "max_lr",
        "lr_warmup_steps",
    ),
    "megatron.get_wd": Toy(
        dict(start_wd=0.01, end_wd=0.1, wd_incr_steps=W, wd_incr_style="cosine"), "end_wd", "wd_incr_steps"
    ),
    "mmcv.get_warmup_lr": Toy(
        dict(regular_lr=0.1, warmup="exp", warmup_iters=W, warmup_ratio=0.01), "warmup_ratio", "warmup_iters"
    ),
    "nanodo.get_learning_rate_schedule": Toy(
        dict(
            init_learning_rate=0.0,
            peak_learning_rate=0.1,
            warmup_steps=W,
            num_train_steps=T,
            decay_type="constant_linear_decay_20p",
        ),
        "peak_learning_rate",
        "warmup_steps",
    ),
    "nanogpt.get_lr": Toy(
        dict(warmup_iters=W, lr_decay_iters=T, learning_rate=0.1, min_lr=0.01), "learning_rate", "warmup_iters"
    ),
    "opennmt.noam_decay": Toy(dict(lr=2.0, warmup_steps=W, model_size=64), "lr", "warmup_steps"),
    "optax.polynomial_schedule": Toy(
        dict(init_value=0.0, end_value=0.1, power=2.0, transition_steps=W, transition_begin=2),
        "end_value",
        "transition_steps",
    ),
    "optax.linear_schedule": Toy(
        dict(init_value=0.0, end_value=0.1, transition_steps=W), "end_value", "transition_steps"
    ),
    "optax.cosine_decay_schedule": Toy(
        dict(init_value=0.1, decay_steps=W, alpha=0.1, exponent=1.5), "init_value", "decay_steps"
    ),
    "optax.warmup_constant_schedule": Toy(
        dict(init_value=0.0, peak_value=0.1, warmup_steps=W), "peak_value", "warmup_steps"
    ),
    "optax.warmup_cosine_decay_schedule": Toy(
        dict(init_value=0.0, peak_value=0.1, warmup_steps=W, decay_steps=T, exponent=2.0), "peak_value", "warmup_steps"
    ),
    "optax.exponential_decay": Toy(
        dict(init_value=0.1, transition_steps=W, decay_rate=0.5, end_value=0.01), "init_value", "transition_steps", 1
    ),
    "optax.warmup_exponential_decay_schedule": Toy(
        dict(init_value=0.0, peak_value=0.1, warmup_steps=W, transition_steps=4, decay_rate=0.5, staircase=True),
        "peak_value",
        "warmup_steps",
    ),
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
    "t5x.create_learning_rate_scheduler": Toy(
        dict(
            factors="constant * linear_warmup * cosine_decay",
            base_learning_rate=0.1,
            warmup_steps=W,
            steps_per_cycle=20,
        ),
        "base_learning_rate",
        "warmup_steps",
    ),
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
    "torch.CyclicLR": Toy(
        dict(base_lr=0.01, max_lr=0.1, step_size_up=W, mode="exp_range", gamma=0.9), "max_lr", "step_size_up", 1
    ),
    "torch.CyclicLR_momentum": Toy(dict(step_size_up=W), None, "step_size_up", 1),
    "torchtitan.linear_warmup_stable_decay": Toy(
        dict(lr=0.1, warmup_steps=W, stable_steps=10, decay_steps=8, lr_decay_type="sqrt"), "lr", "warmup_steps"
    ),
    "torchtitan.build_lr_schedulers": Toy(dict(lr=0.1, training_steps=T, warmup_steps=W), "lr", "warmup_steps"),
    "transformers.get_constant_schedule": Toy(dict(lr=0.1), "lr"),
    "transformers.get_constant_schedule_with_warmup": hf(),
    "transformers.get_linear_schedule_with_warmup": hf(num_training_steps=T),
    "transformers.get_cosine_schedule_with_warmup": hf(num_training_steps=T, num_cycles=1.5),
    "transformers.get_cosine_with_hard_restarts_schedule_with_warmup": hf(num_training_steps=T, num_cycles=3),
    "transformers.get_polynomial_decay_schedule_with_warmup": hf(num_training_steps=T, power=0.5),
    "transformers.get_inverse_sqrt_schedule": hf(),
    "transformers.get_cosine_with_min_lr_schedule_with_warmup": hf(num_training_steps=T, min_lr=0.01),
    "transformers.get_cosine_with_min_lr_schedule_with_warmup_lr_rate": hf(
        num_training_steps=T, min_lr_rate=0.1, warmup_lr_rate=0.2
    ),
    "transformers.get_wsd_schedule": hf(
        num_training_steps=T, num_decay_steps=10, warmup_type="1-sqrt", decay_type="1-sqrt"
    ),
    "why_warmup.train_schedule": Toy(
        dict(
            lr_init=0.0, lr_trgt=0.1, lr_min=0.01, warmup_steps=W, num_steps=T, warmup_exponent=0.5, decay_exponent=0.5
        ),
        "lr_trgt",
        "warmup_steps",
    ),
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
        public = {
            f"{module.name}.{name}"
            for name, function in vars(found).items()
            if inspect.isfunction(function) and function.__module__ == found.__name__ and name[0] != "_"
        }
        assert module.name == "parts" or public == {name for name in PORTS if name.split(".")[0] == module.name}


def lanes(name):
    """Four values for each of a port's peak and warmup, {argument: values}."""
    toy = TOYS[name]
    values = {
        toy.peak: [toy.args.get(toy.peak, 0.0) * share for share in (1.0, 0.9, 0.95, 0.8)],
        toy.warmup: [toy.first, 1, W, T - 1],
    }
    return {arg: values[arg] for arg in (toy.peak, toy.warmup) if arg}


def everything(name, columns, at):
    """Rates of a port at these times, and with the gradients mapped over the lanes."""

    def total(*values):
        rates = make(name, **dict(zip(columns, values)))(at) + 0.0 * at
        return rates.sum(), rates

    mapped = jax.vmap(jax.grad(total, range(len(columns)), has_aux=True)) if columns else lambda: ((), ())
    return make(name)(at) + 0.0 * at, mapped(*columns.values())


@functools.cache
def compiled(library):
    """`everything` of the ports of a library by name: one program, as compilations take most of the time."""
    names = [name for name in PORTS if name.partition(".")[0] == library]
    arguments = {
        name: ({arg: jnp.array(values, dtype=float) for arg, values in lanes(name).items()}, times(name))
        for name in names
    }
    return jax.jit(lambda arguments: {name: everything(name, *args) for name, args in arguments.items()})(arguments)


@every_port
def test_transformations(name):
    """Jitted equals eager, an array of times the single ones, mapped the looped; never negative, never NaN."""
    at, few, columns = times(name), np.array([0, 1, 7, -1]), lanes(name)
    jitted, (slopes, mapped) = compiled(name.partition(".")[0])[name]
    assert np.isfinite(jitted).all() and (jitted >= 0).all()
    np.testing.assert_allclose(make(name)(at[few]) + 0.0 * at[few], jitted[few], rtol=2e-6, atol=2e-8)
    np.testing.assert_allclose(make(name)(at[7]), jitted[7], rtol=2e-6, atol=2e-8)
    for lane in (0, 3) if columns else ():
        values = {arg: column[lane] for arg, column in columns.items()}
        single = make(name, **values)(at[few]) + 0.0 * at[few]
        np.testing.assert_allclose(mapped[lane][few], single, rtol=1e-5, atol=1e-7, err_msg=f"lane {lane}: {values}")
    assert all(np.isfinite(slope).all() for slope in slopes)


def agree(schedule, reference, steps):
    """The same numbers in double precision."""
    padded = np.pad(np.asarray(steps), (0, 256 - len(steps)), "edge")  # at one length each operation compiles once
    with double_precision(True):
        got = np.broadcast_to(schedule()(padded), 256)[: len(steps)]
    np.testing.assert_allclose(got, [reference(int(t)) for t in steps], rtol=1e-12, atol=1e-12)


def half_cosine(q):
    return (1 + math.cos(math.pi * q)) / 2


def test_unknown_names_are_reported():
    for call, name in [
        (lambda: transformers.get_wsd_schedule(0.1, 2, 3, 9, decay_type="sqrt"), "decay_type"),
        (lambda: timm.WSDLRScheduler(0.1, 9, 3, decay_fn="sqrt"), "decay_fn"),
        (lambda: torch.CyclicLR(0.0, 0.1, mode="triangle"), "mode"),
        (lambda: megatron.get_lr(0, 1, 0, 2, 9, "cos"), "lr_decay_style"),
        (lambda: deepspeed.WarmupLR(warmup_type="exp"), "warmup_type"),
        (lambda: levanter.lr_scheduler(9, lr_schedule="exp"), "lr_schedule"),
        (lambda: nanodo.get_learning_rate_schedule(0, 1, 2, 9, decay_type="exp"), "decay_type"),
    ]:
        with pytest.raises(ValueError, match=f"unknown {name}"):
            call()
