"""A config made concrete: its data on the device, its runs, and their compiled functions."""

import functools
import math
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from warmup_jax import data, diagnostics, models, registry
from warmup_jax.losses import LOSSES
from warmup_jax.runtime import devices, process
from warmup_jax.training import evaluation, probes, sweep
from warmup_jax.training import schema as configuration
from warmup_jax.training.train_step import (
    Knobs,
    Program,
    TrainState,
    each_run,
    eval_step,
    init_state,
    train_chunk,
    updated,
)

KINDS = {"resnet": "convolutional", "fcn": "dense", "transformer": "transformer", "decoder": "transformer"}
# On CPU the updates of these take and free so much memory that it decides how fast they are.
MUCH_MEMORY = ("convolutional",)
# What a dispatch holds where the config leaves it open (None): (chunk_steps, lanes a device) by platform
# and kind of model. On CPU a convolution inside a loop loses its fast path, matrix products lose nothing
# there.
DISPATCH = {("cpu", "convolutional"): (1, 1), ("cpu", "dense"): (16, 1), ("cpu", "transformer"): (10, 1)} | {
    (platform, kind): (100, 32) for platform in ("gpu", "tpu") for kind in set(KINDS.values())
}
# Platforms whose devices share the batches of a single run. On CPU they could wait for each other's sums for ever: a
# device that waits holds a thread which the other may need (benchmarks/NOTES.md).
SHARING = ("gpu", "tpu")
# Pixels of a batch from which on an update takes so much memory that the next is dispatched when it has ended.
ALONE = {("cpu", "convolutional"): 2**15}
# What the cores of a CPU evaluate side by side at the most: batches, and numbers in the largest arrays of them all.
EVALUATED = 4, 2**27
# Streams of the seed of a config; 0 and 1 are those of the runs.
AUGMENTATION, DECODING = 2, 3
# Transformers of at most this width are faster at XLA's level 2 than at 3, its default, and start seconds earlier. A
# wider one loses a twentieth there on two cores, and a ResNet-18 an eighth (benchmarks/NOTES.md).
SMALL = {("cpu", "transformer"): 32}
FOR_SMALL = {"xla_backend_optimization_level": 2}
# Initialisation runs once, but the random numbers of every shape are a program of their own to
# optimise: without it a ResNet-20 starts seconds earlier.
QUICK_COMPILATION = {"xla_backend_optimization_level": 0}


class Plan(NamedTuple):
    """The runs that share one program, and its compiled functions."""

    config: dict  # with the static changes of these runs
    runs: range
    num_steps: int
    knobs: list[Knobs]  # one a run
    lanes: int  # of each group
    devices: Any  # the mesh that shares out lanes or batches, None for one device
    chunk_steps: int
    ahead: int  # chunks that wait on the device while one is computed
    stops: np.ndarray  # the updates that no chunk may pass, ascending
    init: Any  # knobs [R] -> states [R]
    train: Any  # see train_step.train_chunk
    evaluate: Any  # see train_step.eval_step
    evaluated: int  # batches of an evaluation that are computed at a time
    decode: Any  # (states [R], key, source texts [B, ...]) -> tokens [R, B, T]; None for images
    probers: dict[str, probes.Prober]
    probe: dict[str, Any]  # name -> see probes.measure
    carry: Any  # states [R] -> what the probes carry, before the first of them


class Group(NamedTuple):
    """Runs of one plan that train together, as lanes of one dispatch."""

    plan: Plan
    runs: range

    @property
    def name(self) -> str:
        return f"runs_{self.runs[0]}-{self.runs[-1]}"

    @property
    def lanes(self) -> list[Knobs]:
        """The knobs of each lane; lanes beyond the runs repeat the last one."""
        runs = [*self.runs, *[self.runs[-1]] * (self.plan.lanes - len(self.runs))]
        return [self.plan.knobs[run - self.plan.runs[0]] for run in runs]

    @property
    def warmups(self) -> np.ndarray:
        """The updates of each lane's warmup, [R]."""
        return np.array([knobs.warmup_steps for knobs in self.lanes])

    def knobs(self) -> Knobs:
        """The knobs of the lanes, with leaves [R, ...]."""
        return sweep.stack(self.lanes)

    def init(self, knobs: Knobs) -> TrainState:
        """The states before the first update. After the last group of a plan the program for them is dropped."""
        states = self.plan.init(knobs)
        if self.runs[-1] == self.plan.runs[-1]:
            self.plan.init.clear_cache()
        return states


