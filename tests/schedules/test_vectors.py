"""The ports against the rates that other libraries applied while they ran (tests/vectors), number for number."""

from typing import NamedTuple

import jax
import jax.experimental
import numpy as np
import pytest
from optax import MultiSteps
from recorded import names, vector

from warmup_jax import transforms
from warmup_jax.schedules import delay
from warmup_jax.schedules.ports import (
    big_vision,
    deepspeed,
    detectron2,
    epfml,
    fairseq,
    flax_examples,
    ildoonet,
    init2winit,
    levanter,
    maxtext,
    mean_teacher,
    megatron,
    mmcv,
    nanodo,
    nanogpt,
    opennmt,
    optax,
    pytorch_optimizer,
    pytorch_warmup,
    schedulefree,
    t5x,
    timm,
    torch,
    torchtitan,
    transformers,
    why_warmup,
)

EXACT = (1e-12, 1e-12)
SINGLE = (6e-8, 1e-8)  # peers that compute or end in float32: half a last digit
double_precision = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64


class Case(NamedTuple):
    schedule: object  # params of the vector -> schedule of t, or a list of schedules for its groups
    last: float = np.inf  # the last update that the vector's quirk allows to compare
    tolerance: tuple = EXACT  # relative, absolute
    offset: int = 0  # of the vector's steps
    series: str = "values"


def only(params, *names):
    return {name: params[name] for name in names}


def without(params, *names):
    return {name: value for name, value in params.items() if name not in names}


def one_rate(p):
    """fairseq's list of rates with one entry as that rate."""
    return {**p, "lr": p["lr"][0]}


def megatron_lr(p):
    return megatron.get_lr(**without(p, "start_wd", "end_wd", "wd_incr_steps", "wd_incr_style"))


def megatron_wd(p):
    return megatron.get_wd(**only(p, "start_wd", "end_wd", "wd_incr_steps", "wd_incr_style"))


def detectron2_multiplier(p):
    warm = detectron2.WarmupParamScheduler(detectron2.CosineParamScheduler(1.0, 0.0), **without(p, "max_iter", "inner"))
    return detectron2.LRMultiplier(1.0, warm, p["max_iter"])


def one_cycle_lr(p):
    return torch.OneCycleLR(**without(p, "base_momentum", "max_momentum"))


def one_cycle_momentum(p):
    return torch.OneCycleLR_momentum(**without(p, "max_lr", "div_factor", "final_div_factor"))


def wsd(p):
    return transformers.get_wsd_schedule(**p)


def timm_wsd(p):
    return timm.WSDLRScheduler(**without(p, "t_in_epochs"))


def untuned_linear(p):
    return pytorch_warmup.UntunedLinearWarmup(p["beta2"])


def untuned_exponential(p):
    return pytorch_warmup.UntunedExponentialWarmup(p["beta2"])


def radam(p):
    return pytorch_warmup.RAdamWarmup(p["beta2"])


def why(p):
    return why_warmup.train_schedule(**{**p, "lr_min": p["lr_trgt"] / 10})


def torchtitan_wsd(p):
    return torchtitan.linear_warmup_stable_decay(1.0, **without(p, "total_steps"))


def big_vision_rate(p):
    return big_vision.create_learning_rate_schedule(**p)


def levanter_rate(p):
    return levanter.lr_scheduler(**without(p, "haps"))


def epfml_wsd(p):
    return epfml.wsd_schedule(1.0, **p)


def expo_multistep(p):
    milestones = [epoch * p["steps_per_epoch"] for epoch in p["milestones_epochs"]]
    return pytorch_warmup.dampening(
        torch.MultiStepLR(p["lr"], milestones, p["gamma"]), pytorch_warmup.ExponentialWarmup(p["warmup_period"])
    )


def delayed_cosine(p):
    return pytorch_warmup.dampening(
        delay(torch.CosineAnnealingLR(p["lr"], p["T_max"]), p["warmup_period"] - 1),
        pytorch_warmup.LinearWarmup(p["warmup_period"]),
    )


def groups_of_linear(p):
    return [
        pytorch_warmup.dampening(lambda t: p["lr"], pytorch_warmup.LinearWarmup(period))
        for period in p["warmup_period"]
    ]


def groups_of_layers(p):
    return [timm.CosineLRScheduler(p["lr"] * scale, **without(p, "lr", "lr_scale")) for scale in p["lr_scale"]]


def chained(p):
    return torch.ChainedScheduler(
        p["lr"],
        [
            torch.ConstantLR(p["lr"], p["factor"], p["total_iters"]),
            torch.MultiStepLR(p["lr"], p["milestones"], p["gamma"]),
        ],
    )


