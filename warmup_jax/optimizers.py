"""Optimizers by name: one optax chain from the names in a config and the hyperparameters of a run.

Every entry of `OPTIMIZERS` has the form `f(rate, mask, *, ...)`: `rate` is the
transformation that multiplies by the learning rate and records it, `mask` selects
the parameters that decay, the rest are the optimizer's own arguments, all of them
required. Their numbers may be traced.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import jax
import optax

from warmup_jax import registry, schedules, transforms
from warmup_jax.numerics import STACKED, Number

Transform: TypeAlias = optax.GradientTransformation
Mask = Callable[[Any], Any]

UNDECAYED = ("bias", "scale")  # biases, and the scale of every normalisation


def decay_mask(params: Any) -> Any:
    """Returns a tree that is True for the parameters weight decay acts on: all but biases and normalisation."""
    return jax.tree.map_with_path(lambda path, _: path[-1].key not in UNDECAYED, params)


def muon_dimensions(params: Any) -> Any:
    """Returns the axes by which Muon reads each parameter as a matrix [inputs, outputs]; None leaves it to Adam.

    Matrices are the kernels of hidden layers. The first and last layers,
    embeddings, biases and scales are left to Adam (Jordan et al., Muon, 2024).
    Convolution kernels are HWIO; a kernel [N, inputs, outputs] of layers that are
    stacked for a scan is N matrices.
    """

    def dimensions(path: Any, leaf: jax.Array) -> Any:
        layer, name = path[0].key, path[-1].key
        if name != "kernel" or layer in ("stem", "head") or leaf.ndim < 2:
            return None
        inputs = tuple(range(1 if layer in STACKED else 0, leaf.ndim - 1))
        return optax.contrib.MuonDimensionNumbers(reduction_axis=inputs, output_axis=leaf.ndim - 1)

    return jax.tree.map_with_path(dimensions, params)


def none(rate: Transform, mask: Mask, *, weight_decay: Number) -> Transform:
    """Gradient descent without momentum, to combine with a preconditioner of `transforms`; decoupled weight decay."""
    return optax.chain(optax.add_decayed_weights(weight_decay, mask), rate)


def sgd(rate: Transform, mask: Mask, *, momentum: Number, nesterov: bool, weight_decay: Number) -> Transform:
    """SGD with (Nesterov) momentum; weight decay is added to the gradient (L2)."""
    return optax.chain(optax.add_decayed_weights(weight_decay, mask), optax.trace(momentum, nesterov), rate)


def adam(rate: Transform, mask: Mask, *, beta1: Number, beta2: Number, eps: Number, weight_decay: Number) -> Transform:
    """Adam (Kingma and Ba 2015); weight decay is added to the gradient (L2)."""
    return optax.chain(optax.add_decayed_weights(weight_decay, mask), optax.scale_by_adam(beta1, beta2, eps), rate)


def adamw(rate: Transform, mask: Mask, *, beta1: Number, beta2: Number, eps: Number, weight_decay: Number) -> Transform:
    """AdamW (Loshchilov and Hutter 2019); decoupled weight decay, times the learning rate."""
    return optax.chain(optax.scale_by_adam(beta1, beta2, eps), optax.add_decayed_weights(weight_decay, mask), rate)


def radam(rate: Transform, mask: Mask, *, beta1: Number, beta2: Number, eps: Number, weight_decay: Number) -> Transform:
    """Rectified Adam (Liu et al. 2020), momentum SGD until rho exceeds 5; decoupled decay."""
    return optax.chain(optax.scale_by_radam(beta1, beta2, eps), optax.add_decayed_weights(weight_decay, mask), rate)


def gi_adam(
    rate: Transform, mask: Mask, *, beta1: Number, beta2: Number, eps: Number, weight_decay: Number
) -> Transform:
    """GI-Adam (Kalra and Barkeshli 2024), whose second moment begins at the squared first gradient; decoupled decay."""
    return optax.chain(
        transforms.scale_by_gi_adam(beta1, beta2, eps), optax.add_decayed_weights(weight_decay, mask), rate
    )


def ademamix(
    rate: Transform,
    mask: Mask,
    *,
    beta1: Number,
    beta2: Number,
    beta3: Number,
    alpha: Number,
    eps: Number,
    weight_decay: Number,
) -> Transform:
    """AdEMAMix (Pagliardini et al. 2024): Adam with a second, slow momentum; decoupled weight decay."""
    return optax.chain(
        optax.contrib.scale_by_ademamix(beta1, beta2, beta3, alpha, eps),
        optax.add_decayed_weights(weight_decay, mask),
        rate,
    )


def adabelief(
    rate: Transform, mask: Mask, *, beta1: Number, beta2: Number, eps: Number, weight_decay: Number
) -> Transform:
    """AdaBelief (Zhuang et al. 2020); decoupled weight decay."""
    return optax.chain(optax.scale_by_belief(beta1, beta2, eps), optax.add_decayed_weights(weight_decay, mask), rate)


def lamb(rate: Transform, mask: Mask, *, beta1: Number, beta2: Number, eps: Number, weight_decay: Number) -> Transform:
    """LAMB (You et al. 2020); the decay enters the update before its trust ratio."""
    return optax.chain(
        optax.scale_by_adam(beta1, beta2, eps),
        optax.add_decayed_weights(weight_decay, mask),
        optax.scale_by_trust_ratio(),
        rate,
    )


def lars(
    rate: Transform,
    mask: Mask,
    *,
    momentum: Number,
    nesterov: bool,
    trust_coefficient: Number,
    eps: Number,
    weight_decay: Number,
) -> Transform:
    """LARS (You et al. 2017); biases and normalisation have no trust ratio.

    The momentum accumulates updates that already carry their learning rate.
    """
    trust_ratio = optax.scale_by_trust_ratio(trust_coefficient=trust_coefficient, eps=eps)
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask),
        optax.masked(trust_ratio, mask),
        rate,
        optax.trace(momentum, nesterov),
    )


def lion(rate: Transform, mask: Mask, *, beta1: Number, beta2: Number, weight_decay: Number) -> Transform:
    """Lion (Chen et al. 2023); decoupled weight decay."""
    return optax.chain(optax.scale_by_lion(beta1, beta2), optax.add_decayed_weights(weight_decay, mask), rate)


def novograd(
    rate: Transform, mask: Mask, *, beta1: Number, beta2: Number, eps: Number, weight_decay: Number
) -> Transform:
    """NovoGrad (Ginsburg et al. 2019): one second moment for each tensor; decoupled weight decay."""
    return optax.chain(optax.scale_by_novograd(beta1, beta2, eps), optax.add_decayed_weights(weight_decay, mask), rate)


def muon(
    rate: Transform, mask: Mask, *, momentum: Number, beta1: Number, beta2: Number, eps: Number, weight_decay: Number
) -> Transform:
    """Muon (Jordan et al. 2024) for hidden kernels and Nesterov's Adam for the rest; decoupled weight decay.

    Both parts share one learning rate: the orthogonalised update is scaled to
    the root mean square of Adam's, 0.2 (Liu et al., Muon is Scalable, 2025).
    """
    directions = optax.contrib.muon(
        learning_rate=-1.0,  # the sign and the rate come from `rate`
        beta=momentum,
        adam_b1=beta1,
        adam_b2=beta2,
        eps=eps,
        consistent_rms=0.2,
        muon_weight_dimension_numbers=muon_dimensions,
    )
    return optax.chain(directions, optax.add_decayed_weights(weight_decay, mask), rate)


def clipping(clip_norm: Number) -> Transform:
    """Clips gradients to a global norm, before any optimizer sees them."""
    return optax.clip_by_global_norm(clip_norm)


OPTIMIZERS: dict[str, Callable[..., Transform]] = {
    "none": none,
    "sgd": sgd,
    "adam": adam,
    "adamw": adamw,
    "radam": radam,
    "gi_adam": gi_adam,
    "ademamix": ademamix,
    "adabelief": adabelief,
    "lamb": lamb,
    "lars": lars,
    "lion": lion,
    "novograd": novograd,
    "muon": muon,
}


# Position of each transformation in the chain: on the gradients, in place of the learning rate, or on the
# finished updates.
PLACES = {
    "clip_by_global_norm_warmup": "gradient",
    "scale_by_rectified_adam": "gradient",
    "scale_by_gi_adam": "gradient",
    "scale_by_ri_adam": "gradient",
    "scale_by_adam_frozen": "gradient",
    "scale_by_recorded_learning_rate": "rate",
    "cap_by_sharpness": "rate",
    "scale_by_warmup": "update",
    "warmup_until": "update",
    "limit_relative_update": "update",
}


def build(
    optimizer: str,
    args: Mapping[str, Any],
    schedule: schedules.Schedule,
    names: Iterable[str] = (),
    transforms_args: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    factor: schedules.Schedule | None = None,
) -> Transform:
    """Builds the chain of a config: clipping, transformations of gradients, the optimizer, those of updates.

    Args:
      optimizer: a name in `OPTIMIZERS`.
      args: exactly that optimizer's arguments, and optionally `clip_norm`, the global
        gradient norm to clip to. Numbers may be traced.
      schedule: `t -> learning rate`.
      names: names in `transforms.TRANSFORMS`; each goes to its place in `PLACES`, in this order.
      transforms_args: name of a transformation -> its arguments; a dict as an argument stands for a `ramp`.
      factor: the warmup that `scale_by_warmup` applies.

    Returns:
      A `GradientTransformation` that records the learning rate it applied.

    Raises:
      ValueError: for an unknown name, or an unknown or missing argument.
    """
    args = dict(args)
    clip_norm = args.pop("clip_norm", None)
    for name in transforms_args:
        if name not in names:
            raise ValueError(f"transforms_args.{name} is given, but {name!r} is not among the transforms")
    placed: dict[str, list[Transform]] = {"gradient": [], "rate": [], "update": []}
    for name in names:
        registry.lookup("transform", transforms.TRANSFORMS, name)
        own = {
            arg: transforms.ramp(**value) if isinstance(value, Mapping) else value
            for arg, value in transforms_args.get(name, {}).items()
        }
        placed[PLACES[name]].append(
            registry.construct("transform", transforms.TRANSFORMS, name, own, schedule=schedule, factor=factor)
        )
    rate = placed["rate"] or [transforms.scale_by_recorded_learning_rate(schedule)]
    chain = registry.construct("optimizer", OPTIMIZERS, optimizer, args, mask=decay_mask, rate=optax.chain(*rate))
    clip = [] if clip_norm is None else [clipping(clip_norm)]
    return optax.chain(*clip, *placed["gradient"], chain, *placed["update"])
