"""A job: a config made concrete, with its data on the devices, its runs in groups, and their compiled functions."""

import itertools
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.stages import Wrapped as Jitted

from warmup_jax import data, diagnostics, models
from warmup_jax.losses import LOSSES
from warmup_jax.runtime import defaults, devices, process
from warmup_jax.training import build, chunks, evaluation, orders, probes, schema, sizes, sweep
from warmup_jax.training.probes import ProbeInputs, Prober, probe_axes
from warmup_jax.training.train_step import (
    ChunkInputs,
    Knobs,
    Program,
    TrainState,
    chunk_axes,
    each_run,
    eval_step,
    init_state,
    optimizer_update,
    train_chunk,
)


class Plan(NamedTuple):
    """The runs that share one program, and the compiled functions of that program."""

    config: dict  # with the static changes of these runs
    runs: range
    run_configs: list[dict]  # of each run
    train_size: int
    num_steps: int
    parameters: int  # of the model
    knobs: list[Knobs]  # of each run
    num_lanes: int  # of each group
    mesh: Mesh | None
    batch_axis: int | None  # None: all runs train on the same batches; 0: each on its own
    chunk_steps: int
    chunks_ahead: int  # chunks that wait on the device while another one is computed
    pauses: chunks.Pauses  # the updates that no chunk may pass
    eval_at_once: int  # evaluation batches that are computed at the same time
    probers: dict[str, Prober]
    init: Any  # jitted: knobs [R], weights or None -> states [R]
    train: Jitted  # states [R], ChunkInputs -> states [R], metrics [R, C]
    evaluate: Jitted  # states [R], test arrays, batch -> sums [R] by name
    decode: Jitted | None  # states [R], key, source texts [B, ...] -> tokens [R, B, T]; None for images
    probe: dict[str, Jitted]  # name -> (ProbeInputs -> metrics [R], carries [R])
    rates: Jitted  # knobs of one run, steps [T] -> its learning rates and warmup factors [T]
    carry: Jitted  # states [R] -> the carries of the probes before the first of them


class Group(NamedTuple):
    """Runs of one plan that train together, one in each lane. Lanes beyond the runs repeat the last run."""

    plan: Plan
    runs: range

    @property
    def name(self) -> str:
        return f"runs_{self.runs[0]}-{self.runs[-1]}"

    @property
    def compiles(self) -> bool:
        """True for the first group of its plan; the others find its compiled functions."""
        return self.runs[0] == self.plan.runs[0]

    @property
    def lane_knobs(self) -> list[Knobs]:
        """The knobs of each lane."""
        runs = [*self.runs, *[self.runs[-1]] * (self.plan.num_lanes - len(self.runs))]
        return [self.plan.knobs[run - self.plan.runs[0]] for run in runs]

    @property
    def warmup_steps(self) -> np.ndarray:
        """The updates of each lane's warmup, [R]."""
        return np.array([knobs.warmup_steps for knobs in self.lane_knobs])

    @property
    def orders(self) -> tuple[int, ...]:
        """The seed of the order of the data: of each lane, or the one that all lanes share."""
        if self.plan.batch_axis is None:
            return (self.plan.config["seed"],)
        return tuple(int(knobs.seed) for knobs in self.lane_knobs)

    @property
    def parting(self) -> int | None:
        """The update up to which longer runs of this config would be like all of these; see `build.parting`."""
        plan = self.plan
        found = [
            build.parting(plan.rates, plan.run_configs[index], plan.knobs[index], plan.train_size)
            for index in (run - plan.runs[0] for run in self.runs)
        ]
        return min((step for step in found if step is not None), default=None)

    def knobs(self) -> Knobs:
        """Returns the knobs of the lanes as one, with leaves [R, ...]."""
        return sweep.stack(self.lane_knobs)