def trapezoid(p):
    return optax.join_schedules(
        [optax.linear_schedule(0.0, 0.1, 4), lambda t: 0.1, optax.linear_schedule(0.1, 0.0, 6)], p["boundaries"]
    )


def scheduled_lr(p):
    return schedulefree.scheduled_lr(p["lr"], p["warmup_steps"])


def gradual_cosine(p):
    return ildoonet.GradualWarmupScheduler(p["lr"], p["total_epoch"], torch.CosineAnnealingLR(p["lr"], 20))


def stretched(p):
    rate = init2winit.cosine_warmup(**without(p, "schedule", "stretch_factor"))
    return init2winit.schedule_stretcher(rate, p["stretch_factor"])


# Vector: how it is expressed, and up to which update its quirk lets it be compared.
CASES = {
    "big_vision_cosine": Case(big_vision_rate, tolerance=SINGLE),
    "big_vision_linear_power2": Case(big_vision_rate, tolerance=SINGLE),
    "big_vision_stair": Case(big_vision_rate, tolerance=SINGLE),
    "deepspeed_warmupcosine_linear": Case(lambda p: deepspeed.WarmupCosineLR(**p), last=30),
    "deepspeed_warmupdecay_linear": Case(lambda p: deepspeed.WarmupDecayLR(**p)),
    "deepspeed_warmuplr_linear": Case(lambda p: deepspeed.WarmupLR(**p)),
    "detectron2_warmup_constant_cosine_rescale0": Case(detectron2_multiplier),
    "detectron2_warmup_linear_cosine_rescale0": Case(detectron2_multiplier),
    "epfml_cos_inf": Case(lambda p: epfml.cos_inf_schedule(1.0, **p)),
    "epfml_wsd_exp": Case(epfml_wsd),
    "epfml_wsd_miror_cosine": Case(epfml_wsd),
    "epfml_wsd_square": Case(epfml_wsd),
    "fairseq_cosine": Case(lambda p: fairseq.cosine(**one_rate(p))),
    "fairseq_fixed": Case(lambda p: fairseq.fixed(**one_rate(p))),
    "fairseq_inverse_sqrt_initlr": Case(lambda p: fairseq.inverse_sqrt(**one_rate(p))),
    "fairseq_step": Case(lambda p: fairseq.step(**one_rate(p))),
    "fairseq_tri_stage_ratio": Case(lambda p: fairseq.tri_stage(**one_rate(p))),
    "flax_imagenet_cosine": Case(lambda p: flax_examples.create_learning_rate_fn(**p)),
    "hf_constant_with_warmup": Case(lambda p: transformers.get_constant_schedule_with_warmup(**p)),
    "hf_cosine": Case(lambda p: transformers.get_cosine_schedule_with_warmup(**p), last=30),
    "hf_cosine_hard_restarts": Case(lambda p: transformers.get_cosine_with_hard_restarts_schedule_with_warmup(**p)),
    "hf_cosine_resume_at7": Case(lambda p: transformers.get_cosine_schedule_with_warmup(**without(p, "resume_at"))),
    "hf_cosine_warmup_min_lr_rate": Case(
        lambda p: transformers.get_cosine_with_min_lr_schedule_with_warmup_lr_rate(**p), last=29
    ),
    "hf_inverse_sqrt": Case(lambda p: transformers.get_inverse_sqrt_schedule(**p)),
    "hf_linear": Case(lambda p: transformers.get_linear_schedule_with_warmup(**p)),
    "hf_wsd_1msqrt_1msqrt": Case(wsd),
    "hf_wsd_1msqrt_linear": Case(wsd),
    "hf_wsd_cosine_cosine": Case(wsd),
    "hf_wsd_linear_1msqrt": Case(wsd),
    "hf_wsd_linear_linear": Case(wsd),
    "ildoonet_gradual_mult1_cosine": Case(gradual_cosine),
    "init2winit_compound_rsqrt": Case(lambda p: init2winit.compound(**without(p, "schedule")), tolerance=SINGLE),
    "init2winit_cosine_warmup_fraction": Case(lambda p: init2winit.cosine_warmup(**without(p, "schedule")), last=30),
    "init2winit_mlperf_polynomial": Case(lambda p: init2winit.mlperf_polynomial(**without(p, "schedule"))),
    "init2winit_optlr_warmup_exponential": Case(lambda p: init2winit.exponential_warmup(**p)),
    "init2winit_optlr_warmup_polynomial": Case(lambda p: init2winit.polynomial_warmup(**p)),
    "init2winit_stretch3": Case(stretched),
    "levanter_cosine": Case(levanter_rate),
    "levanter_wsd_linear": Case(levanter_rate),
    "maxtext_cosine": Case(lambda p: maxtext.create_learning_rate_schedule(**p), last=29),
    "maxtext_wsd_cosine": Case(lambda p: maxtext.create_learning_rate_schedule(**p)),
    "mean_teacher_sigmoid_rampup": Case(lambda p: mean_teacher.sigmoid_rampup(**p)),
    "megatron_cosine": Case(megatron_lr),
    "megatron_linear": Case(megatron_lr),
    "megatron_wsd_exponential": Case(megatron_lr),
    "megatron_wsd_minus_sqrt": Case(megatron_lr),
    "mmcv_warmup_constant": Case(lambda p: mmcv.get_warmup_lr(**p)),
    "mmcv_warmup_linear": Case(lambda p: mmcv.get_warmup_lr(**p)),
    "nanodo_constant": Case(lambda p: nanodo.get_learning_rate_schedule(**p)),
    "nanodo_cosine": Case(lambda p: nanodo.get_learning_rate_schedule(**p)),
    "nanodo_rsqrt": Case(lambda p: nanodo.get_learning_rate_schedule(**p)),
    "nanogpt_get_lr": Case(lambda p: nanogpt.get_lr(**p)),
    "opennmt_noam": Case(lambda p: opennmt.noam_decay(1.0, **p), offset=-1),
    "optax_cosine_onecycle": Case(lambda p: optax.cosine_onecycle_schedule(**p)),
    "optax_join_trapezoid": Case(trapezoid),
    "optax_polynomial_warmup_power2": Case(lambda p: optax.polynomial_schedule(**p)),
    "optax_sgdr_two_cycles": Case(lambda p: optax.sgdr_schedule(**p)),
    "optax_warmup_cosine": Case(lambda p: optax.warmup_cosine_decay_schedule(**p)),
    "optax_warmup_cosine_zero_warmup": Case(lambda p: optax.warmup_cosine_decay_schedule(**p)),
    "optax_warmup_exponential_staircase": Case(lambda p: optax.warmup_exponential_decay_schedule(**p)),
    "pytorch_optimizer_adafactor_relative_step": Case(
        lambda p: pytorch_optimizer.get_relative_step_size(p["warmup_init"]), offset=-1
    ),
    "pytorch_optimizer_cosine": Case(lambda p: pytorch_optimizer.CosineScheduler(**p), last=30),
    "pytorch_optimizer_linear": Case(lambda p: pytorch_optimizer.LinearScheduler(**p), last=30),
    "pytorch_optimizer_wsd_1msqrt": Case(lambda p: pytorch_optimizer.get_wsd_schedule(**p)),
    "pytorch_optimizer_wsd_cosine": Case(lambda p: pytorch_optimizer.get_wsd_schedule(**p)),
    "pytorch_warmup_expo4_multistep_epochs": Case(expo_multistep),
    "pytorch_warmup_linear10_then_cosine20": Case(delayed_cosine, last=29),
    "pytorch_warmup_linear_per_group_5_10": Case(groups_of_linear),
    "pytorch_warmup_radam_b2_0.8": Case(radam),
    "pytorch_warmup_radam_b2_0.99": Case(radam),
    "pytorch_warmup_radam_b2_0.999": Case(radam),
    "pytorch_warmup_untuned_exponential_b2_0.9": Case(untuned_exponential),
    "pytorch_warmup_untuned_exponential_b2_0.98": Case(untuned_exponential),
    "pytorch_warmup_untuned_exponential_b2_0.999": Case(untuned_exponential),
    "pytorch_warmup_untuned_linear_b2_0.9": Case(untuned_linear),
    "pytorch_warmup_untuned_linear_b2_0.98": Case(untuned_linear),
    "pytorch_warmup_untuned_linear_b2_0.999": Case(untuned_linear),
    "schedulefree_adamw_warmup5": Case(scheduled_lr),
    "schedulefree_sgd_warmup5": Case(scheduled_lr),
    "t5x_cosine": Case(lambda p: t5x.create_learning_rate_scheduler(**p), tolerance=SINGLE),
    "t5x_rsqrt": Case(lambda p: t5x.create_learning_rate_scheduler(**p), tolerance=SINGLE),
    "timm_cosine_cycles": Case(lambda p: timm.CosineLRScheduler(**without(p, "t_in_epochs"))),
    "timm_cosine_layerwise_lr_scale": Case(groups_of_layers),
    "timm_cosine_prefix": Case(lambda p: timm.CosineLRScheduler(**without(p, "t_in_epochs"))),
    "timm_step": Case(lambda p: timm.StepLRScheduler(**without(p, "t_in_epochs"))),
    "timm_wsd_1msqrt": Case(timm_wsd),
    "timm_wsd_exp": Case(timm_wsd),
    "timm_wsd_power": Case(timm_wsd),
    "torch_chained_constant_multistep": Case(chained),
    "torch_cyclic_triangular2": Case(lambda p: torch.CyclicLR(**p)),
    "torch_onecycle_cos": Case(one_cycle_lr),
    "torch_onecycle_cos_three_phase": Case(one_cycle_lr),
    "torch_onecycle_linear_three_phase": Case(one_cycle_lr),
    "torchtitan_wsd_cosine": Case(torchtitan_wsd),
    "torchtitan_wsd_sqrt": Case(torchtitan_wsd),
    "whywarmup_poly0.5_cosine": Case(why),
    "whywarmup_poly2.0_cosine": Case(why),
}
# The series beside the rates, as (vector, case).
EXTRA = [
    *((name, Case(megatron_wd, series="weight_decay")) for name in CASES if name.startswith("megatron")),
    *((name, Case(one_cycle_momentum, series="momentum")) for name in CASES if name.startswith("torch_onecycle")),
    ("mean_teacher_sigmoid_rampup", Case(lambda p: mean_teacher.linear_rampup(**p), series="linear_rampup")),
    (
        "pytorch_optimizer_adafactor_relative_step",
        Case(lambda p: pytorch_optimizer.get_relative_step_size(False), offset=-1, series="without_warmup_init"),
    ),
]
# Vectors that are no schedules of t, and what stands for them.
NOT_SCHEDULES = {
    "timm_plateau_warmup": "depends on a metric: a transformation that dampens a plateau rule (tests/transforms)",
    "optax_multisteps3_applied": "updates of optax.MultiSteps around a schedule: test_updates_of_accumulated_gradients",
}
# Trajectories of parameters are of the transformations; gotchas are traps that must not be matched.
ELSEWHERE = ("traj_", "gotcha_")


