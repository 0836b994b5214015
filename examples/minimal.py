"""Trains a network at a high learning rate without and with warmup, in a plain optax loop.

    python -m examples.minimal

Needs jax and optax. Full-batch gradient descent on the squared error of a small ReLU network: without warmup the loss
diverges within a few updates, with 64 updates of linear warmup the same peak rate trains.
"""

import jax
import jax.numpy as jnp
import optax

from warmup_jax import schedules

WIDTHS = (16, 64, 64, 64, 64, 1)
PEAK_LR, NUM_STEPS = 0.4, 200


def init(key):
    keys = jax.random.split(key, len(WIDTHS) - 1)
    return [jax.random.normal(k, (m, n)) * jnp.sqrt(2 / m) for k, m, n in zip(keys, WIDTHS[:-1], WIDTHS[1:])]


def loss_fn(kernels, x, y):
    for kernel in kernels[:-1]:
        x = jax.nn.relu(x @ kernel)
    return jnp.square((x @ kernels[-1])[:, 0] - y).mean() / 2


x = jax.random.normal(jax.random.key(1), (256, WIDTHS[0]))
y = jnp.sin(x @ jax.random.normal(jax.random.key(2), (WIDTHS[0],)))


def train(warmup_steps):
    rate = schedules.combine(
        schedules.linear_warmup(warmup_steps),
        schedules.cosine_decay(warmup_steps, NUM_STEPS),
        peak_lr=PEAK_LR,
        num_steps=NUM_STEPS,
    )
    optimizer = optax.sgd(rate)  # a schedule goes wherever optax takes a learning rate

    @jax.jit
    def update(params, state):
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss

    params = init(jax.random.key(0))
    state = optimizer.init(params)
    print(f"warmup of {warmup_steps} updates\n  update     rate       loss")
    for t in range(NUM_STEPS):  # t counts the updates already applied
        params, state, loss = update(params, state)
        if t in (0, 1, 3, 15, 63, 127, NUM_STEPS - 1):
            print(f"{t + 1:8} {rate(t):8.4f} {loss:10.4g}")


train(warmup_steps=0)
train(warmup_steps=64)
