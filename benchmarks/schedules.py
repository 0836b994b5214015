"""Measures the cost of each schedule inside a compiled step, relative to a constant rate.

python benchmarks/schedules.py [--rounds=N]

For every warmup factor and every decay it prints the time of a compiled SGD update of a small parameter vector with
that learning rate, minus the time with a constant rate, in microseconds. The measurements take turns in one process;
the table shows medians over the rounds.
"""

import argparse
import statistics
import sys
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import jax
import jax.numpy as jnp
import optax

from warmup_jax import schedules, transforms

STEPS = 200  # updates in one measurement
WARMUPS = {
    "constant": {"value": 0.1},
    "power": {"exponent": 2.0},
    "exponential": {"tau": 10.0},
    "geometric": {"start": 0.01},
    "untuned_linear": {"beta2": 0.999},
    "untuned_exponential": {"beta2": 0.999},
    "radam": {"beta2": 0.999},
}
DECAYS = {
    "polynomial": {"exponent": 2.0},
    "exponential": {"final": 0.1},
    "wsd": {"decay_fraction": 0.3},
    "geometric": {"decay_rate": 0.5, "transition_steps": 10.0},
    "inverse_sqrt": {"timescale": 100.0},
    "multistep": {"boundaries": (300, 600), "factor": 0.1},
    "cosine_restarts": {"cycle_steps": 100.0},
}


def rates():
    """Yields (name, learning rate): each warmup with a cosine, and each decay after a linear warmup."""
    build = partial(
        schedules.build, combination="join", num_steps=1000, peak_lr=0.1, init_lr=0.0, end_lr=0.0, warmup_steps=100
    )
    for name in schedules.WARMUPS:
        yield (
            f"warmup {name}",
            build(warmup=name, warmup_args=WARMUPS.get(name, {}), schedule="cosine", schedule_args={}),
        )
    for name in schedules.DECAYS:
        yield f"decay {name}", build(warmup="linear", warmup_args={}, schedule=name, schedule_args=DECAYS.get(name, {}))


def compiled_step(rate):
    """Returns a compiled update of 1,000 parameters with donated arguments, and its first optimizer state."""
    tx = transforms.scale_by_recorded_learning_rate(rate)

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state):
        updates, state = tx.update(params, state)
        return optax.apply_updates(params, updates), state

    params = jnp.ones(1000)
    return step, tx.init(params)


def microseconds(step, state):
    """Returns the time of one update in a chain of them, in microseconds."""
    params, state = step(jnp.ones(1000), jax.tree.map(jnp.copy, state))
    jax.block_until_ready(params)
    start = time.perf_counter()
    for _ in range(STEPS):
        params, state = step(params, state)
    jax.block_until_ready(params)
    return (time.perf_counter() - start) / STEPS * 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="number of rounds")
    rounds = parser.parse_args().rounds
    steps = {name: compiled_step(rate) for name, rate in rates()}
    plain = compiled_step(lambda t: 0.1)
    extra = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            before, cost, after = microseconds(*plain), microseconds(*step), microseconds(*plain)
            extra[name].append(cost - (before + after) / 2)
    device = jax.devices()[0]
    print(
        f"{device.platform} ({device.device_kind}), jax {jax.__version__}; an update with a constant rate: "
        f"{statistics.median(microseconds(*plain) for _ in range(rounds)):.1f} us"
    )
    print(f"{'rate':28} median us   spread (10 % to 90 %)")
    for name, costs in extra.items():
        low, *_, high = statistics.quantiles(costs, n=10)
        print(f"{name:28} {statistics.median(costs):9.2f}   {low:.2f} to {high:.2f}")


if __name__ == "__main__":
    main()