def worst(name, case):
    """The largest excess of an error over its tolerance, as a share of it, and the largest error."""
    peer = vector(name)
    key = "values_x64" if case.series == "values" and "values_x64" in peer else case.series
    steps, expected = np.array(peer["steps"]), np.array(peer[key], float)
    kept = steps <= case.last
    # All at one length, so that each operation compiles once.
    with double_precision(True):
        schedule, t = case.schedule(peer["params"]), np.pad(steps[kept] + case.offset, (0, 90 - kept.sum()), "edge")
        groups = [group(t) for group in schedule] if isinstance(schedule, list) else schedule(t)
        got = np.array(groups).T[: kept.sum()]
    relative, absolute = case.tolerance
    error = np.abs(got - expected[kept])
    return (error / (absolute + relative * np.abs(expected[kept]))).max(), error.max()


@pytest.mark.parametrize("name", CASES)
def test_rates(name):
    excess, error = worst(name, CASES[name])
    assert excess <= 1, f"{name} is off by {error:g}"


@pytest.mark.parametrize("name, case", EXTRA, ids=[f"{name}-{case.series}" for name, case in EXTRA])
def test_other_series(name, case):
    excess, error = worst(name, case)
    assert excess <= 1, f"{name} is off by {error:g}"


def test_every_vector_has_its_place():
    found = {name for name in names() if not name.startswith(ELSEWHERE)}
    assert found == set(CASES) | set(NOT_SCHEDULES)
    assert not set(CASES) & set(NOT_SCHEDULES)


def test_updates_of_accumulated_gradients():
    """The clock of a schedule inside optax.MultiSteps counts the updates applied, not the gradients seen."""
    peer = vector("optax_multisteps3_applied")
    rate = optax.warmup_constant_schedule(0.0, 0.1, 4)
    tx = MultiSteps(transforms.scale_by_recorded_learning_rate(rate), peer["params"]["every_k"])
    state, applied = tx.init(np.zeros(())), []
    for _ in peer["values"]:
        updates, state = tx.update(np.float32(peer["params"]["grad"]), state, np.zeros((), np.float32))
        applied.append(-float(updates))
    np.testing.assert_allclose(applied, peer["values"], rtol=1e-6, atol=1e-8)


def test_in_single_precision():
    """A user without x64 is within 1e-6 of the peers."""
    for name in ("hf_cosine", "timm_cosine_cycles", "torch_onecycle_cos"):
        peer = vector(name)
        steps = np.array([t for t in peer["steps"] if t <= CASES[name].last])
        got = CASES[name].schedule(peer["params"])(np.pad(steps, (0, 90 - len(steps)), "edge"))[: len(steps)]
        expected = peer["values"][: len(steps)]
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-8, err_msg=name)
