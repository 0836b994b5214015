"""Warms up the learning rate of a Flax NNX model, and reads the rate that was applied.

    python -m examples.flax_nnx

Needs jax, optax and flax. `scale_by_recorded_learning_rate` takes the place of optax's `scale_by_learning_rate` and
keeps the rate of the last update in the optimizer's state, so that the log cannot be off by one update.
"""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from warmup_jax import schedules, transforms

NUM_STEPS = 100


class Network(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(16, 64, rngs=rngs)
        self.head = nnx.Linear(64, 1, rngs=rngs)

    def __call__(self, x):
        return self.head(nnx.relu(self.hidden(x)))[:, 0]


rate = schedules.combine(
    schedules.untuned_linear_warmup(beta2=0.95),  # 2 / (1 - beta2) = 40 updates, the rule for Adam
    schedules.constant_decay(),
    peak_lr=0.01,
    num_steps=NUM_STEPS,
)
model = Network(nnx.Rngs(0))
adam = optax.chain(optax.scale_by_adam(b2=0.95), transforms.scale_by_recorded_learning_rate(rate))
optimizer = nnx.Optimizer(model, adam, wrt=nnx.Param)


@nnx.jit
def update(model, optimizer, x, y):
    loss, grads = nnx.value_and_grad(lambda model: jnp.square(model(x) - y).mean())(model)
    optimizer.update(model, grads)
    return loss


x = jax.random.normal(jax.random.key(1), (256, 16))
y = jnp.sin(x @ jax.random.normal(jax.random.key(2), (16,)))
print("  update     rate     loss")
for t in range(NUM_STEPS):
    loss = update(model, optimizer, x, y)
    if t in (0, 9, 19, 39, NUM_STEPS - 1):
        applied = transforms.current_learning_rate(optimizer.opt_state)
        print(f"{t + 1:8} {applied:8.4f} {loss:8.4f}")
