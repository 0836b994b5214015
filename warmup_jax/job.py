"""A config made concrete: its data on the device, its runs, and their compiled functions."""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from warmup_jax import config as configuration
from warmup_jax import data, evaluation, models, sweep
from warmup_jax.train_step import Knobs, Program, each_run, eval_step, init_state, train_chunk, updated

# What a dispatch holds where the config leaves it open (None): (chunk_steps, runs_at_once) by platform
# and kind of model. On CPU a convolution inside a loop loses its fast path, a Transformer loses nothing
# there; one run already uses all cores.
DISPATCH = {("cpu", "images"): (1, 1), ("cpu", "texts"): (10, 1),
            ("gpu", "images"): (100, 32), ("gpu", "texts"): (100, 32),
            ("tpu", "images"): (100, 32), ("tpu", "texts"): (100, 32)}
# Initialisation runs once, but the random numbers of every shape are a program of their own to
# optimise: without it a ResNet-20 starts seconds earlier.
QUICK_COMPILATION = {"xla_backend_optimization_level": 0}


class Plan(NamedTuple):
    """The runs that share one program, and its compiled functions."""
    config: dict          # with the static changes of these runs
    runs: range
    num_steps: int
    knobs: list[Knobs]    # one a run
    chunk_steps: int
    init: Any             # knobs [R] -> states [R]
    train: Any            # see train_step.train_chunk
    evaluate: Any         # see train_step.eval_step
    decode: Any           # (states [R], key, source texts [B, ...]) -> tokens [R, B, T]; None for images


class Group(NamedTuple):
    """Runs of one plan that train together, as lanes of one dispatch."""
    plan: Plan
    runs: range

    @property
    def name(self) -> str:
        return f"runs_{self.runs[0]}-{self.runs[-1]}"

    def knobs(self) -> Knobs:
        """The knobs of these runs, with leaves [R, ...]."""
        first = self.plan.runs[0]
        return sweep.stack([self.plan.knobs[run - first] for run in self.runs])


class Job(NamedTuple):
    """All runs of a config, in the order in which they train."""
    config: dict
    dataset: data.Dataset
    train_arrays: dict    # resident splits on the device, {} if they stream
    test_arrays: dict
    changes: list[dict]   # what each run changes in the config
    groups: list[Group]


def set_up(config: dict) -> Job:
    """Checks the config, loads its data and builds its programs; nothing is compiled yet.

    Raises:
      ValueError, OSError: for a config or data set that cannot be used.
    """
    configuration.validate(config)
    dataset = data.load(**config["dataset"])
    changes = sweep.expand(config)
    groups = []
    for static, runs in sweep.programs(config, changes):
        plan = make_plan(sweep.assign(config, static), dataset, runs, [changes[run] for run in runs])
        at_once = config["runs_at_once"] or dispatch(dataset)[1]
        groups += [Group(plan, group) for group in sweep.groups(runs, at_once)]
    return Job(config=config, dataset=dataset, changes=changes, groups=groups,
               train_arrays=jax.device_put(dataset.train.arrays or {}),
               test_arrays=jax.device_put(dataset.test.arrays or {}))


def make_plan(config: dict, dataset: data.Dataset, runs: range, changes: list[dict]) -> Plan:
    """One program for the runs that make these changes to a config."""
    if config["batch_size"] > dataset.train.size:
        raise ValueError(f"batch_size={config['batch_size']} is larger than the training data "
                         f"({dataset.train.size} examples)")
    model = models.build(**config["model"], num_classes=dataset.num_classes, input_shape=dataset.input_shape)
    num_steps = configuration.num_steps(config, dataset.train.size)
    of_run = [sweep.assign(config, change) for change in changes]
    knobs = [configuration.run_knobs(run, num_steps=num_steps, train_size=dataset.train.size) for run in of_run]
    check_optimizer(configuration.optimizer(of_run[0], knobs[0]))
    program = Program(
        init=model.init, apply=model.apply,
        prepare=lambda arrays, batch, key, train: dataset.prepare(data.take(arrays, batch), key, train),
        optimizer=partial(configuration.optimizer, of_run[0]))
    decode = evaluation.decoder(model, dataset.texts, config["decoding"])
    return Plan(
        config=config, runs=runs, num_steps=num_steps, knobs=knobs,
        chunk_steps=chunk_length(config, num_steps, dispatch(dataset)[0]),
        init=jax.jit(lambda knobs: each_run(partial(init_state, program), (0,))(knobs),
                     compiler_options=QUICK_COMPILATION),
        train=jax.jit(partial(train_chunk, program), donate_argnums=1),
        evaluate=jax.jit(partial(eval_step, program)),
        decode=decode and jax.jit(decode))


def dispatch(dataset: data.Dataset) -> tuple[int, int]:
    """(chunk_steps, runs_at_once) where the config leaves them open."""
    return DISPATCH[jax.default_backend(), "images" if dataset.texts is None else "texts"]


def check_optimizer(tx) -> None:
    """Raises a ValueError if a transformation asks for something that a train step does not measure."""
    params = {"layer": {"kernel": jnp.zeros((1, 1))}}
    jax.eval_shape(lambda: updated(tx, params, tx.init(params), params, 0.0, 0.0))


def chunk_length(config: dict, num_steps: int, most: int) -> int:
    """Steps a dispatch: as the config says, or the most that end where an evaluation or checkpoint is due."""
    stops = [min(config[key], num_steps) for key in ("eval_every", "checkpoint_every")]
    chosen = config["chunk_steps"]
    if chosen is None:
        common = math.gcd(*stops)
        return max(c for c in range(1, min(most, common) + 1) if common % c == 0)
    if any(stop % chosen for stop in stops):
        raise ValueError(f"chunk_steps={chosen} must divide eval_every={config['eval_every']} "
                         f"and checkpoint_every={config['checkpoint_every']}")
    return chosen