class Job(NamedTuple):
    """All runs of a config, in the order in which they train."""

    config: dict
    dataset: data.Dataset
    train_arrays: dict  # resident splits on the devices, {} if they stream
    test_arrays: dict
    changes: list[dict]  # of each run to the config
    groups: list[Group]
    weights: tuple[Any, Any] | None = None  # (params, stats) that every run starts from; None: random ones

    @property
    def plans(self) -> list[Plan]:
        """The programs, in the order in which they train."""
        return list({id(group.plan): group.plan for group in self.groups}.values())

    @property
    def vocabulary(self) -> str | None:
        """The fingerprint of the data's vocabulary, None for images."""
        return self.dataset.texts and self.dataset.texts.fingerprint


def prepare_process(model: Mapping[str, Any]) -> None:
    """Sets memory and CPU devices of the process for a model config. Call it before JAX begins."""
    process.one_device_for_each_core()
    process.return_memory_of_compilations()
    if defaults.defaults(model, "cpu").keeps_freed_memory:
        process.keep_freed_memory()


def set_up(config: dict) -> Job:
    """Checks a config, loads its data and builds its programs; nothing is compiled yet.

    Raises:
      ValueError, OSError: for a config or data set that cannot be used.
    """
    schema.validate(config)
    dataset = data.load(**config["dataset"])
    changes = sweep.expand(config)
    plans = make_plans(config, dataset, changes)
    mesh = plans[0].mesh
    job = Job(
        config=config,
        dataset=dataset,
        changes=changes,
        groups=make_groups(plans),
        train_arrays=devices.place(dataset.train.arrays or {}, mesh, None),
        test_arrays=devices.place(dataset.test.arrays or {}, mesh, None),
    )
    for plan in plans:
        check_probes(job, Group(plan, plan.runs[: plan.num_lanes]))
    return job


def make_plans(config: dict, dataset: data.Dataset, changes: list[dict]) -> list[Plan]:
    """Builds the programs of all runs of a config."""
    at_once = config["runs_at_once"] or (defaults.defaults(config["model"]).lanes_per_device * jax.local_device_count())
    mesh = devices.make_mesh(len(changes), at_once, sizes.devices_per_batch(config))
    plans = []
    for static, runs in sweep.programs(config, changes):
        knobs = [{name: value for name, value in changes[run].items() if name not in static} for run in runs]
        plans.append(make_plan(sweep.assign(config, static), dataset, runs, knobs, mesh, at_once))
    return plans


def make_groups(plans: Iterable[Plan], progress: Mapping[int, int] = MappingProxyType({})) -> list[Group]:
    """Returns the runs of all plans in groups.

    Args:
      plans: of a job.
      progress: {run: updates already applied}, 0 for those not named. The runs of a group train in lockstep, so those
        that begin at different updates are in different groups.
    """
    alike = [
        (plan, [run for run, _ in stretch])
        for plan in plans
        for _, stretch in itertools.groupby(
            ((run, progress.get(run, 0)) for run in plan.runs), key=lambda run_and_step: run_and_step[1]
        )
    ]
    return [
        Group(plan, group)
        for plan, runs in alike
        for group in sweep.groups(range(runs[0], runs[-1] + 1), plan.num_lanes)
    ]


