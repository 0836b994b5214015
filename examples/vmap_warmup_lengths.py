"""Trains one network with six warmup lengths at once: one compiled program, mapped over the length.

    python -m examples.vmap_warmup_lengths

Needs jax and optax. Every number of a schedule may be traced, the length of its warmup too, so a sweep is a `jax.vmap`.
The network and the rate are those of minimal.py.
"""

import jax
import jax.numpy as jnp
import optax

from warmup_jax import schedules

WIDTHS = (16, 64, 64, 64, 64, 1)
PEAK_LR, NUM_STEPS = 0.4, 200
x = jax.random.normal(jax.random.key(1), (256, WIDTHS[0]))
y = jnp.sin(x @ jax.random.normal(jax.random.key(2), (WIDTHS[0],)))
compilations = 0


def init(key):
    keys = jax.random.split(key, len(WIDTHS) - 1)
    return [jax.random.normal(k, (m, n)) * jnp.sqrt(2 / m) for k, m, n in zip(keys, WIDTHS[:-1], WIDTHS[1:])]


def loss_fn(kernels):
    hidden = x
    for kernel in kernels[:-1]:
        hidden = jax.nn.relu(hidden @ kernel)
    return jnp.square((hidden @ kernels[-1])[:, 0] - y).mean() / 2


def train(warmup_steps):
    """Returns the loss before each update; `warmup_steps` is traced."""
    global compilations
    compilations += 1  # Python runs this line only while JAX traces
    rate = schedules.combine(
        schedules.linear_warmup(warmup_steps),
        schedules.cosine_decay(warmup_steps, NUM_STEPS),
        peak_lr=PEAK_LR,
        num_steps=NUM_STEPS,
    )
    optimizer = optax.sgd(rate)
    params = init(jax.random.key(0))

    def step(carry, _):
        params, state = carry
        loss, grads = jax.value_and_grad(loss_fn)(params)
        updates, state = optimizer.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), loss

    return jax.lax.scan(step, (params, optimizer.init(params)), length=NUM_STEPS)[1]


lengths = jnp.array([0, 4, 16, 32, 64, 100])
losses = jax.jit(jax.vmap(train))(lengths)
print("  warmup  final loss")
for length, loss in zip(lengths, losses[:, -1]):
    print(f"{length:8} {loss:11.4f}")
print(f"traced {compilations} time for {len(lengths)} runs")