class Job(NamedTuple):
    """All runs of a config, in the order in which they train."""

    config: dict
    dataset: data.Dataset
    train_arrays: dict  # resident splits on the devices, {} if they stream
    test_arrays: dict
    changes: list[dict]  # what each run changes in the config
    groups: list[Group]

    @property
    def vocabulary(self) -> str | None:
        """What tells the vocabulary of the data from any other; None for images."""
        return self.dataset.texts and self.dataset.texts.fingerprint


def prepare_process(model: Mapping[str, Any]) -> None:
    """What a model wants of the process, before JAX begins."""
    process.one_device_for_each_core()
    process.return_memory_of_compilations()
    if KINDS.get(model.get("name")) in MUCH_MEMORY:
        process.keep_freed_memory()


def set_up(config: dict) -> Job:
    """Checks the config, loads its data and builds its programs; nothing is compiled yet.

    Raises:
      ValueError, OSError: for a config or data set that cannot be used.
    """
    configuration.validate(config)
    dataset = data.load(**config["dataset"])
    changes = sweep.expand(config)
    at_once = config["runs_at_once"] or dispatch(config["model"])[1] * jax.local_device_count()
    mesh = devices.mesh(len(changes), at_once, sharing(config))
    groups = []
    for static, runs in sweep.programs(config, changes):
        plan = make_plan(sweep.assign(config, static), dataset, runs, [changes[run] for run in runs], mesh, at_once)
        groups += [Group(plan, group) for group in sweep.groups(runs, plan.lanes)]
    job = Job(
        config=config,
        dataset=dataset,
        changes=changes,
        groups=groups,
        train_arrays=devices.put(dataset.train.arrays or {}, mesh, None),
        test_arrays=devices.put(dataset.test.arrays or {}, mesh, None),
    )
    for plan in {id(group.plan): group.plan for group in groups}.values():
        check_probes(job, Group(plan, plan.runs[: plan.lanes]))
    return job


def make_plan(
    config: dict, dataset: data.Dataset, runs: range, changes: list[dict], mesh=None, at_once: int = 1
) -> Plan:
    """One program for the runs that make these changes to a config."""
    if config["batch_size"] > dataset.train.size:
        raise ValueError(
            f"batch_size={config['batch_size']} is larger than the training data ({dataset.train.size} examples)"
        )
    model = build_model(config, dataset)
    num_steps = configuration.num_steps(config, dataset.train.size)
    of_run = [sweep.assign(config, change) for change in changes]
    knobs = [configuration.run_knobs(run, num_steps=num_steps, train_size=dataset.train.size) for run in of_run]
    chosen, timings = diagnostics.of_config(config["diagnostics"])
    check_optimizer(configuration.optimizer(of_run[0], knobs[0]), chosen)
    program = Program(
        init=model.init,
        apply=model.apply,
        loss=LOSSES[config["loss"]].each,
        prepare=lambda arrays, batch, key, train: devices.shared(
            dataset.prepare(data.take(arrays, batch), key, train), mesh
        ),
        optimizer=partial(configuration.optimizer, of_run[0]),
        diagnostics={name: args for name, args in chosen.items() if name not in timings},
    )
    probers = make_probers(program, of_run[0], knobs[0], model, dataset, chosen, timings)
    chunk_steps = chunk_length(config, num_steps, dispatch(config["model"])[0], timings)
    warmups = np.array([int(of_one.warmup_steps) for of_one in knobs])
    decode = evaluation.decoder(model, dataset.texts, config["decoding"])
    lanes = devices.lanes(len(runs), at_once, devices.lanes_of(mesh))
    compiled = partial(devices.compiled, over=mesh, compiler_options=compilation(config["model"]))
    return Plan(
        config=config,
        runs=runs,
        num_steps=num_steps,
        knobs=knobs,
        devices=mesh,
        lanes=lanes,
        chunk_steps=chunk_steps,
        ahead=int(pixels(config, dataset) < ALONE.get(platform_and_kind(config["model"]), math.inf)),
        stops=pauses(config, num_steps, probes.stops(probers, num_steps, warmups)),
        init=compiled(
            lambda knobs: each_run(partial(init_state, program), (0,))(knobs), (0,), compiler_options=QUICK_COMPILATION
        ),
        train=compiled(partial(train_chunk, program), (0, 0, None, None, None, None, 0), donate_argnums=1),
        evaluate=compiled(partial(eval_step, program), (0, None, None)),
        evaluated=evaluated_at_once(config, dataset, mesh, lanes),
        decode=decode and compiled(decode, (0, None, None)),
        probers=probers,
        probe={
            name: compiled(partial(probes.measure, prober), (0, 0, 0, 0, 0, None, None, None, None))
            for name, prober in probers.items()
        },
        carry=compiled(lambda states: jax.vmap(partial(diagnostics.start_carries, chosen))(states.params), (0,)),
    )