def make_plan(
    config: dict,
    dataset: data.Dataset,
    runs: range,
    changes: list[dict],
    mesh: Mesh | None = None,
    at_once: int = 1,
) -> Plan:
    """Builds the program of the runs that make these changes to a config."""
    if config["batch_size"] > dataset.train.size:
        raise ValueError(
            f"batch_size={config['batch_size']} is larger than the training data ({dataset.train.size} examples)"
        )
    default = defaults.defaults(config["model"])
    model = build_model(config, dataset)
    num_steps = build.num_steps(config, dataset.train.size)
    run_configs = [sweep.assign(config, change) for change in changes]
    knobs = [build.knobs(run, num_steps=num_steps, train_size=dataset.train.size) for run in run_configs]
    chosen, timings = diagnostics.from_config(config["diagnostics"])
    check_optimizer(build.optimizer(run_configs[0], knobs[0]), chosen)

    batch_axis = None if sweep.shares_order(config) or len({int(run.seed) for run in knobs}) == 1 else 0

    def prepare(arrays: dict, batch: dict, key: jax.Array | None, train: bool) -> dict:
        return devices.shard_batch(dataset.prepare(data.take(arrays, batch), key, train), mesh)

    program = Program(
        init=model.init,
        apply=model.apply,
        loss=LOSSES[config["loss"]].each,
        prepare=prepare,
        optimizer=partial(build.optimizer, run_configs[0]),
        diagnostics={name: args for name, args in chosen.items() if name not in timings},
        batch_axis=batch_axis,
    )
    probers = make_probers(program, run_configs[0], knobs[0], model, dataset, chosen, timings)
    decode = evaluation.decoder(model, dataset.texts, config["decoding"])
    evaluation.check_lengths(dataset.texts, config["decoding"])
    num_lanes = devices.lanes_per_group(len(runs), at_once, devices.lane_devices(mesh))
    sizes.check_memory(config, model, dataset, devices.largest_state(mesh, num_lanes), num_lanes)
    warmups = np.array([int(run.warmup_steps) for run in knobs])
    options = defaults.compiler_options(config["model"])
    jit = partial(devices.jit_over_lanes, mesh=mesh, compiler_options=options)
    return Plan(
        config=config,
        runs=runs,
        run_configs=run_configs,
        train_size=dataset.train.size,
        num_steps=num_steps,
        parameters=model.parameters,
        knobs=knobs,
        num_lanes=num_lanes,
        mesh=mesh,
        batch_axis=batch_axis,
        chunk_steps=chunks.chunk_length(config, num_steps, default.chunk_steps, timings),
        chunks_ahead=int(sizes.batch_pixels(config, dataset) < default.max_pixels_ahead),
        pauses=chunks.pauses(config, num_steps, *probes.pauses(probers, num_steps, warmups)),
        eval_at_once=sizes.eval_batches_at_once(config, dataset, mesh, num_lanes),
        probers=probers,
        init=jit(
            lambda knobs, weights: each_run(partial(init_state, program), (0, None))(knobs, weights),
            (0, None),
            compiler_options=defaults.LEVEL_0,
        ),
        train=jit(partial(train_chunk, program), (0, chunk_axes(program)), donate_argnums=0),
        evaluate=jit(partial(eval_step, program), (0, None, None)),
        decode=decode and jit(decode, (0, None, None)),
        probe={name: jit(partial(probes.measure, prober), (probe_axes(prober),)) for name, prober in probers.items()},
        rates=jax.jit(partial(build.rates, run_configs[0])),
        carry=jit(lambda states: jax.vmap(partial(diagnostics.init_carries, chosen))(states.params), (0,)),
    )


def build_model(config: Mapping[str, Any], dataset: data.Dataset) -> models.Model:
    """Returns the model of a config, for the inputs and classes of a data set."""
    return models.build(**config["model"], num_classes=dataset.num_classes, input_shape=dataset.input_shape)


def make_probers(
    program: Program,
    config: Mapping[str, Any],
    knobs: Knobs,
    model: models.Model,
    dataset: data.Dataset,
    chosen: Mapping[str, Mapping[str, Any]],
    timings: Mapping[str, diagnostics.Timing],
) -> dict[str, Prober]:
    """Returns the probes of a config by name.

    Raises:
      ValueError: for a diagnostic that these runs cannot give, or more examples than there are.
    """
    if not chosen:
        return {}
    numbers = build.optimizer_numbers(config, knobs)
    available = probes.provided(program, knobs, model, numbers, dataset.texts is not None)
    found = {}
    for name, args in chosen.items():
        diagnostics.check(name, args, available)
        if name not in timings:
            continue
        if (timings[name].examples or 0) > dataset.train.size:
            raise ValueError(
                f"diagnostics.{name}.examples={timings[name].examples}; allowed: at most the "
                f"{dataset.train.size} training examples"
            )
        found[name] = Prober(
            program=program,
            name=name,
            args=args,
            timing=timings[name],
            observe=model.observe,
            numbers=partial(build.optimizer_numbers, config),
            unroll=defaults.defaults(config["model"]).unrolls_probes,
            batch_axis=program.batch_axis if probes.takes_training_batches(name, timings[name]) else None,
        )
    return found


def check_optimizer(tx: Any, chosen: Collection[str]) -> None:
    """Raises a ValueError if a transformation needs a value that neither the step nor the chosen diagnostics give."""
    params = {"layer": {"kernel": jnp.zeros((1, 1))}}
    feedback = {"sharpness": 0.0} if {"sharpness", "preconditioned_sharpness"} & set(chosen) else {}
    try:
        jax.eval_shape(lambda: optimizer_update(tx, params, tx.init(params), params, 0.0, 0.0, feedback))
    except ValueError as error:
        raise ValueError(
            f"{error}; a run measures what diagnostics={{...}} names, this one: {', '.join(chosen) or 'nothing'}"
        ) from error


def check_probes(job: Job, group: Group) -> None:
    """Raises a ValueError for a probe that does not fit its model, optimizer or batch; nothing is computed."""
    plan = group.plan
    if not plan.probers:
        return
    knobs = group.knobs()
    states = jax.eval_shape(plan.init, knobs, None)
    carries = jax.eval_shape(plan.carry, states)
    due = np.ones(plan.num_lanes, bool)
    for name, probe in plan.probe.items():
        jax.eval_shape(probe, probe_inputs(job, group, name, knobs, states, states.params, carries, due, step=1))


def compile_update(job: Job, group: Group, knobs: Knobs, batch: Mapping[str, np.ndarray]) -> None:
    """Compiles the update of a group's first chunk, for batches of the shapes of `batch`.

    Called before the states exist: they take memory, and so does a compilation. The first call of `plan.train` finds
    the compiled program.
    """
    plan = group.plan
    states = devices.placed_shapes(jax.eval_shape(plan.init, knobs, None), plan.mesh, 0)
    carries = devices.placed_shapes(jax.eval_shape(plan.carry, states), plan.mesh, 0) if plan.probers else {}
    length = chunks.next_chunk(plan.chunk_steps, plan.pauses, 0)
    axis = orders.step_axis(plan.batch_axis)
    chunk = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((*leaf.shape[:axis], length, *leaf.shape[axis:]), leaf.dtype), batch
    )
    plan.train.lower(states, chunk_inputs(job, group, knobs, carries, chunk, step=0)).compile()


def chunk_inputs(
    job: Job, group: Group, knobs: Knobs, carries: Mapping[str, Any], chunk: dict, step: int
) -> ChunkInputs:
    """Returns the inputs of `plan.train` after `step` updates, for a chunk of `orders.stack_steps`."""
    length = jax.tree.leaves(chunk)[0].shape[orders.step_axis(group.plan.batch_axis)]
    return ChunkInputs(
        knobs=knobs,
        feedback=probes.feedback(carries),
        arrays=job.train_arrays,
        batches=chunk,
        steps=np.arange(step, step + length, dtype=np.int32),
        key=orders.augmentation_key(group.orders, group.plan.batch_axis),
    )


def probe_inputs(
    job: Job,
    group: Group,
    name: str,
    knobs: Knobs,
    states: TrainState,
    before: Any,
    carries: Mapping[str, Any],
    due: np.ndarray,
    step: int,
) -> ProbeInputs:
    """Returns the inputs of `plan.probe[name]` after `step` updates."""
    prober, config = group.plan.probers[name], group.plan.config
    seeds = (config["seed"],) if prober.batch_axis is None else group.orders
    by_seed = {
        seed: probes.batches_for(prober, job.dataset, seed, config["batch_size"], step) for seed in dict.fromkeys(seeds)
    }
    batches = by_seed[seeds[0]] if prober.batch_axis is None else orders.by_lane(by_seed, seeds)
    return ProbeInputs(
        knobs=knobs,
        states=states,
        before=before if prober.entry.compares_update else {},
        carries={name: carries[name]} if name in carries else {},
        due=due,
        arrays=job.train_arrays,
        test_arrays=job.test_arrays,
        batches=batches,
        key=orders.augmentation_key(seeds, prober.batch_axis),
        step=np.int32(max(step - 1, 0)),
    )