def build_model(config: Mapping[str, Any], dataset: data.Dataset) -> models.Model:
    """The model of a config, for what its data set holds."""
    return models.build(**config["model"], num_classes=dataset.num_classes, input_shape=dataset.input_shape)


def make_probers(
    program: Program,
    config: Mapping[str, Any],
    knobs: Knobs,
    model: models.Model,
    dataset: data.Dataset,
    chosen: Mapping,
    timings: Mapping,
) -> dict[str, probes.Prober]:
    """The probes of a config by name.

    Raises:
      ValueError: for a diagnostic that these runs cannot give, or more examples than there are.
    """
    there = (
        probes.offered(program, knobs, model, configuration.optimizer_numbers(config, knobs), dataset.texts is not None)
        if chosen
        else ()
    )
    found = {}
    for name, args in chosen.items():
        diagnostics.check(name, args, there)
        if name not in timings:
            continue
        if (timings[name].examples or 0) > dataset.train.size:
            raise ValueError(
                f"diagnostics.{name}.examples={timings[name].examples}; allowed: at most the "
                f"{dataset.train.size} training examples"
            )
        unroll = jax.default_backend() == "cpu" and KINDS[config["model"]["name"]] == "convolutional"
        found[name] = probes.Prober(
            program, name, args, timings[name], model.observe, partial(configuration.optimizer_numbers, config), unroll
        )
    return found


def dispatch(model: Mapping[str, Any]) -> tuple[int, int]:
    """(chunk_steps, lanes a device) where the config leaves them open."""
    return DISPATCH[platform_and_kind(model)]


def compilation(model: Mapping[str, Any]) -> Mapping[str, Any]:
    """Options of XLA for the programs of a model; none where JAX is told to optimise little as it is."""
    quick = jax.config.read("jax_disable_most_optimizations")
    return FOR_SMALL if not quick and model.get("width", math.inf) <= SMALL.get(platform_and_kind(model), 0) else {}


def platform_and_kind(model: Mapping[str, Any]) -> tuple[str, str]:
    """What the defaults of a model go by."""
    return jax.default_backend(), registry.lookup("model", KINDS, model.get("name"))


def sharing(config: Mapping[str, Any]) -> int:
    """How many devices share each batch where there is but one lane for them: a divisor of its size."""
    most = jax.local_device_count() if jax.default_backend() in SHARING else 1
    return max(n for n in range(1, most + 1) if config["batch_size"] % n == 0)


def evaluated_at_once(config: Mapping[str, Any], dataset: data.Dataset, mesh, lanes: int) -> int:
    """How many batches of an evaluation are computed at a time: on CPU one leaves cores idle.

    The largest array of a batch has about as many numbers as the logits of texts, or 16 a pixel of images.
    """
    if jax.default_backend() != "cpu":
        return 1
    shape = dataset.input_shape
    each = 16 * math.prod(shape[:-1]) if dataset.texts is None else shape[-1] * dataset.num_classes
    batches, numbers = EVALUATED
    idle = process.cores() // (mesh.size if mesh is not None else 1)
    return max(1, min(batches, idle, numbers // (config["eval_batch_size"] * each * lanes)))


def pixels(config: Mapping[str, Any], dataset: data.Dataset) -> int:
    """Of a batch of images."""
    return config["batch_size"] * math.prod(dataset.input_shape[:-1])


def parameters(config: Mapping[str, Any], dataset: data.Dataset) -> int:
    """How many numbers the model of a config learns."""
    params, _ = jax.eval_shape(build_model(config, dataset).init, jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def check_optimizer(tx, chosen: Collection[str]) -> None:
    """Raises a ValueError if a transformation asks for something that neither step nor chosen diagnostics measure."""
    params = {"layer": {"kernel": jnp.zeros((1, 1))}}
    measured = {"sharpness": 0.0} if {"sharpness", "preconditioned_sharpness"} & set(chosen) else {}
    try:
        jax.eval_shape(lambda: updated(tx, params, tx.init(params), params, 0.0, 0.0, measured))
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
    states = plan.init.eval_shape(knobs)
    carries = plan.carry.eval_shape(states)
    for name, prober in plan.probers.items():
        plan.probe[name].eval_shape(
            *probe_arguments(job, plan, name, knobs, states, states.params, carries, np.ones(plan.lanes, bool), step=1)
        )


def compile_update(job: Job, group: Group, knobs: Knobs, batch: Mapping[str, np.ndarray]) -> None:
    """Compiles the update of a group's first chunk, of batches like this; it then need not compile when it is called.

    For before the states are there: they take memory, and a compilation takes more.
    """
    plan = group.plan
    states = devices.promised(plan.init.eval_shape(knobs), plan.devices, 0)
    carries = devices.promised(plan.carry.eval_shape(states), plan.devices, 0) if plan.probers else {}
    chunk = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((next_chunk(plan, 0), *leaf.shape), leaf.dtype), batch)
    plan.train.lower(*update_arguments(job, plan, knobs, states, carries, chunk, step=0)).compile()


def update_arguments(job: Job, plan: Plan, knobs: Knobs, states, carries: dict, chunk: dict, step: int) -> tuple:
    """The arguments of `plan.train` after `step` updates, for as many as the chunk [C, B, ...] has batches."""
    length = jax.tree.leaves(chunk)[0].shape[0]
    return (
        knobs,
        states,
        job.train_arrays,
        chunk,
        np.arange(step, step + length, dtype=np.int32),
        stream(plan.config["seed"], AUGMENTATION),
        probes.measured(carries),
    )


def probe_arguments(job: Job, plan: Plan, name: str, knobs, states, before, carries, due_R, step: int) -> tuple:
    """The arguments of `plan.probe[name]` after `step` updates."""
    prober, config = plan.probers[name], plan.config
    batches = probes.batches_for(prober, job.dataset, config["seed"], config["batch_size"], step)
    return (
        knobs,
        states,
        before if prober.entry.before else {},
        {name: carries[name]} if name in carries else {},
        due_R,
        job.train_arrays,
        job.test_arrays,
        batches,
        jax.random.fold_in(stream(config["seed"], AUGMENTATION), max(step - 1, 0)),
    )


@functools.cache  # a program for a number, and asked for at every chunk
def stream(seed: int, index: int) -> jax.Array:
    """One of the independent random streams of a config's seed, which its runs share."""
    return jax.random.fold_in(jax.random.key(seed), index)


def chunk_length(config: dict, num_steps: int, most: int, timings: Mapping[str, diagnostics.Timing]) -> int:
    """Steps a dispatch: as the config says, or the most that end where something is due at regular intervals."""
    stops = [min(config[key], num_steps) for key in ("eval_every", "checkpoint_every")]
    chosen = config["chunk_steps"]
    if chosen is None:
        stops += [min(timing.every, num_steps) for timing in timings.values() if timing.until is None]
        common = math.gcd(*stops)
        return max(c for c in range(1, min(most, common) + 1) if common % c == 0)
    if any(stop % chosen for stop in stops):
        raise ValueError(
            f"chunk_steps={chosen} must divide eval_every={config['eval_every']} "
            f"and checkpoint_every={config['checkpoint_every']}"
        )
    return chosen


def pauses(config: dict, num_steps: int, probed: np.ndarray) -> np.ndarray:
    """The updates that no chunk may pass: where a probe, an evaluation or a checkpoint is due, and the end."""
    regular = [np.arange(0, num_steps, config[key]) for key in ("eval_every", "checkpoint_every")]
    return np.unique(np.concatenate([probed, *regular, [num_steps]]))


def next_chunk(plan: Plan, step: int) -> int:
    """The length of the chunk that begins after `step` updates: a whole one if it passes no stop, else one update.

    Two lengths, so two programs at most; a function of the step alone, so that a resumed run is cut alike.
    """
    ahead = int(plan.stops[np.searchsorted(plan.stops, step, side="right")]) - step
    return plan.chunk_steps if ahead >= plan.chunk_steps else 1
